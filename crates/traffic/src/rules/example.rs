//! Requests that a rule carries to show what it is for: some that it must recognise, some that look like them.

use crate::request::{Field, Request, unescaped};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a rule must recognise, and what it must not.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examples {
    /// Attempts.
    #[serde(default)]
    pub recognised: Vec<Example>,
    /// Requests that look like attempts and are none.
    #[serde(default)]
    pub passed: Vec<Example>,
}

/// One request: its line as a log has it, or the line with more.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(from = "Written")]
pub struct Example {
    /// `GET /a?b HTTP/1.1`, escaped as a log escapes it.
    pub line: String,
    /// Headers, names as they are sent.
    pub headers: BTreeMap<String, String>,
    /// The body; a source with bodies has every header.
    pub body: Option<String>,
    /// What was answered.
    pub status: Option<u16>,
    /// The source has no place for queries.
    pub without_query: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Line(String),
    More(More),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct More {
    line: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    without_query: bool,
}

impl From<Written> for Example {
    fn from(written: Written) -> Example {
        match written {
            Written::Line(line) => {
                Example { line, headers: BTreeMap::new(), body: None, status: None, without_query: false }
            }
            Written::More(More { line, headers, body, status, without_query }) => {
                Example { line, headers, body, status, without_query }
            }
        }
    }
}

impl Example {
    /// Shows `look` the request, as a source in combined format would have it; headers besides user agent and referer
    /// are known where the example names them.
    pub fn show<T>(&self, look: impl FnOnce(&Request<'_>) -> T) -> T {
        let line = unescaped(self.line.as_bytes());
        let headers: Vec<(&[u8], &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let named = |name: &str, otherwise: Field<'static>| {
            let value = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            value.map_or(otherwise, |(_, value)| Field::Is(value.as_bytes()))
        };
        let unnamed = if self.body.is_some() { Field::Absent } else { Field::Unlogged };
        let mut request = Request {
            agent: named("user-agent", Field::Absent),
            referer: named("referer", Field::Absent),
            host: named("host", unnamed),
            cookie: named("cookie", unnamed),
            headers: &headers,
            body: self.body.as_ref().map_or(Field::Unlogged, |body| Field::Is(body.as_bytes())),
            status: self.status,
            ..Request::of_line(&line)
        };
        if self.without_query {
            request.query = Field::Unlogged;
        }
        look(&request)
    }

    /// The example as a line of a combined log with the body behind it: what the sieve would be shown.
    pub fn logged(&self) -> String {
        let named = |name: &str| {
            let value = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            value.map_or("-", |(_, value)| value.as_str())
        };
        let others: Vec<String> = self
            .headers
            .iter()
            .filter(|(name, _)| !["user-agent", "referer"].contains(&name.to_ascii_lowercase().as_str()))
            .map(|(name, value)| format!("\"{name}: {value}\""))
            .collect();
        format!(
            "192.0.2.1 - - [19/Jul/2001:00:05:46 +0000] \"{}\" {} 297 \"{}\" \"{}\" {} {}\n",
            self.line,
            self.status.unwrap_or(404),
            named("referer"),
            named("user-agent"),
            others.join(" "),
            self.body.as_deref().unwrap_or_default()
        )
    }
}
