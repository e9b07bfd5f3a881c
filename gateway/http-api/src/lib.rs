//! The HTTP API: routes in front of a channel of commands, Prometheus metrics, reports by template.
//!
//! Not here: what the commands do (the program answers them), and the texts (`weave-api`).

mod command;
mod metrics;
mod routes;
mod template;

pub use command::{Command, Refused, Reply};
pub use routes::serve;

#[cfg(test)]
mod tests;
