//! The binary `weave-provision`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The lab starts this program again as the keeper of its namespaces; then this does not return.
    cloud_lab::dispatch_hidden(std::env::args_os());
    weave_provisioner::cli::main()
}
