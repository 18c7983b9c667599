//! A fleet from the store, for a server that starts and for the doctor. Takes inventories and advisories in pages; gives the
//! state that following every event would have given.

use super::Error;
use super::keys::{Keys, News};
use super::matcher::is_of_hosts;
use super::state::{Known, State, under};
use crate::store::inventories::{self, Current};
use crate::store::{Doing, Store, advisories, events};
use crate::task::off_thread;
use advisory::{Advisory, Release};
use exposure::index::{HostRows, Index, Snapshot};
use exposure::judge::Installed;
use rayon::prelude::*;
use sqlx::Row;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::error;

/// Hosts read at once: 500 × 600 packages × 500 bytes = 150 MB for a moment.
const HOSTS_AT_ONCE: i64 = 500;
/// Advisories between the store and the index.
const ADVISORIES_AHEAD: usize = 4_096;
/// Hosts in one reading of their rows.
const ROWS_AT_ONCE: i64 = 10_000;

/// Reads the whole fleet.
pub(super) async fn read(store: &Store) -> Result<State, Error> {
    // Before anything else: what changes while we read comes again as an event.
    let seq = events::last(store).await?;
    let mut hosts = hosts(store).await?;
    let mut gathered = Gathered::new();
    let mut pages = inventories::all_current(store, HOSTS_AT_ONCE);
    loop {
        let mut page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        page.retain(|current| hosts.contains_key(&current.host));
        gathered = off_thread(move || gathered.with(page)).await;
    }
    hosts.retain(|_, known| !gathered.damaged.contains(&known.number));
    for (id, hash) in std::mem::take(&mut gathered.hashes) {
        if let Some(known) = hosts.get_mut(&id) {
            known.hash = hash;
        }
    }
    let (sender, mut receiver) = mpsc::channel::<Advisory>(ADVISORIES_AHEAD);
    let building = tokio::task::spawn_blocking(move || {
        let Gathered { parts, closes, .. } = gathered;
        let snapshot = joined(parts);
        let mut keys = Keys::default();
        let mut said = Vec::new();
        for (number, closes) in closes {
            begun(keys.host_says(number, &closes), closes.iter().map(|(_, advisory)| advisory), &mut said);
        }
        let index = Index::rebuild(
            &snapshot,
            said.into_iter().chain(std::iter::from_fn(|| receiver.blocking_recv())),
        );
        (index, keys)
    });
    let mut feeds = Keys::default();
    let mut pages = advisories::all_current(store, None);
    let mut says = Vec::new();
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        let opened = off_thread(move || {
            let feeds = page.par_iter().filter(|packed| !is_of_hosts(packed.feed()));
            feeds.map(advisories::Packed::open).collect::<Vec<_>>()
        })
        .await;
        for current in opened {
            let current = match current {
                Ok(current) => current,
                Err(problem) => {
                    error!("{problem}");
                    continue;
                }
            };
            let advisory = &current.advisory;
            let mut new = Vec::new();
            let news = feeds.feed_says(&current.feed, &advisory.id, Some((&current.hash, advisory)));
            begun(news, [advisory], &mut new);
            says.push((current.feed, current.hash, stub(advisory)));
            for advisory in new {
                // Nobody listens any more: the join below tells why.
                if sender.send(advisory).await.is_err() {
                    break;
                }
            }
        }
    }
    drop(sender);
    let (index, mut keys) = match building.await {
        Ok(built) => built,
        Err(problem) => std::panic::resume_unwind(problem.into_panic()),
    };
    // What hosts say too is in the index twice under one key, which is once.
    for (feed, hash, advisory) in says {
        keys.feed_says(&feed, &advisory.id, Some((&hash, &advisory)));
    }
    Ok(State { index, keys, hosts, seq })
}

/// What [`Keys`] reads of an advisory, and no more: a feed's texts together are large.
fn stub(advisory: &Advisory) -> Advisory {
    let mut stub = Advisory::new(advisory.id.clone(), advisory.kind, Arc::clone(&advisory.document));
    stub.edges.clone_from(&advisory.edges);
    stub
}

