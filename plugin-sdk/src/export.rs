//! Between the contract's exports and a [`Plugin`](crate::Plugin).
//!
//! One message's error never touches its neighbours: it becomes that message's reject, and what the
//! message had emitted is discarded.

/// Exports a [`Plugin`](crate::Plugin) from a crate of type `cdylib`, once a crate. The attribute macros
/// do it themselves.
///
/// It does nothing but on Wasm, so that a plugin's tests run natively.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        // Two of these clash, and the compiler shows the name and both places. Unit tests may hold several
        // plugins, because they are never loaded.
        #[cfg(any(target_arch = "wasm32", not(test)))]
        #[doc(hidden)]
        #[macro_export]
        macro_rules! a_crate_holds_one_plugin_so_move_the_other_into_a_crate_of_its_own {
            () => {};
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<::std::option::Option<$plugin>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            struct Exported;

            impl $crate::bindings::Guest for Exported {
                fn manifest() -> $crate::runtime::Manifest {
                    $crate::runtime::manifest::<$plugin>()
                }

                fn configure(
                    configuration: ::std::string::String,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    let plugin = $crate::runtime::configure::<$plugin>(&configuration)?;
                    INSTANCE.set(::std::option::Option::Some(plugin));
                    ::std::result::Result::Ok(())
                }

                fn process(batch: $crate::runtime::Batch) -> $crate::runtime::Output {
                    INSTANCE.with_borrow_mut(|plugin| {
                        $crate::runtime::process($crate::runtime::configured(plugin), &batch)
                    })
                }
            }

    $crate::bindings::export_world!(Exported with_types_in $crate::bindings);
        };
    };
}

/// What [`export!`] calls.
pub mod runtime {
    use std::time::Duration;

    use serde::de::DeserializeOwned;

    pub use crate::bindings::waypost::plugin::types::{Batch, Manifest, Output};
    use crate::{
        Emitter, Error, Message, Plugin, Result, Verdict, bindings::waypost::plugin::types,
    };

    /// What is kept of an error's text.
    const MAX_REASON_BYTES: usize = 1024;

    /// Sets the panic hook, because a call may panic from now on, and gives the manifest.
    #[must_use]
    pub fn manifest<P: Plugin>() -> Manifest {
        set_panic_hook();
        P::manifest().into()
    }

    /// A plugin with the stage's configuration.
    ///
    /// # Errors
    ///
    /// What is wrong in the configuration.
    pub fn configure<P: Plugin>(configuration: &str) -> Result<P, String> {
        set_panic_hook();
        parse::<P::Config>(configuration).and_then(P::new).map_err(|error| error.to_string())
    }

    pub(crate) fn parse<C: DeserializeOwned>(configuration: &str) -> Result<C> {
        // As bytes, which payloads are too: the deserializer of text is another one, and would double the
        // size of a plugin that reads JSON.
        let mut json = serde_json::Deserializer::from_slice(configuration.as_bytes());
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let error = error.into_inner();
            let text = error.to_string();
            // A position in text that the router wrote says nothing to whoever wrote TOML.
            let position = format!(" at line {} column {}", error.line(), error.column());
            let reason = text.strip_suffix(&*position).unwrap_or(&text);
            match path.as_str() {
                "." => Error::msg(reason),
                path => Error::msg(format_args!("`{path}`: {reason}")),
            }
        })
    }

    /// The configured plugin.
    ///
    /// # Panics
    ///
    /// The router called `process` before `configure`, which its contract excludes.
    pub fn configured<P>(plugin: &mut Option<P>) -> &mut P {
        let Some(plugin) = plugin else { panic!("`process` was called before `configure`") };
        plugin
    }

    /// Decides about each message in turn.
    pub fn process<P: Plugin>(plugin: &mut P, batch: &Batch) -> Output {
        let mut emitter = Emitter::new(batch);
        let count = batch.count as usize;
        let mut verdicts = Vec::with_capacity(count);
        for index in 0..count {
            emitter.begin(index);
            let verdict = plugin
                .process(&Message::new(batch, index), &mut emitter)
                .and_then(|verdict| agreed(verdict, emitter.len()));
            if !matches!(verdict, Ok(types::Verdict::Emit(_))) {
                emitter.discard();
            }
            verdicts.push(verdict.unwrap_or_else(|error| refused(&error)));
        }
        Output { verdicts, emitted: emitter.finish() }
    }

    /// The verdict that an error stands for.
    fn refused(error: &Error) -> types::Verdict {
        match error.delay() {
            Some(after) => types::Verdict::Retry(milliseconds(after)),
            None => types::Verdict::Reject(reason(error)),
        }
    }

    /// A delay as the contract has it: one that never ends is as long as the contract can say.
    fn milliseconds(delay: Duration) -> u64 {
        u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
    }

    /// The error's text, cut where it is too long: it often quotes a message, of which it could fill the
    /// limit that the router sets for a batch's whole answer.
    fn reason(error: &Error) -> String {
        let mut reason = error.to_string();
        if reason.len() > MAX_REASON_BYTES {
            reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
            reason.push('…');
        }
        reason
    }

    /// The verdict, when it goes with the number of emitted messages.
    #[inline]
    fn agreed(verdict: Verdict, emitted: usize) -> Result<types::Verdict> {
        match (verdict, emitted) {
            (Verdict::Forward, 0) => Ok(types::Verdict::Forward),
            (Verdict::Drop, 0) => Ok(types::Verdict::Drop),
            (Verdict::Emit, 1..) => Ok(types::Verdict::Emit(u32::try_from(emitted)?)),
            (Verdict::Retry(after), _) => Ok(types::Verdict::Retry(milliseconds(after))),
            (Verdict::Emit, 0) => Err(Error::msg(
                "the plugin's verdict is `Emit`, but it has emitted nothing; `Drop` says that",
            )),
            (Verdict::Forward, _) => Err(emitted_in_vain("Forward", emitted)),
            (Verdict::Drop, _) => Err(emitted_in_vain("Drop", emitted)),
        }
    }

    fn emitted_in_vain(verdict: &str, emitted: usize) -> Error {
        Error::msg(format_args!(
            "the plugin's verdict is `{verdict}`, but it has emitted {emitted} messages; `Emit` sends them"
        ))
    }

    /// On Wasm a panic is a bare trap; its text leaves through the log.
    fn set_panic_hook() {
        #[cfg(target_arch = "wasm32")]
        std::panic::set_hook(Box::new(|panic| {
            crate::bindings::waypost::plugin::log::panicked(&panic.to_string());
        }));
    }
}
