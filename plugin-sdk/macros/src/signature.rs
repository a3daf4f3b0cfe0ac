//! The check of an annotated function's signature, with errors that point at what is wrong and show what
//! to write.

use quote::ToTokens;
use syn::{Error, FnArg, GenericParam, ItemFn, Result, ReturnType, Type, spanned::Spanned as _};

use crate::role::Role;

/// What the macros need of a function's signature.
pub(crate) struct Signature {
    /// The first parameter's type.
    pub(crate) first: Type,
    /// `T` of the second parameter `&T`.
    pub(crate) config: Option<Type>,
    /// What it returns.
    pub(crate) output: Type,
}

impl Signature {
    /// Accepts `fn name(message: &Message[, config: &Config]) -> ...`, and for an upcast
    /// `fn name(old: Old[, config: &Config]) -> ...`.
    pub(crate) fn read(role: Role, function: &ItemFn) -> Result<Self> {
        let signature = &function.sig;
        if let Some(asyncness) = signature.asyncness {
            return Err(Error::new(
                asyncness.span(),
                "a plugin's function is called once a message and cannot wait: remove `async`",
            ));
        }
        if let Some(unsafety) = signature.unsafety {
            return Err(Error::new(
                unsafety.span(),
                "nobody would keep what an unsafe function asks for: remove `unsafe`",
            ));
        }
        let lifetime = |parameter: &GenericParam| matches!(parameter, GenericParam::Lifetime(_));
        if let Some(parameter) = signature.generics.params.iter().find(|each| !lifetime(each)) {
            return Err(Error::new_spanned(
                parameter,
                "a plugin's function cannot be generic, because nobody would choose the types: name them",
            ));
        }
        let ReturnType::Type(_, output) = &signature.output else {
            return Err(Error::new(
                signature.paren_token.span.close(),
                format!("{role} returns a `Result`: write `{}`", role.example()),
            ));
        };

        let mut parameters = signature.inputs.iter();
        let Some(first) = parameters.next() else {
            return Err(Error::new(
                signature.paren_token.span.join(),
                format!("{role} takes {}: write `{}`", role.takes(), role.example()),
            ));
        };
        let first = check_first(role, first)?;
        let config = parameters.next().map(|parameter| config(role, parameter)).transpose()?;
        if let Some(parameter) = parameters.next() {
            return Err(Error::new_spanned(
                parameter,
                format!(
                    "{role} takes {} and, if it has one, its configuration; implement `Plugin` for more",
                    role.takes()
                ),
            ));
        }
        Ok(Self { first: first.clone(), config, output: (**output).clone() })
    }
}

fn check_first(role: Role, parameter: &FnArg) -> Result<&Type> {
    let is_message = |of: &Type| {
        let Type::Path(of) = of else { return false };
        of.path.segments.last().is_some_and(|last| last.ident == "Message")
    };
    let (upcast, ty) = (role == Role::Upcast, typed(parameter)?);
    let fits = match ty {
        Type::Reference(reference) => {
            !upcast && reference.mutability.is_none() && is_message(&reference.elem)
        }
        other => upcast && !is_message(other),
    };
    if fits {
        return Ok(ty);
    }
    let expected = format!("the first parameter is {}: write `{}`", role.takes(), role.example());
    Err(Error::new_spanned(ty, expected))
}

/// `T` of the parameter `config: &T`.
fn config(role: Role, parameter: &FnArg) -> Result<Type> {
    match typed(parameter)? {
        Type::Reference(reference) if reference.mutability.is_none() => {
            Ok((*reference.elem).clone())
        }
        other => {
            let shown = match other {
                Type::Reference(reference) => reference.elem.to_token_stream(),
                other => other.to_token_stream(),
            };
            Err(Error::new_spanned(
                other,
                format!(
                    "the second parameter of {role} is its configuration, behind a shared reference: write \
                     `config: &{shown}`"
                ),
            ))
        }
    }
}

fn typed(parameter: &FnArg) -> Result<&Type> {
    match parameter {
        FnArg::Typed(parameter) => Ok(&parameter.ty),
        FnArg::Receiver(receiver) => Err(Error::new_spanned(
            receiver,
            "a plugin's function has no `self`: move it out of the `impl`, or implement `Plugin` for the type",
        )),
    }
}
