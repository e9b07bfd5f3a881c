//! The scenarios: a fleet in three clouds, all played by this machine. Root only, one at a time, in the profile `netns`.
#![expect(clippy::disallowed_methods, reason = "tests: read their own settings")]

mod netns_cables;
#[cfg(feature = "clouds")]
mod netns_clouds;
#[cfg(feature = "clouds")]
mod netns_clouds_killed;
#[cfg(feature = "clouds")]
mod netns_clouds_trouble;
mod netns_crash;
mod netns_failover;
mod netns_killed;
mod netns_mistakes;
mod netns_sealed;
mod netns_switch;
mod netns_up;

// The labs of clouds have the test program for a keeper; those of `--lab` have the product.
#[cfg(feature = "clouds")]
netlab::intercept_main!();
