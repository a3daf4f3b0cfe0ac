//! What stands in for the router in native tests.
//!
//! A harness lends its [`World`] to the thread while its plugin runs. A plugin's function that a test
//! calls by itself has none: its lines go to standard error, its counters nowhere, and time and chance
//! are the system's.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    mem,
};

use super::{log::Level, metrics::is_name};

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// What a plugin is told, and what it has said.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// The interfaces that its manifest names.
    pub(crate) imports: &'static [&'static str],
    /// The time, when it is not the system's.
    pub(crate) now_ms: Option<u64>,
    /// What chance gives before it is the system's.
    pub(crate) random: VecDeque<u64>,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) lines: Vec<(Level, String)>,
}

/// Calls a plugin in this world.
pub(crate) fn within<T>(world: &mut World, call: impl FnOnce() -> T) -> T {
    /// Gives the world back, after a panic too.
    struct Lent<'a> {
        owner: &'a mut World,
        before: Option<World>,
    }

    impl Drop for Lent<'_> {
        fn drop(&mut self) {
            if let Some(world) = WORLD.replace(self.before.take()) {
                *self.owner = world;
            }
        }
    }

    let before = WORLD.replace(Some(mem::take(world)));
    let _lent = Lent { owner: world, before };
    call()
}

pub(super) fn now_ms() -> Option<u64> {
    imported("clock", |world| world.now_ms)?
}

pub(super) fn random() -> Option<u64> {
    imported("random", |world| world.random.pop_front())?
}

pub(super) fn count(counter: &str, amount: u64) {
    imported("metrics", |world| {
        assert!(
            is_name(counter),
            "`{counter}` cannot be a counter's name: use 1 to 64 of the characters a-z and _"
        );
        let sum = world.counters.entry(counter.to_owned()).or_default();
        *sum = sum.saturating_add(amount);
    });
}

pub(super) fn log(level: Level, text: &str) {
    eprintln!("{level:?}: {text}");
    WORLD.with_borrow_mut(|world| {
        if let Some(world) = world {
            world.lines.push((level, text.to_owned()));
        }
    });
}

/// Asks the world, where there is one, for what an interface gives.
fn imported<T>(interface: &str, ask: impl FnOnce(&mut World) -> T) -> Option<T> {
    WORLD.with_borrow_mut(|world| {
        let world = world.as_mut()?;
        // A router refuses such an artefact.
        assert!(
            world.imports.contains(&interface),
            "this plugin's manifest does not import `{interface}`: add `{interface}` to its `imports`, for \
             instance #[filter(imports({interface}))]"
        );
        Some(ask(world))
    })
}
