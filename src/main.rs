//! Parses arguments, runs the command, maps its outcome to an exit code.

fn main() {}
