//! `palisade agent` where there is no server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Exit code, standard output and standard error.
fn agent(arguments: &[&str], state: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .arg("agent")
        .args(arguments)
        .arg("--state")
        .arg(state)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_host_that_is_not_enrolled_is_told_how_to() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    for command in ["run", "status"] {
        let (code, _, told) = agent(&[command], &state);
        assert!(code == 78 && told.contains("enrol it with \"palisade agent enroll\""), "{code} {told}");
    }
    let token = format!("secret.{}", "0".repeat(64));
    let (code, _, told) = agent(&["enroll", "--server", "http://localhost", "--token", &token], &state);
    assert!(code == 70 && told.contains("https only"), "{code} {told}");
    let (code, _, told) = agent(&["enroll", "--server", "https://localhost", "--token", "secret.x"], &state);
    assert!(code == 70 && told.contains("copy the whole line"), "{code} {told}");
    // Nobody listens on port 1.
    let (code, _, told) = agent(&["enroll", "--server", "https://127.0.0.1:1", "--token", &token], &state);
    assert!(code == 70 && told.contains("connect to https://127.0.0.1:1"), "{code} {told}");
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn uninstalling_asks_and_takes_nothing_that_is_not_the_agents() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(state.join("next.key"), "").unwrap();
    fs::write(state.join("thesis.tex"), "").unwrap();
    let (code, _, told) = agent(&["uninstall"], &state);
    assert!(code == 64 && told.contains("--yes"), "{code} {told}");
    let (code, _, told) = agent(&["uninstall", "--yes"], &state);
    assert!(code == 70 && told.contains("thesis.tex"), "{code} {told}");
    assert!(state.join("next.key").exists() && state.join("thesis.tex").exists());
    fs::remove_file(state.join("thesis.tex")).unwrap();
    let (code, told, _) = agent(&["uninstall", "--yes"], &state);
    assert!(code == 0 && told.contains("removed"), "{code} {told}");
    assert!(!state.exists());
}
