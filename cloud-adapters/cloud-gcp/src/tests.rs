//! Tables of the pure parts, and the adapter against an emulator (module `emulator`).

mod credentials;
mod emulator;
mod failures;
mod plans;
mod roles;
mod user_data;
