//! `palisade server`, and the commands that work on its store: backup, restore, doctor.

use crate::EXIT_USAGE;
use crate::cli::fleet::Settings;
use crate::client::Access;
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use server::identity::Authority;
use server::store::{Store, backup};
use server::{Config, doctor, log, people};
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long work off the threads that answer may take to end, after everything else has.
const LEAVING: Duration = Duration::from_secs(1);
/// Something is wrong with the store.
const EXIT_SICK: u8 = 1;

pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the server's threads")
}

/// Ends the server's threads. A feed's download that is still under way is cut off: it is begun anew the next time.
pub(crate) fn leave(runtime: Runtime) {
    runtime.shutdown_timeout(LEAVING);
}

/// Settings of a file; told, and the exit code for it, if they cannot be used.
pub(crate) fn config(settings: &Settings) -> Result<Config, ExitCode> {
    Config::read(&settings.config).map_err(|problem| {
        eprintln!("palisade: {problem}");
        ExitCode::from(EXIT_USAGE)
    })
}

pub(crate) fn server(settings: &Settings) -> Result<ExitCode> {
    let config = match config(settings) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let traces = log::start(&config.log, config.telemetry.as_ref())?;
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        let running = server::run::start(config).await?;
        if let Some(path) = first_access(&running).await? {
            tracing::info!(file = %path.display(), "made the first account; its access file");
        }
        running.tell();
        running.until_stopped(agent::program::stop()).await?;
        anyhow::Ok(())
    });
    leave(runtime);
    traces.stop();
    code.map(|()| ExitCode::SUCCESS)
}

/// The access file of the first account, in the server's directory; made with that account, where there is none.
pub(crate) async fn first_access(running: &server::run::Running) -> Result<Option<PathBuf>> {
    let Some(first) = people::first_admin(&running.app.store, Timestamp::now()).await? else {
        return Ok(None);
    };
    let access =
        Access { server: local(running.api), authority: running.authority.pem(), token: first.token };
    let path = running.app.config.server.data.join("access.toml");
    access.write(&path)?;
    Ok(Some(path))
}

/// How a listener of this machine is reached from it.
pub(crate) fn local(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => format!("https://localhost:{}", address.port()),
        _ => format!("https://{address}"),
    }
}

pub(crate) fn backup(settings: &Settings, file: &Path) -> Result<ExitCode> {
    let config = match config(settings) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let doing = || format!("write the backup {}", file.display());
    if file.exists() {
        bail!("{}: it is there already; name another file", doing());
    }
    let part: PathBuf = file.with_added_extension("part");
    // It holds what logs people in.
    let out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .with_context(doing)?;
    let written = runtime()?.block_on(async {
        let store = Store::open(&config.store_url()?).await?;
        let mut tell = |table: &str, rows| eprintln!("palisade: {rows:>9} {table}");
        let counts = backup::write(&store, Timestamp::now(), &out, &mut tell).await?;
        anyhow::Ok((counts, Authority::is_clear(&store).await?))
    });
    let kept = written.and_then(|counts| {
        out.sync_all().with_context(doing)?;
        std::fs::rename(&part, file).with_context(doing)?;
        Ok(counts)
    });
    if kept.is_err() {
        // A half one must not be taken for a backup.
        let _ = std::fs::remove_file(&part);
    }
    let (counts, is_clear) = kept?;
    let rows: u64 = counts.iter().map(|(_, count)| count).sum();
    if is_clear {
        eprintln!(
            "palisade: {rows} rows in {}; keep it as you keep keys: it holds the authority's",
            file.display()
        );
    } else {
        eprintln!(
            "palisade: {rows} rows in {}; the authority in it is sealed: to restore it, {} is needed too; keep a copy of \
             that file elsewhere",
            file.display(),
            config.authority_key().display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn restore(settings: &Settings, file: &Path, new_authority: bool) -> Result<ExitCode> {
    let config = match config(settings) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let from = std::fs::File::open(file).with_context(|| format!("open the backup {}", file.display()))?;
    let counts = runtime()?.block_on(async {
        let store = Store::open(&config.store_url()?).await?;
        let counts =
            backup::restore(&store, from, &mut |table, _| eprintln!("palisade: restoring {table}")).await?;
        let opened = authority(&config, &store, new_authority).await;
        store.close().await;
        anyhow::Ok((counts, opened))
    })?;
    let (counts, opened) = counts;
    opened.context(
        "all rows are restored, but no server can start with them; if the file is lost, restore into an empty store with \
         --new-authority, and enrol every host anew",
    )?;
    let rows: u64 = counts.iter().map(|(_, count)| count).sum();
    eprintln!(
        "palisade: restored {rows} rows; \"palisade doctor\" looks at them, \"palisade server\" serves them"
    );
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that a server can open the authority that was restored, and that its key does not stay in clear.
async fn authority(config: &Config, store: &Store, new_authority: bool) -> Result<()> {
    let (now, key_file) = (Timestamp::now(), config.authority_key());
    if new_authority {
        Authority::forget(store, now).await?;
        eprintln!("palisade: the next start makes another authority; every host has to be enrolled anew");
        return Ok(());
    }
    if Authority::is_clear(store).await? {
        std::fs::create_dir_all(&config.server.data)?;
        Authority::seal(store, now, &key_file).await?;
        eprintln!("palisade: the authority is sealed now, with {}", key_file.display());
    }
    Authority::verify(store, &key_file).await?;
    Ok(())
}

pub(crate) fn doctor(settings: &Settings, json: bool) -> Result<ExitCode> {
    let config = match config(settings) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let checks = runtime()?.block_on(doctor::examine(&config, Timestamp::now()))?;
    let sick = checks.iter().any(|check| !check.problems.is_empty());
    if json {
        println!("{}", serde_json::to_string_pretty(&checks)?);
    } else {
        for check in &checks {
            println!(
                "{:9} {}: {}",
                if check.problems.is_empty() { "well" } else { "NOT WELL" },
                check.name,
                check.seen
            );
            for problem in &check.problems {
                println!("          {problem}");
            }
        }
    }
    Ok(if sick { ExitCode::from(EXIT_SICK) } else { ExitCode::SUCCESS })
}
