//! The units of a lane on their way into storage: several at once, in order, and again after one was refused.
//!
//! Each unit moves the lane's progress from where the one before left it. When storage refuses one, it refuses
//! those behind it too, as the progress is not where they expect it; then all of them go again, in order. A unit that
//! leaves the progress where it is would not hold back the one behind it, so that it flies alone at the end.

use std::collections::VecDeque;

/// What storage said of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlightAnswer {
    /// It is committed.
    Committed,
    /// Nothing of it was stored; it may go again.
    Refused,
}

/// The units of a lane, from the oldest. [`push`](Self::push) takes one, [`poll_submit`](Self::poll_submit) gives
/// those that are to be handed to storage, and storage answers in that order.
#[derive(Debug)]
pub struct Flight<U> {
    /// Handed to storage.
    flying: VecDeque<Flying<U>>,
    /// Refused, in order; to go again once nothing flies.
    refused: VecDeque<Flying<U>>,
    /// To be handed to storage.
    waiting: VecDeque<Flying<U>>,
    most: usize,
    is_paused: bool,
}

#[derive(Debug)]
struct Flying<U> {
    unit: U,
    /// It moves the progress.
    moves: bool,
}

impl<U> Flight<U> {
    /// Of which at most so many are handed to storage at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let (flying, refused, waiting) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { flying, refused, waiting, most: most.max(1), is_paused: false }
    }

    /// Whether there is no unit at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many units there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flying.len() + self.refused.len() + self.waiting.len()
    }

    /// Takes the next unit, which moves the progress or leaves it.
    pub fn push(&mut self, unit: U, moves: bool) {
        self.waiting.push_back(Flying { unit, moves });
    }

    /// The unit to be handed to storage now, if there is one.
    pub fn poll_submit(&mut self) -> Option<&U> {
        let is_barred = self.flying.back().is_some_and(|last| !last.moves);
        let is_full = self.flying.len() >= self.most;
        if is_barred || is_full || self.is_paused || !self.refused.is_empty() {
            return None;
        }
        self.flying.push_back(self.waiting.pop_front()?);
        self.flying.back().map(|last| &last.unit)
    }

    /// The answer to the oldest unit that flies. Gives it when it is committed.
    pub fn handle_answer(&mut self, answer: FlightAnswer) -> Option<U> {
        let first = self.flying.pop_front()?;
        let committed = match answer {
            FlightAnswer::Committed => Some(first.unit),
            FlightAnswer::Refused => {
                self.refused.push_back(first);
                None
            }
        };
        if self.flying.is_empty() && !self.refused.is_empty() {
            self.is_paused = true;
            self.refused.append(&mut self.waiting);
            std::mem::swap(&mut self.refused, &mut self.waiting);
        }
        committed
    }

    /// Whether a unit was refused, and those behind it have not all been answered.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Whether a unit was refused, and those that flew with it have their answers: nothing goes until it is
    /// [resumed](Self::resume).
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Tries again.
    pub fn resume(&mut self) {
        self.is_paused = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn submitted(flight: &mut Flight<u32>) -> Vec<u32> {
        std::iter::from_fn(|| flight.poll_submit().copied()).collect()
    }

    #[test]
    fn several_fly_at_once_and_in_order() {
        let mut flight = Flight::new(2);
        (0..4).for_each(|unit| flight.push(unit, true));
        assert_eq!(submitted(&mut flight), [0, 1]);
        assert_eq!(flight.handle_answer(FlightAnswer::Committed), Some(0));
        assert_eq!(submitted(&mut flight), [2]);
        assert_eq!(flight.handle_answer(FlightAnswer::Committed), Some(1));
        assert_eq!(flight.handle_answer(FlightAnswer::Committed), Some(2));
        assert_eq!(submitted(&mut flight), [3]);
        assert_eq!(flight.handle_answer(FlightAnswer::Committed), Some(3));
        assert!(flight.is_empty());
        assert_eq!(flight.handle_answer(FlightAnswer::Committed), None);
    }

    #[test]
    fn nothing_follows_a_unit_that_leaves_the_progress_before_its_answer() {
        let mut flight = Flight::new(9);
        flight.push(0, true);
        flight.push(1, false);
        flight.push(2, true);
        assert_eq!(submitted(&mut flight), [0, 1]);
        assert_eq!(flight.handle_answer(FlightAnswer::Committed), Some(0));
        assert_eq!(submitted(&mut flight), []);
        assert_eq!(flight.handle_answer(FlightAnswer::Committed), Some(1));
        assert_eq!(submitted(&mut flight), [2]);
    }

    #[test]
    fn after_a_refusal_all_go_again_in_order_once_they_are_answered() {
        let mut flight = Flight::new(3);
        (0..5).for_each(|unit| flight.push(unit, true));
        assert_eq!(submitted(&mut flight), [0, 1, 2]);
        assert_eq!(flight.handle_answer(FlightAnswer::Committed), Some(0));
        assert_eq!(flight.handle_answer(FlightAnswer::Refused), None);
        assert_eq!(submitted(&mut flight), [], "the one behind it flies still");
        assert!(flight.is_refused() && !flight.is_paused());
        assert_eq!(flight.handle_answer(FlightAnswer::Refused), None);
        assert!(!flight.is_refused() && flight.is_paused() && !flight.is_empty());
        assert_eq!(submitted(&mut flight), []);
        flight.resume();
        assert_eq!(submitted(&mut flight), [1, 2, 3]);
        for unit in 1..4 {
            assert_eq!(flight.handle_answer(FlightAnswer::Committed), Some(unit));
        }
        assert_eq!(submitted(&mut flight), [4]);
    }

    /// Storage as it decides: a unit passes if the progress is where it expects it, and there is room if it
    /// needs some.
    #[derive(Clone, Copy, Debug)]
    struct Step {
        from: u64,
        to: u64,
        grows: bool,
    }

    proptest! {
        #[test]
        fn each_is_committed_once_and_in_order_however_often_storage_refuses(
            steps in prop::collection::vec((0..3_u64, any::<bool>()), 1..40),
            room in prop::collection::vec(any::<bool>(), 0..200),
            pulls in prop::collection::vec(0..4_usize, 0..200),
        ) {
            let mut from = 0;
            let steps: Vec<Step> = steps.into_iter().map(|(by, grows)| {
                let step = Step { from, to: from + by, grows };
                from += by;
                step
            }).collect();
            let mut flight = Flight::new(4);
            let (mut next, mut progress, mut done) = (0, 0, Vec::new());
            let (mut room, mut pulls) = (room.into_iter(), pulls.into_iter());
            let mut answers = VecDeque::new();
            while done.len() < steps.len() {
                for _ in 0..pulls.next().unwrap_or(4) {
                    if let Some(step) = steps.get(next) {
                        flight.push(next, step.to > step.from);
                        next += 1;
                    }
                }
                // Storage decides in the order in which it is asked, long before it answers.
                while let Some(&unit) = flight.poll_submit() {
                    let Step { from, to, grows } = steps[unit];
                    let passes = progress == from && (!grows || room.next().unwrap_or(true));
                    if passes {
                        progress = to;
                    }
                    answers.push_back(if passes { FlightAnswer::Committed } else { FlightAnswer::Refused });
                }
                match answers.pop_front() {
                    Some(answer) => done.extend(flight.handle_answer(answer)),
                    None => flight.resume(),
                }
            }
            prop_assert_eq!(done, (0..steps.len()).collect::<Vec<_>>());
            prop_assert!(flight.is_empty());
        }
    }
}
