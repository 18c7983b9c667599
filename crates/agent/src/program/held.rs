//! A program that is there for as long as we want it to be, and ends when nothing more comes to its standard input.

use super::{Error, Program};
use std::io::{self, Read, Write};
use std::process::{Child, Stdio};

/// It runs until this is dropped, or until we end, however.
#[derive(Debug)]
pub(crate) struct Held(Child);

impl Program {
    /// Starts a program that gives back what it is given (as `cat` does), and waits until it does: then it is ready.
    pub(crate) fn hold(&self) -> Result<Held, Error> {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut held = Held(command.spawn().map_err(|reason| self.not_started(reason))?);
        held.greet().map_err(|reason| Error::Read { program: self.name(), reason })?;
        Ok(held)
    }
}

impl Held {
    fn greet(&mut self) -> io::Result<()> {
        let (Some(to), Some(from)) = (&mut self.0.stdin, &mut self.0.stdout) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        to.write_all(b"\n")?;
        from.read_exact(&mut [0])
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_held_until_it_is_let_go_and_one_that_ends_at_once_is_not_held() {
        let held = Program::new("cat").hold().unwrap();
        let number = held.0.id();
        let is_there = || std::path::Path::new(&format!("/proc/{number}")).exists();
        assert!(is_there());
        drop(held);
        assert!(!is_there());
        assert!(Program::new("false").hold().is_err() && Program::new("no-such-program").hold().is_err());
    }
}
