//! Tests about the source.
