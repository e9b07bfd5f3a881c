//! Host networking.
