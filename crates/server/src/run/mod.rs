//! A server's life: opens the store, listens, follows events, sweeps, and stops in order.

mod door;
mod sweep;

use crate::api;
use crate::app::App;
use crate::census;
use crate::config::{self, Config};
use crate::feeds;
use crate::fleet::{self, Fleet};
use crate::hosts::{self, Roster};
use crate::identity::{self, Authority};
use crate::metrics::{self, Watched};
use crate::people::oidc;
use crate::planning::{self, Planning};
use crate::rollouts::{self, Rollouts};
use crate::signing::{self, Signing};
use crate::store::events::{self, Event};
use crate::store::{self, Store};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long followers wait for an event that nobody rang for: one of another server.
const EVENTS_EVERY: Duration = Duration::from_secs(1);
/// Events that are read at once.
const EVENTS_MAX: i64 = 1_000;
/// Events that a slow watcher may be behind before it must ask for them by number.
const WATCHERS_BEHIND_MAX: usize = 1_024;
/// Feeds that may wait to be read because somebody asked; more are told to come back.
const REFRESHES_MAX: usize = 16;
/// Connections that the system holds for us until we take them: what Linux allows (`net.core.somaxconn`), some two seconds
/// of a large fleet's full handshakes.
const QUEUE: u32 = 4_096;
/// How often we look whether a signal came.
const SIGNAL_EVERY: Duration = Duration::from_millis(100);
/// How long everything under way may take to end.
const STOPPING: Duration = Duration::from_secs(20);
/// How long the store may take to close then.
const CLOSING: Duration = Duration::from_secs(5);

/// A server that cannot start, or broke off.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Its settings.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// Its store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Its authority, or TLS.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// Who approves plans.
    #[error(transparent)]
    Signing(#[from] signing::Error),
    /// The identity provider in its settings.
    #[error(transparent)]
    Oidc(#[from] oidc::Error),
    /// Its directory.
    #[error("make the server's directory {directory}: {source}; name another with server.data")]
    Data {
        /// Which.
        directory: String,
        /// Why not.
        source: std::io::Error,
    },
    /// An address.
    #[error("listen on {address} ({name}): {source}; is another server running? change it in the settings")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Its setting.
        name: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A part of the server ended by itself.
    #[error("the server's {part} ended: {reason}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why.
        reason: String,
    },
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// What its parts have at hand.
    pub app: Arc<App>,
    /// Who signs its certificates.
    pub authority: Arc<Authority>,
    /// Where people are heard.
    pub api: SocketAddr,
    /// Where agents are heard.
    pub agents: SocketAddr,
    /// Where metrics are told.
    pub metrics: SocketAddr,
    stop: CancellationToken,
    parts: JoinSet<Result<(), Failed>>,
}

