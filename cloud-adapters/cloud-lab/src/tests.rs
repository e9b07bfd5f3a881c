//! The adapter on real labs. Root only: the path of each test that makes one holds `netns`.

mod netns;

netlab::intercept_main!();
