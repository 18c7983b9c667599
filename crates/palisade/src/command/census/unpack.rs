//! Opens an input; it is unpacked on the way.

use super::inputs::{Input, Origin};
use agent::unpack::Bytes;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};

/// The output of a program; it is ended when nobody reads on.
struct Output(Child);

impl Read for Output {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.stdout.as_mut().map_or(Ok(0), |stdout| stdout.read(into))?;
        if bytes == 0 && !into.is_empty() {
            let status = self.0.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("journalctl ended with {status}")));
            }
        }
        Ok(bytes)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens an input.
pub(super) fn open(input: &Input) -> Result<Bytes> {
    let raw: Box<dyn Read + Send> = match &input.origin {
        Origin::File(path) | Origin::Member(path) => {
            Box::new(File::open(path).with_context(|| format!("open {}", path.display()))?)
        }
        Origin::Stdin => Box::new(io::stdin()),
        Origin::Journal(units) => Box::new(journal(units)?),
    };
    Bytes::of(raw).context("read")
}

fn journal(units: &[String]) -> Result<Output> {
    if !agent::program::is_installed("journalctl") {
        bail!("read the journal: there is no journalctl on this host; give files");
    }
    let mut command = Command::new("journalctl");
    command.args(["--output=cat", "--no-pager", "--quiet"]);
    for unit in units {
        command.arg(format!("--unit={unit}"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).env("LC_ALL", "C");
    Ok(Output(command.spawn().context("start journalctl")?))
}
