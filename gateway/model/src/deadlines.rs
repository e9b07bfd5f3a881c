//! One table for all deadlines of a state machine.

use std::time::Instant;

/// A closed set of timers: an enum numbered from zero, each with a reason people can read.
pub trait Timer: Copy + 'static {
    /// Every timer, in the order of its index.
    const ALL: &'static [Self];

    /// The position in [`Timer::ALL`].
    fn index(self) -> usize;

    /// Why the machine wakes up then.
    fn reason(self) -> &'static str;
}

/// The next deadline of each timer of a machine.
#[derive(Clone, Debug)]
pub struct Deadlines<T: Timer> {
    at: Vec<Option<Instant>>,
    timers: std::marker::PhantomData<T>,
}

impl<T: Timer> Default for Deadlines<T> {
    fn default() -> Self {
        Deadlines { at: vec![None; T::ALL.len()], timers: std::marker::PhantomData }
    }
}

impl<T: Timer> Deadlines<T> {
    /// Arms `timer`, replacing an earlier deadline.
    pub fn set(&mut self, timer: T, at: Instant) {
        self.at[timer.index()] = Some(at);
    }

    /// Arms `timer` unless it already fires no later than `at`.
    pub fn set_earlier(&mut self, timer: T, at: Instant) {
        let slot = &mut self.at[timer.index()];
        *slot = Some(slot.map_or(at, |old| old.min(at)));
    }

    /// Disarms `timer`.
    pub fn clear(&mut self, timer: T) {
        self.at[timer.index()] = None;
    }

    /// Disarms and returns one timer that is due.
    pub fn take_due(&mut self, now: Instant) -> Option<T> {
        let due = T::ALL.iter().find(|t| self.at[t.index()].is_some_and(|at| at <= now))?;
        self.at[due.index()] = None;
        Some(*due)
    }

    /// The earliest deadline and its reason.
    pub fn next(&self) -> Option<(Instant, &'static str)> {
        T::ALL.iter().filter_map(|t| Some((self.at[t.index()]?, t.reason()))).min_by_key(|(at, _)| *at)
    }
}
