//! Vendors' feeds: asked on schedule, read with suspicion, stored as far as they changed. Takes the configured feeds; gives
//! advisories and signals in the store, and alarms. docs/feeds.md is for operators.
//!
//! One reading at a time in the whole installation, by a lease. What went wrong never takes anything away.

mod alarm;
mod apply;
mod fetch;

pub use alarm::{Alarm, Wrong};
pub use fetch::Limits;

use crate::store::audit::{self, Actor};
use crate::store::events::{self, Kind};
use crate::store::feeds::{self, Signalled, State};
use crate::store::leases::{self, Lease};
use crate::store::{self, Store};
use crate::task::off_thread;
use crate::traces::TARGET;
use crate::{App, config};
use advisory::format::{self, Feed};
use advisory::{Family, Problem, Release};
use alarm::Summary;
use apply::Changes;
use fetch::{Fetched, Location, Marks};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};

/// Files that are read of one directory.
const FILES_MAX: usize = 1_000_000;
/// Problems of a feed that are stored.
const PROBLEMS_MAX: usize = 100;
/// What the provenance of hosts' own texts begins with.
pub(crate) const RESERVED: &str = "hosts:";
/// The role of whoever reads a feed.
const ROLE: &str = "feeds";
/// It lasts so long without renewal, and is renewed at a third.
const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// How often the schedule is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Feeds are asked up to this much later than they are due, in percent of their interval, so that not all ask at once.
const JITTER_PERCENT: i64 = 10;

/// Why a feed was not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such feed.
    #[error("read feed {name}: there is none of that name; {remedy}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The nearest one, or where they are.
        remedy: String,
    },
    /// A name that no feed can have.
    #[error("read feed \"{0}\": what begins with \"hosts:\" is what hosts say; give the feed another name")]
    Reserved(String),
    /// A feed is being read, here or by another server.
    #[error("read feed: one is being read just now; try again in a minute")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What became of a reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The feed is what it was.
    Unchanged,
    /// It was read; records that began, and that ended. What was not used is told by alarms.
    Read {
        /// New and changed ones.
        begun: usize,
        /// Those that were there before.
        ended: usize,
    },
    /// It could not be had; why.
    Failed(String),
}

/// A reading, and what is wrong with the feed after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What became of it.
    pub outcome: Outcome,
    /// All alarms that stand.
    pub alarms: Vec<Alarm>,
}

