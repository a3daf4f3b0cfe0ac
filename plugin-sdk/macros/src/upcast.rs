//! The versions of an `#[upcast]`, and where a message carries its own.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, Lit, LitStr, Result, meta::ParseNestedMeta, parse::ParseStream};

/// What stands in the attribute of versions.
#[derive(Default)]
pub(crate) struct Versions {
    pub(crate) from: Option<Lit>,
    pub(crate) to: Option<Lit>,
    /// Versions behind `to`, which pass.
    pub(crate) later: Vec<Lit>,
    /// `/version` in the payload when there is none.
    pub(crate) place: Option<Place>,
}

/// Where a message carries its version.
pub(crate) enum Place {
    Pointer(LitStr),
    Header(LitStr),
}

impl Versions {
    /// Whether the function's versions are there and lead somewhere.
    pub(crate) fn check(&self, attribute: Span) -> Result<()> {
        let (Some(from), Some(to)) = (&self.from, &self.to) else {
            return Err(Error::new(
                attribute,
                "an #[upcast] leads from one version to another: write #[upcast(from = 1, to = 2)]",
            ));
        };
        if text(from) == text(to) {
            return Err(Error::new(
                to.span(),
                "an #[upcast] leads to another version: `from` and `to` are the same",
            ));
        }
        for later in &self.later {
            if [from, to].iter().any(|other| text(other) == text(later)) {
                return Err(Error::new(
                    later.span(),
                    "a later version is neither `from` nor `to`: remove it from `later`",
                ));
            }
        }
        Ok(())
    }

    /// Whether the version stands in a header.
    pub(crate) fn in_header(&self) -> bool {
        matches!(self.place, Some(Place::Header(_)))
    }

    /// What makes the step between the versions at run time.
    pub(crate) fn step(&self) -> TokenStream {
        let Self { from, to, later, place } = self;
        let value = quote!(::waypost_sdk::serde_json::json!);
        let place = match place {
            None => quote!(pointer("/version")),
            Some(Place::Pointer(pointer)) => quote!(pointer(#pointer)),
            Some(Place::Header(name)) => quote!(header(#name)),
        };
        quote! {
            ::waypost_sdk::roles::Step::new(
                ::waypost_sdk::version::VersionFrom::#place?,
                #value(#from),
                #value(#to),
                [#(#value(#later)),*],
            )?
        }
    }
}

/// Parses a version: a whole number or a text.
pub(crate) fn version(input: ParseStream<'_>) -> Result<Lit> {
    const EXPECTED: &str = "a version is a whole number or a text in quotes, such as \"1.2\"";
    let version: Lit = input.parse().map_err(|error| Error::new(error.span(), EXPECTED))?;
    let is_version = match &version {
        Lit::Int(number) => number.suffix().is_empty() && number.base10_parse::<u64>().is_ok(),
        Lit::Str(text) => !text.value().is_empty(),
        _ => false,
    };
    if is_version { Ok(version) } else { Err(Error::new(version.span(), EXPECTED)) }
}

/// Parses a JSON pointer.
pub(crate) fn pointer(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let pointer: LitStr = meta.value()?.parse()?;
    if pointer.value().starts_with('/') {
        return Ok(pointer);
    }
    Err(Error::new(
        pointer.span(),
        "a JSON pointer begins with `/`, as in pointer = \"/meta/version\"",
    ))
}

/// A version as a header would hold it: `2` and `"2"` are the same.
fn text(version: &Lit) -> String {
    match version {
        Lit::Int(number) => number.base10_digits().to_owned(),
        Lit::Str(text) => text.value(),
        _ => String::new(),
    }
}
