//! A request line, told apart.

use super::{Field, Request};

impl<'a> Request<'a> {
    /// The request that a request line makes: `GET /a?b HTTP/1.0`. The line is as it was sent: [`super::unescaped`] first.
    ///
    /// A target may hold spaces where a protocol follows; without one it begins with `/` and holds none (HTTP 0.9). What
    /// is no request line becomes [`Request::raw`]. Headers and body stay unlogged.
    pub fn of_line(line: &'a [u8]) -> Request<'a> {
        let parts = told_apart(line);
        let Some((method, target, protocol)) = parts else {
            return Request {
                method: Field::Absent,
                path: Field::Absent,
                query: Field::Absent,
                protocol: Field::Absent,
                raw: Field::Is(line),
                ..Request::default()
            };
        };
        let mut halves = target.splitn(2, |&byte| byte == b'?');
        Request {
            method: Field::Is(method),
            path: halves.next().map_or(Field::Absent, Field::Is),
            query: halves.next().map_or(Field::Absent, Field::Is),
            protocol: protocol.map_or(Field::Absent, Field::Is),
            raw: Field::Absent,
            ..Request::default()
        }
    }

    /// The request line: as it came, or put together again.
    pub(crate) fn line(&self) -> Option<std::borrow::Cow<'a, [u8]>> {
        if let Field::Is(raw) = self.raw {
            return Some(raw.into());
        }
        let path = self.path.bytes()?;
        let mut line = self.method.bytes().map(<[u8]>::to_vec).unwrap_or_default();
        line.push(b' ');
        line.extend_from_slice(path);
        if let Field::Is(query) = self.query {
            line.push(b'?');
            line.extend_from_slice(query);
        }
        if let Field::Is(protocol) = self.protocol {
            line.push(b' ');
            line.extend_from_slice(protocol);
        }
        Some(line.into())
    }
}

type Parts<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

fn told_apart(line: &[u8]) -> Option<Parts<'_>> {
    let space = memchr::memchr(b' ', line)?;
    let (method, rest) = (&line[..space], &line[space + 1..]);
    // Tokens of RFC 9110 that are in use: letters, and the hyphen of `VERSION-CONTROL`.
    let token = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_');
    if method.is_empty() || !method.iter().all(token) {
        return None;
    }
    match memchr::memrchr(b' ', rest) {
        Some(last) if rest[last + 1..].starts_with(b"HTTP/") => {
            let target = rest[..last].trim_ascii();
            (!target.is_empty()).then_some((method, target, Some(&rest[last + 1..])))
        }
        None if rest.starts_with(b"/") => Some((method, rest, None)),
        _ => None,
    }
}
