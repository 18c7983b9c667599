//! The fleet against all bulletins, in memory. Takes events of the store; gives findings. Every server has it; one of them,
//! the `matcher`, stores the findings as intervals.
//!
//! Events say what changed, not how: the state is read anew from the store, so that events may come twice or late, and
//! several at once cost no more than the last.

mod cold;
mod doctor;
mod keys;
mod lookup;
mod matcher;
mod pieces;
mod state;

pub use doctor::{Difference, doctor};
pub use lookup::{Affected, Lookup};
pub use state::Finding;

use crate::App;
use crate::store::advisories::{self, Packed};
use crate::store::events::{self, Event, Kind};
use crate::store::findings;
use crate::store::inventories::{self, Stored};
use crate::store::leases::{self, Lease};
use crate::store::{Doing, Store};
use crate::task::off_thread;
use crate::traces::TARGET;
use jiff::{SignedDuration, Timestamp};
use keys::Key;
use matcher::{Matcher, Written};
use rayon::prelude::*;
use roaring::RoaringBitmap;
use sqlx::Row;
use state::{Known, State, Touched};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error, info, info_span, warn};

/// What can go wrong: only the store.
pub use crate::store::Error;

/// The matcher's role.
const ROLE: &str = "matcher";
/// It lasts so long without renewal.
const LEASE: SignedDuration = SignedDuration::from_secs(30);
/// It is renewed so often.
const RENEWED_EVERY: SignedDuration = SignedDuration::from_secs(10);
/// Events taken at once.
const EVENTS_AT_ONCE: i64 = 500;
/// How long to wait for events when nobody rings.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The fleet. Shared; locks by itself.
#[derive(Debug)]
pub struct Fleet {
    store: Store,
    told: Arc<Notify>,
    /// This process, in the lease.
    holder: String,
    state: Arc<RwLock<State>>,
    role: Mutex<Role>,
}

/// Who writes, and what is still to be written. Held while events are taken, so that they are taken in order.
#[derive(Debug)]
struct Role {
    matching: Matching,
    pending: Touched,
    renewed: Timestamp,
}

#[derive(Debug)]
enum Matching {
    /// Another server matches.
    Elsewhere,
    /// This server is to match; what is open must be read first.
    Unread(Lease),
    /// This server matches.
    Here(Box<Matcher>),
}

