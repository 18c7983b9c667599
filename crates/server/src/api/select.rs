//! Lists of what a selector selects: rows are read in order and looked at one by one, so many and no more for a request.

use super::problem::Problem;
use crate::store::Error;
use crate::store::host_list::Host;
use exposure::selector::{Facts, Selector};

/// Rows read at once.
const CHUNK: usize = 1000;
/// Rows looked at for one page; then the page ends, and the next goes on.
const LOOKED_AT_MAX: usize = 20_000;

/// Reads the selector of a request.
pub(super) fn parse(text: Option<&str>) -> Result<Option<Selector>, Problem> {
    let read = |text| {
        Selector::parse(text).map_err(|problem| Problem::malformed("the selector", problem).field("selector"))
    };
    text.map(read).transpose()
}

fn selects(selector: &Selector, host: &Host) -> bool {
    selector.matches(&Facts {
        name: &host.name,
        id: &host.id,
        group: &host.group,
        labels: &host.labels,
        release: &host.release,
        state: &host.state,
    })
}

/// Up to `limit` things whose host is selected, and after which the next page goes on, if there may be more.
pub(super) async fn scan<T, K, F>(
    limit: usize,
    mut after: Option<K>,
    selector: Option<&Selector>,
    fetch: impl Fn(Option<K>, i64) -> F,
    host: impl Fn(&T) -> &Host,
    place: impl Fn(&T) -> K,
) -> Result<(Vec<T>, Option<K>), Error>
where
    K: Clone,
    F: Future<Output = Result<Vec<T>, Error>>,
{
    let chunk = if selector.is_some() { CHUNK } else { limit + 1 };
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
            if selector.is_none_or(|selector| selects(selector, host(&row))) {
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
