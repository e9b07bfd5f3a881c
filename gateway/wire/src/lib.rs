//! Bytes on the wire.
#![forbid(unsafe_code)]