fn begun<'a>(news: Vec<News>, texts: impl IntoIterator<Item = &'a Advisory>, into: &mut Vec<Advisory>) {
    let texts: Vec<&Advisory> = texts.into_iter().collect();
    for news in news {
        if let News::Begun(key) = news
            && let Some(text) = texts
                .iter()
                .find(|text| key.strip_prefix(text.id.as_str()).is_some_and(|rest| rest.starts_with('@')))
        {
            into.push(under(&key, text));
        }
    }
}

/// Hosts that are part of the fleet, by id.
pub(super) async fn hosts(store: &Store) -> Result<HashMap<String, Known>, Error> {
    let mut hosts = HashMap::new();
    let mut after = -1_i64;
    loop {
        let rows = sqlx::query(
            "SELECT number, id FROM hosts WHERE number > $1 AND state <> 'revoked' ORDER BY number LIMIT $2",
        )
        .bind(after)
        .bind(ROWS_AT_ONCE)
        .fetch_all(store.reader())
        .await
        .doing("read hosts")?;
        let Some(last) = rows.last() else { return Ok(hosts) };
        after = last.get(0);
        hosts.extend(rows.iter().filter_map(|row| {
            let number = u32::try_from(row.get::<i64, _>(0)).ok()?;
            Some((row.get(1), Known { number, hash: String::new() }))
        }));
    }
}

/// What the hosts' package managers say, each text with the hash of its content.
type Closes = Vec<(String, Advisory)>;

/// Hosts read so far. Each core has an index of its share, without advisories.
struct Gathered {
    parts: Vec<Index>,
    closes: Vec<(u32, Closes)>,
    hashes: Vec<(String, String)>,
    damaged: Vec<u32>,
}

impl Gathered {
    fn new() -> Self {
        let parts = (0..rayon::current_num_threads().max(1)).map(|_| Index::new()).collect();
        Self { parts, closes: Vec::new(), hashes: Vec::new(), damaged: Vec::new() }
    }

    fn with(mut self, page: Vec<Current>) -> Self {
        let mut sound = Vec::with_capacity(page.len());
        for current in page {
            match current.stored {
                Ok(stored) => {
                    self.hashes.push((current.host, stored.hash.clone()));
                    sound.push((current.number, stored));
                }
                Err(problem) => {
                    error!(host.id = %current.host, "{problem}");
                    self.damaged.push(current.number);
                }
            }
        }
        let share = sound.len().div_ceil(self.parts.len()).max(1);
        let closes: Vec<(u32, Closes)> = self
            .parts
            .par_iter_mut()
            .zip(sound.par_chunks(share))
            .flat_map_iter(|(part, hosts)| {
                hosts.iter().map(|(number, stored)| {
                    part.upsert_host(*number, &stored.inventory);
                    (*number, hashed(&stored.closes))
                })
            })
            .collect();
        self.closes.extend(closes.into_iter().filter(|(_, closes)| !closes.is_empty()));
        self
    }
}

/// Advisories with the hashes of their content.
pub(super) fn hashed(advisories: &[Advisory]) -> Closes {
    advisories.iter().map(|advisory| (advisories::hash(advisory), advisory.clone())).collect()
}

/// One snapshot of several indices of different hosts.
fn joined(parts: Vec<Index>) -> Snapshot {
    let mut parts = parts.into_iter().map(|index| index.snapshot());
    let mut whole = parts.next().unwrap_or_default();
    let mut places: HashMap<(Release, Arc<Installed>), u32> = HashMap::new();
    for (at, row) in whole.rows.iter().enumerate() {
        places.insert(row.clone(), u32::try_from(at).expect("rows have numbers of 32 bits"));
    }
    for part in parts {
        let moved: Vec<u32> = part
            .rows
            .into_iter()
            .map(|row| {
                let next = u32::try_from(whole.rows.len()).expect("rows have numbers of 32 bits");
                *places.entry(row).or_insert_with_key(|row| {
                    whole.rows.push(row.clone());
                    next
                })
            })
            .collect();
        whole.hosts.par_extend(part.hosts.into_par_iter().map(|host| {
            let mut rows: Vec<u32> = host.rows.iter().map(|&row| moved[row as usize]).collect();
            rows.sort_unstable();
            HostRows { rows: rows.into(), ..host }
        }));
    }
    whole.hosts.sort_unstable_by_key(|host| host.id);
    whole
}
