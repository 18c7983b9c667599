//! The program for tests of the census.
#![allow(unreachable_pub, reason = "each test program has it")]

use std::path::Path;
use std::process::Command;

/// `palisade census` in a directory, with a state and a configuration of its own: no key, no centre.
pub fn palisade(directory: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command
        .arg("census")
        .args(words)
        .current_dir(directory)
        .env("XDG_STATE_HOME", directory)
        .env("XDG_CONFIG_HOME", directory)
        .env_remove("PALISADE_ACCESS");
    command
}
