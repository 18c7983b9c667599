//! Runs a program of the host. Every other module of this crate that needs a program runs it through here.
//!
//! What is the same for all of them: nothing on standard input, an environment of known variables only (a person's
//! locale must not change what we parse), an upper bound on time and on output, and a process group of its own, so that
//! at the deadline the program's children go with it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Time a program may take unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(60);

/// Output a program may write unless told otherwise: 64 MiB, sixteen times the longest simulation seen.
const STDOUT_BYTES_MAX: u64 = 64 << 20;

/// Messages that are kept; what a program writes to standard error beyond 64 KiB is read and dropped.
const STDERR_BYTES_MAX: usize = 64 << 10;

/// Errors of a program that are told.
const ERRORS_MAX: usize = 3;

/// How often a silent program is asked whether it has ended: a background child may keep its pipes open for ever, and
/// the program's own end is what counts.
const PATIENCE: Duration = Duration::from_millis(10);

/// Variables that are passed on. Everything else, locale and credentials above all, is not.
const ENVIRONMENT: [&str; 12] = [
    "PATH",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// Where programs are looked for if this process has no `PATH` itself (a bare systemd unit).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to run, with its limits.
#[derive(Clone, Debug)]
pub struct Program {
    name: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    deadline: Duration,
    stdout_bytes_max: u64,
}

/// What a program that ended has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All of its output.
    pub stdout: Vec<u8>,
    /// The first 64 KiB of its messages, as text.
    pub stderr: String,
}

impl Output {
    /// How it ended and what it said, in one line: the first distinct errors, where it marks them as apt does, or its last
    /// message.
    pub fn told(&self) -> String {
        let ended = self.code.map_or("killed by a signal".to_owned(), |code| format!("exit {code}"));
        let mut errors: Vec<&str> = Vec::new();
        // apt's last error often says only that there were others.
        for error in self.stderr.lines().filter_map(|line| line.trim().strip_prefix("E: ")) {
            if errors.len() < ERRORS_MAX && !errors.contains(&error) {
                errors.push(error);
            }
        }
        if !errors.is_empty() {
            return format!("{ended}: {}", errors.join("; "));
        }
        let message = self.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
        format!("{ended}: {}", message.trim())
    }
}

/// Why there is no output. Operation, object and reason in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such program in `PATH`.
    #[error("run {0}: not installed")]
    Missing(String),
    /// It could not be started.
    #[error("run {program}: cannot be started: {reason}")]
    Start {
        /// The program's name.
        program: String,
        /// What the system says.
        reason: io::Error,
    },
    /// It took too long, and was killed with its children.
    #[error("run {program}: no end after {seconds} s; killed")]
    Deadline {
        /// The program's name.
        program: String,
        /// The limit.
        seconds: u64,
    },
    /// It wrote too much, and was killed.
    #[error("run {program}: more than {bytes_max} bytes of output; killed")]
    TooLong {
        /// The program's name.
        program: String,
        /// The limit.
        bytes_max: u64,
    },
    /// Its output could not be read, or the reader refused it.
    #[error("run {program}: cannot read its output: {reason}")]
    Read {
        /// The program's name.
        program: String,
        /// What the system, or the reader, says.
        reason: io::Error,
    },
    /// We were told to stop ([`stop`]), so it was not started, or killed.
    #[error("run {0}: interrupted")]
    Interrupted(String),
    /// It ended with an error of its own.
    #[error("run {program}: {told}")]
    Failed {
        /// The program's name.
        program: String,
        /// How it ended, and what it said: [`Output::told`].
        told: String,
    },
}

