//! Tests of what reads and searches the outputs of programs.

mod readers;
mod searches;
