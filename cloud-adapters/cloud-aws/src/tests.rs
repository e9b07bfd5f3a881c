//! Tables of the pure parts, and the adapter against an emulator (module `emulator`).

mod emulator;
mod failures;
mod plans;
mod policies;
mod user_data;
