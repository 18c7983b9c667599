//! Which parts of a request a source can tell of.

use super::{Field, Request};
use std::fmt;

/// A set of parts of requests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fields(u16);

/// Each part with its name as people are told it.
const NAMES: [(Fields, &str); 12] = [
    (Fields::METHOD, "method"),
    (Fields::PATH, "path"),
    (Fields::QUERY, "query"),
    (Fields::PROTOCOL, "protocol"),
    (Fields::RAW, "unparsed request lines"),
    (Fields::HOST, "host"),
    (Fields::AGENT, "user agent"),
    (Fields::REFERER, "referer"),
    (Fields::COOKIE, "cookie"),
    (Fields::HEADERS, "further headers"),
    (Fields::BODY, "body"),
    (Fields::STATUS, "status"),
];

impl Fields {
    /// No part.
    pub const NONE: Fields = Fields(0);
    /// The method.
    pub const METHOD: Fields = Fields(1);
    /// The path without the query.
    pub const PATH: Fields = Fields(1 << 1);
    /// The query.
    pub const QUERY: Fields = Fields(1 << 2);
    /// The protocol.
    pub const PROTOCOL: Fields = Fields(1 << 3);
    /// Request lines that are none.
    pub const RAW: Fields = Fields(1 << 4);
    /// The host that was asked for.
    pub const HOST: Fields = Fields(1 << 5);
    /// The user agent.
    pub const AGENT: Fields = Fields(1 << 6);
    /// The referer.
    pub const REFERER: Fields = Fields(1 << 7);
    /// Cookies.
    pub const COOKIE: Fields = Fields(1 << 8);
    /// Headers other than those named here.
    pub const HEADERS: Fields = Fields(1 << 9);
    /// The body.
    pub const BODY: Fields = Fields(1 << 10);
    /// What was answered.
    pub const STATUS: Fields = Fields(1 << 11);
    /// Every part.
    pub const ALL: Fields = Fields((1 << 12) - 1);

    /// The parts that are in either.
    #[must_use]
    pub const fn with(self, other: Fields) -> Fields {
        Fields(self.0 | other.0)
    }

    /// The parts that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Fields) -> Fields {
        Fields(self.0 & !other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn has(self, other: Fields) -> bool {
        self.0 & other.0 == other.0
    }

    /// As a number: a bit for each part.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// From such a number; bits that stand for nothing are left out.
    pub const fn from_bits(bits: u16) -> Fields {
        Fields(bits & Fields::ALL.0)
    }

    /// Whether it has no part.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The parts that the source of this request has a place for. A source with bodies has every header.
    pub fn of(request: &Request<'_>) -> Fields {
        let logged = [
            (request.method, Fields::METHOD),
            (request.path, Fields::PATH),
            (request.query, Fields::QUERY),
            (request.protocol, Fields::PROTOCOL),
            (request.raw, Fields::RAW),
            (request.host, Fields::HOST),
            (request.agent, Fields::AGENT),
            (request.referer, Fields::REFERER),
            (request.cookie, Fields::COOKIE),
            (request.body, Fields::BODY.with(Fields::HEADERS)),
        ];
        let known = logged.into_iter().filter(|(field, _)| *field != Field::Unlogged);
        let fields = known.fold(Fields::NONE, |fields, (_, part)| fields.with(part));
        if request.status.is_some() { fields.with(Fields::STATUS) } else { fields }
    }

    /// The parts' names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().filter(move |(field, _)| self.has(*field)).map(|(_, name)| name)
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Fields({self})")
    }
}
