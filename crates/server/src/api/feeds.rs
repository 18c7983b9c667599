//! `/feeds`: where advisories come from, and whether they come.

use super::body::{Ask, Named};
use super::etag;
use super::guard::Caller;
use super::page::{self, Page};
use super::problem::{Kind, Problem};
use super::{Refresh, State};
use crate::people::roles::Permission;
use crate::store::feed_list::{self, Feed as Row};
use axum::extract::State as At;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc::error::TrySendError;
use utoipa::{IntoParams, ToSchema};

/// A feed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Feed {
    /// Its name.
    name: String,
    /// A path or an address, without credentials.
    location: String,
    /// When it was last read whole.
    #[schema(value_type = Option<String>, format = DateTime)]
    read_at: Option<Timestamp>,
    /// When it was last asked.
    #[schema(value_type = Option<String>, format = DateTime)]
    asked_at: Option<Timestamp>,
    /// SHA-256 of what was read, hex; empty before.
    sha256: String,
    /// How many advisories it held.
    records: i64,
    /// What is wrong with it; empty: nothing.
    alarm: String,
    /// What could not be read of it.
    #[schema(value_type = Vec<Object>)]
    problems: Value,
}

impl From<Row> for Feed {
    fn from(row: Row) -> Self {
        Self {
            name: row.name,
            location: row.location,
            read_at: row.read_at,
            asked_at: row.asked_at,
            sha256: row.sha256,
            records: row.records,
            alarm: row.alarm,
            problems: row.problems,
        }
    }
}

/// Which feeds.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type FeedPage = Page<Feed>;

/// List feeds, by name.
#[utoipa::path(get, path = "/api/v1/feeds", tag = "feeds", params(List), responses(
    (status = 200, description = "A page of feeds", body = FeedPage)
))]
pub(super) async fn list(At(state): At<State>, uri: Uri, Ask(asked): Ask<List>) -> Result<Response, Problem> {
    let limit = page::limit(asked.limit)?;
    let after = page::parts::<1>(asked.after.as_deref())?.map(|[name]| name).unwrap_or_default();
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = feed_list::list(&state.app.store, false, &after, most).await?;
    Ok(page::cut(rows, limit, |row| page::place(&[&row.name])).map(Feed::from).answer(&uri))
}

/// One feed.
#[utoipa::path(get, path = "/api/v1/feeds/{name}", tag = "feeds", params(("name" = String, Path)), responses(
    (status = 200, description = "The feed, with an ETag", body = Feed),
    (status = 304, description = "It is as If-None-Match has it")
))]
pub(super) async fn get(
    At(state): At<State>,
    Named(name): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&state, &name).await?;
    etag::tagged(&headers, row.revision, &Feed::from(row))
}

async fn find(state: &State, name: &str) -> Result<Row, Problem> {
    feed_list::get(&state.app.store, name).await?.ok_or_else(|| Problem::not_found("feed", name))
}

/// How to read a feed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// Use it although it was held back, because it shrank or went back in time: for approvers.
    #[serde(default)]
    #[param(required = false)]
    accept: bool,
}

/// Have a feed read now. The answer does not wait for it: watch for an event of it.
#[utoipa::path(post, path = "/api/v1/feeds/{name}/refresh", tag = "feeds", params(("name" = String, Path), How),
    responses((status = 202, description = "It will be read")))]
pub(super) async fn refresh(
    At(state): At<State>,
    caller: Caller,
    Named(name): Named,
    Ask(how): Ask<How>,
) -> Result<StatusCode, Problem> {
    if how.accept {
        caller.needs(Permission::AcceptFeeds)?;
    }
    if !state.app.config.feeds.iter().any(|feed| feed.name == name) {
        return Err(Problem::not_found("feed", &name));
    }
    let busy = |reason: &str| {
        Err(Problem::new(Kind::Busy, "read", format!("feed {name}"), reason, "come back later"))
    };
    let accept = how.accept.then(|| caller.actor());
    match state.refresh.try_send(Refresh { feed: name.clone(), accept }) {
        Ok(()) => Ok(StatusCode::ACCEPTED),
        Err(TrySendError::Full(_)) => busy("too many feeds wait to be read"),
        Err(TrySendError::Closed(_)) => busy("this server reads no feeds now"),
    }
}
