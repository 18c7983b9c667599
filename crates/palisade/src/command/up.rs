//! `palisade up`: a whole fleet of one host on this machine: server, store, agent, and what it lacks.

use super::serve::{first_access, leave, local, runtime};
use super::session::{look, print};
use crate::cli::fleet::Up;
use crate::client::{Access, Client, access_path, escaped};
use crate::home;
use crate::output::listing;
use crate::terminal::Progress;
use agent::apt::Network;
use agent::enrol::{Enrolment, enrol};
use agent::program::{is_stopped, stop};
use agent::settings::Settings;
use agent::state::State;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use server::config::{self, Config};
use server::log;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// People's port, agents' port, metrics' port.
const PORTS: [u16; 3] = [8470, 8471, 8472];
/// How often we look whether the first findings are there.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After the inventory is stored, its findings follow within milliseconds; a host without any has none after this.
const FINDINGS_WITHIN: Duration = Duration::from_secs(5);
/// A first look at a host with many pending fixes fetches their changelogs.
const INVENTORY_WITHIN: Duration = Duration::from_secs(300);
/// Packages that are listed.
const LINES_MAX: usize = 40;
/// CVEs that are named of each.
const CVES_MAX: usize = 2;

pub(crate) fn run(arguments: &Up) -> Result<ExitCode> {
    let data = match &arguments.data {
        Some(data) => data.clone(),
        None => data_directory()?,
    };
    let config = config(arguments, &data);
    let traces = log::start(&config.log, config.telemetry.as_ref())?;
    let progress = Progress::new(arguments.json);
    // A veto that cannot be read is not passed over.
    let owners = Settings::read(Path::new(agent::settings::FILE))?;
    progress.tell("starting the server");
    let runtime = runtime()?;
    let running = runtime.block_on(server::run::start(config))?;
    let access_file = data.join("access.toml");
    let ready = ready(&runtime, &running, &access_file);
    let (client, host, access_kept) = match ready {
        Ok(ready) => ready,
        Err(problem) => {
            runtime.block_on(running.stop())?;
            return Err(problem);
        }
    };
    let network = if arguments.offline { Network::None } else { Network::Archives };
    let mut settings = agent::Config { network, ..agent::Config::new(data.join("agent"), owners) };
    // Somebody is waiting, and there is no crowd to keep out of the way of.
    settings.pace.first_within = Duration::ZERO;
    let agent = thread::spawn(move || {
        agent::run(settings, &stop(), &mut |told| {
            if told.is_problem() {
                tracing::warn!("agent: {told}");
            }
        })
    });
    progress.tell("looking at this machine");
    let shown = wait_for_findings(&client, &host).and_then(|found| {
        let counts = client.list("/findings/summary", &[], LINES_MAX * 1_000)?;
        drop(progress);
        show(&found, &counts, arguments.json)
    });
    if shown.is_ok() && !arguments.once && !is_stopped() {
        if !arguments.json {
            eprint!("{}", further(&running, &access_kept));
        }
        let signal = stop();
        let ended = runtime.block_on(running.until_stopped(signal.clone()));
        signal.store(true, std::sync::atomic::Ordering::Relaxed);
        ended?;
    } else {
        stop().store(true, std::sync::atomic::Ordering::Relaxed);
        runtime.block_on(running.stop())?;
    }
    leave(runtime);
    traces.stop();
    match agent.join() {
        Ok(ended) => _ = ended.context("this machine's agent ended")?,
        Err(_) => bail!("this machine's agent broke off"),
    }
    shown
}

fn config(arguments: &Up, data: &Path) -> Config {
    let [api, agents, metrics] = PORTS;
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if !arguments.listen.is_unspecified() && !arguments.listen.is_loopback() {
        names.push(arguments.listen.to_string());
    }
    names.extend(
        rustix::system::uname().nodename().to_str().ok().map(str::to_owned).filter(|name| !name.is_empty()),
    );
    let feed = |(place, location): (usize, &String)| config::Feed {
        name: format!("feed-{}", place + 1),
        location: location.clone(),
        every_minutes: 60,
        stale_days: 14,
        release: String::new(),
    };
    Config {
        server: config::Server {
            data: data.to_owned(),
            api: SocketAddr::new(arguments.listen, api),
            agents: SocketAddr::new(arguments.listen, agents),
            metrics: SocketAddr::from(([127, 0, 0, 1], metrics)),
            names,
            ..config::Server::default()
        },
        feeds: arguments.feed.iter().enumerate().map(feed).collect(),
        log: config::Log { filter: "warn".to_owned(), ..config::Log::default() },
        ..Config::default()
    }
}