/// Follows events, and matches if nobody else does, until it is stopped. Problems are logged, and the work is tried again.
pub async fn run(app: Arc<App>, fleet: Arc<Fleet>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let told = app.told.notified();
        let more = match fleet.step(Timestamp::now()).await {
            Ok(more) => more,
            Err(problem) => {
                error!("match the fleet: {problem}");
                false
            }
        };
        if !more {
            tokio::select! {
                () = told => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    if let Err(problem) = fleet.rest().await {
        warn!("give up matching: {problem}; another server takes over in {} s", LEASE.as_secs());
    }
}

impl Fleet {
    /// Reads the fleet from the store.
    pub async fn start(app: &App) -> Result<Arc<Self>, Error> {
        let state = cold::read(&app.store).await?;
        info!("the fleet has {} hosts and {} advisories", state.hosts.len(), state.keys.ids().count());
        Ok(Arc::new(Self {
            store: app.store.clone(),
            told: Arc::clone(&app.told),
            holder: uuid::Uuid::now_v7().to_string(),
            state: Arc::new(RwLock::new(state)),
            role: Mutex::new(Role {
                matching: Matching::Elsewhere,
                pending: Touched::default(),
                renewed: Timestamp::MIN,
            }),
        }))
    }

    /// Takes events that are there, and matches; whether there may be more.
    pub async fn step(&self, now: Timestamp) -> Result<bool, Error> {
        self.tend(now).await?;
        let seq = self.seq();
        let events = events::after(&self.store, seq, EVENTS_AT_ONCE).await?;
        // Looking whether something is pending is no matching.
        let trace = match events.len() {
            0 => Span::none(),
            count => info_span!(target: TARGET, "match", events = count, after = seq),
        };
        self.follow(now, &events).instrument(trace).await?;
        Ok(!events.is_empty())
    }

    /// Takes events, which must be in order and without gaps; those taken before are passed over. If this server matches,
    /// the findings that they change are stored when it returns.
    pub async fn follow(&self, now: Timestamp, events: &[Event]) -> Result<(), Error> {
        let mut role = self.role.lock().await;
        let seq = self.seq();
        let mut hosts = BTreeSet::new();
        let mut reported = BTreeSet::new();
        let mut feeds: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for event in events.iter().filter(|event| event.seq > seq) {
            match event.kind {
                Kind::Host => _ = hosts.insert(event.object.as_str()),
                Kind::Inventory => _ = reported.insert(event.object.as_str()),
                Kind::Advisories => {
                    let ids = event.detail["ids"].as_array().into_iter().flatten();
                    let ids = ids.filter_map(|id| id.as_str().map(str::to_owned));
                    feeds.entry(&event.object).or_default().extend(ids);
                }
                Kind::Feed | Kind::Findings | Kind::Access | Kind::Plan | Kind::Rollout | Kind::Census => {}
            }
        }
        hosts.extend(&reported);
        for id in hosts {
            let touched = self.take_host(id).await?;
            role.pending.merge(touched);
        }
        for (feed, ids) in feeds.into_iter().filter(|(feed, _)| !matcher::is_of_hosts(feed)) {
            let ids: Vec<String> = ids.into_iter().collect();
            for some in ids.chunks(advisories::WRITTEN_AT_ONCE) {
                let touched = self.take_advisories(feed, some).await?;
                role.pending.merge(touched);
            }
        }
        if let Some(last) = events.last() {
            self.write_state(|state| state.seq = state.seq.max(last.seq));
        }
        self.settle(now, &mut role).await
    }

    /// Takes the matcher's role if nobody has it, or keeps it.
    pub async fn tend(&self, now: Timestamp) -> Result<(), Error> {
        let mut role = self.role.lock().await;
        let lease = match &role.matching {
            Matching::Elsewhere => {
                let lease = leases::acquire(&self.store, now, ROLE, &self.holder, LEASE).await?;
                let Some(lease) = lease else { return Ok(()) };
                info!("this server matches the fleet from now on");
                role.renewed = now;
                role.matching = Matching::Unread(lease.clone());
                lease
            }
            Matching::Unread(lease) => lease.clone(),
            Matching::Here(matcher) => matcher.lease.clone(),
        };
        if now.duration_since(role.renewed).abs() >= RENEWED_EVERY {
            if !leases::renew(&self.store, now, &lease, LEASE).await? {
                role.lose();
                return Ok(());
            }
            role.renewed = now;
        }
        if matches!(role.matching, Matching::Unread(_)) {
            let matcher = Box::new(Matcher::new(&self.store, lease).await?);
            let (matcher, touched) = self
                .with_state(move |state| {
                    let touched = matcher.differences(state);
                    (matcher, touched)
                })
                .await;
            role.matching = Matching::Here(matcher);
            role.pending = touched;
            self.settle(now, &mut role).await?;
        }
        Ok(())
    }

    /// Whether this server stores the findings.
    pub async fn matches(&self) -> bool {
        matches!(self.role.lock().await.matching, Matching::Here(_))
    }

    /// Gives the matcher's role up, so that another server need not wait.
    pub async fn rest(&self) -> Result<(), Error> {
        let mut role = self.role.lock().await;
        let lease = match std::mem::replace(&mut role.matching, Matching::Elsewhere) {
            Matching::Elsewhere => return Ok(()),
            Matching::Unread(lease) => lease,
            Matching::Here(matcher) => matcher.lease,
        };
        role.pending = Touched::default();
        leases::release(&self.store, &lease).await
    }

    /// What is not clean on a host, by its number, sorted.
    pub fn findings_of(&self, number: u32) -> Vec<Finding> {
        self.read_state(|state| state.findings_of(number).into_iter().collect())
    }

    /// The same as stored, with evidence and since when; those that the matcher has not stored yet are left out.
    pub async fn stored_findings_of(&self, number: u32) -> Result<Vec<findings::Finding>, Error> {
        let now = self.findings_of(number);
        let among = now.iter().map(|finding| (&*finding.advisory, finding.package.as_str(), finding.plight));
        let mut stored = findings::open_among(&self.store, number, among).await?;
        stored.sort_unstable();
        Ok(stored)
    }

    /// The hosts, by number, that an advisory, or one that closes this CVE, affects.
    pub fn affected(&self, id: &str) -> RoaringBitmap {
        self.read_state(|state| state.affected(id))
    }

    /// The last event that is taken.
    pub fn seq(&self) -> i64 {
        self.read_state(|state| state.seq)
    }

    /// How many hosts have an inventory.
    pub fn hosts(&self) -> u64 {
        self.read_state(|state| state.index.hosts().len())
    }

    /// Writes what is pending, if this server matches.
    async fn settle(&self, now: Timestamp, role: &mut Role) -> Result<(), Error> {
        if role.pending.is_empty() {
            return Ok(());
        }
        let matcher = match std::mem::replace(&mut role.matching, Matching::Elsewhere) {
            Matching::Here(matcher) => matcher,
            // Whoever matches compares everything first.
            waiting @ (Matching::Elsewhere | Matching::Unread(_)) => {
                role.matching = waiting;
                role.pending = Touched::default();
                return Ok(());
            }
        };
        let lease = matcher.lease.clone();
        let touched = std::mem::take(&mut role.pending);
        let writing = self.write(now, matcher, touched);
        match writing.instrument(info_span!(target: TARGET, "store findings")).await {
            Ok((_, Written::Lost)) => {
                role.lose();
                Ok(())
            }
            Ok((matcher, written)) => {
                role.matching = Matching::Here(matcher);
                if written == Written::Yes {
                    self.told.notify_waiters();
                }
                Ok(())
            }
            Err(problem) => {
                // How far it came is not known: what is open is read again.
                role.matching = Matching::Unread(lease);
                Err(problem)
            }
        }
    }

    async fn write(
        &self,
        now: Timestamp,
        matcher: Box<Matcher>,
        touched: Touched,
    ) -> Result<(Box<Matcher>, Written), Error> {
        let (mut matcher, deltas, wanted, said) = self
            .with_state(move |state| {
                let deltas = matcher.deltas(state, &touched);
                let wanted = matcher::texts_of(state, &deltas);
                let text = |key: Key| {
                    let text = state.keys.text(&key).cloned();
                    (key, text)
                };
                let said: Vec<_> = touched.said.into_iter().map(text).collect();
                (matcher, deltas, wanted, said)
            })
            .await;
        let mut texts = HashMap::new();
        for (feed, keys) in wanted {
            let ids: Vec<String> = keys.keys().cloned().collect();
            for some in ids.chunks(advisories::WRITTEN_AT_ONCE) {
                let packed = advisories::of_feed(&self.store, &feed, some).await?;
                for current in off_thread(move || opened(&packed)).await {
                    let advisory = current.advisory;
                    let key = keys::key(&advisory.id, &current.hash);
                    if keys.get(&advisory.id) == Some(&key) {
                        texts.insert(key, advisory);
                    }
                }
            }
        }
        let (deltas, worded) = self
            .with_state(move |state| {
                let worded = matcher::worded(state, &deltas, &texts);
                (deltas, worded)
            })
            .await;
        let written = matcher.write(&self.store, now, deltas, worded, said).await?;
        Ok((matcher, written))
    }

    async fn take_host(&self, id: &str) -> Result<Touched, Error> {
        let row = sqlx::query(
            "SELECT h.number, h.state, i.hash FROM hosts h \
             LEFT JOIN inventories i ON i.host = h.id AND i.until_at IS NULL WHERE h.id = $1",
        )
        .bind(id.to_owned())
        .fetch_optional(self.store.reader())
        .await
        .doing("read a host")?;
        let is_part = |row: &sqlx::any::AnyRow| row.get::<&str, _>(1) != "revoked";
        let hash = row.as_ref().filter(|row| is_part(row)).and_then(|row| row.get::<Option<String>, _>(2));
        let id = id.to_owned();
        let (Some(row), Some(hash)) = (row, hash) else {
            return Ok(self.change_state(move |state| state.host_is_gone(&id)).await);
        };
        let Ok(number) = u32::try_from(row.get::<i64, _>(0)) else { return Ok(Touched::default()) };
        let known = Known { number, hash };
        if self.read_state(|state| state.hosts.get(&id) == Some(&known)) {
            return Ok(Touched::default());
        }
        match inventories::current(&self.store, &id).await {
            Ok(Some(Stored { hash, inventory, closes, .. })) => {
                let known = Known { hash, ..known };
                let take =
                    move |state: &mut State| state.host_has(&id, known, &inventory, &cold::hashed(&closes));
                Ok(self.change_state(take).await)
            }
            Ok(None) => Ok(self.change_state(move |state| state.host_is_gone(&id)).await),
            // One damaged inventory must not stop the others; what was known of the host stays.
            Err(problem @ Error::Damaged { .. }) => {
                error!(host.id = %id, "{problem}");
                Ok(Touched::default())
            }
            Err(problem) => Err(problem),
        }
    }

    async fn take_advisories(&self, feed: &str, ids: &[String]) -> Result<Touched, Error> {
        let packed = advisories::of_feed(&self.store, feed, ids).await?;
        let (feed, ids) = (feed.to_owned(), ids.to_vec());
        let take = move |state: &mut State| {
            let now: HashMap<String, _> =
                opened(&packed).into_iter().map(|current| (current.advisory.id.clone(), current)).collect();
            let mut touched = Touched::default();
            for id in &ids {
                let now = now.get(id).map(|current| (current.hash.as_str(), &current.advisory));
                touched.merge(state.feed_says(&feed, id, now));
            }
            touched
        };
        Ok(self.change_state(take).await)
    }

    /// The state, for a moment.
    fn read_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write_state(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The state, for work that takes milliseconds.
    async fn with_state<T: Send + 'static>(&self, look: impl FnOnce(&State) -> T + Send + 'static) -> T {
        let state = Arc::clone(&self.state);
        off_thread(move || look(&state.read().unwrap_or_else(PoisonError::into_inner))).await
    }

    async fn change_state<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> T {
        let state = Arc::clone(&self.state);
        off_thread(move || change(&mut state.write().unwrap_or_else(PoisonError::into_inner))).await
    }
}

impl Role {
    fn lose(&mut self) {
        info!("another server matches the fleet now");
        self.matching = Matching::Elsewhere;
        self.pending = Touched::default();
    }
}

/// Opens what can be opened; the rest is told.
fn opened(packed: &[Packed]) -> Vec<advisories::Current> {
    let open = |packed: &Packed| packed.open().map_err(|problem| error!("{problem}")).ok();
    packed.par_iter().filter_map(open).collect()
}
