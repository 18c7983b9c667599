//! `palisade census --follow` counts what one run over everything would have counted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod census_for_tests;

use census_for_tests::palisade;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Hours of a log: Nimda's visits of three requests, which a cut may part, and visitors.
fn lines(from: u32, to: u32) -> String {
    let mut log = String::new();
    for hour in from..to {
        let time =
            |second: u32| format!("{:02}/Sep/2026:{:02}:00:{second:02} +0000", 1 + hour / 24, hour % 24);
        for (second, path) in ["/scripts/root.exe?/c+dir", "/MSADC/root.exe?/c+dir", "/"].iter().enumerate() {
            let (source, second) = (hour % 70, u32::try_from(second).unwrap());
            let _ =
                writeln!(log, "198.51.100.{source} - - [{}] \"GET {path} HTTP/1.0\" 404 12", time(second));
        }
    }
    log
}

fn census(directory: &Path, words: &[&str]) -> Command {
    let mut command = palisade(directory, words);
    command.stdin(Stdio::null());
    command
}

/// A census that follows.
struct Following {
    child: Child,
    out: std::path::PathBuf,
}

impl Following {
    fn start(directory: &Path, words: &[&str]) -> Self {
        let out = directory.join("out");
        let follow =
            ["--follow", "--every", "1", "--checkpoint", "checkpoint", "--partial", "partial", "log"];
        let mut command = census(directory, &[&follow[..], words].concat());
        let child = command.stdout(fs::File::create(&out).unwrap()).spawn().unwrap();
        Self { child, out }
    }

    /// Waits until it has told so many requests.
    fn wait(&mut self, requests: u32) {
        let start = Instant::now();
        let wanted = format!(" {requests} requests; ");
        while !fs::read_to_string(&self.out).unwrap().contains(&wanted) {
            assert!(start.elapsed() < DEADLINE, "no{wanted}in {}", fs::read_to_string(&self.out).unwrap());
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As with Ctrl-C; gives what it printed.
    fn interrupt(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        assert!(self.child.wait().unwrap().success());
        fs::read_to_string(&self.out).unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_is_followed_through_rotation_a_kill_and_a_restart_is_counted_as_by_one_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let append = |name: &str, text: &str| {
        let mut log = OpenOptions::new().append(true).create(true).open(path.join(name)).unwrap();
        log.write_all(text.as_bytes()).unwrap();
    };
    let all = lines(0, 100);
    let cut = |part: usize| all.len() * part / 10;
    // Cut anywhere: within visits, within lines.
    append("log", &all[..cut(1)]);
    let mut following = Following::start(path, &[]);
    following.wait(30);
    append("log", &all[cut(1)..cut(2)]);
    following.wait(60);
    fs::rename(path.join("log"), path.join("log.1")).unwrap();
    // Still written to by who has it open.
    let line = cut(3) + all[cut(3)..].find('\n').unwrap() + 1;
    append("log.1", &all[cut(2)..line]);
    let next = cut(4) + all[cut(4)..].find('\n').unwrap() + 1;
    append("log", &all[line..next]);
    following.wait(u32::try_from(all[..next].lines().count()).unwrap());
    // Killed without warning, in the middle of what it counts.
    append("log", &all[next..cut(6)]);
    following.child.kill().unwrap();
    drop(following);
    // Rotated twice while nobody looked, once by copying.
    let packed = zstd::encode_all(&*fs::read(path.join("log.1")).unwrap(), 0).unwrap();
    fs::write(path.join("log.3.zst"), packed).unwrap();
    fs::remove_file(path.join("log.1")).unwrap();
    let whole = cut(7) + all[cut(7)..].find('\n').unwrap() + 1;
    append("log", &all[cut(6)..whole]);
    fs::copy(path.join("log"), path.join("log.2")).unwrap();
    fs::write(path.join("log"), "").unwrap();
    let last = cut(8) + all[cut(8)..].find('\n').unwrap() + 1;
    append("log", &all[whole..last]);
    fs::rename(path.join("log"), path.join("log.1")).unwrap();
    append("log", &all[last..]);
    let mut following = Following::start(path, &[]);
    following.wait(300);
    let told = following.interrupt();
    assert!(told.contains("new: nimda"), "{told}");
    assert!(told.contains("Sources with most attempts"), "the table at the end: {told}");

    fs::write(path.join("whole"), &all).unwrap();
    assert!(census(path, &["--partial", "wanted", "whole"]).output().unwrap().status.success());
    let (counted, wanted) = (fs::read(path.join("partial")), fs::read(path.join("wanted")));
    assert!(counted.unwrap() == wanted.unwrap(), "it is not what one run counts");
    assert!(!fs::read(path.join("checkpoint")).unwrap().windows(11).any(|text| text == b"198.51.100."));

    // Other rules would count otherwise: refused before anything is counted.
    fs::write(
        path.join("more.yaml"),
        "name: more\nrules:\n  - {zones: [URI], match: {type: equals, value: /x}}\n",
    )
    .unwrap();
    let follow = ["--follow", "--checkpoint", "checkpoint", "--rules", "more.yaml", "log"];
    let refused = census(path, &follow).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(70) && said.contains("other rules"), "{said}");

    // A damaged checkpoint is told, kept for whoever wants to know why, and begun anew.
    let mut damaged = fs::read(path.join("checkpoint")).unwrap();
    damaged[100] ^= 1;
    fs::write(path.join("checkpoint"), damaged).unwrap();
    let mut following = Following::start(path, &["--quiet"]);
    following.wait(u32::try_from(all[last..].lines().count()).unwrap());
    kill_process(Pid::from_child(&following.child), Signal::INT).unwrap();
    assert_eq!(following.child.wait().unwrap().code(), Some(2));
    assert!(path.join("checkpoint.damaged").exists());
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_told_once_and_written_when_it_can_be_though_nothing_comes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let all = lines(0, 20);
    let cut = all.len() / 2 + all[all.len() / 2..].find('\n').unwrap() + 1;
    fs::write(path.join("log"), &all[..cut]).unwrap();
    fs::create_dir(path.join("kept")).unwrap();
    let errors = path.join("errors");
    let start = || {
        let follow = ["--follow", "--every", "1", "--checkpoint", "kept/checkpoint", "log"];
        let mut command = census(path, &follow);
        command.stdout(fs::File::create(path.join("out")).unwrap());
        let errors = OpenOptions::new().append(true).create(true).open(&errors).unwrap();
        Following { child: command.stderr(errors).spawn().unwrap(), out: path.join("out") }
    };
    let mut following = start();
    following.wait(u32::try_from(all[..cut].lines().count()).unwrap());
    let kept = fs::read(path.join("kept/checkpoint")).unwrap();
    fs::rename(path.join("kept"), path.join("elsewhere")).unwrap();
    let mut log = OpenOptions::new().append(true).open(path.join("log")).unwrap();
    log.write_all(&all.as_bytes()[cut..]).unwrap();
    following.wait(60);
    let told = || fs::read_to_string(&errors).unwrap().matches("it is tried again; make room").count();
    let start_of_wait = Instant::now();
    while told() == 0 {
        assert!(start_of_wait.elapsed() < DEADLINE, "{}", fs::read_to_string(&errors).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Tried again and again, and told once.
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(told(), 1);
    fs::rename(path.join("elsewhere"), path.join("kept")).unwrap();
    while fs::read(path.join("kept/checkpoint")).unwrap() == kept {
        assert!(start_of_wait.elapsed() < DEADLINE, "it is never written");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Killed: what is in the checkpoint is all there is.
    following.child.kill().unwrap();
    drop(following);
    let mut again = start();
    again.wait(60);
}
