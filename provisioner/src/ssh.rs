//! SSH to hosts: the client of `cloud-onprem`, and what is local to this process.
//!
//! `local` is this process's own streams and `terminal` the local end of a shell.

mod local;
mod terminal;

pub use cloud_onprem::ssh::{
    Credential, Elevation, Ending, HostKeys, Login, Output, Request, Session, SshError, Streams, quote,
};
pub use local::Local;
pub use terminal::{NoEcho, RawMode, window_size};
