//! `palisade audit`: the log through the API, and the check of an export, which asks nobody.

#[cfg(feature = "server")]
mod verify;

use super::session::{look, print};
use crate::cli::fleet::{Asking, Audit};
use crate::client::{Access, Client, access_path};
use crate::output::listing;
use anyhow::{Context, Result};
use std::io::Write;
use std::process::ExitCode;

pub(crate) fn run(command: &Audit, asking: &Asking) -> Result<ExitCode> {
    let client = || Client::new(&Access::read(&access_path(asking.access.as_deref())?)?);
    match command {
        Audit::List { most } => {
            let mut entries = client()?.list("/audit", &[("newest_first", "true")], *most)?;
            // Told as they happened.
            entries.reverse();
            if asking.json {
                return print(&(serde_json::to_string_pretty(&entries)? + "\n"));
            }
            for entry in &mut entries {
                let at = entry["at"].as_i64().and_then(|at| jiff::Timestamp::from_microsecond(at).ok());
                entry["at"] = at.map_or_else(String::new, |at| format!("{at:.0}")).into();
            }
            let columns = [
                ("#", "/seq"),
                ("when", "/at"),
                ("who", "/actor"),
                ("what", "/action"),
                ("to what", "/object"),
                ("particulars", "/detail"),
            ];
            print(&listing::table(&entries, &columns, look()))
        }
        Audit::Export => {
            let mut out = std::io::stdout().lock();
            for line in client()?.lines("/audit/export", &[])? {
                writeln!(out, "{}", line.context("export the audit log: it broke off")?)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(feature = "server")]
        Audit::Verify { file, since } => verify::verify(file, since.as_deref(), asking.json),
    }
}
