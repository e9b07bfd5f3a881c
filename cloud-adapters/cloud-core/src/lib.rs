//! Cloud trait.
