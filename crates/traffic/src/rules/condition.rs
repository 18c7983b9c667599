//! What a rule says, as read: the language of CrowdSec's virtual patches, and the little that we add to it.

use crate::request::{Fields, View};

/// A part of a request that a test looks at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Zone {
    /// The method.
    Method,
    /// The protocol.
    Protocol,
    /// The path.
    Uri,
    /// Path and query.
    UriFull,
    /// Values of the query's arguments.
    Args,
    /// Names of the query's arguments.
    ArgsNames,
    /// Values of the body's arguments; `json.a.b` names a value in JSON.
    BodyArgs,
    /// Names of the body's arguments.
    BodyArgsNames,
    /// Values of headers.
    Headers,
    /// Names of headers.
    HeadersNames,
    /// Values of cookies.
    Cookies,
    /// Names of cookies.
    CookiesNames,
    /// The body as it came.
    RawBody,
    /// Names of uploaded files.
    FileNames,
    /// The query as one text. Ours.
    Query,
    /// The request line, also one that is no HTTP. Ours.
    Line,
    /// The status that was answered. Ours.
    Status,
    /// The request as a line of Apache's combined log, without address and time. Ours, for failregex.
    Entry,
}

/// Names of zones, as rules write them; the first of several is the one that is told.
const ZONES: [(&str, Zone); 20] = [
    ("METHOD", Zone::Method),
    ("PROTOCOL", Zone::Protocol),
    ("URI", Zone::Uri),
    ("URI_FULL", Zone::UriFull),
    ("ARGS", Zone::Args),
    ("ARGS_NAMES", Zone::ArgsNames),
    ("BODY_ARGS", Zone::BodyArgs),
    ("BODY_ARGS_NAMES", Zone::BodyArgsNames),
    ("HEADERS", Zone::Headers),
    ("HEADERS_NAMES", Zone::HeadersNames),
    ("COOKIES", Zone::Cookies),
    ("COOKIES_NAMES", Zone::CookiesNames),
    ("RAW_BODY", Zone::RawBody),
    ("FILENAMES", Zone::FileNames),
    ("FILES", Zone::FileNames),
    ("FILES_NAMES", Zone::FileNames),
    ("QUERY", Zone::Query),
    ("LINE", Zone::Line),
    ("STATUS", Zone::Status),
    ("ENTRY", Zone::Entry),
];

impl Zone {
    /// The zone of that name.
    pub fn named(name: &str) -> Option<Zone> {
        ZONES.iter().find(|(known, _)| *known == name).map(|(_, zone)| *zone)
    }

    /// Its name in rules.
    pub fn name(self) -> &'static str {
        ZONES.iter().find(|(_, zone)| *zone == self).map_or("", |(name, _)| name)
    }

    /// Every name that a rule may write.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ZONES.iter().map(|(name, _)| *name)
    }
}

/// What is done to a text before it is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transform {
    /// ASCII letters become small.
    Lowercase,
    /// ASCII letters become capital.
    Uppercase,
    /// One pass of `%XX`; `+` is a space.
    UrlDecode,
    /// White space at both ends goes.
    Trim,
    /// Dot segments are resolved.
    NormalizePath,
    /// `&lt;`, `&#60;`, `&#x3c;` become what they stand for.
    HtmlEntityDecode,
    /// Base64 becomes what it encodes.
    B64Decode,
    /// The text's length in bytes, in decimal.
    Length,
    /// How many texts there are, in decimal.
    Count,
}

/// Names of transforms, as rules write them; the first of several is the one that is told.
const TRANSFORMS: [(&str, Transform); 11] = [
    ("lowercase", Transform::Lowercase),
    ("uppercase", Transform::Uppercase),
    ("urldecode", Transform::UrlDecode),
    ("trim", Transform::Trim),
    ("normalizepath", Transform::NormalizePath),
    ("normalize_path", Transform::NormalizePath),
    ("htmlentitydecode", Transform::HtmlEntityDecode),
    ("html_entity_decode", Transform::HtmlEntityDecode),
    ("b64decode", Transform::B64Decode),
    ("length", Transform::Length),
    ("count", Transform::Count),
];

