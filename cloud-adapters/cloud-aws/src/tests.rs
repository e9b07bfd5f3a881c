//! Tables of the pure parts, and the adapter against an emulator.
