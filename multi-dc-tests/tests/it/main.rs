//! The scenarios: a fleet in three clouds, all played by this machine. Root only, one at a time, in the profile `netns`.

mod netns_sealed;
mod netns_switch;
mod netns_up;