/// Starts a server; it runs from here on. Addresses with port 0 get a free one.
pub async fn start(config: Config) -> Result<Running, Failed> {
    let data = &config.server.data;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(|source| Failed::Data { directory: data.display().to_string(), source })?;
    // Before the store is touched: a second server on the same machine ends here.
    let listeners = (
        listen("server.api", config.server.api)?,
        listen("server.agents", config.server.agents)?,
        listen("server.metrics", config.server.metrics)?,
    );
    let now = Timestamp::now();
    let store = Store::open(&config.store_url()?).await?;
    let key_file = config.authority_key();
    let authority = Arc::new(Authority::open_sealed(&store, now, &key_file).await?);
    if Authority::is_clear(&store).await? {
        tracing::warn!(
            "the authority's key lies in the store in clear: a backup, restored into an empty store, seals it"
        );
    }
    let app = Arc::new(App { config, store, told: Arc::new(Notify::new()) });
    let signing =
        Signing::open(&app.store, Arc::clone(&app.told), &key_file, app.config.trust.one_key, now).await?;
    // Followers begin where they were loaded: what happens meanwhile is followed afterwards, twice does no harm.
    let seen = events::last(&app.store).await?;
    let roster = Arc::new(Roster::load(&app.store, now).await?);
    let (rollouts, asks) = Rollouts::load(&app, &roster, Arc::clone(&signing), api::Clock::default()).await?;
    let fleet = Fleet::start(&app).await?;
    let planning = Planning::open(&app, Arc::clone(&fleet), Arc::clone(&signing)).await?;
    let (watchers, _) = broadcast::channel(WATCHERS_BEHIND_MAX);
    let (refresh, refreshes) = mpsc::channel(REFRESHES_MAX);
    let stop = CancellationToken::new();
    let state =
        api::State::new(Arc::clone(&app), Arc::clone(&planning), watchers.clone(), refresh, stop.clone())?;
    let watched = Watched { app: Arc::clone(&app), numbers: numbers(&roster, &fleet, &rollouts) };

    let (people, agents, numbers) = listeners;
    let running =
        |listener: &TcpListener| listener.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let (api, agents_at, metrics) = (running(&people), running(&agents), running(&numbers));
    let tls = authority.people_config(&app.config.server.names, now)?;
    let mut parts = JoinSet::new();
    parts.spawn(door::serve(api::router(state), people, tls, stop.clone()));
    parts.spawn({
        let duties = hosts::Duties { rollouts: Arc::clone(&rollouts), planning: Arc::clone(&planning) };
        let (app, authority, roster, stop) =
            (Arc::clone(&app), Arc::clone(&authority), Arc::clone(&roster), stop.clone());
        async move { Ok(hosts::serve(app, authority, roster, duties, agents, stop).await?) }
    });
    parts.spawn({
        let (rollouts, stop) = (Arc::clone(&rollouts), stop.clone());
        async move {
            rollouts::run(rollouts, asks, stop).await;
            Ok(())
        }
    });
    parts.spawn({
        let stop = stop.clone();
        async move {
            let served = axum::serve(numbers, metrics::router(watched))
                .with_graceful_shutdown(stop.cancelled_owned())
                .await;
            served.map_err(|problem| Failed::Part { part: "metrics", reason: problem.to_string() })
        }
    });
    let followers = Followers {
        authority: Arc::clone(&authority),
        roster,
        signing: Arc::clone(&signing),
        planning: Arc::clone(&planning),
        rollouts,
        watchers,
    };
    parts.spawn(follow(Arc::clone(&app), followers, seen, stop.clone()));
    parts.spawn({
        let (app, stop) = (Arc::clone(&app), stop.clone());
        async move {
            tokio::join!(signing::run(app, signing, stop.clone()), planning::run(planning, stop));
            Ok(())
        }
    });
    parts.spawn({
        let (app, stop) = (Arc::clone(&app), stop.clone());
        async move {
            fleet::run(app, fleet, stop).await;
            Ok(())
        }
    });
    parts.spawn({
        let (app, stop) = (Arc::clone(&app), stop.clone());
        async move {
            feeds::run(app, stop).await;
            Ok(())
        }
    });
    parts.spawn({
        let (app, stop) = (Arc::clone(&app), stop.clone());
        async move {
            census::run(app, stop).await;
            Ok(())
        }
    });
    parts.spawn(refresh_feeds(Arc::clone(&app), refreshes, stop.clone()));
    parts.spawn(sweep::run(Arc::clone(&app), Arc::clone(&authority), stop.clone()));
    Ok(Running { app, authority, api, agents: agents_at, metrics, stop, parts })
}

impl Running {
    /// Tells in the log where it listens, and the service manager that it is ready.
    pub fn tell(&self) {
        tracing::info!(
            api = %self.api, agents = %self.agents, metrics = %self.metrics,
            authority = %self.authority.fingerprint(), "listening"
        );
        // Under no service manager this does nothing.
        if let Err(problem) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            tracing::warn!("tell the service manager that the server is ready: {problem}");
        }
    }

    /// Serves until `signal` is set, then stops in order.
    pub async fn until_stopped(mut self, signal: Arc<AtomicBool>) -> Result<(), Failed> {
        let ended = loop {
            tokio::select! {
                part = self.parts.join_next() => break part.map_or(Ok(()), ended),
                () = sleep(SIGNAL_EVERY) => if signal.load(Ordering::Relaxed) { break Ok(()) },
            }
        };
        let stopped = self.stop().await;
        ended.and(stopped)
    }

    /// Stops in order: no new requests, what is under way ends, the store is closed.
    pub async fn stop(mut self) -> Result<(), Failed> {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.stop.cancel();
        let mut result = Ok(());
        let all = async {
            while let Some(part) = self.parts.join_next().await {
                result = std::mem::replace(&mut result, Ok(())).and(ended(part));
            }
        };
        if timeout(STOPPING, all).await.is_err() {
            tracing::warn!("stopped with something still under way after {} s", STOPPING.as_secs());
            self.parts.abort_all();
        }
        // It waits for whoever still writes.
        if timeout(CLOSING, self.app.store.close()).await.is_err() {
            tracing::warn!("left the store open after {} s: somebody still uses it", CLOSING.as_secs());
        }
        result
    }
}

