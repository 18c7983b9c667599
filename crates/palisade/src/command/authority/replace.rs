//! The authority is replaced, on a server.

use crate::cli::fleet::Settings;
use crate::command::serve;
use anyhow::{Context, Result};
use jiff::Timestamp;
use server::identity::{Authority, Standing};
use server::store::Store;
use std::process::ExitCode;

pub(super) fn rotate(settings: &Settings) -> Result<ExitCode> {
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

pub(super) fn retire(settings: &Settings, early: bool) -> Result<ExitCode> {
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
