//! Messages between neighbours, as bytes.
//!
//! Each version of the format is a module of its own; a link speaks the highest that both ends know.

mod v1;

pub use v1::MAX_MESSAGE;
pub(crate) use v1::{
    MAX_NEIGHBOURS, MAX_SUMMARY, MIN_MTU, Message, SignedBytes, bounded, decode_record, encode_record,
};
