//! Log formats in the web servers' own words: nginx's `log_format`, Apache's `LogFormat`.

use super::Brief;
use super::address::Source;
use super::parts::{Escapes, Parts, Text, quote_end, status};
use super::time::Stamp;
use advisory::Problem;
use memchr::memmem::Finder;
use std::ops::Range;

/// What a place in a format stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Slot {
    Source,
    /// In brackets, or not: whatever form it has.
    Time,
    RequestLine,
    Method,
    Target,
    Path,
    Query,
    Protocol,
    Host,
    Agent,
    Referer,
    Cookie,
    Body,
    Status,
    Header(String),
    Other,
}

#[derive(Debug)]
struct Piece {
    slot: Slot,
    /// What stands after it; empty at the end of the line.
    until: Finder<'static>,
    /// Between quotes: quotes in it are escaped.
    quoted: bool,
}

/// A format that was given as the web server's own format string.
#[derive(Debug)]
pub struct Custom {
    before: Vec<u8>,
    pieces: Vec<Piece>,
    escapes: Escapes,
}

/// One word of a format: a text that stands in the line as it is, or a place.
enum Word {
    Text(String),
    Place(Slot),
}

impl Custom {
    /// From nginx's words (`$remote_addr [$time_local] "$request"`) or Apache's (`%h %l %u %t "%r" %>s`).
    ///
    /// Errors where two places touch, where a directive is not known, or where time or source is missing.
    pub fn parse(format: &str) -> Result<Self, Problem> {
        let refused = |reason: String, remedy: &str| {
            Err(Problem::new("read log format", format, reason).remedy(remedy))
        };
        let (words, escapes) = if format.contains('%') && !format.contains('$') {
            (apache(format), Escapes::Backslash)
        } else {
            let json = format.trim_start().starts_with('{');
            (Ok(nginx(format)), if json { Escapes::Json } else { Escapes::Backslash })
        };
        let words = match words {
            Ok(words) => words,
            Err(reason) => return refused(reason, "give the format as the web server's settings have it"),
        };
        let mut custom = Self { before: Vec::new(), pieces: Vec::new(), escapes };
        let mut text = String::new();
        let mut waiting: Option<(Slot, bool)> = None;
        for word in words {
            match word {
                Word::Text(more) => text.push_str(&more),
                Word::Place(slot) => {
                    match waiting.take() {
                        None => custom.before = std::mem::take(&mut text).into_bytes(),
                        Some(_) if text.is_empty() => {
                            return refused(
                                "two places touch, so nobody can tell where one ends".into(),
                                "put a text between them",
                            );
                        }
                        Some((slot, quoted)) => custom.push(slot, quoted, &std::mem::take(&mut text)),
                    }
                    let quoted = custom
                        .pieces
                        .last()
                        .map_or(&custom.before[..], |piece| piece.until.needle())
                        .ends_with(b"\"");
                    waiting = Some((slot, quoted));
                }
            }
        }
        if let Some((slot, quoted)) = waiting {
            custom.push(slot, quoted, &text);
        }
        for (slot, what) in [(Slot::Source, "source"), (Slot::Time, "time")] {
            if !custom.pieces.iter().any(|piece| piece.slot == slot) {
                return refused(
                    format!("it has no {what}"),
                    "a census needs $remote_addr or %h, and $time_local, $time_iso8601, $msec or %t",
                );
            }
        }
        Ok(custom)
    }

    fn push(&mut self, slot: Slot, quoted: bool, until: &str) {
        let quoted = quoted && until.starts_with('"');
        self.pieces.push(Piece { slot, until: Finder::new(until.as_bytes()).into_owned(), quoted });
    }

    pub(super) fn brief(&self, line: &[u8]) -> Option<Brief> {
        let mut when = None;
        let mut source = None;
        self.walk(line, |slot, range| match slot {
            Slot::Time => when = when.or_else(|| Stamp::any(&line[range])),
            Slot::Source => source = source.or_else(|| Source::named(&line[range])),
            Slot::RequestLine
            | Slot::Method
            | Slot::Target
            | Slot::Path
            | Slot::Query
            | Slot::Protocol
            | Slot::Host
            | Slot::Agent
            | Slot::Referer
            | Slot::Cookie
            | Slot::Body
            | Slot::Status
            | Slot::Header(_)
            | Slot::Other => {}
        })?;
        Some(Brief { when: when?, source: source?, told_from: 0 })
    }

    pub(super) fn read(&self, line: &[u8], undone: &mut Vec<u8>, parts: &mut Parts) -> Option<()> {
        self.walk(line, |slot, range| {
            let text = Text::field_of(line, range.clone(), self.escapes, undone);
            match slot {
                Slot::RequestLine => parts.request_line = text,
                Slot::Target => parts.target(text, line, undone),
                Slot::Method => parts.method = text,
                Slot::Path => parts.path = text,
                // Apache's %q begins with the question mark.
                Slot::Query if line[range.clone()].first() == Some(&b'?') => {
                    parts.query = Text::field_of(line, range.start + 1..range.end, self.escapes, undone);
                }
                Slot::Query => parts.query = text,
                Slot::Protocol => parts.protocol = text,
                Slot::Host => parts.host = text,
                Slot::Agent => parts.agent = text,
                Slot::Referer => parts.referer = text,
                Slot::Cookie => parts.cookie = text,
                Slot::Body => parts.body = text,
                Slot::Status => parts.status = status(&line[range]),
                Slot::Header(name) => {
                    let at = undone.len();
                    undone.extend_from_slice(name.as_bytes());
                    parts.headers.push((Text::Undone(at, undone.len()), text));
                }
                Slot::Source | Slot::Time | Slot::Other => {}
            }
        })
    }

