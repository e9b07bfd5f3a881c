//! SSH to hosts whose keys are known before the first contact.
//!
//! `session` connects and proves both sides, `exec` runs a command and collects what it says, `through` joins a command
//! or a shell to local streams, `local` is this process's own ones and `terminal` the local end of a shell, `quote` makes words for the other
//! side's shell.

mod error;
mod exec;
mod local;
pub mod quote;
mod session;
mod terminal;
mod through;

pub use error::SshError;
pub use exec::Output;
pub use local::Local;
pub use session::Session;
pub use terminal::{RawMode, window_size};
pub use through::{Ending, Request, Streams};
