//! User datapath.
