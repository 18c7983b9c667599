//! `/hosts/{id}/inventory`: what a host has, and had.

use super::State;
use super::body::{Ask, Named};
use super::hosts::find;
use super::page::{Last, Page};
use super::problem::{Kind, Problem};
use crate::store::inventories::{self, Knowing};
use axum::Json;
use axum::extract::State as At;
use axum::response::Response;
use http::Uri;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A host's inventory.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HostInventory)]
pub(super) struct Stored {
    /// The host's id.
    host: String,
    /// Since when it is so.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Of the whole: the same hash, the same inventory.
    hash: String,
    /// System, packages, archives, candidates, kernel, processes, gaps.
    #[schema(value_type = Object)]
    inventory: exposure::Inventory,
    /// Advisories that the host's package manager says its candidates close.
    #[schema(value_type = Vec<Object>)]
    closes: Vec<advisory::Advisory>,
}

/// When.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct When {
    /// As it was then, by what was known then; now if absent.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// With `at`: by what the host told later, too, as one does that was cut off then. Times are by its own clock.
    #[serde(default)]
    hindsight: bool,
}

/// What a host has, or had at that time.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/inventory", tag = "hosts",
    params(("id" = String, Path), When),
    responses((status = 200, description = "The inventory", body = Stored)))]
pub(super) async fn get(
    At(state): At<State>,
    Named(id): Named,
    Ask(asked): Ask<When>,
) -> Result<Json<Stored>, Problem> {
    find(&state, &id).await?;
    let store = &state.app.store;
    let stored = match asked.at {
        None => inventories::current(store, &id).await?,
        Some(at) => {
            let knowing = if asked.hindsight { Knowing::Hindsight } else { Knowing::Then };
            inventories::at(store, &id, at, knowing).await?
        }
    };
    let stored = stored.ok_or_else(|| {
        let object = format!("the inventory of host {id}");
        let remedy = "ask for its history to see what there is";
        Problem::new(Kind::NotFound, "find", object, "it had reported none", remedy)
    })?;
    Ok(Json(Stored {
        host: id,
        from: stored.from,
        hash: stored.hash,
        inventory: stored.inventory,
        closes: stored.closes,
    }))
}

/// When a host had which inventory.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Interval {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Until when; absent: still.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// When the host saw it, by its own clock; before `from` if it was cut off.
    #[schema(value_type = String, format = DateTime)]
    observed: Timestamp,
    /// Of the whole.
    hash: String,
}

/// A page, by a name: see [`Page`].
type IntervalPage = Page<Interval>;

/// When a host had which inventory, the newest first.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/inventory/history", tag = "hosts",
    params(("id" = String, Path), Last),
    responses((status = 200, description = "Intervals", body = IntervalPage)))]
pub(super) async fn history(
    At(state): At<State>,
    Named(id): Named,
    uri: Uri,
    Ask(asked): Ask<Last>,
) -> Result<Response, Problem> {
    find(&state, &id).await?;
    let (before, most) = asked.rows()?;
    let rows = inventories::history(&state.app.store, &id, before, most).await?;
    let page = asked.page(rows, |row| row.from)?;
    let interval = |row: inventories::Interval| Interval {
        from: row.from,
        until: row.until,
        observed: row.observed,
        hash: row.hash,
    };
    Ok(page.map(interval).answer(&uri))
}
