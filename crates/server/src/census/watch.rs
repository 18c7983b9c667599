//! Looks at what was added up, on one server at a time: findings under attack, signatures that grow or are new, and, once a
//! day, what comes of each signature.

use super::{hour_of, moment_of};
use crate::app::App;
use crate::store::census::{self, DAY_HOURS, Kept, Kind, Windows};
use crate::store::leases::{self, Lease};
use crate::store::{Error, commit, events};
use crate::task::off_thread;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use traffic::census::growth;
use traffic::forecast::{self, Asked, Calendar, Series};
use traffic::rules;

/// The role's name, and how long it is kept without being renewed.
const ROLE: &str = "census";
const LEASED: SignedDuration = SignedDuration::from_secs(60);
/// How often it is looked whether anything changed.
const EVERY: Duration = Duration::from_secs(5);
/// Seconds after an hour's end within which its hosts tell of it: growth is looked for then.
const TELLING_SECONDS: i64 = 600;
/// Windows before the last one: two of each weekday.
const WINDOWS_BEFORE: usize = 14;
/// A single host's sources that are enough without a second host: three times what growth needs.
const ALONE_SOURCES_MIN: u64 = 30;
/// For how long a signature is told as new; and how long the fleet must have counted before one can be.
const NEW_DAYS: i64 = 7;
/// Days ahead that an outlook tells, and sources a day below which an attack is over: as the command does.
const AHEAD_DAYS: u32 = 28;
const OVER_BELOW: f64 = 1.0;
/// Signatures not seen for so long get no outlook any more.
const OUTLOOK_DAYS: i64 = 90;
/// The same days get the same answer.
const SEED: u64 = 1;

/// The watch of one server.
#[derive(Debug)]
pub struct Watch {
    app: Arc<App>,
    holder: String,
    lease: Option<Lease>,
    /// Revision of the counts, the last event and the hour that findings were last compared with.
    compared: Option<(i64, i64, i64)>,
    /// The hour before which growth was last looked for.
    looked: Option<i64>,
}

/// When signatures are awake, as our own rules tell; those of hosts' own rules are not known here.
static CALENDARS: LazyLock<BTreeMap<String, Calendar>> = LazyLock::new(|| {
    let told = rules::own().into_iter().map(|rule| rule.signature);
    told.filter_map(|signature| Some((signature.id, signature.calendar?))).collect()
});

/// Watches until it is stopped. Problems are logged; the next time is the retry.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut watch = Watch::new(app);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
        match watch.step(Timestamp::now()).await {
            Ok(false) => {}
            Ok(true) => {
                if let Err(problem) = watch.outlook(Timestamp::now()).await {
                    tracing::warn!("forecast the census: {problem}");
                }
            }
            Err(problem) => tracing::warn!("watch the census: {problem}"),
        }
    }
    if let Some(lease) = watch.lease.take() {
        // Without it another server waits until the role runs out.
        let _ = leases::release(&watch.app.store, &lease).await;
    }
}

impl Watch {
    /// Of a server.
    pub fn new(app: Arc<App>) -> Self {
        Self { app, holder: uuid::Uuid::now_v7().to_string(), lease: None, compared: None, looked: None }
    }

    /// Looks once; false: another server does it.
    pub async fn step(&mut self, now: Timestamp) -> Result<bool, Error> {
        let store = &self.app.store;
        if let Some(lease) = self.lease.take()
            && leases::renew(store, now, &lease, LEASED).await?
        {
            self.lease = Some(lease);
        } else {
            self.lease = leases::acquire(store, now, ROLE, &self.holder, LEASED).await?;
            (self.compared, self.looked) = (None, None);
        }
        let Some(lease) = self.lease.clone() else { return Ok(false) };
        let changed = self.compare(&lease, now).await?;
        let alarmed = self.look_for_growth(&lease, now).await?;
        if changed || alarmed {
            self.app.told.notify_waiters();
        }
        Ok(true)
    }

    /// Compares attempts with findings, if either changed.
    async fn compare(&mut self, lease: &Lease, now: Timestamp) -> Result<bool, Error> {
        let store = &self.app.store;
        let at = (census::revision(store).await?, events::last(store).await?, hour_of(now));
        if self.compared == Some(at) {
            return Ok(false);
        }
        let attacked = census::attacked_now(store, now).await?;
        let new = self.new_ones(now).await?;
        let mut writing = store.begin().await?;
        if !leases::hold(&mut writing, lease).await? {
            return Ok(false);
        }
        let changed = census::settle_attacked(&mut writing, now, &attacked).await?
            | census::settle_alarms(&mut writing, now, Kind::New, &new).await?;
        if changed {
            commit(writing, "store what is under attack").await?;
        }
        // What we told ourselves comes round once more, and changes nothing.
        self.compared = Some(at);
        Ok(changed)
    }

    /// Signatures that came lately to a fleet that has counted for a while.
    async fn new_ones(&self, now: Timestamp) -> Result<BTreeMap<String, Value>, Error> {
        let store = &self.app.store;
        let Some(first_day) = census::first_day(store).await? else { return Ok(BTreeMap::new()) };
        let settled = (first_day + NEW_DAYS) * DAY_HOURS;
        let since = (hour_of(now) - NEW_DAYS * DAY_HOURS).max(settled);
        let new = census::since(store, since).await?;
        Ok(new.into_iter().map(|(name, hour)| (name, json!({ "first_seen": moment_of(hour) }))).collect())
    }

