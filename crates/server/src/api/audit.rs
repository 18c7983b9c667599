//! `/audit`: who changed what.

use super::State;
use super::body::Ask;
use super::page::{self, Page};
use super::problem::Problem;
use crate::store::audit::{self, Entry};
use axum::body::{Body, Bytes};
use axum::extract::State as At;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{Uri, header};
use serde::Deserialize;
use std::io;
use utoipa::IntoParams;

/// Entries read at once for an export.
const CHUNK: i64 = 500;

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Whether the newest come first; the oldest do if absent.
    newest_first: Option<bool>,
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type ValuePage = Page<serde_json::Value>;

/// List the audit log, the oldest first unless asked otherwise.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(List), responses(
    (status = 200, description = "A page of entries, as they are chained", body = ValuePage)
))]
pub(super) async fn list(At(state): At<State>, uri: Uri, Ask(asked): Ask<List>) -> Result<Response, Problem> {
    let limit = page::limit(asked.limit)?;
    let after = page::number(asked.after.as_deref())?;
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let store = &state.app.store;
    let entries: Vec<Entry> = if asked.newest_first == Some(true) {
        audit::before(store, after.unwrap_or(i64::MAX), most).await?
    } else {
        audit::after(store, after.unwrap_or(0), most).await?
    };
    Ok(page::cut(entries, limit, |entry| page::place(&[&entry.seq.to_string()])).answer(&uri))
}

/// The whole audit log, one JSON object a line: what `palisade audit verify` reads.
#[utoipa::path(get, path = "/api/v1/audit/export", tag = "audit", responses(
    (status = 200, description = "Entries, the oldest first", body = String, content_type = "application/jsonl")
))]
pub(super) async fn export(At(state): At<State>) -> Response {
    let lines = stream::try_unfold(0, move |seq| {
        let store = state.app.store.clone();
        async move {
            // An answer under way has no status left to fail with: it breaks off, and the reader sees that.
            let entries = audit::after(&store, seq, CHUNK).await.map_err(|problem| {
                tracing::error!("export the audit log: {problem}");
                io::Error::other("the store failed")
            })?;
            let Some(last) = entries.last().map(|entry| entry.seq) else { return Ok(None) };
            let mut text = Vec::new();
            for entry in &entries {
                serde_json::to_writer(&mut text, entry)?;
                text.push(b'\n');
            }
            Ok::<_, io::Error>(Some((Bytes::from(text), last)))
        }
    });
    ([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response()
}
