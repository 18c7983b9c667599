//! `/hosts/{id}/evidence`: what "proven" rests on.

use super::State;
use super::body::{Ask, Named};
use super::hosts::find;
use super::page::{Last, Page};
use super::problem::Problem;
use crate::store::evidence;
use axum::extract::State as At;
use axum::response::Response;
use http::Uri;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// What a host saw of one job that is over, in its own words.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Evidence {
    /// The plan's id.
    plan: String,
    /// Which grant of it.
    fence: i64,
    /// When it came.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// How it ended, the packages as the package database has them, deeds, restarts, probes; `schema` names the format.
    #[schema(value_type = Object)]
    seen: serde_json::Value,
}

/// A page, by a name: see [`Page`].
type EvidencePage = Page<Evidence>;

/// What a host saw of its jobs that are over, the newest first.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/evidence", tag = "hosts",
    params(("id" = String, Path), Last),
    responses((status = 200, description = "Evidence", body = EvidencePage)))]
pub(super) async fn list(
    At(state): At<State>,
    Named(id): Named,
    uri: Uri,
    Ask(asked): Ask<Last>,
) -> Result<Response, Problem> {
    find(&state, &id).await?;
    let (before, most) = asked.rows()?;
    let rows = evidence::of_host(&state.app.store, &id, before, most).await?;
    let page = asked.page(rows, |row| row.at)?;
    let shown =
        |row: evidence::Stored| Evidence { plan: row.plan, fence: row.fence, at: row.at, seen: row.seen };
    Ok(page.map(shown).answer(&uri))
}
