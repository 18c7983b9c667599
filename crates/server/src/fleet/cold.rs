//! A fleet from the store, for a server that starts and for the doctor. Takes inventories and advisories in pages; gives the
//! state that following every event would have given.

use super::Error;
use super::keys::{Keys, News};
use super::matcher::is_of_hosts;
use super::pieces::{self, Everything};
use super::state::{Known, State, under};
use crate::store::{Store, advisories, events};
use crate::task::off_thread;
use advisory::Advisory;
use exposure::index::Index;
use rayon::prelude::*;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::error;

/// Advisories between the store and the index.
const ADVISORIES_AHEAD: usize = 4_096;

/// Reads the whole fleet.
pub(super) async fn read(store: &Store) -> Result<State, Error> {
    // Before anything else: what changes while we read comes again as an event.
    let seq = events::last(store).await?;
    let Everything { snapshot, closes, hosts } = pieces::read(store).await?;
    let (sender, mut receiver) = mpsc::channel::<Advisory>(ADVISORIES_AHEAD);
    let building = tokio::task::spawn_blocking(move || {
        let mut keys = Keys::default();
        let mut said = Vec::new();
        for (number, closes) in closes {
            let texts = closes.iter().map(|(_, advisory)| advisory);
            begun(keys.host_says(number, &closes), texts, &mut said);
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
    let hosts = hosts.into_iter().map(|(id, number, hash)| (id, Known { number, hash })).collect();
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

/// Advisories with the hashes of their content.
pub(super) fn hashed(advisories: &[Advisory]) -> Vec<(String, Advisory)> {
    advisories.iter().map(|advisory| (advisories::hash(advisory), advisory.clone())).collect()
}
