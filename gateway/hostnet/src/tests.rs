//! Tests of host networking: tables anywhere, the rest in namespaces of its own (`--profile netns`).

mod tables;

mod netns;