/// What makes a started server usable from here: access for the person who started it, and this machine enrolled.
fn ready(
    runtime: &tokio::runtime::Runtime,
    running: &server::run::Running,
    access_file: &Path,
) -> Result<(Client, String, PathBuf)> {
    if let Some(access_file) = runtime.block_on(first_access(running))? {
        // The commands of this person find it without being told; another server's is left alone.
        if let Ok(own) = access_path(None)
            && !own.exists()
        {
            Access::read(&access_file)?.write(&own)?;
        }
    }
    // The authority may be another one by now than when the file was written.
    let access = Access { authority: running.authority.pem(), ..Access::read(access_file)? };
    let client = Client::new(&access)?;
    let state = State::create(&running.app.config.server.data.join("agent"))?;
    let host = if state.is_enrolled() {
        state.identity()?.host
    } else {
        let token = client.post("/enrolment-tokens", &json!({})).context("make a token for this machine")?;
        let text = |name: &str| token[name].as_str().context("the server's answer has no token");
        let token = format!("{}.{}", text("secret")?, text("authority")?);
        let asked = Enrolment {
            server: &local(running.agents),
            token: &token,
            authority: None,
            name: None,
            root: Path::new("/"),
        };
        enrol(&state, &asked)?.identity.host
    };
    let own = access_path(None).ok();
    let own = own.filter(|path| std::fs::read(path).ok() == std::fs::read(access_file).ok());
    let kept = own.unwrap_or_else(|| access_file.to_owned());
    Ok((client, host, kept))
}

/// The open findings of the host, once its inventory of this run has been matched.
fn wait_for_findings(client: &Client, host: &str) -> Result<(Value, Vec<Value>)> {
    let path = format!("/hosts/{}", escaped(host));
    let started = Instant::now();
    let mut stored = None;
    loop {
        if is_stopped() {
            bail!("stopped before the first findings were there");
        }
        let shown = client.get(&path, &[])?;
        if shown["release"].as_str().is_some_and(|release| !release.is_empty()) {
            let since = *stored.get_or_insert_with(Instant::now);
            let findings = client.list(&format!("{path}/findings"), &[], 100_000)?;
            if !findings.is_empty() || since.elapsed() > FINDINGS_WITHIN {
                return Ok((shown, findings));
            }
        } else if started.elapsed() > INVENTORY_WITHIN {
            bail!("no inventory of this machine came within {} minutes", INVENTORY_WITHIN.as_secs() / 60);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A line for each package, those whose fixes close most CVEs first.
fn show((host, findings): &(Value, Vec<Value>), counts: &[Value], json: bool) -> Result<ExitCode> {
    if json {
        return print(&format!("{:#}\n", json!({ "host": host, "findings": findings })));
    }
    let closes: BTreeMap<&str, &Value> =
        counts.iter().filter_map(|count| Some((count["advisory"].as_str()?, &count["cves"]))).collect();
    let mut packages: BTreeMap<(&str, &str), Package> = BTreeMap::new();
    for finding in findings {
        let text = |name: &str| finding[name].as_str().unwrap_or_default();
        let package = packages.entry((text("package"), text("verdict"))).or_default();
        let cves = closes.get(text("advisory")).and_then(|cves| cves.as_array()).into_iter().flatten();
        package.cves.extend(cves.filter_map(Value::as_str));
        package.evidence = listing::evidence(text("evidence"));
    }
    let mut lines: Vec<_> = packages.into_iter().collect();
    lines.sort_by_key(|((name, _), package)| (std::cmp::Reverse(package.cves.len()), *name));
    let with_cves = lines.iter().filter(|(_, package)| !package.cves.is_empty()).count();
    println!(
        "{} · {} · {} packages lack a fix, {with_cves} of them one that closes CVEs\n",
        host["name"].as_str().unwrap_or("this machine"),
        host["release"].as_str().unwrap_or_default(),
        lines.len(),
    );
    let line = |((name, verdict), package): &((&str, &str), Package)| {
        let first = package.cves.iter().take(CVES_MAX).copied().collect::<Vec<_>>().join(" ");
        let more = package.cves.len().saturating_sub(CVES_MAX);
        let closes = if more > 0 { format!("{first} +{more}") } else { first };
        json!({ "package": name, "verdict": verdict, "closes": closes, "evidence": package.evidence })
    };
    let shown: Vec<Value> = lines.iter().take(LINES_MAX).map(line).collect();
    let columns =
        [("package", "/package"), ("verdict", "/verdict"), ("closes", "/closes"), ("evidence", "/evidence")];
    print!("{}", listing::table(&shown, &columns, look()));
    if lines.len() > LINES_MAX {
        println!("… and {} packages more: palisade finding list", lines.len() - LINES_MAX);
    }
    println!();
    Ok(ExitCode::SUCCESS)
}

/// What is open about one package.
#[derive(Debug, Default)]
struct Package<'a> {
    cves: BTreeSet<&'a str>,
    evidence: &'a str,
}

/// How to go on.
fn further(running: &server::run::Running, access: &Path) -> String {
    format!(
        "The server runs until Ctrl-C: people and programs at https://{}, agents at https://{}, metrics at http://{}.\n\
         In another terminal (access is kept in {}):\n\n  \
         palisade finding summary      what is open, most hosts first\n  \
         palisade host list            the fleet\n  \
         palisade token enroll         the line with which another host joins\n\n",
        running.api,
        running.agents,
        running.metrics,
        access.display()
    )
}

/// Where `up` keeps everything.
fn data_directory() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/palisade"));
    }
    home::directory("XDG_DATA_HOME", ".local/share")
        .map(|share| share.join("palisade"))
        .context("find a directory for the fleet: HOME is not set; name one with --data")
}
