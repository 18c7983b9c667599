//! What went wrong, in RFC 9457's form and our words: operation, object, reason, remedy.

use crate::people;
use crate::planning;
use crate::signing;
use crate::store;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use std::fmt;
use utoipa::ToSchema;

/// Media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// When to come back, seconds, where nothing better is known.
const RETRY_AFTER_SECONDS: i64 = 5;

/// Kinds of problems. Programs tell them apart by their `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be read.
    Malformed,
    /// No credentials, or ones that are not good (any more).
    Unauthenticated,
    /// Who asks may not do that.
    Forbidden,
    /// A write from another site, or without the session's token.
    ForeignOrigin,
    /// There is no such thing.
    NotFound,
    /// There is, but not with this method.
    MethodNotAllowed,
    /// It cannot be done as things are.
    Conflict,
    /// The same request is being answered.
    UnderWay,
    /// The thing has changed since it was looked at.
    Stale,
    /// The body is too large.
    TooLarge,
    /// The body is not JSON.
    NotJson,
    /// It can be read, and what it asks for has faults.
    Faulty,
    /// The idempotency key was used for another request.
    KeyReused,
    /// Too often.
    TooMany,
    /// Our fault.
    Internal,
    /// The identity provider's fault.
    Provider,
    /// Not now.
    Busy,
    /// It took too long.
    TooSlow,
}

impl Kind {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "The request cannot be read"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "Log in first"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Self::ForeignOrigin => {
                (StatusCode::FORBIDDEN, "foreign-origin", "Not from a page of this server")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Not with this method")
            }
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Not as things are"),
            Self::UnderWay => (StatusCode::CONFLICT, "under-way", "The same request is being answered"),
            Self::Stale => (StatusCode::PRECONDITION_FAILED, "stale", "It has changed since"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "The body is not JSON"),
            Self::Faulty => (StatusCode::UNPROCESSABLE_ENTITY, "faulty", "What is asked for has faults"),
            Self::KeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The key was used for another request")
            }
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many", "Too often"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed"),
            Self::Provider => (StatusCode::BAD_GATEWAY, "provider", "The identity provider failed"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Not now"),
            Self::TooSlow => (StatusCode::GATEWAY_TIMEOUT, "too-slow", "It took too long"),
        }
    }
}

/// A problem on its way out: an answer in itself.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: Kind,
    operation: String,
    object: String,
    reason: String,
    remedy: String,
    field: Option<String>,
    faults: Vec<String>,
    retry_after_seconds: Option<i64>,
}

impl Problem {
    /// A problem in all its parts; see [`advisory::problem::Problem`].
    pub fn new(
        kind: Kind,
        operation: &str,
        object: impl Into<String>,
        reason: impl fmt::Display,
        remedy: &str,
    ) -> Self {
        Self(Box::new(Parts {
            kind,
            operation: operation.to_owned(),
            object: object.into(),
            reason: reason.to_string(),
            remedy: remedy.to_owned(),
            field: None,
            faults: Vec::new(),
            retry_after_seconds: matches!(kind, Kind::Busy | Kind::UnderWay).then_some(RETRY_AFTER_SECONDS),
        }))
    }

    /// There is no `object`, such as "host".
    pub fn not_found(object: &str, id: &str) -> Self {
        let remedy = "list them to see which there are";
        Self::new(Kind::NotFound, "find", format!("{object} {id}"), "there is none of that id", remedy)
    }

    /// The request cannot be read.
    pub fn malformed(object: impl Into<String>, reason: impl fmt::Display) -> Self {
        let remedy = "see /api/v1/openapi.json for what may be sent";
        Self::new(Kind::Malformed, "read", object, reason, remedy)
    }

    /// It has changed since it was looked at.
    pub fn stale(object: &str, id: &str) -> Self {
        let remedy = "get it again and decide anew";
        Self::new(Kind::Stale, "change", format!("{object} {id}"), "it has changed since", remedy)
    }

    /// Our fault; what it was is for the log only.
    pub fn internal(problem: &dyn fmt::Display) -> Self {
        tracing::error!("answer a request: {problem}");
        let remedy = "look for the request's id in the server's log";
        Self::new(Kind::Internal, "answer", "the request", "the server failed", remedy)
    }

    /// The same for somebody who is logged in: "unauthenticated" would tell their program to log in again.
    #[must_use]
    pub fn as_forbidden(mut self) -> Self {
        if self.0.kind == Kind::Unauthenticated {
            self.0.kind = Kind::Forbidden;
        }
        self
    }

    /// The same, naming the field of the request that is wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// The same, with every fault, a sentence each.
    #[must_use]
    pub fn faults(mut self, faults: impl IntoIterator<Item = String>) -> Self {
        self.0.faults.extend(faults);
        self
    }

