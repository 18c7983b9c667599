//! `palisade authority`: looks at the fleet's authority from anywhere, replaces it on a server.

#[cfg(feature = "server")]
mod replace;

use crate::cli::fleet::{Asking, Authority as Command};
use crate::client::{Access, Client, access_path};
use crate::command::session::print;
use crate::output::listing;
use anyhow::Result;
use serde_json::Value;
use std::process::ExitCode;

pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Show(asking) => show(asking),
        Command::Trust(asking) => trust(asking),
        #[cfg(feature = "server")]
        Command::Rotate(settings) => replace::rotate(settings),
        #[cfg(feature = "server")]
        Command::Retire { settings, early } => replace::retire(settings, *early),
    }
}

fn show(asking: &Asking) -> Result<ExitCode> {
    let access = Access::read(&access_path(asking.access.as_deref())?)?;
    let authority = Client::new(&access)?.get("/authority", &[])?;
    if asking.json {
        return print(&(serde_json::to_string_pretty(&authority)? + "\n"));
    }
    let rows = [
        ("authority", "/fingerprint"),
        ("ends", "/ends_at"),
        ("next", "/next/fingerprint"),
        ("since", "/next/since"),
        ("takes over", "/next/until"),
        ("hosts without", "/next/hosts_left"),
    ];
    let rows = if authority["next"].is_null() { &rows[..2] } else { &rows };
    print(&listing::card(&authority, rows))
}

fn trust(asking: &Asking) -> Result<ExitCode> {
    let path = access_path(asking.access.as_deref())?;
    let access = Access::read(&path)?;
    // Over the line that is trusted already.
    let mut authority = Client::new(&access)?.get("/authority", &[])?;
    let Value::String(certificates) = authority["certificates"].take() else {
        anyhow::bail!("read the authority: the answer has no certificates; is it a palisade server?")
    };
    let access = Access { authority: certificates, ..access };
    Client::new(&access)?;
    access.write(&path)?;
    eprintln!("palisade: {} trusts the authority as it is now", path.display());
    Ok(ExitCode::SUCCESS)
}
