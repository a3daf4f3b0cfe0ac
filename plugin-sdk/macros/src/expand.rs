//! What an attribute macro makes of a function.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{ItemFn, Result};

use crate::{
    arguments::{Arguments, COLUMNS},
    signature::Signature,
};

/// Which attribute stands at the function.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Filter,
    Transform,
    Router,
}

/// The function as it stands, the plugin's type, its `Plugin` implementation and its export.
pub(crate) fn plugin(role: Role, arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand(role, arguments, function.clone()).unwrap_or_else(|error| {
        let error = error.to_compile_error();
        // The function too, so that only the real error is told.
        quote!(#error #function)
    })
}

fn expand(role: Role, arguments: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::parse(arguments)?;
    let function: ItemFn = syn::parse2(function)?;
    let signature = Signature::read(&function)?;

    let visibility = &function.vis;
    let name = &function.sig.ident;
    let plugin = format_ident!("{}", camel_case(&name.to_string()), span = name.span());
    let documentation = format!("The plugin of [`{name}`].");

    let (config, call) = match signature.config {
        Some(config) => (quote!(#config), quote!(#name(message, &self.config))),
        None => (quote!(::waypost_sdk::NoConfig), quote!(#name(message))),
    };
    let emitter = match role {
        Role::Filter => quote!(_),
        Role::Transform | Role::Router => quote!(emitter),
    };
    let (role, verdict) = match role {
        Role::Filter => (quote!(Filter), quote!(::waypost_sdk::roles::filter(#call))),
        Role::Transform => {
            (quote!(Transform), quote!(::waypost_sdk::roles::transform(#call, emitter)))
        }
        Role::Router => (quote!(Router), quote!(::waypost_sdk::roles::router(#call, emitter))),
    };
    let plugin_name = match &arguments.name {
        Some(name) => quote!(#name),
        None => quote!(::std::env!("CARGO_PKG_NAME")),
    };
    let columns = COLUMNS.map(|column| format_ident!("{column}"));
    let read = columns.each_ref().map(|column| match &arguments.reads {
        Some(named) => named.contains(column),
        None => true,
    });
    let imports = arguments.imports.iter().map(ToString::to_string);
    let deterministic = match &arguments.deterministic {
        Some(deterministic) => quote!(#deterministic),
        None => quote!(true),
    };

    Ok(quote! {
        #function

        #[doc = #documentation]
        #[allow(dead_code, reason = "a function without a configuration leaves it unread")]
        #visibility struct #plugin {
            config: #config,
        }

        impl ::waypost_sdk::Plugin for #plugin {
            type Config = #config;

            fn manifest() -> ::waypost_sdk::Manifest {
                ::waypost_sdk::Manifest {
                    name: #plugin_name,
                    version: ::std::env!("CARGO_PKG_VERSION"),
                    role: ::waypost_sdk::Role::#role,
                    reads: ::waypost_sdk::Reads { #(#columns: #read),* },
                    imports: &[#(#imports),*],
                    deterministic: #deterministic,
                }
            }

            fn new(config: #config) -> ::waypost_sdk::Result<Self> {
                ::std::result::Result::Ok(Self { config })
            }

            #[inline]
            fn process(
                &mut self,
                message: &::waypost_sdk::Message<'_>,
                #emitter: &mut ::waypost_sdk::Emitter<'_>,
            ) -> ::waypost_sdk::Result<::waypost_sdk::Verdict> {
                #verdict
            }
        }

        ::waypost_sdk::export!(#plugin);
    })
}

fn camel_case(name: &str) -> String {
    name.split('_')
        .flat_map(|word| {
            let mut characters = word.chars();
            let first = characters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(characters)
        })
        .collect()
}
