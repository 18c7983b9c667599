//! Refusals, in the wire's words.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use wire::v1::{Refusal, Refused};

/// Seconds after which an agent that found us busy may come again.
const BUSY_SECONDS: u32 = 30;
/// Seconds after which a quarantined host may ask again: a person has to look first.
const QUARANTINED_SECONDS: u32 = 300;

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why a request is not done.
#[derive(Debug)]
pub(super) struct Refuse {
    pub(super) kind: Refusal,
    status: StatusCode,
    detail: String,
    retry_seconds: Option<u32>,
}

impl Refuse {
    fn new(kind: Refusal, status: StatusCode, detail: impl Into<String>) -> Self {
        Self { kind, status, detail: detail.into(), retry_seconds: None }
    }

    /// The request cannot be read, or is not one of ours.
    pub(super) fn malformed(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::new(Refusal::Malformed, status, detail)
    }

    /// A token that is not good.
    pub(super) fn token() -> Self {
        let detail = "enrol: the token is wrong, used, expired or revoked; make another with \"palisade token create\"";
        Self::new(Refusal::Token, StatusCode::FORBIDDEN, detail)
    }

    /// No certificate, or one that has ended: only a new token helps.
    pub(super) fn stranger(detail: &str) -> Self {
        Self::new(Refusal::Token, StatusCode::UNAUTHORIZED, detail)
    }

    pub(super) fn revoked(detail: &str) -> Self {
        Self::new(Refusal::Revoked, StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn quarantined() -> Self {
        let detail =
            "the host is quarantined: another one seems to have its key; look at it with \"palisade host\"";
        let mut refuse = Self::new(Refusal::Quarantined, StatusCode::FORBIDDEN, detail);
        refuse.retry_seconds = Some(QUARANTINED_SECONDS);
        refuse
    }

    pub(super) fn busy(status: StatusCode, detail: impl Into<String>) -> Self {
        let mut refuse = Self::new(Refusal::Busy, status, detail);
        refuse.retry_seconds = Some(BUSY_SECONDS);
        refuse
    }

    pub(super) fn after(mut self, seconds: u32) -> Self {
        self.retry_seconds = Some(seconds);
        self
    }

    pub(super) fn answer(self) -> Answer {
        let body = Refused { kind: self.kind.word().to_owned(), detail: self.detail };
        let mut answer = json(self.status, &body);
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_seconds {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

/// An answer of JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).expect("answers have text keys only");
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
