//! The arguments of the attribute macros.

use proc_macro2::{Span, TokenStream};
use syn::{
    Error, Ident, LitBool, LitStr, Result, Token, meta::ParseNestedMeta, parse::Parser as _,
    punctuated::Punctuated,
};

use crate::{
    role::Role,
    upcast::{Place, Versions, pointer, version},
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
    /// Of an upcast alone.
    pub(crate) versions: Versions,
    seen: Vec<String>,
}

impl Arguments {
    pub(crate) fn parse(role: Role, tokens: TokenStream) -> Result<Self> {
        let mut arguments = Self::default();
        syn::meta::parser(|meta| arguments.take(role, &meta)).parse2(tokens)?;
        if role == Role::Upcast {
            arguments.versions.check(Span::call_site())?;
        }
        Ok(arguments)
    }

    fn take(&mut self, role: Role, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let argument = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match (role, argument.as_str()) {
            (_, "name") => self.name = Some(name(meta)?),
            (_, "imports") => self.imports = names(meta, "module", &IMPORTS)?,
            (_, "deterministic") => self.deterministic = Some(meta.value()?.parse()?),
            (Role::Upcast, "from") => self.versions.from = Some(version(meta.value()?)?),
            (Role::Upcast, "to") => self.versions.to = Some(version(meta.value()?)?),
            (Role::Upcast, "later") => {
                let list;
                syn::parenthesized!(list in meta.input);
                let later = Punctuated::<_, Token![,]>::parse_terminated_with(&list, version)?;
                self.versions.later = later.into_iter().collect();
            }
            (Role::Upcast, "pointer") => self.place(meta, Place::Pointer(pointer(meta)?))?,
            (Role::Upcast, "header") => self.place(meta, Place::Header(meta.value()?.parse()?))?,
            (Role::Upcast, "reads") => {
                return Err(meta.error(
                    "an #[upcast] reads the payload and, where the version stands in one, the headers: \
                     remove `reads`",
                ));
            }
            (_, "reads") => self.reads = Some(names(meta, "column", &COLUMNS)?),
            (Role::Upcast, _) => {
                return Err(meta.error(
                    "unknown argument: an #[upcast] takes from = 1, to = 2, later(3, ...), \
                     pointer = \"/version\" or header = \"...\", name = \"...\", imports(...) and \
                     deterministic = true|false",
                ));
            }
            _ => {
                return Err(meta.error(format!(
                    "unknown argument: {role} takes name = \"...\", reads(...), imports(...) and \
                     deterministic = true|false",
                )));
            }
        }
        if self.seen.contains(&argument) {
            return Err(meta.error(format!("`{argument}` stands there twice: remove one")));
        }
        self.seen.push(argument);
        Ok(())
    }

    fn place(&mut self, meta: &ParseNestedMeta<'_>, place: Place) -> Result<()> {
        match self.versions.place.replace(place) {
            None => Ok(()),
            Some(_) => Err(meta
                .error("the version stands in one place: keep either `pointer` or `header`, once")),
        }
    }
}

fn name(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let name: LitStr = meta.value()?.parse()?;
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let text = name.value();
    if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
        return Err(Error::new(
            name.span(),
            "a plugin's name has 1 to 64 of the characters a-z, 0-9 and -",
        ));
    }
    Ok(name)
}

fn names(meta: &ParseNestedMeta<'_>, kind: &str, known: &[&str]) -> Result<Vec<Ident>> {
    let list;
    syn::parenthesized!(list in meta.input);
    let names = Punctuated::<Ident, Token![,]>::parse_terminated(&list)?;
    for name in &names {
        if !known.iter().any(|known| name == known) {
            return Err(Error::new(
                name.span(),
                format!("unknown {kind} `{name}`: known are {}", known.join(", ")),
            ));
        }
    }
    Ok(names.into_iter().collect())
}
