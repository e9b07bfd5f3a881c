//! Tests about the source itself: layers, file heads and sizes.
//!
//! There is nothing but tests here; run them with `cargo test -p tidy`.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;