impl Transform {
    /// The transform of that name.
    pub fn named(name: &str) -> Option<Transform> {
        TRANSFORMS.iter().find(|(known, _)| *known == name).map(|(_, transform)| *transform)
    }

    /// Its name in rules.
    pub fn name(self) -> &'static str {
        TRANSFORMS.iter().find(|(_, transform)| *transform == self).map_or("", |(name, _)| name)
    }

    /// Every name that a rule may write.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TRANSFORMS.iter().map(|(name, _)| *name)
    }
}

/// How numbers are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// More than.
    Greater,
    /// At least.
    AtLeast,
    /// Less than.
    Less,
    /// At most.
    AtMost,
    /// As much as.
    Same,
}

/// What a text is compared with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Matching {
    /// The whole text is this.
    Equals(String),
    /// It is in the text.
    Contains(String),
    /// The text begins with it.
    StartsWith(String),
    /// The text ends with it.
    EndsWith(String),
    /// A regular expression finds something; `.` is any byte, `^` and `$` are lines' ends.
    Regex(String),
    /// The text reads as a piece of SQL that was put in from outside.
    Sqli,
    /// The text reads as a script that was put in from outside.
    Xss,
    /// The text is a number, and it is so.
    Number(Order, i64),
    /// The source has no place for any of the zones. Ours: for attacks that a log shows only a part of.
    Unlogged,
}

/// One comparison.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Test {
    /// Where to look; one zone is enough.
    pub zones: Vec<Zone>,
    /// Which values of a zone of names and values; empty means all.
    pub variables: Vec<String>,
    /// Which readings to look at; empty means all.
    pub views: Vec<View>,
    /// In this order.
    pub transforms: Vec<Transform>,
    /// What to compare with.
    pub matching: Matching,
}

/// When a rule recognises a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// One comparison holds.
    Test(Test),
    /// All hold.
    All(Vec<Condition>),
    /// One of them holds.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
}

impl Test {
    /// Whether the test is of how many values there are: then that there are none is an answer too.
    pub(super) fn counts(&self) -> bool {
        self.transforms.contains(&Transform::Count)
    }

    /// The parts of a request that can answer it: one of these sets is enough.
    pub(super) fn fields(&self) -> Vec<Fields> {
        self.zones.iter().flat_map(|&zone| zone.fields(&self.variables)).collect()
    }
}

impl Zone {
    /// The sets of parts one of which the zone needs.
    fn fields(self, variables: &[String]) -> Vec<Fields> {
        match self {
            Zone::Method => vec![Fields::METHOD],
            Zone::Protocol => vec![Fields::PROTOCOL],
            Zone::Uri | Zone::Entry => vec![Fields::PATH],
            Zone::UriFull => vec![Fields::PATH.with(Fields::QUERY)],
            Zone::Args | Zone::ArgsNames | Zone::Query => vec![Fields::QUERY],
            Zone::BodyArgs | Zone::BodyArgsNames | Zone::RawBody | Zone::FileNames => vec![Fields::BODY],
            Zone::Cookies | Zone::CookiesNames => vec![Fields::COOKIE],
            Zone::HeadersNames => vec![Fields::HEADERS],
            Zone::Headers if variables.is_empty() => {
                vec![Fields::HOST, Fields::AGENT, Fields::REFERER, Fields::COOKIE, Fields::HEADERS]
            }
            Zone::Headers => variables.iter().map(|name| header(name)).collect(),
            Zone::Line => vec![Fields::RAW, Fields::PATH.with(Fields::QUERY)],
            Zone::Status => vec![Fields::STATUS],
        }
    }
}

/// The part that a header is.
pub(super) fn header(name: &str) -> Fields {
    let named = [
        ("host", Fields::HOST),
        ("user-agent", Fields::AGENT),
        ("referer", Fields::REFERER),
        ("cookie", Fields::COOKIE),
    ];
    named
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map_or(Fields::HEADERS, |(_, field)| field)
}
