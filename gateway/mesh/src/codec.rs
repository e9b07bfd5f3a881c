//! Messages between neighbours, as bytes.
//!
//! Each version of the format is a module of its own; a link speaks the highest that both ends know.

mod v1;

pub use v1::{MAX_MESSAGE, Message};
pub(crate) use v1::{bounded, decode_record, encode_record};
