//! The steps between versions.
//!
//! From every version that a step leads from, steps lead to the current one: there is no gap, no circle
//! and no choice. So an upcast always ends.

use std::fmt;

use waypost_sdk::{json::Edit, prelude::*, version::Version};

/// The steps, none of which leads nowhere.
#[derive(Debug)]
pub(crate) struct Chain {
    steps: Vec<Step>,
    current: Version,
}

/// From one version to a later one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    from: Version,
    to: Version,
    /// What changes; nothing when the later version can read the payloads of the former.
    #[serde(default)]
    operations: Vec<Edit>,
}

impl Chain {
    /// Checks that the steps lead to the current version.
    ///
    /// # Errors
    ///
    /// There are none; one leads from the current version; two lead from the same; from one version the
    /// steps end elsewhere, or never.
    pub(crate) fn new(steps: Vec<Step>, current: Version) -> Result<Self> {
        if steps.is_empty() {
            return Err(Error::msg("there is no `[[step]]`: add one from each old version"));
        }
        for (index, step) in steps.iter().enumerate() {
            let from = step.from.as_str();
            if current.is(from) {
                return Err(Error::msg(format_args!(
                    "a step leads from `{from}`, which is the `current` version: set `current` to the last \
                     version that a step leads to"
                )));
            }
            if steps[..index].iter().any(|other| other.from.is(from)) {
                return Err(Error::msg(format_args!(
                    "two steps lead from `{from}`: merge them, or remove one"
                )));
            }
        }
        let chain = Self { steps, current };
        chain.steps.iter().try_for_each(|step| chain.follow(step))?;
        Ok(chain)
    }

    /// Checks that a step leads, in the end, to the current version.
    fn follow(&self, first: &Step) -> Result<()> {
        let mut step = first;
        // A way of more steps than there are takes one of them twice.
        for _ in 0..self.steps.len() {
            if self.current.is(step.to.as_str()) {
                return Ok(());
            }
            step = self.step_from(step.to.as_str()).ok_or_else(|| {
                Error::msg(format_args!(
                    "no step leads from `{gap}`, so that `{from}` cannot become `{current}`: add a step from \
                     `{gap}`, or change `current`",
                    gap = step.to.as_str(),
                    from = first.from.as_str(),
                    current = self.current.as_str(),
                ))
            })?;
        }
        Err(Error::msg(format_args!(
            "the steps from `{}` lead in a circle and never to `{}`, which is `current`",
            first.from.as_str(),
            self.current.as_str()
        )))
    }

    pub(crate) fn current(&self) -> &Version {
        &self.current
    }

    /// The step that leads from a version.
    pub(crate) fn step_from(&self, version: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.from.is(version))
    }

    /// Changes a payload from the version that the step leads from to the current one.
    pub(crate) fn upcast(&self, first: &Step, payload: &mut Value) -> Result<()> {
        let mut next = Some(first);
        while let Some(step) = next {
            step.operations.iter().try_for_each(|edit| edit.apply(payload)).map_err(|error| {
                error.context(format_args!(
                    "the step from `{}` to `{}`",
                    step.from.as_str(),
                    step.to.as_str()
                ))
            })?;
            next = self.step_from(step.to.as_str());
        }
        Ok(())
    }
}

/// The versions that are known, for an error's text.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            write!(f, "`{}`, ", step.from.as_str())?;
        }
        write!(f, "`{}` (current)", self.current.as_str())
    }
}
