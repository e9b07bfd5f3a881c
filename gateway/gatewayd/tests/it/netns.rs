//! As root, one at a time (profile `netns`).

mod hosts;
mod mesh;
mod mistakes;
