//! As root, one at a time (profile `netns`).

mod deletions;
mod hosts;
mod mesh;
mod mistakes;
mod renewal;