    /// Gives each place of the line to `visit`; `None` where the line has another form.
    fn walk(&self, line: &[u8], mut visit: impl FnMut(&Slot, Range<usize>)) -> Option<()> {
        let mut at = line.starts_with(&self.before).then_some(self.before.len())?;
        for piece in &self.pieces {
            let until = piece.until.needle();
            let mut end = if until.is_empty() {
                line.len()
            } else if piece.quoted {
                quote_end(line, at)?
            } else {
                at + piece.until.find(&line[at..])?
            };
            while piece.quoted && !line[end..].starts_with(until) {
                end = quote_end(line, end + 1)?;
            }
            visit(&piece.slot, at..end);
            at = end + until.len();
        }
        Some(())
    }
}

fn nginx(format: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = format;
    while let Some(at) = rest.find('$') {
        words.push(Word::Text(rest[..at].to_owned()));
        rest = &rest[at + 1..];
        let (name, after) = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(inner) => inner,
            None => rest.split_at(
                rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                    .unwrap_or(rest.len()),
            ),
        };
        words.push(Word::Place(variable(name)));
        rest = after;
    }
    words.push(Word::Text(rest.to_owned()));
    words
}

fn variable(name: &str) -> Slot {
    match name {
        "remote_addr" | "realip_remote_addr" => Slot::Source,
        "time_local" | "time_iso8601" | "msec" => Slot::Time,
        "request" => Slot::RequestLine,
        "request_method" => Slot::Method,
        "request_uri" => Slot::Target,
        "uri" | "document_uri" => Slot::Path,
        "args" | "query_string" => Slot::Query,
        "server_protocol" => Slot::Protocol,
        "host" | "http_host" | "server_name" => Slot::Host,
        "http_user_agent" => Slot::Agent,
        "http_referer" => Slot::Referer,
        "http_cookie" => Slot::Cookie,
        "request_body" => Slot::Body,
        "status" => Slot::Status,
        _ => match name.strip_prefix("http_") {
            Some(header) => Slot::Header(header.replace('_', "-")),
            None => Slot::Other,
        },
    }
}

fn apache(format: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let format = format.replace("\\\"", "\"").replace("\\t", "\t");
    let mut rest = format.as_str();
    while let Some(at) = rest.find('%') {
        words.push(Word::Text(rest[..at].to_owned()));
        rest = &rest[at + 1..];
        // Conditions on the status (`%!200,304{Referer}i`) and which request is meant (`%>s`) change no place.
        rest = rest.trim_start_matches(|letter: char| {
            letter.is_ascii_digit() || matches!(letter, '!' | ',' | '<' | '>')
        });
        let (argument, after) = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((argument, after)) => (argument, after),
            None => ("", rest),
        };
        let mut letters = after.chars();
        let directive = letters.next().ok_or("it ends in the middle of a directive")?;
        rest = letters.as_str();
        if directive == '%' {
            words.push(Word::Text("%".to_owned()));
            continue;
        }
        if directive == 't' && argument.is_empty() {
            words.push(Word::Text("[".to_owned()));
            words.push(Word::Place(Slot::Time));
            words.push(Word::Text("]".to_owned()));
            continue;
        }
        words.push(Word::Place(place(directive, argument)?));
    }
    words.push(Word::Text(rest.to_owned()));
    Ok(words)
}

fn place(directive: char, argument: &str) -> Result<Slot, String> {
    Ok(match directive {
        'h' | 'a' => Slot::Source,
        't' => match argument.trim_start_matches("begin:").trim_start_matches("end:") {
            "sec"
            | "msec"
            | "usec"
            | "%s"
            | "%Y-%m-%dT%H:%M:%S%z"
            | "%Y-%m-%d %H:%M:%S %z"
            | "%d/%b/%Y:%H:%M:%S %z"
            | "%d/%b/%Y:%T %z" => Slot::Time,
            _ => return Err(format!("times in the form {argument:?} are not read")),
        },
        'r' => Slot::RequestLine,
        'm' => Slot::Method,
        'U' => Slot::Path,
        'q' => Slot::Query,
        'H' => Slot::Protocol,
        'v' | 'V' => Slot::Host,
        's' => Slot::Status,
        'i' => match argument.to_ascii_lowercase().as_str() {
            "user-agent" => Slot::Agent,
            "referer" => Slot::Referer,
            "cookie" => Slot::Cookie,
            "host" => Slot::Host,
            _ => Slot::Header(argument.to_owned()),
        },
        _ if directive.is_ascii_alphabetic() || directive == '^' => Slot::Other,
        _ => return Err(format!("%{directive} is no directive")),
    })
}
