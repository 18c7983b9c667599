//! `/authority`: whose certificates agents and people are to trust.

use super::State;
use super::problem::Problem;
use crate::identity::{Authority, Error, Standing};
use axum::Json;
use axum::extract::State as At;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// The fleet's authority.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Authority)]
pub(super) struct Shown {
    /// SHA-256 of the certificate that servers show, hex.
    fingerprint: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
    /// All certificates that are to be trusted now, PEM.
    certificates: String,
    /// The one that is to take its place.
    next: Option<Next>,
}

/// An authority that is to take the present one's place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NextAuthority)]
pub(super) struct Next {
    /// SHA-256 of its certificate, hex.
    fingerprint: String,
    /// From when on hosts got certificates of it.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When it takes over.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// Hosts that have no certificate of it yet.
    hosts_left: i64,
}

impl From<Standing> for Shown {
    fn from(standing: Standing) -> Self {
        let Standing { fingerprint, ends_at, next, certificates } = standing;
        let next = next.map(|next| Next {
            fingerprint: next.fingerprint,
            since: next.takeover.since,
            until: next.takeover.until,
            hosts_left: next.hosts_left,
        });
        Self { fingerprint, ends_at, certificates, next }
    }
}

/// Whose certificates are to be trusted, and where a change of that stands.
#[utoipa::path(get, path = "/api/v1/authority", tag = "status", responses(
    (status = 200, description = "The authority", body = Shown)
))]
pub(super) async fn get(At(state): At<State>) -> Result<Json<Shown>, Problem> {
    Ok(Json(standing(&state).await?.into()))
}

pub(super) async fn standing(state: &State) -> Result<Standing, Problem> {
    let unread = |problem| {
        if let Error::Store(problem) = problem { problem.into() } else { Problem::internal(&problem) }
    };
    let standing = Authority::standing(&state.app.store).await.map_err(unread)?;
    standing.ok_or_else(|| Problem::not_found("authority", "of the fleet"))
}
