//! `/login`: logging in through an identity provider.

use super::State;
use super::body::Ask;
use super::guard::cookie;
use super::problem::{Kind, Problem};
use super::session;
use crate::people::oidc::{Error, LOGIN_LIFE, Oidc};
use axum::extract::State as At;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;

/// Holds a log-in's state in the browser that began it.
const COOKIE: &str = "__Host-palisade-login";

/// Where to go after logging in.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Depart {
    /// A path of this server; its front page if absent.
    back_to: Option<String>,
}

/// Go to the identity provider to log in there.
#[utoipa::path(get, path = "/login/oidc", tag = "session", params(Depart), responses(
    (status = 303, description = "To the provider's page")
))]
pub(super) async fn depart(At(state): At<State>, Ask(asked): Ask<Depart>) -> Result<Response, Problem> {
    let back_to = asked.back_to.as_deref().unwrap_or("/");
    let departure = oidc(&state)?.depart(&state.app.store, state.now(), back_to).await.map_err(problem)?;
    let kept = format!(
        "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}",
        departure.state,
        LOGIN_LIFE.as_secs()
    );
    Ok((StatusCode::SEE_OTHER, [(header::SET_COOKIE, kept), (header::LOCATION, departure.to)])
        .into_response())
}

/// What the provider sends back.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Arrive {
    /// To change for tokens.
    code: Option<String>,
    /// The log-in's state.
    state: Option<String>,
    /// Why the provider let nobody in.
    error: Option<String>,
}

/// Come back from the identity provider.
#[utoipa::path(get, path = "/login/callback", tag = "session", params(Arrive), responses(
    (status = 303, description = "Logged in; the session is in a cookie")
))]
pub(super) async fn arrive(
    At(state): At<State>,
    headers: HeaderMap,
    Ask(asked): Ask<Arrive>,
) -> Result<Response, Problem> {
    let oidc = oidc(&state)?;
    if let Some(error) = asked.error {
        let reason = error.chars().filter(char::is_ascii_graphic).take(100).collect::<String>();
        let reason = format!("the provider says \"{reason}\"");
        let remedy = "log in again; if that does not help, ask who runs the provider";
        return Err(Problem::new(Kind::Forbidden, "log in", "through the provider", reason, remedy));
    }
    let (Some(code), Some(came)) = (asked.code, asked.state) else {
        return Err(Problem::malformed("the provider's answer", "it has no code or no state"));
    };
    let kept = cookie(&headers, COOKIE).unwrap_or_default();
    let arrived = oidc.arrive(&state.app.store, state.now(), &came, kept, &code).await;
    let (user, back_to) = arrived.map_err(problem)?;
    state.ring();
    let (_, session) = session::begin(&state, &headers, &user).await?;
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
    let cookies = AppendHeaders([(header::SET_COOKIE, session), (header::SET_COOKIE, gone)]);
    Ok((StatusCode::SEE_OTHER, cookies, [(header::LOCATION, back_to)]).into_response())
}

fn oidc(state: &State) -> Result<&Oidc, Problem> {
    state.oidc.as_ref().ok_or_else(|| {
        let remedy = "set [oidc] in the server's settings, or log in with a password";
        Problem::new(Kind::NotFound, "log in", "through a provider", "none is set up", remedy)
    })
}

fn problem(problem: Error) -> Problem {
    let told = |kind, remedy| Problem::new(kind, "log in", "through the provider", &problem, remedy);
    match problem {
        Error::State => told(Kind::Malformed, "begin again at /login/oidc"),
        Error::Busy => told(Kind::Busy, "come back later"),
        Error::NoGroup(_) => told(Kind::Forbidden, "ask to be put into a group of oidc.roles"),
        Error::Disabled(_) => told(Kind::Forbidden, "ask an admin"),
        Error::Taken(_) => told(Kind::Conflict, "ask an admin"),
        // What the provider or the settings say may hold what is not everybody's: for the log.
        Error::Provider { .. } | Error::Settings(_) => {
            tracing::error!("log in through the identity provider: {problem}");
            let reason = "the provider cannot be used";
            let remedy = "look for the request's id in the server's log";
            Problem::new(Kind::Provider, "log in", "through the provider", reason, remedy)
        }
        Error::Secret(problem) => problem.into(),
        Error::Store(problem) => problem.into(),
    }
}
