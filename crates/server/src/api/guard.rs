//! Before every endpoint that is not public: who asks, by cookie or token; whether they may; and that a browser's writes
//! come from our own pages.

use super::State;
use super::idempotent;
use super::problem::{Kind, Problem};
use crate::people::roles::{Permission, Role};
use crate::people::{secrets, sessions, tokens};
use crate::store::audit::Actor;
use crate::store::people::User;
use crate::store::sessions::Session;
use crate::store::tokens::Token;
use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, header};
use jiff::Timestamp;

/// The header that carries a session's CSRF token.
pub(super) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The person.
    pub(super) user: User,
    /// What they may do in this request: a token may do less than its owner.
    pub(super) role: Role,
    /// How they proved it.
    pub(super) via: Via,
    credential: Credential,
}

/// How somebody proved who they are.
#[derive(Clone, Debug)]
pub(super) enum Via {
    /// By a cookie.
    Session {
        /// The session.
        session: Session,
        /// What its writes must carry.
        csrf: String,
    },
    /// By an API token.
    Token(Token),
}

#[derive(Clone, Debug)]
enum Credential {
    Cookie(String),
    Bearer(String),
}

impl Caller {
    /// As the audit log names them.
    pub(super) fn actor(&self) -> Actor {
        match &self.via {
            Via::Session { .. } => Actor::Person(self.user.name.clone()),
            Via::Token(token) => Actor::Token { owner: self.user.name.clone(), id: token.id.clone() },
        }
    }

    /// Refused unless they may do that.
    pub(super) fn needs(&self, permission: Permission) -> Result<(), Problem> {
        if self.role.may(permission) {
            return Ok(());
        }
        let reason = format!("{} is {} here", self.user.name, self.role);
        let remedy = format!("ask an admin for the role {}", permission.least());
        Err(Problem::new(Kind::Forbidden, "allow to", permission.to_string(), reason, &remedy))
    }

    /// Whether they would still be let in, and still may do that: what streams ask from time to time.
    pub(super) async fn is_still_in(&self, state: &State, permission: Permission) -> bool {
        let caller = admit(state, state.now(), self.credential.clone()).await;
        caller.is_ok_and(|caller| caller.role.may(permission))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Absent only if an endpoint was declared public and asks all the same.
        parts.extensions.get().cloned().ok_or_else(unauthenticated)
    }
}

/// Lets a request through to an endpoint that needs `permission`.
pub(super) async fn guard(
    permission: Permission,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let state = request.extensions().get::<State>().cloned();
    let state = state.ok_or_else(|| Problem::internal(&"a request came without its frame"))?;
    let now = state.now();
    let credential = credential(request.headers()).ok_or_else(unauthenticated)?;
    let caller = admit(&state, now, credential).await?;
    if let Via::Session { csrf, .. } = &caller.via
        && !is_safe(request.method())
    {
        own_origin(&state, request.headers(), request.uri().host())?;
        let token = request.headers().get(CSRF_HEADER).and_then(|token| token.to_str().ok());
        if !token.is_some_and(|token| secrets::same(token, csrf)) {
            return Err(Problem::new(
                Kind::ForeignOrigin,
                "accept",
                "a write in a session",
                "its CSRF token is missing or wrong",
                "send the one of GET /api/v1/session in the header x-csrf-token",
            ));
        }
    }
    caller.needs(permission)?;
    note_use(&state, now, &caller);
    request.extensions_mut().insert(caller.clone());
    if request.method() == Method::POST && request.headers().contains_key(idempotent::HEADER) {
        return idempotent::once(&state, now, &caller, request, next).await;
    }
    Ok(next.run(request).await)
}

fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// What a request brings: a token before a cookie; a wrong token is not made good by a cookie.
fn credential(headers: &HeaderMap) -> Option<Credential> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| Credential::Bearer(secret.trim().to_owned()));
    }
    cookie(headers, sessions::COOKIE).map(|secret| Credential::Cookie(secret.to_owned()))
}

/// A cookie's value.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
}

async fn admit(state: &State, now: Timestamp, credential: Credential) -> Result<Caller, Problem> {
    let store = &state.app.store;
    let (user, role, via) = match &credential {
        Credential::Bearer(secret) => {
            let (token, user) = tokens::find(store, now, secret).await?.ok_or_else(unauthenticated)?;
            (user.clone(), tokens::role(&token, &user), Via::Token(token))
        }
        Credential::Cookie(secret) => {
            let session = sessions::find(store, now, secret).await?.ok_or_else(unauthenticated)?;
            let csrf = sessions::csrf_token(secret);
            (session.user.clone(), session.user.role, Via::Session { session, csrf })
        }
    };
    Ok(Caller { user, role, via, credential })
}

fn unauthenticated() -> Problem {
    Problem::new(
        Kind::Unauthenticated,
        "answer",
        "the request",
        "it has no credentials, or they have ended",
        "log in, or send an API token as \"Authorization: Bearer pal_…\"",
    )
}

/// Writes down that a session or token was used, beside the request: readers do not wait for the store's writer.
fn note_use(state: &State, now: Timestamp, caller: &Caller) {
    let store = state.app.store.clone();
    let noted = match &caller.via {
        Via::Token(token) if tokens::is_use_worth_writing(token, now) => {
            let id = token.id.clone();
            tokio::spawn(async move { crate::store::tokens::used(&store, now, &id).await })
        }
        Via::Session { session, .. } => {
            let Some(end) = sessions::extended(session, now) else { return };
            let hash = session.hash.clone();
            tokio::spawn(async move { crate::store::sessions::extend(&store, &hash, end).await })
        }
        Via::Token(_) => return,
    };
    tokio::spawn(async move {
        if let Ok(Err(problem)) = noted.await {
            tracing::warn!("note that a credential was used: {problem}");
        }
    });
}

/// Refused if a browser says that a page of another site sent this. `authority`: of the request's address (HTTP/2).
pub(super) fn own_origin(state: &State, headers: &HeaderMap, authority: Option<&str>) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("https://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(authority);
    let ours = origin.is_some_and(|origin| {
        let name = origin.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        let name = name.map_or(origin, |(name, _)| name);
        host == Some(origin) || state.app.config.server.names.iter().any(|known| known == name)
    });
    if ours {
        return Ok(());
    }
    Err(Problem::new(
        Kind::ForeignOrigin,
        "accept",
        "a write in a session",
        "it comes from a page of another site",
        "use this server's own pages, or an API token; name the server in server.names if it is called otherwise",
    ))
}
