//! Tests of what reads the outputs of programs.

mod readers;
