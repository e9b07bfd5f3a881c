//! Switch core.
#![forbid(unsafe_code)]
