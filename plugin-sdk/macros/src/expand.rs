//! What an attribute macro makes of a function.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Error, FnArg, Ident, ItemFn, Result, Type, ext::IdentExt as _, parse_quote,
    spanned::Spanned as _,
};

use crate::{
    arguments::{Arguments, COLUMNS},
    role::Role,
    signature::Signature,
};

/// The function as it stands, the plugin's type, its `Plugin` implementation and its export.
pub(crate) fn plugin(role: Role, arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand(role, arguments, function.clone()).unwrap_or_else(|error| {
        let error = error.to_compile_error();
        // The function too, so that only the real error is told.
        quote!(#error #function)
    })
}

fn expand(role: Role, arguments: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::parse(role, arguments)?;
    let mut function: ItemFn = syn::parse2(function.clone()).map_err(|_| {
        let text = format!("{role} is a function with a body: `{} {{ ... }}`", role.example());
        Error::new_spanned(function, text)
    })?;
    let signature = Signature::read(role, &function)?;
    let plugin = plugin_type(&function.sig.ident, signature.config.as_ref())?;

    let visibility = function.vis.clone();
    let documentation = format!("The plugin of [`{}`].", function.sig.ident);
    let manifest = manifest(role, &arguments);
    let (alias, config) = match &signature.config {
        Some(config) => {
            let name = alias(&plugin, config);
            name_config(&mut function, &name);
            // Where the type is missing, the compiler says so once, here, and not at each use of it.
            let alias = quote! {
                #[doc(hidden)]
                #visibility type #name = #config;
            };
            (alias, quote!(#name))
        }
        None => (quote!(), quote!(::waypost_sdk::NoConfig)),
    };
    let (step_field, step_value) = match role {
        Role::Upcast => {
            let step = arguments.versions.step();
            (quote!(step: ::waypost_sdk::roles::Step,), quote!(step: #step,))
        }
        Role::Filter | Role::Transform | Role::Router => (quote!(), quote!()),
    };
    let emitter = match role {
        Role::Filter => quote!(_),
        Role::Transform | Role::Router | Role::Upcast => quote!(emitter),
    };
    let verdict = verdict(role, &function.sig.ident, &signature);

    Ok(quote! {
        #alias

        #function

        #[doc = #documentation]
        #[allow(dead_code, reason = "a function without a configuration leaves it unread")]
        #visibility struct #plugin {
            config: #config,
            #step_field
        }

        impl ::waypost_sdk::Plugin for #plugin {
            type Config = #config;

            fn manifest() -> ::waypost_sdk::Manifest {
                #manifest
            }

            fn new(config: Self::Config) -> ::waypost_sdk::Result<Self> {
                ::std::result::Result::Ok(Self { config, #step_value })
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

/// What the configuration's type is called in all that is made of the function; nobody else calls one so.
fn alias(plugin: &Ident, config: &Type) -> Ident {
    format_ident!("__{plugin}Config", span = config.span())
}

/// Gives the configuration's type another name in the function's signature.
fn name_config(function: &mut ItemFn, name: &Ident) {
    if let Some(FnArg::Typed(parameter)) = function.sig.inputs.iter_mut().nth(1)
        && let Type::Reference(reference) = &mut *parameter.ty
    {
        *reference.elem = parse_quote!(#name);
    }
}

/// The name of the plugin's type, which is the function's in CamelCase.
fn plugin_type(function: &Ident, config: Option<&Type>) -> Result<Ident> {
    let plugin =
        format_ident!("{}", camel_case(&function.unraw().to_string()), span = function.span());
    if let Some(Type::Path(config)) = config
        && config.path.is_ident(&plugin)
    {
        return Err(Error::new(
            function.span(),
            format!(
                "the plugin's type would be called `{plugin}`, as its configuration is: rename the function"
            ),
        ));
    }
    Ok(plugin)
}

fn manifest(role: Role, arguments: &Arguments) -> TokenStream {
    let name = match &arguments.name {
        Some(name) => quote!(#name),
        None => quote!(::std::env!("CARGO_PKG_NAME")),
    };
    let columns = COLUMNS.map(|column| format_ident!("{column}"));
    let read = columns.each_ref().map(|column| match (role, &arguments.reads) {
        (Role::Upcast, _) => {
            column == "payloads" || column == "headers" && arguments.versions.in_header()
        }
        (_, Some(named)) => named.contains(column),
        (_, None) => true,
    });
    let imports: Vec<_> = arguments.imports.iter().map(ToString::to_string).collect();
    let deterministic = match &arguments.deterministic {
        Some(deterministic) => deterministic.value,
        None => !imports.iter().any(|import| import == "clock" || import == "random"),
    };
    let role = match role {
        Role::Filter => quote!(Filter),
        Role::Transform | Role::Upcast => quote!(Transform),
        Role::Router => quote!(Router),
    };
    quote! {
        ::waypost_sdk::Manifest {
            name: #name,
            version: ::std::env!("CARGO_PKG_VERSION"),
            role: ::waypost_sdk::Role::#role,
            reads: ::waypost_sdk::Reads { #(#columns: #read),* },
            imports: &[#(#imports),*],
            deterministic: #deterministic,
        }
    }
}

/// The call of the function, and what becomes of its result.
fn verdict(role: Role, name: &Ident, signature: &Signature) -> TokenStream {
    // Where the compiler points when the result is not what the role returns.
    let output = signature.output.span();
    let name = Ident::new(&name.to_string(), output);
    let config = signature.config.as_ref().map(|_| quote_spanned!(output=> &self.config));
    let roles = quote_spanned!(output=> ::waypost_sdk::roles);
    match role {
        Role::Filter => quote_spanned! {output=>
            #roles::FilterResult::verdict(#name(message, #config))
        },
        Role::Transform => quote_spanned! {output=>
            #roles::TransformResult::emit(#name(message, #config), emitter)
        },
        Role::Router => quote_spanned! {output=>
            #roles::RouterResult::route(#name(message, #config), emitter)
        },
        Role::Upcast => {
            let old = &signature.first;
            quote_spanned! {output=>
                self.step.process::<#old>(message, emitter, |old| {
                    #roles::UpcastResult::new_version(#name(old, #config))
                })
            }
        }
    }
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
