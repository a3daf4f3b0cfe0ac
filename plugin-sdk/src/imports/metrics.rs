//! Counters, which the router shows at `/metrics` under the plugin's name. The manifest's `imports` must
//! name `metrics`.
//!
//! What a message counted stands when its batch succeeds; a batch that failed counts nothing.

/// A counter by its name.
///
/// ```
/// use waypost_sdk::prelude::*;
///
/// static OVERSIZED: Counter = Counter::new("oversized");
///
/// #[filter(reads(payloads), imports(metrics))]
/// fn handy(message: &Message) -> Result<bool> {
///     let handy = message.payload().len() <= 4096;
///     if !handy {
///         OVERSIZED.increment();
///     }
///     Ok(handy)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter(&'static str);

impl Counter {
    /// The counter with this name, which is 1 to 64 of the characters `a` to `z` and `_`. In a `static`
    /// or a `const` another one does not compile:
    ///
    /// ```compile_fail,E0080
    /// use waypost_sdk::prelude::*;
    ///
    /// static SEEN: Counter = Counter::new("messages-seen");
    /// ```
    ///
    /// # Panics
    ///
    /// The name has other characters, or another length.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert!(is_name(name), "a counter's name has 1 to 64 of the characters a-z and _");
        Self(name)
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds this much.
    pub fn add(&self, amount: u64) {
        add(self.0, amount);
    }
}

/// Adds to a counter whose name is only known at run time; the router ignores one that could be none.
///
/// # Panics
///
/// In a test's [harness](crate::testing::Harness), when the name could be none.
pub fn add(counter: &str, amount: u64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::waypost::plugin::metrics::add(counter, amount);
    #[cfg(not(target_arch = "wasm32"))]
    super::native::count(counter, amount);
}

pub(crate) const fn is_name(name: &str) -> bool {
    let mut rest = name.as_bytes();
    if rest.is_empty() || rest.len() > 64 {
        return false;
    }
    while let [first, behind @ ..] = rest {
        if !matches!(first, b'a'..=b'z' | b'_') {
            return false;
        }
        rest = behind;
    }
    true
}