    /// Looks for growth, once an hour.
    async fn look_for_growth(&mut self, lease: &Lease, now: Timestamp) -> Result<bool, Error> {
        // The hours before this one are told by now.
        let end = (now.as_second() - TELLING_SECONDS).div_euclid(3_600);
        if self.looked == Some(end) {
            return Ok(false);
        }
        let store = &self.app.store;
        let windows = census::windows(store, end, WINDOWS_BEFORE).await?;
        let growing = growing(&windows);
        let mut writing = store.begin().await?;
        if !leases::hold(&mut writing, lease).await? {
            return Ok(false);
        }
        let changed = census::settle_alarms(&mut writing, now, Kind::Growing, &growing).await?;
        if changed {
            commit(writing, "store what grows").await?;
        }
        self.looked = Some(end);
        Ok(changed)
    }

    /// Makes the outlook of one signature whose day is over; false: there is none left.
    pub async fn outlook(&mut self, now: Timestamp) -> Result<bool, Error> {
        let store = &self.app.store;
        // Yesterday is told by the end of today's first hour.
        let today = (hour_of(now) - 1).div_euclid(DAY_HOURS);
        let due = census::outlooks_due(store, today, today - OUTLOOK_DAYS, 1).await?;
        let Some(name) = due.first() else { return Ok(false) };
        let first = today - i64::from(self.app.config.census.days);
        let requests = census::requests(store, first, today - 1).await?;
        let outlook = match census::signature(store, (first, today - 1), name).await? {
            None => Value::Null,
            Some((signature, _)) => {
                let series = series(&requests, &signature, today);
                let calendar = CALENDARS.get(name).cloned().unwrap_or_default();
                let asked = Asked { below: OVER_BELOW, horizon_days: AHEAD_DAYS, calendar };
                // Some seconds of a core at most.
                let told =
                    off_thread(move || series.map(|series| forecast::forecast(&series, &asked, SEED))).await;
                json!(told)
            }
        };
        census::put_outlook(store, name, today, &outlook).await?;
        Ok(true)
    }
}

/// Deletes what is past.
pub(crate) async fn prune(app: &App, now: Timestamp) -> Result<(), Error> {
    let settings = app.config.census;
    census::prune(&app.store, now, Kept { hours_days: settings.hours_days, days: settings.days }).await
}

/// Signatures that start to grow, with their figures. The days before are what they would have been with as many hosts as now: a
/// fleet that grows is no attack.
#[allow(clippy::cast_precision_loss, reason = "hosts and sources are far fewer than 2^52")]
fn growing(windows: &Windows) -> BTreeMap<String, Value> {
    let hosts_now = windows.hosts.first().copied().unwrap_or(0) as f64;
    let grows = |(name, seen): (&String, &census::Seen)| {
        let last = *seen.sources.first()?;
        if seen.hosts < 2 && last < ALONE_SOURCES_MIN {
            return None;
        }
        let before: Vec<f64> = seen
            .sources
            .iter()
            .zip(&windows.hosts)
            .skip(1)
            .filter(|(_, hosts)| **hosts > 0)
            .map(|(sources, hosts)| *sources as f64 * (hosts_now / *hosts as f64).max(1.0))
            .collect();
        let growth = growth::growth(last, &before)?;
        let figures = json!({
            "sources": last, "usual": (growth.usual * 10.0).round() / 10.0, "hosts": seen.hosts,
            "errors": (growth.errors * 10.0).round() / 10.0,
        });
        Some((name.clone(), figures))
    };
    windows.signatures.iter().filter_map(grows).collect()
}

/// A signature's days as the forecast takes them, up to the day before `today`. A day of which no host told anything is a gap;
/// the first one counts as not observed, for it is seldom whole. `None`: nothing was observed.
fn series(requests: &[census::Requests], signature: &census::Signature, today: i64) -> Option<Series> {
    let first = requests.first()?.day;
    let observed: BTreeMap<i64, i64> = requests.iter().map(|day| (day.day, day.requests)).collect();
    let own: BTreeMap<i64, (u64, i64)> =
        signature.days.iter().map(|day| (day.day, (day.sources, day.attempts))).collect();
    let of = |count: &dyn Fn(&(u64, i64)) -> u64| -> Vec<Option<u32>> {
        (first..today)
            .map(|day| {
                let is_seen = day > first && observed.get(&day).is_some_and(|requests| *requests > 0);
                let counted = own.get(&day).map_or(0, count);
                is_seen.then(|| u32::try_from(counted).unwrap_or(u32::MAX))
            })
            .collect()
    };
    Some(Series {
        first_day: date_of(first),
        sources: of(&|day| day.0),
        attempts: of(&|day| day.1.unsigned_abs()),
    })
}

/// The date of a day since 1970.
pub(crate) fn date_of(day: i64) -> jiff::civil::Date {
    jiff::civil::date(1970, 1, 1).saturating_add(day.clamp(-1_000_000, 1_000_000).days())
}
