//! As root, one at a time (profile `netns`).

mod deaths;
mod deletions;
mod hosts;
mod mesh;
mod mistakes;
mod renewal;