/// Asks every feed when it is due, until it is stopped.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let (reserved, feeds): (Vec<_>, Vec<_>) =
        app.config.feeds.iter().partition(|feed| feed.name.starts_with(RESERVED));
    for feed in reserved {
        error!("{}", Error::Reserved(feed.name.clone()));
    }
    while !stop.is_cancelled() {
        for feed in &feeds {
            let now = Timestamp::now();
            match feeds::get(&app.store, &feed.name).await {
                Ok(state) if due(feed, state.as_ref()) > now => continue,
                Ok(_) => {}
                Err(problem) => {
                    error!(feed = %feed.name, "{problem}");
                    continue;
                }
            }
            let reading = tokio::select! {
                reading = read_feed(&app, feed, now, None, Limits::default()) => reading,
                () = stop.cancelled() => return,
            };
            match reading {
                // Another server is at it.
                Ok(_) | Err(Error::Busy) => {}
                Err(problem) => error!(feed = %feed.name, "{problem}"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Reads a feed now. `accept`: who has looked at what was held back, and wants it used.
pub async fn read_now(app: &App, name: &str, accept: Option<&Actor>) -> Result<Reading, Error> {
    read_within(app, name, accept, Timestamp::now(), Limits::default()).await
}

/// As [`read_now`], at a time and within limits.
pub async fn read_within(
    app: &App,
    name: &str,
    accept: Option<&Actor>,
    now: Timestamp,
    limits: Limits,
) -> Result<Reading, Error> {
    let Some(feed) = app.config.feeds.iter().find(|feed| feed.name == name) else {
        let like = |feed: &&config::Feed| strsim::damerau_levenshtein(&feed.name, name);
        let remedy = app.config.feeds.iter().min_by_key(like).map_or_else(
            || "none is configured: name one under [[feed]]".to_owned(),
            |near| format!("the nearest is \"{}\"", near.name),
        );
        return Err(Error::Unknown { name: name.to_owned(), remedy });
    };
    read_feed(app, feed, now, accept, limits).await
}

/// When a feed is to be asked again.
fn due(feed: &config::Feed, state: Option<&State>) -> Timestamp {
    let Some(asked) = state.and_then(|state| state.asked) else { return Timestamp::MIN };
    let minutes = i64::from(feed.every_minutes.max(1));
    // The same for every server, another for every feed and time.
    let digest = Sha256::digest(format!("{} {asked}", feed.name));
    let share = i64::from(digest.first().copied().unwrap_or_default());
    let late = minutes * 60 * JITTER_PERCENT * share / (100 * 256);
    let wait = SignedDuration::from_mins(minutes) + SignedDuration::from_secs(late);
    asked.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

async fn read_feed(
    app: &App,
    feed: &config::Feed,
    now: Timestamp,
    accept: Option<&Actor>,
    limits: Limits,
) -> Result<Reading, Error> {
    if feed.name.starts_with(RESERVED) {
        return Err(Error::Reserved(feed.name.clone()));
    }
    let holder = uuid::Uuid::now_v7().to_string();
    // The lease's clock is the machine's, whatever time the reading is told.
    let lease =
        leases::acquire(&app.store, Timestamp::now(), ROLE, &holder, LEASE).await?.ok_or(Error::Busy)?;
    let trace = info_span!(target: TARGET, "read feed", feed = feed.name);
    let done = tokio::select! {
        done = with_lease(app, feed, now, accept, limits, &lease).instrument(trace) => done,
        lost = renewed(&app.store, &lease) => Err(lost),
    };
    leases::release(&app.store, &lease).await?;
    done
}

/// Renews a lease for ever; ends when it is lost.
async fn renewed(store: &Store, lease: &Lease) -> Error {
    loop {
        tokio::time::sleep(LEASE.unsigned_abs() / 3).await;
        match leases::renew(store, Timestamp::now(), lease, LEASE).await {
            Ok(true) => {}
            Ok(false) => return Error::Busy,
            Err(problem) => return problem.into(),
        }
    }
}

async fn with_lease(
    app: &App,
    feed: &config::Feed,
    now: Timestamp,
    accept: Option<&Actor>,
    limits: Limits,
    lease: &Lease,
) -> Result<Reading, Error> {
    let location = Location::parse(&feed.location);
    let mut state = feeds::get(&app.store, &feed.name).await?.unwrap_or_default();
    let moved = state.location != location.to_string();
    // What a person accepts is read even if it is what it was, and so is another place.
    let before = if accept.is_some() || moved { Marks::default() } else { marks(&state) };
    let had = alarm::read(&state.alarm);
    state.location = location.to_string();
    state.asked = Some(now);
    let fetched = {
        let (location_told, room) = (location.to_string(), room(&app.config));
        let location = location.clone();
        off_thread(move || fetch::fetch(&location, &before, limits, &room))
            .instrument(info_span!(target: TARGET, "fetch", otel.kind = "client", url = %location_told))
            .await
    };
    let reading = match fetched {
        Err(reason) => {
            let failing = *state.failing.get_or_insert(now);
            let mut alarms: Vec<Alarm> = had.iter().filter(|alarm| !fades(alarm)).cloned().collect();
            alarms.extend(alarm::unreachable(failing, &reason, feed, now));
            alarms.extend(alarm::stale(state.newest, feed, now));
            let problem = Problem::new("fetch feed", location.to_string(), &reason);
            warn!(feed = %feed.name, "{problem}");
            state.problems = vec![problem.remedy("what was known stays; it is tried again on schedule")];
            Reading { outcome: Outcome::Failed(reason), alarms }
        }
        Ok(Fetched::Unchanged) => {
            state.failing = None;
            let mut alarms: Vec<Alarm> = had.iter().filter(|alarm| !fades(alarm)).cloned().collect();
            alarms.extend(alarm::stale(state.newest, feed, now));
            Reading { outcome: Outcome::Unchanged, alarms }
        }
        Ok(fetched) => {
            state.failing = None;
            take(app, feed, &location, now, accept, lease, &mut state, fetched).await?
        }
    };
    finish(app, feed, now, accept, lease, state, &had, &reading).await?;
    Ok(reading)
}

/// Whether an alarm is judged anew whenever a feed is asked; others stand until it is read again.
fn fades(alarm: &Alarm) -> bool {
    match alarm.wrong {
        Wrong::Unreachable | Wrong::Stale => true,
        Wrong::Unreadable | Wrong::Truncated | Wrong::Shrunken | Wrong::RolledBack => false,
    }
}

/// Reads what was fetched, and stores what may be used of it.
#[expect(clippy::too_many_arguments, reason = "all that a reading is about, once")]
async fn take(
    app: &App,
    feed: &config::Feed,
    location: &Location,
    now: Timestamp,
    accept: Option<&Actor>,
    lease: &Lease,
    state: &mut State,
    fetched: Fetched,
) -> Result<Reading, Error> {
    let known = store::advisories::known(&app.store, &feed.name).await?;
    let (name, release) = (location.to_string(), release(&feed.release));
    let (marks, changes, summary, said, problems) = off_thread(move || {
        let (read, marks) = read(&name, fetched, release.as_ref());
        let newest = fetch::newest(&read);
        let Feed { advisories, mut signals, lifecycle, problems, truncated } = read;
        let lifecycle_records = lifecycle.releases.len() + lifecycle.ended.len() + lifecycle.limited.len();
        let records = advisories.len() + signals.kev.len() + signals.epss.len() + lifecycle_records;
        // They are in the advisories.
        signals.cvss.clear();
        let changes = Changes::new(advisories, &known);
        let summary = Summary {
            records: i64::try_from(records).unwrap_or(i64::MAX),
            newest,
            truncated,
            problem: problems.last().map(ToString::to_string).unwrap_or_default(),
            older: changes.older(),
        };
        (marks, changes, summary, Signalled { signals, lifecycle }, problems)
    })
    .instrument(info_span!(target: TARGET, "read"))
    .await;
    let judged = alarm::judge(state, &summary, feed, now, accept.is_some());
    let (begun, ended) = changes
        .allowed(&judged)
        .write(&app.store, &app.told, lease, &feed.name, now)
        .instrument(info_span!(target: TARGET, "store"))
        .await?;
    state.problems = problems;
    state.problems.truncate(PROBLEMS_MAX);
    (state.etag, state.modified, state.sha256) = (marks.etag, marks.modified, marks.sha256);
    if judged.add {
        state.read = Some(now);
        let held_back = !judged.remove;
        state.records = if held_back { state.records.max(summary.records) } else { summary.records };
        state.newest = if accept.is_some() { summary.newest } else { summary.newest.max(state.newest) };
    }
    if judged.add && judged.age && judged.remove && said != Signalled::default() {
        let mut writing = app.store.begin().await?;
        if !leases::hold(&mut writing, lease).await? {
            return Err(Error::Busy);
        }
        feeds::set_signals(&mut writing, &feed.name, &said).await?;
        store::commit(writing, "store a feed's signals").await?;
    }
    Ok(Reading { outcome: Outcome::Read { begun, ended }, alarms: judged.alarms })
}

/// Stores what became of a feed; tells of alarms that were raised or are gone.
#[expect(clippy::too_many_arguments, reason = "all that a reading is about, once")]
async fn finish(
    app: &App,
    feed: &config::Feed,
    now: Timestamp,
    accept: Option<&Actor>,
    lease: &Lease,
    mut state: State,
    had: &[Alarm],
    reading: &Reading,
) -> Result<(), Error> {
    let name = feed.name.as_str();
    let has = |alarms: &[Alarm], wrong: Wrong| alarms.iter().any(|alarm| alarm.wrong == wrong);
    let raised: Vec<&Alarm> = reading.alarms.iter().filter(|alarm| !has(had, alarm.wrong)).collect();
    let cleared: Vec<&Alarm> = had.iter().filter(|alarm| !has(&reading.alarms, alarm.wrong)).collect();
    for alarm in &raised {
        warn!(feed = %name, "alarm: {alarm}");
    }
    for alarm in &cleared {
        info!(feed = %name, "no longer {}", alarm.wrong.word());
    }
    state.alarm = alarm::text(&reading.alarms);
    let mut writing = app.store.begin().await?;
    if !leases::hold(&mut writing, lease).await? {
        return Err(Error::Busy);
    }
    feeds::set(&mut writing, name, &state).await?;
    if let Some(actor) = accept {
        let detail = json!({ "records": state.records, "alarms": had.iter().map(ToString::to_string).collect::<Vec<_>>() });
        audit::record(&mut writing, now, actor, "feed.accept", name, detail).await?;
    }
    let (begun, ended) = match reading.outcome {
        Outcome::Read { begun, ended } => (begun, ended),
        Outcome::Unchanged | Outcome::Failed(_) => (0, 0),
    };
    let is_news = begun + ended + raised.len() + cleared.len() > 0 || accept.is_some();
    if is_news {
        let words = |alarms: &[&Alarm]| alarms.iter().map(|alarm| alarm.wrong.word()).collect::<Vec<_>>();
        let told = json!({
            "begun": begun, "ended": ended, "raised": words(&raised), "cleared": words(&cleared), "alarm": state.alarm,
        });
        events::tell(&mut writing, now, Kind::Feed, name, &told).await?;
        info!(feed = %name, "read: {begun} records new or changed, {ended} gone");
    }
    store::commit(writing, "store a feed's state").await?;
    if is_news {
        app.told.notify_waiters();
    }
    Ok(())
}

fn marks(state: &State) -> Marks {
    Marks { etag: state.etag.clone(), modified: state.modified.clone(), sha256: state.sha256.clone() }
}

/// Where downloads lie: beside the data, which has room; memory may be what the system has for temporary files.
fn room(config: &config::Config) -> PathBuf {
    if config.server.data.is_dir() { config.server.data.clone() } else { std::env::temp_dir() }
}

/// `almalinux:9`; none where a feed says for itself which release it is for.
fn release(text: &str) -> Option<Release> {
    let (id, version) = text.split_once(':')?;
    Some(Release::new(Family::from_os_release_id(id), version))
}

fn read(name: &str, fetched: Fetched, release: Option<&Release>) -> (Feed, Marks) {
    match fetched {
        Fetched::Unchanged => (Feed::default(), Marks::default()),
        Fetched::File(file, marks) => (format::read(None, name, BufReader::new(file), release), marks),
        Fetched::Files(files, marks) => {
            let mut whole = Feed::default();
            for path in files {
                let part = read_file(&path, release);
                whole.advisories.extend(part.advisories);
                whole.signals.merge(part.signals);
                whole.lifecycle.merge(part.lifecycle);
                whole.problems.extend(part.problems);
                whole.truncated |= part.truncated;
            }
            (whole, marks)
        }
    }
}

fn read_file(path: &Path, release: Option<&Release>) -> Feed {
    let name = path.to_string_lossy();
    match File::open(path) {
        Ok(file) => format::read(None, &name, BufReader::new(file), release),
        // What it held is not known: the rest is a part only.
        Err(error) => Feed {
            problems: vec![Problem::new("open feed", name, error)],
            truncated: true,
            ..Feed::default()
        },
    }
}
