//! Lists of what a selector selects: rows are read in order and looked at one by one, so many and no more for a request.

use super::State;
use super::hosts::silent_since;
use super::problem::Problem;
use crate::fleet::Lookup;
use crate::store::Error;
use crate::store::host_list::{self, Host, HostFilter};
use exposure::selector::{Facts, Selector};
use jiff::Timestamp;
use roaring::RoaringBitmap;

/// Rows read at once.
const CHUNK: usize = 1000;
/// Hosts read at once where all are read.
const CHUNK_MOST: i64 = 5_000;
/// Rows looked at for one page; then the page ends, and the next goes on.
const LOOKED_AT_MAX: usize = 20_000;

/// A selector, with what it asks about packages and advisories looked up for the whole fleet.
pub(super) struct Selected {
    selector: Selector,
    lookup: Lookup,
    silent_since: Timestamp,
}

/// Reads the selector of a request.
pub(super) fn parse(state: &State, text: Option<&str>) -> Result<Option<Selected>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let selector = Selector::parse(text)
        .map_err(|problem| Problem::malformed("the selector", problem).field("selector"))?;
    let lookup = state.fleet.lookup(&selector);
    Ok(Some(Selected { selector, lookup, silent_since: silent_since(state) }))
}

impl Selected {
    fn takes(&self, host: &Host) -> bool {
        let is_silent = host.state == "active" && host.seen_at < self.silent_since;
        let number = u32::try_from(host.number).unwrap_or(u32::MAX);
        self.selector.matches(&Facts {
            name: &host.name,
            id: &host.id,
            group: &host.group,
            labels: &host.labels,
            release: &host.release,
            state: if is_silent { "silent" } else { &host.state },
            has_package: &|package| self.lookup.has_package(number, package),
            affected_by: &|id| self.lookup.affected_by(number, id),
        })
    }
}

/// The numbers of all hosts that are selected. Counting needs them all, however many are looked at; some 20 bytes each
/// while they are bound.
pub(super) async fn numbers(state: &State, selected: &Selected) -> Result<RoaringBitmap, Error> {
    let (mut numbers, mut filter) = (RoaringBitmap::new(), HostFilter::default());
    loop {
        let hosts = host_list::list(&state.app.store, &filter, CHUNK_MOST).await?;
        let Some(last) = hosts.last() else { return Ok(numbers) };
        filter.after = Some((last.name.clone(), last.id.clone()));
        let taken = hosts.iter().filter(|host| selected.takes(host));
        numbers.extend(taken.filter_map(|host| u32::try_from(host.number).ok()));
    }
}

/// Up to `limit` things whose host is selected, and after which the next page goes on, if there may be more.
pub(super) async fn scan<T, K, F>(
    limit: usize,
    mut after: Option<K>,
    selected: Option<&Selected>,
    fetch: impl Fn(Option<K>, i64) -> F,
    host: impl Fn(&T) -> &Host,
    place: impl Fn(&T) -> K,
) -> Result<(Vec<T>, Option<K>), Error>
where
    K: Clone,
    F: Future<Output = Result<Vec<T>, Error>>,
{
    let chunk = if selected.is_some() { CHUNK } else { limit + 1 };
    let (mut found, mut looked_at) = (Vec::new(), 0);
    loop {
        let rows = fetch(after.clone(), i64::try_from(chunk).unwrap_or(i64::MAX)).await?;
        let last = rows.len() < chunk;
        looked_at += rows.len();
        for row in rows {
            if found.len() == limit {
                return Ok((found, after));
            }
            after = Some(place(&row));
            if selected.is_none_or(|selected| selected.takes(host(&row))) {
                found.push(row);
            }
        }
        if last {
            return Ok((found, None));
        }
        if looked_at >= LOOKED_AT_MAX {
            return Ok((found, after));
        }
    }
}