fn ended(part: Result<Result<(), Failed>, tokio::task::JoinError>) -> Result<(), Failed> {
    part.unwrap_or_else(|problem| Err(Failed::Part { part: "task", reason: problem.to_string() }))
}

fn listen(name: &'static str, address: SocketAddr) -> Result<TcpListener, Failed> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A server that is started anew need not wait for the connections of the one before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(QUEUE)
    };
    bound().map_err(|source| Failed::Listen { address, name, source })
}

/// Who is told of events.
struct Followers {
    authority: Arc<Authority>,
    roster: Arc<Roster>,
    signing: Arc<Signing>,
    planning: Arc<Planning>,
    rollouts: Arc<Rollouts>,
    watchers: broadcast::Sender<Event>,
}

/// Reads events as they are committed, by whichever server, and hands them to those who follow, and to watchers.
async fn follow(
    app: Arc<App>,
    followers: Followers,
    mut seen: i64,
    stop: CancellationToken,
) -> Result<(), Failed> {
    loop {
        // Asked for before reading, so that a ring in between is heard.
        let told = app.told.notified();
        let page = match events::after(&app.store, seen, EVENTS_MAX).await {
            Ok(page) => page,
            Err(problem) => {
                tracing::warn!("{problem}");
                Vec::new()
            }
        };
        let more = !page.is_empty();
        for event in page {
            seen = event.seq;
            if let Err(problem) = followers.roster.follow(&app.store, &event).await {
                tracing::warn!("follow event {}: {problem}", event.seq);
            }
            if let Err(problem) = followers.signing.follow(&event).await {
                tracing::warn!("follow event {}: {problem}", event.seq);
            }
            if let Err(problem) = followers.planning.follow(&event).await {
                tracing::warn!("follow event {}: {problem}", event.seq);
            }
            if let Err(problem) = followers.authority.follow(&app.store, &event).await {
                tracing::error!("follow event {}: {problem}", event.seq);
            }
            if let Err(problem) = followers.rollouts.follow(&event).await {
                tracing::warn!("follow event {}: {problem}", event.seq);
            }
            // Nobody watching is no error.
            let _ = followers.watchers.send(event);
        }
        if more {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = told => {}
            () = sleep(EVENTS_EVERY) => {}
        }
    }
}

/// Reads feeds that people want read now, one after the other.
async fn refresh_feeds(
    app: Arc<App>,
    mut wanted: mpsc::Receiver<api::Refresh>,
    stop: CancellationToken,
) -> Result<(), Failed> {
    loop {
        let refresh = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            refresh = wanted.recv() => refresh,
        };
        let Some(api::Refresh { feed, accept }) = refresh else { return Ok(()) };
        let read = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            read = feeds::read_now(&app, &feed, accept.as_ref()) => read,
        };
        if let Err(problem) = read {
            tracing::warn!(feed, "{problem}");
        }
    }
}

fn numbers(
    roster: &Arc<Roster>,
    fleet: &Arc<Fleet>,
    rollouts: &Arc<Rollouts>,
) -> Arc<dyn Fn() -> Vec<metrics::Number> + Send + Sync> {
    let (roster, fleet, rollouts) = (Arc::clone(roster), Arc::clone(fleet), Arc::clone(rollouts));
    Arc::new(move || {
        let mut numbers = roster.counters.numbers();
        numbers.extend(rollouts.numbers());
        numbers.push(("fleet_hosts", "Hosts in the index", fleet.hosts()));
        numbers.push((
            "fleet_event",
            "Number of the last event that the index followed",
            fleet.seq().unsigned_abs(),
        ));
        numbers
    })
}
