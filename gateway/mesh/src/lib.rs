//! Mesh core.
#![forbid(unsafe_code)]
