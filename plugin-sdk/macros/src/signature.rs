//! The check of an annotated function's signature, with errors that point at what is wrong.

use syn::{Error, FnArg, ItemFn, Result, ReturnType, Type, spanned::Spanned as _};

/// What the macros need of a function's signature.
pub(crate) struct Signature {
    /// `T` of the second parameter `&T`.
    pub(crate) config: Option<Type>,
}

impl Signature {
    /// Accepts `fn name(message: &Message[, config: &Config]) -> ...`.
    pub(crate) fn read(function: &ItemFn) -> Result<Self> {
        let signature = &function.sig;
        if let Some(asyncness) = signature.asyncness {
            return Err(Error::new(
                asyncness.span(),
                "a plugin's function is called once a message and cannot wait: remove `async`",
            ));
        }
        if !signature.generics.params.is_empty() {
            return Err(Error::new(
                signature.generics.span(),
                "a plugin's function cannot be generic: nobody would choose the types",
            ));
        }
        if matches!(signature.output, ReturnType::Default) {
            return Err(Error::new(
                signature.paren_token.span.close(),
                "a plugin's function returns a Result: an error rejects the message",
            ));
        }
        let mut parameters = signature.inputs.iter();
        match parameters.next() {
            Some(parameter) => {
                referenced(parameter, "the first parameter is the message, as `&Message`")?;
            }
            None => {
                return Err(Error::new(
                    signature.paren_token.span.join(),
                    "the function's first parameter must be `message: &Message`",
                ));
            }
        }
        let config = parameters
            .next()
            .map(|parameter| {
                referenced(parameter, "the second parameter is the configuration, as `&Config`")
            })
            .transpose()?;
        match parameters.next() {
            Some(parameter) => Err(Error::new(
                parameter.span(),
                "a plugin's function takes a message and, if it has one, a configuration; implement \
                 `Plugin` for more",
            )),
            None => Ok(Self { config }),
        }
    }
}

/// `T` of a parameter `name: &T`.
fn referenced(parameter: &FnArg, expected: &str) -> Result<Type> {
    match parameter {
        FnArg::Typed(parameter) => match &*parameter.ty {
            Type::Reference(reference) if reference.mutability.is_none() => {
                Ok((*reference.elem).clone())
            }
            other => Err(Error::new(other.span(), expected)),
        },
        FnArg::Receiver(receiver) => Err(Error::new(
            receiver.span(),
            "a plugin's function has no `self`; implement `Plugin` for a type instead",
        )),
    }
}
