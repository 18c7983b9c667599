//! Programs that must not be ended half-way.

use super::{Error, Program};
use rustix::io::{FdFlags, fcntl_setfd};
use std::os::fd::AsRawFd;
use std::path::Path;

/// In an argument of [`Program::run_through`]: the number of one more descriptor of the log, which is the program's alone.
pub const LOG_FD: &str = "{log}";

impl Program {
    /// Runs it to its end whatever happens: no deadline, and neither our end nor that of whoever reads ends it, because a
    /// package manager that is killed half-way leaves packages half installed. What it says is appended to the file
    /// `log`, and so is what it writes to the descriptor that it is told in place of [`LOG_FD`]. Gives its exit code; `None`
    /// if a signal ended it.
    pub fn run_through(&self, log: &Path) -> Result<Option<i32>, Error> {
        let open = || {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
            let (stdout, own) = (file.try_clone()?, file.try_clone()?);
            // Otherwise it would be closed when the program begins.
            fcntl_setfd(&own, FdFlags::empty())?;
            Ok((stdout, file, own))
        };
        let (stdout, stderr, own) = open().map_err(|reason| self.not_started(reason))?;
        let mut told = self.clone();
        for arg in &mut told.args {
            if let Some(text) = arg.to_str().filter(|text| text.contains(LOG_FD)) {
                *arg = text.replace(LOG_FD, &own.as_raw_fd().to_string()).into();
            }
        }
        let mut command = told.command();
        command.stdout(stdout).stderr(stderr);
        let mut child = command.spawn().map_err(|reason| self.not_started(reason))?;
        let ended = child.wait().map_err(|reason| Error::Read { program: self.name(), reason })?;
        Ok(ended.code())
    }
}
