//! Whole gateways in network namespaces, driven by their command line as an operator drives them.
#![expect(clippy::disallowed_methods, reason = "tests: namespaces, processes and files are their job")]

mod bed;
mod netns;
