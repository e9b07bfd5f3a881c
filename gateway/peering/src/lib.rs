//! Peering.
