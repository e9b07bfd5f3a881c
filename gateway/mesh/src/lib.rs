//! Mesh core.
