//! `/session`: logging in and out by password.

use super::State;
use super::body::Strict;
use super::guard::{Caller, Via, cookie, own_origin};
use super::problem::{Kind, Problem};
use crate::people::Refused;
use crate::people::roles::Role;
use crate::people::sessions::{self, BeginError};
use crate::store::people::{self, Change, Changed, User};
use axum::Json;
use axum::extract::{ConnectInfo, FromRequest, Request, State as At};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use utoipa::ToSchema;

/// A name and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    /// The account's name.
    name: String,
    /// Its password.
    password: String,
}

/// Who somebody is here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Who {
    /// The user's id.
    id: String,
    /// The user's name.
    name: String,
    /// What this session or token may do.
    role: Role,
    /// What writes in this session must carry in `x-csrf-token`. Absent with an API token, which needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
    /// When the session or token ends if it is not used.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Log in with a name and a password.
#[utoipa::path(post, path = "/api/v1/session", tag = "session", request_body = Credentials, responses(
    (status = 201, description = "Logged in; the session is in a cookie", body = Who)
))]
pub(super) async fn log_in(At(state): At<State>, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    own_origin(&state, &headers, request.uri().host())?;
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|from| from.0.ip());
    let Strict(credentials) = Strict::<Credentials>::from_request(request, &()).await?;
    let user = admit(&state, address, &credentials).await?;
    begin(&state, &headers, &user)
        .await
        .map(|(who, cookie)| (StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(who)).into_response())
}

async fn admit(state: &State, address: Option<IpAddr>, credentials: &Credentials) -> Result<User, Problem> {
    let now = state.now();
    let Credentials { name, password } = credentials;
    let refused = |kind, reason: &Refused, remedy| {
        // The name is not told: it may be a password in the wrong field.
        Problem::new(kind, "log in", "the account", reason, remedy)
    };
    state.people.log_in(&state.app.store, now, address, name, password).await.map_err(|problem| match problem
    {
        Refused::Wrong => {
            tracing::info!(address = address.map(tracing::field::display), "refuse a log-in");
            refused(Kind::Unauthenticated, &problem, "try again, or ask an admin for a new password")
        }
        Refused::Wait(until) => {
            let seconds = until.duration_since(now).as_secs() + 1;
            refused(Kind::TooMany, &problem, "wait as long as Retry-After says").retry_after(seconds)
        }
        Refused::Password(problem) => problem.into(),
        Refused::Store(problem) => problem.into(),
    })
}

/// Begins a session for a user who has proved who they are; gives what to tell and the cookie.
pub(super) async fn begin(state: &State, headers: &HeaderMap, user: &User) -> Result<(Who, String), Problem> {
    let now = state.now();
    let had = cookie(headers, sessions::COOKIE);
    let secret =
        sessions::begin(&state.app.store, now, user, had).await.map_err(|problem| match problem {
            BeginError::Secret(problem) => problem.into(),
            BeginError::Store(problem) => Problem::from(problem),
        })?;
    let session = sessions::find(&state.app.store, now, &secret).await?;
    let session = session.ok_or_else(|| Problem::internal(&"a session ended as it began"))?;
    let who = Who {
        id: user.id.clone(),
        name: user.name.clone(),
        role: user.role,
        csrf_token: Some(sessions::csrf_token(&secret)),
        expires_at: session.expires_at,
    };
    Ok((who, sessions::cookie(&secret)))
}

/// Who am I?
#[utoipa::path(get, path = "/api/v1/session", tag = "session", responses(
    (status = 200, description = "Who asks", body = Who)
))]
pub(super) async fn who(caller: Caller) -> Json<Who> {
    let (csrf_token, expires_at) = match caller.via {
        Via::Session { session, csrf } => (Some(csrf), session.expires_at),
        Via::Token(token) => (None, token.expires_at),
    };
    Json(Who { id: caller.user.id, name: caller.user.name, role: caller.role, csrf_token, expires_at })
}

/// Log out. With an API token, nothing happens: revoke it instead.
#[utoipa::path(delete, path = "/api/v1/session", tag = "session", responses(
    (status = 204, description = "Logged out")
))]
pub(super) async fn log_out(At(state): At<State>, caller: Caller) -> Result<Response, Problem> {
    if let Via::Session { session, .. } = &caller.via {
        crate::store::sessions::end(&state.app.store, state.now(), session).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, sessions::no_cookie())]).into_response())
}

/// The old password and a new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The password as it is.
    old: String,
    /// As it is to be.
    #[schema(min_length = 12, max_length = 256)]
    new: String,
}

/// Change one's own password. All of one's sessions end.
#[utoipa::path(post, path = "/api/v1/session/password", tag = "session", request_body = NewPassword, responses(
    (status = 204, description = "Changed")
))]
pub(super) async fn set_password(
    At(state): At<State>,
    caller: Caller,
    Strict(asked): Strict<NewPassword>,
) -> Result<StatusCode, Problem> {
    let credentials = Credentials { name: caller.user.name.clone(), password: asked.old };
    // Wrong ones count as at a log-in: a borrowed session is not to guess on.
    admit(&state, None, &credentials).await.map_err(Problem::as_forbidden)?;
    let change =
        Change { password: Some(state.people.passwords.hash(&asked.new).await?), ..Change::default() };
    let (store, id) = (&state.app.store, &caller.user.id);
    match people::change(store, state.now(), &caller.actor(), id, &change, None).await? {
        Changed::Done(_) => {
            state.ring();
            Ok(StatusCode::NO_CONTENT)
        }
        Changed::Missing | Changed::Stale | Changed::LastAdmin => Err(Problem::stale("user", id)),
    }
}