    /// The same, telling when to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: i64) -> Self {
        self.0.retry_after_seconds = Some(seconds.max(1));
        self
    }

    /// The answer for the request of that id.
    pub fn answer(&self, request: &str) -> Response {
        let (status, word, title) = self.0.kind.parts();
        let mut detail = format!("{} {}: {}", self.0.operation, self.0.object, self.0.reason);
        if !self.0.remedy.is_empty() {
            detail = format!("{detail}; {}", self.0.remedy);
        }
        let body = Body {
            kind: format!("urn:palisade:problem:{word}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail,
            instance: format!("urn:palisade:request:{request}"),
            operation: self.0.operation.clone(),
            object: self.0.object.clone(),
            reason: self.0.reason.clone(),
            remedy: self.0.remedy.clone(),
            field: self.0.field.clone(),
            faults: self.0.faults.clone(),
            retry_after_seconds: self.0.retry_after_seconds,
        };
        let text = serde_json::to_vec(&body).expect("a problem is plain text");
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response();
        if let Some(seconds) = self.0.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.kind == Kind::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.kind.parts().0.into_response();
        // The frame around all endpoints knows the request's id and writes the body.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<store::Error> for Problem {
    fn from(problem: store::Error) -> Self {
        match &problem {
            store::Error::Database { source: sqlx::Error::PoolTimedOut, .. } => {
                Self::new(Kind::Busy, "answer", "the request", "the store is busy", "come back later")
            }
            store::Error::Url(_)
            | store::Error::Database { .. }
            | store::Error::Schema(_)
            | store::Error::Damaged { .. } => Self::internal(&problem),
        }
    }
}

impl From<signing::Error> for Problem {
    fn from(problem: signing::Error) -> Self {
        use signing::Error;
        use trust::{proposal, publisher};
        let kind = match &problem {
            Error::KeyFile(_)
            | Error::Seal(_)
            | Error::Publisher(
                publisher::Error::Store { .. } | publisher::Error::Damaged { .. } | publisher::Error::Key(_),
            ) => return Self::internal(&problem),
            Error::NotFound(id) => return Self::not_found("proposal", id),
            Error::Proposal(proposal::Error::NotAProposal(_)) => Kind::Malformed,
            Error::Standing(_)
            | Error::Key(_)
            | Error::NoSuchKey { .. }
            | Error::Proposal(
                proposal::Error::DoesNotCount { .. }
                | proposal::Error::NotAsked(_)
                | proposal::Error::Standing(_)
                | proposal::Error::Key(_),
            ) => Kind::Faulty,
            Error::Proposal(proposal::Error::Outdated { .. } | proposal::Error::Incomplete { .. })
            | Error::Publisher(_)
            | Error::NotFounded
            | Error::Founded
            | Error::Ended { .. }
            | Error::Remade(_)
            | Error::Refused(_)
            | Error::PeopleApprove => Kind::Conflict,
            Error::Busy => Kind::Busy,
            Error::Store(_) => {
                #[expect(clippy::wildcard_enum_match_arm, reason = "it is the store's, as looked up above")]
                return match problem {
                    Error::Store(problem) => problem.into(),
                    other => Self::internal(&other),
                };
            }
        };
        Self::new(kind, "change", "the trust", problem, "")
    }
}

impl From<planning::Error> for Problem {
    fn from(problem: planning::Error) -> Self {
        use planning::Error;
        match problem {
            Error::Store(problem) => problem.into(),
            Error::Signing(problem) => problem.into(),
            Error::Chance(problem) => problem.into(),
            Error::Conflict(reason) => Self::new(Kind::Conflict, "change", "the plan", reason, ""),
            Error::Faulty(faults) => {
                let reason = match faults.as_slice() {
                    [one] => one.clone(),
                    many => format!("it has {} faults", many.len()),
                };
                Self::new(Kind::Faulty, "make", "the plan", reason, "correct what is told in \"faults\"")
                    .faults(faults)
            }
        }
    }
}

impl From<people::secrets::NoRandomness> for Problem {
    fn from(problem: people::secrets::NoRandomness) -> Self {
        Self::internal(&problem)
    }
}

impl From<people::passwords::Error> for Problem {
    fn from(problem: people::passwords::Error) -> Self {
        use people::passwords::Error;
        match &problem {
            Error::Busy => Self::new(Kind::Busy, "log in", "the account", problem, "come back later"),
            Error::Length => Self::malformed("the password", problem).field("password"),
            Error::Hash(_) => Self::internal(&problem),
        }
    }
}

/// A problem's body: RFC 9457, with its detail in parts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Body {
    /// Which kind: `urn:palisade:problem:not-found`.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// Operation, object, reason and remedy in one sentence.
    detail: String,
    /// The request: `urn:palisade:request:ID`, as in the header `x-request-id` and in the server's log.
    instance: String,
    /// What was to be done.
    operation: String,
    /// To what.
    object: String,
    /// Why it was not.
    reason: String,
    /// What to do about it.
    remedy: String,
    /// The field of the request that is wrong: `labels.site`.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Every fault of what was asked for, with what to do about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    /// When to come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<i64>,
}
