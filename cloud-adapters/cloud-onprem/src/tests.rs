//! The scripts as text, and the adapter on real machines: root only, the path of each test that makes a lab holds
//! `netns`. Needs sudo and the OpenSSH programs.

mod ground;
mod netns;
mod scripts;

netlab::intercept_main!();
