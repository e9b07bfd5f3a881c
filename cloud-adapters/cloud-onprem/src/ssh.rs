//! SSH to hosts whose keys are known before the first contact.
//!
//! `login` is who and how, `session` connects and proves both sides, `exec` runs a command and collects what it says,
//! `through` joins a command or a shell to local streams, `quote` makes words for the other side's shell.

mod error;
mod exec;
mod login;
pub mod quote;
mod session;
mod through;

pub use error::SshError;
pub use exec::Output;
pub use login::{Credential, Elevation, HostKeys, Login};
pub use session::Session;
pub use through::{Ending, Request, Streams};
