//! Project commands: `cargo xtask lab`, `cargo xtask test`, `cargo xtask dist`, `cargo xtask bench`.
//!
//! Each installs what it misses (Debian packages; only as root, only what is absent) and stops at the first
//! failure. Kept free of heavy dependencies: it is compiled before anything else happens.
#![expect(clippy::disallowed_methods, reason = "program: runs cargo and apt-get")]

mod bench;
mod dist;
mod lab;
mod packages;
mod step;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <command>

Commands:
  lab [options]      install what is missing, build, bring up the three-site lab and prove it (root)
  lab down           remove the lab and every trace of it (root)
  test               formatting, clippy, tidy, all tests, documentation; what CI runs (root)
  test --unprivileged  the same without the tests that make network namespaces
  dist               build the programs as they are shipped: static, for all clouds
  bench [options]    measure the data path against its peers in one run (root)

Options behind `lab` go to `weave-provision up`, those behind `bench` to the benchmark: `cargo xtask bench --help`.
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    let result = match command.as_deref() {
        Some("lab") => lab::run(&rest),
        Some("test") => match rest.as_slice() {
            [] => test::run(true),
            [flag] if flag == "--unprivileged" => test::run(false),
            other => return usage(&format!("unknown option '{}' of test", other.join(" "))),
        },
        Some("bench") => bench::run(&rest),
        Some("dist") if rest.is_empty() => dist::run(),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => return usage(&format!("unknown command '{other}'")),
        None => return usage("no command given"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("error: {problem}\n\n{HELP}");
    ExitCode::from(2)
}
