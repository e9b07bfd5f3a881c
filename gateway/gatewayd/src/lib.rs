//! Gateway daemon.
