//! SSH to hosts whose keys are known before the first contact.

pub mod quote;