impl Program {
    /// The program `name`, looked for in `PATH` unless it holds a slash.
    pub fn new(name: impl Into<OsString>) -> Self {
        Self {
            name: name.into(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            deadline: DEADLINE,
            stdout_bytes_max: STDOUT_BYTES_MAX,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// One more variable in its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The directory it runs in; `/` otherwise.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How much it may write to standard output, bytes.
    #[must_use]
    pub fn stdout_bytes_max(mut self, bytes: u64) -> Self {
        self.stdout_bytes_max = bytes;
        self
    }

    /// Runs it to its end, whatever its exit code.
    pub fn run(&self) -> Result<Output, Error> {
        let mut stdout = Vec::new();
        let ((), mut output) = self.read(|pipe| pipe.read_to_end(&mut stdout).map(|_| ()))?;
        output.stdout = stdout;
        Ok(output)
    }

    /// Runs it to its end; anything but exit code 0 is [`Error::Failed`].
    pub fn run_ok(&self) -> Result<Output, Error> {
        let output = self.run()?;
        self.check(&output)?;
        Ok(output)
    }

    /// Runs it while `consume` reads its output as it comes; [`Output::stdout`] is empty. If `consume` stops early, the
    /// program is ended.
    pub fn read<T>(
        &self,
        consume: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<(T, Output), Error> {
        let mut running = self.start()?;
        let consumed = consume(&mut running);
        let limit = running.limit;
        let (code, stderr) = running.end(consumed.is_ok());
        match limit.or(code.err()) {
            Some(Limit::Stop) => Err(Error::Interrupted(self.name())),
            Some(Limit::Time) => {
                Err(Error::Deadline { program: self.name(), seconds: self.deadline.as_secs() })
            }
            Some(Limit::Bytes) => {
                Err(Error::TooLong { program: self.name(), bytes_max: self.stdout_bytes_max })
            }
            None => match consumed {
                Ok(value) => Ok((value, Output { code: code.ok().flatten(), stdout: Vec::new(), stderr })),
                Err(reason) => Err(Error::Read { program: self.name(), reason }),
            },
        }
    }

    /// The command line, for people: words as they are.
    pub fn line(&self) -> String {
        let words = std::iter::once(&self.name).chain(&self.args);
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Refuses output of a program that did not end with exit code 0.
    pub fn check(&self, output: &Output) -> Result<(), Error> {
        if output.code == Some(0) {
            return Ok(());
        }
        Err(Error::Failed { program: self.name(), told: output.told() })
    }

    fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    fn start(&self) -> Result<Running, Error> {
        if is_stopped() {
            return Err(Error::Interrupted(self.name()));
        }
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|reason| self.not_started(reason))?;
        Ok(Running {
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            child,
            messages: Vec::new(),
            deadline: Instant::now() + self.deadline,
            bytes_left: self.stdout_bytes_max,
            limit: None,
        })
    }

    /// With nothing on standard input, known variables only, and a process group of its own.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.name);
        command.args(&self.args).env_clear().env("PATH", PATH);
        command.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        // DEBIAN_FRONTEND: no program that we run may wait for an answer.
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.directory.as_deref().unwrap_or("/".as_ref()));
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    fn not_started(&self, reason: io::Error) -> Error {
        let found_nowhere = reason.kind() == io::ErrorKind::NotFound
            && self.directory.as_ref().is_none_or(|directory| directory.is_dir());
        if found_nowhere {
            Error::Missing(self.name())
        } else {
            Error::Start { program: self.name(), reason }
        }
    }
}

/// Set when this process is to end: a signal handler's flag.
static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// The flag that makes programs under way end and no further one start. For signal handlers: what we run stands in
/// process groups of its own, so that a terminal's Ctrl-C reaches only us.
pub fn stop() -> Arc<AtomicBool> {
    Arc::clone(&STOP)
}

/// Whether this process is to end.
pub fn is_stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Whether `name` can be found in `PATH`.
pub fn is_installed(name: &str) -> bool {
    find(name).is_some()
}

/// Where `name` is found in `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    Time,
    Bytes,
    Stop,
}

/// A program under way. Reading from it gives its standard output; its messages are collected on the side, so that
/// neither pipe can block it.
#[derive(Debug)]
struct Running {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    messages: Vec<u8>,
    deadline: Instant,
    bytes_left: u64,
    limit: Option<Limit>,
}

impl Running {
    /// Waits a little for output or a message; returns what is ready, (output, message), or `None` at the deadline and
    /// when we are to stop.
    fn wait_ready(&self) -> io::Result<Option<(bool, bool)>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || is_stopped() {
            return Ok(None);
        }
        let timeout = Timespec::try_from(PATIENCE.min(left)).map_err(io::Error::other)?;
        let mut pipes = Vec::with_capacity(2);
        pipes.extend(self.stdout.as_ref().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
        pipes.extend(self.stderr.as_ref().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
        match poll(&mut pipes, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = pipes.iter().map(|pipe| !pipe.revents().is_empty());
        let stdout = self.stdout.is_some() && ready.next().unwrap_or(false);
        let stderr = self.stderr.is_some() && ready.next().unwrap_or(false);
        Ok(Some((stdout, stderr)))
    }

    fn read_message(&mut self) {
        let mut buffer = [0; 4096];
        let count = match self.stderr.as_mut().map(|pipe| pipe.read(&mut buffer)) {
            Some(Ok(count)) => count,
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => return,
            Some(Err(_)) | None => 0,
        };
        if count == 0 {
            self.stderr = None;
        }
        let room = STDERR_BYTES_MAX - self.messages.len();
        self.messages.extend_from_slice(&buffer[..count.min(room)]);
    }

    fn kill(&mut self) {
        // The child has not been waited for yet, so its process id cannot have become somebody else's.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Reads the rest of its messages and waits for its end; kills it at the deadline or if nobody wants the rest.
    fn end(mut self, wanted: bool) -> (Result<Option<i32>, Limit>, String) {
        let mut over = None;
        if !wanted || self.limit.is_some() {
            self.kill();
        } else {
            self.stdout = None; // a program that still writes gets SIGPIPE
            over = self.wait_end();
        }
        let status = self.child.wait().ok().and_then(|status| status.code());
        let messages = String::from_utf8_lossy(&self.messages).into_owned();
        (over.map_or(Ok(status), Err), messages)
    }

    fn wait_end(&mut self) -> Option<Limit> {
        let mut over = false;
        loop {
            match self.wait_ready().ok().flatten() {
                Some((_, true)) => self.read_message(),
                // What was written just before the end is there by the next look.
                Some((_, false)) if over => return None,
                Some((_, false)) => over = is_over(&self.child),
                None => {
                    self.kill();
                    return Some(out_of_time());
                }
            }
        }
    }
}

/// Why a program gets no more time.
fn out_of_time() -> Limit {
    if is_stopped() { Limit::Stop } else { Limit::Time }
}

/// Whether the child has ended, without reaping it: until `wait`, its process id stays its own.
fn is_over(child: &Child) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return true };
    // An error means that there is nothing left to wait for.
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

impl Read for Running {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut over = self.stdout.is_none();
        loop {
            match self.wait_ready()? {
                None => {
                    self.limit = Some(out_of_time());
                    self.kill();
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Some((_, true)) => self.read_message(),
                Some((true, false)) => break,
                Some((false, false)) if over => return Ok(0),
                Some((false, false)) => over = is_over(&self.child),
            }
        }
        let count = self.stdout.as_mut().map_or(Ok(0), |pipe| pipe.read(buffer))?;
        if count == 0 {
            self.stdout = None;
        }
        if count as u64 > self.bytes_left {
            self.limit = Some(Limit::Bytes);
            self.kill();
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes_left -= count as u64;
        Ok(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only reached with a live child if `consume` panicked; after `wait` this asks about a reaped child and is Ok.
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

mod held;
pub(crate) use held::Held;
mod through;
pub use through::LOG_FD;

#[cfg(test)]
mod tests;
