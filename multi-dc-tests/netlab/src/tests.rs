//! What needs no privileges. Labs themselves are tested in `tests/it`, with the program `netlab` for a keeper.

mod plans;
mod texts;
