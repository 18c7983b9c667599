//! Runs the host's own tools: with a deadline, a cap on what they say, and nothing of our environment.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What a tool says about its troubles, beyond which nobody reads: 64 KiB.
const ERRORS_BYTES_MAX: u64 = 64 * 1024;

/// How long to sleep between two looks whether the tool has ended, once it has closed its output.
const PAUSE: Duration = Duration::from_millis(1);

/// How much a tool may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long it may run.
    pub(crate) time: Duration,
    /// How much it may print, bytes.
    pub(crate) output_bytes: u64,
}

/// What a tool printed.
#[derive(Debug)]
pub(crate) struct Output {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) bytes: Vec<u8>,
    /// Its standard error, unreadable characters replaced, blanks around it cut.
    pub(crate) errors: String,
}

/// Why a tool gave no output.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It isn't installed.
    Absent,
    /// It could not be run, or not be read from.
    Io(std::io::Error),
    /// It ran for too long, and was killed.
    TimedOut(Duration),
    /// It printed too much, and was killed.
    TooLong(u64),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => out.write_str("it is not installed"),
            Self::Io(error) => error.fmt(out),
            Self::TimedOut(time) => write!(out, "it was stopped after {} s", time.as_secs()),
            Self::TooLong(bytes) => write!(out, "it printed more than {bytes} bytes and was stopped"),
        }
    }
}

/// Runs `program` with `arguments`, home directory `home`, and standard input at its end.
///
/// It runs in a process group of its own, so that what it started dies with it at the deadline.
pub(crate) fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
    home: &std::path::Path,
    limits: Limits,
) -> Result<Output, Failure> {
    let deadline = Instant::now() + limits.time;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::Absent,
            _ => Failure::Io(error),
        })?;
    let outcome = collect(&mut child, deadline, limits);
    if outcome.is_err() {
        if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
            // Nothing to do if it has just ended by itself.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        // Killed, so it ends; collected here so that it leaves no zombie.
        let _ = child.wait();
    }
    outcome
}

fn collect(child: &mut Child, deadline: Instant, limits: Limits) -> Result<Output, Failure> {
    let stdout = child.stdout.take().expect("standard output was asked to be a pipe");
    let stderr = child.stderr.take().expect("standard error was asked to be a pipe");
    let bytes = read_aside(stdout, limits.output_bytes.saturating_add(1));
    let errors = read_aside(stderr, ERRORS_BYTES_MAX);
    let left = || deadline.saturating_duration_since(Instant::now());
    let receive = |from: mpsc::Receiver<std::io::Result<Vec<u8>>>| match from.recv_timeout(left()) {
        Ok(read) => read.map_err(Failure::Io),
        Err(RecvTimeoutError::Timeout) => Err(Failure::TimedOut(limits.time)),
        Err(RecvTimeoutError::Disconnected) => Err(Failure::Io(std::io::Error::other("its reader ended"))),
    };
    let bytes = receive(bytes)?;
    if bytes.len() as u64 > limits.output_bytes {
        return Err(Failure::TooLong(limits.output_bytes));
    }
    let errors = String::from_utf8_lossy(&receive(errors)?).trim().to_owned();
    loop {
        if let Some(status) = child.try_wait().map_err(Failure::Io)? {
            return Ok(Output { status, bytes, errors });
        }
        if left().is_zero() {
            return Err(Failure::TimedOut(limits.time));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Reads at most `bytes_max` on a thread of its own, so that neither pipe can block the other.
fn read_aside(pipe: impl Read + Send + 'static, bytes_max: u64) -> mpsc::Receiver<std::io::Result<Vec<u8>>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.take(bytes_max).read_to_end(&mut bytes).map(|_| bytes);
        // Nobody listens any more if the deadline has passed.
        let _ = send.send(read);
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn shell(script: &str, time: Duration, output_bytes: u64) -> Result<Output, Failure> {
        run("sh", ["-c", script], Path::new("/nowhere"), Limits { time, output_bytes })
    }

    #[test]
    fn a_tool_that_hangs_or_chatters_is_stopped_with_what_it_started() {
        let started = Instant::now();
        let hang = shell("sleep 60 & sleep 60", Duration::from_millis(200), 99);
        assert!(matches!(hang, Err(Failure::TimedOut(_))), "{hang:?}");
        let chatter = shell("yes", Duration::from_secs(20), 1000);
        assert!(matches!(chatter, Err(Failure::TooLong(1000))), "{chatter:?}");
        assert!(started.elapsed() < Duration::from_secs(10));
        let told = shell("echo out; echo no >&2; echo $HOME; exit 3", Duration::from_secs(20), 99).unwrap();
        assert_eq!(told.bytes, b"out\n/nowhere\n");
        assert_eq!((told.status.code(), told.errors.as_str()), (Some(3), "no"));
        let absent = run("no-such-tool", [""; 0], Path::new("/"), Limits { time: PAUSE, output_bytes: 1 });
        assert!(matches!(absent, Err(Failure::Absent)), "{absent:?}");
    }
}
