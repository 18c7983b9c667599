//! `palisade authority`: a running server follows a change that is made beside it, and so does whoever asks it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Kills what a failed test leaves.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether it succeeded, standard output and standard error.
fn palisade(arguments: &[&str], file: &[&Path]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    let output = command.args(arguments).args(file).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// Waits for what `seen` gives.
fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_running_server_follows_another_authority_and_whoever_was_told_goes_on_asking() {
    let directory = tempfile::tempdir().unwrap();
    let (settings, data) = (directory.path().join("server.toml"), directory.path().join("data"));
    let text = format!(
        "[server]\ndata = \"{}\"\napi = \"127.0.0.1:0\"\nagents = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\n\
         names = [\"localhost\", \"127.0.0.1\"]\n",
        data.display(),
    );
    fs::write(&settings, text).unwrap();
    let log = fs::File::create(directory.path().join("log")).unwrap();
    let _server = Server(
        Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(["server", "--config"])
            .arg(&settings)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    let access = data.join("access.toml");
    let show = |access: &Path| -> Option<Value> {
        let (done, shown, _) = palisade(&["authority", "show", "--json", "--access"], &[access]);
        done.then(|| serde_json::from_str(&shown).unwrap())
    };
    let old = until("the server answers", || show(&access));
    assert!(old["next"].is_null(), "{old}");
    let untold = directory.path().join("untold.toml");
    fs::copy(&access, &untold).unwrap();

    let (done, _, told) = palisade(&["authority", "rotate", "--config"], &[&settings]);
    assert!(done && told.contains("palisade authority trust"), "{told}");
    let (done, _, told) = palisade(&["authority", "rotate", "--config"], &[&settings]);
    assert!(!done && told.contains("is being replaced already"), "{told}");
    let both = show(&access).unwrap();
    assert_eq!(both["fingerprint"], old["fingerprint"], "servers go on showing the old one");
    assert_eq!(both["next"]["hosts_left"], 0);
    let (done, _, told) = palisade(&["authority", "trust", "--access"], &[&access]);
    assert!(done, "{told}");
    let (_, checks, _) = palisade(&["doctor", "--config"], &[&settings]);
    assert!(checks.contains("which takes over"), "{checks}");
    assert!(checks.contains(both["next"]["fingerprint"].as_str().unwrap()), "{checks}");

    let (done, _, told) = palisade(&["authority", "retire", "--config"], &[&settings]);
    assert!(!done && told.contains("--early"), "{told}");
    assert!(show(&untold).is_some(), "what was not done has changed something");
    let (done, _, told) = palisade(&["authority", "retire", "--early", "--config"], &[&settings]);
    assert!(done, "{told}");
    until("the server shows the next one", || show(&untold).is_none().then_some(()));
    let new = show(&access).unwrap();
    assert_eq!(new["fingerprint"], both["next"]["fingerprint"]);
    assert!(new["next"].is_null(), "{new}");
    let (_, _, told) = palisade(&["status", "--access"], &[&untold]);
    assert!(told.contains("certificate"), "{told}");
}
