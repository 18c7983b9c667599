//! `palisade authority`: looks at the fleet's authority from anywhere, replaces it on a server.

use crate::cli::fleet::{Asking, Authority as Command, Settings};
use crate::client::{Access, Client, access_path};
use crate::command::ask::print;
use crate::command::serve;
use crate::output::listing;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;
use server::identity::{Authority, Standing};
use server::store::Store;
use std::process::ExitCode;

pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Show(asking) => show(asking),
        Command::Trust(asking) => trust(asking),
        Command::Rotate(settings) => rotate(settings),
        Command::Retire { settings, early } => retire(settings, *early),
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

fn rotate(settings: &Settings) -> Result<ExitCode> {
    let config = match serve::config(settings) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let standing = serve::runtime()?.block_on(async {
        let store = Store::open(&config.store_url()?).await?;
        let (now, days) = (Timestamp::now(), config.agents.certificate_days);
        let rotated = Authority::rotate(&store, now, Some(&config.authority_key()), days).await;
        store.close().await;
        anyhow::Ok(rotated?)
    })?;
    let next = standing.next.context("the next authority is gone as soon as it was made")?;
    eprintln!(
        "palisade: the next authority is {}; it takes over {:.0}.\n\
         palisade: hosts learn of it when they renew their certificates; nothing has to be done there.\n\
         palisade: until then, run \"palisade authority trust\" wherever people and programs ask the server.\n\
         palisade: tokens for hosts that were made before it took over, and are used after, have to be made anew.",
        next.fingerprint, next.takeover.until
    );
    Ok(ExitCode::SUCCESS)
}

fn retire(settings: &Settings, early: bool) -> Result<ExitCode> {
    let config = match serve::config(settings) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let (before, after) = serve::runtime()?.block_on(async {
        let store = Store::open(&config.store_url()?).await?;
        let before = Authority::standing(&store).await?;
        let retired = Authority::retire(&store, Timestamp::now(), early).await;
        store.close().await;
        anyhow::Ok((before, retired?))
    })?;
    let left = before.and_then(|Standing { next, .. }| next).map_or(0, |next| next.hosts_left);
    eprintln!("palisade: the authority is {} now; the one before is retired", after.fingerprint);
    if left > 0 {
        eprintln!("palisade: {left} hosts had no certificate of it: enrol them anew");
    }
    Ok(ExitCode::SUCCESS)
}
