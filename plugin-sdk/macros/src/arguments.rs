//! The arguments of the attribute macros.

use syn::{
    Ident, LitBool, LitStr, Result, Token, meta::ParseNestedMeta, parse::Parser as _,
    punctuated::Punctuated,
};

/// The columns of a batch, as `waypost_sdk::Reads` names its fields.
pub(crate) const COLUMNS: [&str; 5] = ["topics", "keys", "headers", "payloads", "created"];
const IMPORTS: [&str; 4] = ["log", "clock", "random", "metrics"];

/// What stands in the attribute's parentheses.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) name: Option<LitStr>,
    /// `None` for every column.
    pub(crate) reads: Option<Vec<Ident>>,
    pub(crate) imports: Vec<Ident>,
    pub(crate) deterministic: Option<LitBool>,
}

impl Arguments {
    pub(crate) fn parse(tokens: proc_macro2::TokenStream) -> Result<Self> {
        let mut arguments = Self::default();
        syn::meta::parser(|meta| arguments.take(&meta)).parse2(tokens)?;
        Ok(arguments)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("name") {
            let name: LitStr = meta.value()?.parse()?;
            check_name(&name)?;
            self.name = Some(name);
        } else if meta.path.is_ident("reads") {
            self.reads = Some(names(meta, "column", &COLUMNS)?);
        } else if meta.path.is_ident("imports") {
            self.imports = names(meta, "module", &IMPORTS)?;
        } else if meta.path.is_ident("deterministic") {
            self.deterministic = Some(meta.value()?.parse()?);
        } else {
            return Err(meta.error(
                "unknown argument: known are name = \"...\", reads(...), imports(...) and \
                 deterministic = true|false",
            ));
        }
        Ok(())
    }
}

fn check_name(name: &LitStr) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let text = name.value();
    if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
        return Err(syn::Error::new(
            name.span(),
            "a plugin's name has 1 to 64 of the characters a-z, 0-9 and -",
        ));
    }
    Ok(())
}

fn names(meta: &ParseNestedMeta<'_>, kind: &str, known: &[&str]) -> Result<Vec<Ident>> {
    let list;
    syn::parenthesized!(list in meta.input);
    let names = Punctuated::<Ident, Token![,]>::parse_terminated(&list)?;
    for name in &names {
        if !known.iter().any(|known| name == known) {
            return Err(syn::Error::new(
                name.span(),
                format!("unknown {kind} `{name}`: known are {}", known.join(", ")),
            ));
        }
    }
    Ok(names.into_iter().collect())
}
