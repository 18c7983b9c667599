//! Names and values: of queries, cookies, and bodies by their content type.

use super::{Kind, Views};
use serde_json::Value;

/// Values further inside a JSON body than this are not looked at.
const DEPTH_MAX: usize = 32;
/// More names than this in a query or a body are not looked at: a request has no use for them.
const PAIRS_MAX: usize = 1000;

/// One argument.
#[derive(Clone, Debug)]
pub(crate) struct Pair<'a> {
    /// Decoded.
    pub(crate) name: Vec<u8>,
    pub(crate) value: Views<'a>,
}

/// What a body holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body<'a> {
    pub(crate) arguments: Vec<Pair<'a>>,
    /// Names of files in a multipart body.
    pub(crate) files: Vec<Views<'a>>,
}

/// The arguments of a query or of a form.
pub(crate) fn form(text: &[u8]) -> Vec<Pair<'_>> {
    let parts = text.split(|&byte| byte == b'&').filter(|part| !part.is_empty());
    parts.take(PAIRS_MAX).map(argument).collect()
}

/// The cookies of a `Cookie` header.
pub(crate) fn cookies(text: &[u8]) -> Vec<Pair<'_>> {
    let parts = text.split(|&byte| byte == b';').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty());
    parts.take(PAIRS_MAX).map(argument).collect()
}

fn argument(part: &[u8]) -> Pair<'_> {
    let mut halves = part.splitn(2, |&byte| byte == b'=');
    let name = Views::new(halves.next().unwrap_or_default(), Kind::Form);
    Pair { name: name.last().to_vec(), value: Views::new(halves.next().unwrap_or_default(), Kind::Form) }
}

impl<'a> Body<'a> {
    /// What a body of this content type holds. One that is not as its type says holds nothing.
    pub(crate) fn read(body: &'a [u8], content_type: &[u8]) -> Body<'a> {
        let kind = content_type.to_ascii_lowercase();
        if kind.starts_with(b"application/json") || kind.ends_with(b"+json") {
            return json(body);
        }
        if kind.starts_with(b"multipart/form-data") {
            return boundary(content_type).map(|boundary| multipart(body, &boundary)).unwrap_or_default();
        }
        if kind.starts_with(b"application/x-www-form-urlencoded") {
            return Body { arguments: form(body), files: Vec::new() };
        }
        Body::default()
    }
}

/// `{"a": {"b": [1]}}` is `json.a.b.0` = `1`, the names that CrowdSec's rules use.
fn json(body: &[u8]) -> Body<'static> {
    let mut found = Body::default();
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        flatten(&value, "json", DEPTH_MAX, &mut found.arguments);
    }
    found
}

fn flatten(value: &Value, name: &str, depth: usize, into: &mut Vec<Pair<'static>>) {
    if depth == 0 || into.len() >= PAIRS_MAX {
        return;
    }
    let text = match value {
        Value::Object(members) => {
            for (key, value) in members {
                flatten(value, &format!("{name}.{key}"), depth - 1, into);
            }
            return;
        }
        Value::Array(values) => {
            for (place, value) in values.iter().enumerate() {
                flatten(value, &format!("{name}.{place}"), depth - 1, into);
            }
            return;
        }
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_)) => other.to_string(),
    };
    into.push(Pair { name: name.as_bytes().to_vec(), value: Views::new(text.into_bytes(), Kind::Plain) });
}

fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    let value = parameter(content_type, b"boundary")?;
    (!value.is_empty()).then(|| [b"--".as_slice(), value].concat())
}

/// The value of `name=value` or `name="value"` in a header.
fn parameter<'h>(header: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    header.split(|&byte| byte == b';').skip(1).find_map(|part| {
        let mut halves = part.splitn(2, |&byte| byte == b'=');
        let key = halves.next()?.trim_ascii();
        let value = halves.next()?.trim_ascii();
        let value =
            value.strip_prefix(b"\"").map_or(value, |value| value.strip_suffix(b"\"").unwrap_or(value));
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn multipart<'a>(body: &'a [u8], boundary: &[u8]) -> Body<'a> {
    let mut found = Body::default();
    let starts: Vec<usize> = memchr::memmem::find_iter(body, boundary).take(PAIRS_MAX).collect();
    for (place, &start) in starts.iter().enumerate() {
        let end = starts.get(place + 1).copied().unwrap_or(body.len());
        let part = &body[start + boundary.len()..end];
        let part = part.strip_prefix(b"\r\n").or_else(|| part.strip_prefix(b"\n")).unwrap_or(part);
        let Some((head, value)) = head_and_value(part) else { continue };
        let value = value.strip_suffix(b"\r\n").or_else(|| value.strip_suffix(b"\n")).unwrap_or(value);
        let disposition = head.split(|&byte| byte == b'\n').find_map(|line| {
            let (name, rest) = line.split_at_checked(b"content-disposition:".len())?;
            name.eq_ignore_ascii_case(b"content-disposition:").then_some(rest)
        });
        let Some(disposition) = disposition else { continue };
        if let Some(file) = parameter(disposition, b"filename") {
            found.files.push(Views::new(file, Kind::Plain));
        } else if let Some(name) = parameter(disposition, b"name") {
            found.arguments.push(Pair { name: name.to_vec(), value: Views::new(value, Kind::Plain) });
        }
    }
    found
}

fn head_and_value(part: &[u8]) -> Option<(&[u8], &[u8])> {
    [b"\r\n\r\n".as_slice(), b"\n\n"].into_iter().find_map(|gap| {
        let at = memchr::memmem::find(part, gap)?;
        Some((&part[..at], &part[at + gap.len()..]))
    })
}
