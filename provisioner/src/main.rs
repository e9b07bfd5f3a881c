//! The binary `weave-provision`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    weave_provisioner::cli::main()
}
