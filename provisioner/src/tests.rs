//! Tests of the whole crate.

mod cli;
mod clouds;
mod config;
mod doctor;
mod edit;
mod engine;
mod golden;
mod import;
mod install;
mod journal;
mod onprem_netns;
mod plan;
mod quote;
mod render;
mod rotate;
mod rotate_netns;
mod ssh_netns;
mod state;
mod upgrade;
mod verbs;
mod verbs_netns;
mod world;
