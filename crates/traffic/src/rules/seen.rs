//! A request as tests see it: zones, their values and readings, made when they are first looked at.

use super::condition::{Zone, header};
use super::names::Names;
use crate::request::{Body, Field, Fields, Kind, Pair, Request, View, Views, cookies, form};
use std::cell::OnceCell;

/// A request and what was made of it so far.
pub(super) struct Seen<'a> {
    request: &'a Request<'a>,
    fields: Fields,
    path: OnceCell<Option<Views<'a>>>,
    query: OnceCell<Option<Views<'a>>>,
    whole: OnceCell<Option<Views<'a>>>,
    line: OnceCell<Option<Views<'a>>>,
    entry: OnceCell<Views<'a>>,
    arguments: OnceCell<Vec<Pair<'a>>>,
    cookies: OnceCell<Vec<Pair<'a>>>,
    headers: OnceCell<Vec<(&'a [u8], Views<'a>)>>,
    body: OnceCell<Body<'a>>,
    raw_body: OnceCell<Option<Views<'a>>>,
}

/// Takes one text of a zone: whose it is (a name, or nothing) and its readings. Gives whether that was enough.
type Look<'l> = dyn FnMut(&[u8], &Views<'_>) -> bool + 'l;

/// Which texts of a request to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Texts {
    /// Every one.
    All,
    /// What is another text when it is decoded or resolved: what was sent stands in the log.
    Decoded,
}

impl<'a> Seen<'a> {
    pub(super) fn new(request: &'a Request<'a>) -> Self {
        Self {
            request,
            fields: Fields::of(request),
            path: OnceCell::new(),
            query: OnceCell::new(),
            whole: OnceCell::new(),
            line: OnceCell::new(),
            entry: OnceCell::new(),
            arguments: OnceCell::new(),
            cookies: OnceCell::new(),
            headers: OnceCell::new(),
            body: OnceCell::new(),
            raw_body: OnceCell::new(),
        }
    }

    /// Whether the source of the request has one of these sets of parts.
    pub(super) fn can_tell(&self, any_of: &[Fields]) -> bool {
        any_of.iter().any(|&fields| self.fields.has(fields))
    }

    /// Shows `look` each text of a zone until it has seen enough; gives whether it has.
    pub(super) fn each(&self, zone: Zone, names: &Names, look: &mut Look<'_>) -> bool {
        let values = |pairs: &[Pair<'_>], look: &mut Look<'_>| {
            pairs.iter().filter(|pair| names.want(&pair.name)).any(|pair| look(&pair.name, &pair.value))
        };
        let names_of = |pairs: &[Pair<'_>], look: &mut Look<'_>| {
            pairs.iter().any(|pair| look(b"", &Views::new(pair.name.as_slice(), Kind::Form)))
        };
        let plain = |field: Field<'_>, look: &mut Look<'_>| {
            field.bytes().is_some_and(|text| look(b"", &Views::new(text, Kind::Plain)))
        };
        match zone {
            Zone::Method => plain(self.request.method, look),
            Zone::Protocol => plain(self.request.protocol, look),
            Zone::Uri => self.path().is_some_and(|path| look(b"", path)),
            Zone::Query => self.query().is_some_and(|query| look(b"", query)),
            Zone::UriFull => match self.query() {
                None => self.path().is_some_and(|path| look(b"", path)),
                Some(_) => self.whole().is_some_and(|whole| look(b"", whole)),
            },
            Zone::Line => self.line().is_some_and(|line| look(b"", line)),
            Zone::Entry => look(b"", self.entry()),
            Zone::Status => self
                .request
                .status
                .is_some_and(|status| look(b"", &Views::new(status.to_string().into_bytes(), Kind::Plain))),
            Zone::Args => values(self.arguments(), look),
            Zone::ArgsNames => names_of(self.arguments(), look),
            Zone::Cookies => values(self.cookies(), look),
            Zone::CookiesNames => names_of(self.cookies(), look),
            Zone::BodyArgs => values(&self.body().arguments, look),
            Zone::BodyArgsNames => names_of(&self.body().arguments, look),
            Zone::FileNames => self.body().files.iter().any(|name| look(b"", name)),
            Zone::RawBody => self.raw_body().is_some_and(|body| look(b"", body)),
            Zone::Headers => self
                .headers()
                .iter()
                .filter(|(name, _)| names.want(name))
                .any(|(name, value)| look(name, value)),
            Zone::HeadersNames => {
                self.headers().iter().any(|(name, _)| look(b"", &Views::new(*name, Kind::Plain)))
            }
        }
    }

    fn path(&self) -> Option<&Views<'a>> {
        let path = || self.request.path.bytes().map(|path| Views::new(path, Kind::Path));
        self.path.get_or_init(path).as_ref()
    }

    fn query(&self) -> Option<&Views<'a>> {
        let query = || self.request.query.bytes().map(|query| Views::new(query, Kind::Form));
        self.query.get_or_init(query).as_ref()
    }

    fn whole(&self) -> Option<&Views<'a>> {
        let whole = || Some(Views::joined(self.path()?, self.query()?));
        self.whole.get_or_init(whole).as_ref()
    }

    fn line(&self) -> Option<&Views<'a>> {
        self.line.get_or_init(|| self.request.line().map(|line| Views::new(line, Kind::Plain))).as_ref()
    }

    /// `- - - [] "GET / HTTP/1.1" 404 - "-" "curl/8.5.0"`: Apache's combined format, what is not known a hyphen. fail2ban
    /// takes the time out before it looks, and the address is not looked for here.
    fn entry(&self) -> &Views<'a> {
        self.entry.get_or_init(|| {
            let line = self.request.line().unwrap_or_default();
            let status = self.request.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            let known = |field: Field<'a>| field.bytes().unwrap_or(b"-");
            let parts: [&[u8]; 9] = [
                b"- - - [] \"",
                &line,
                b"\" ",
                status.as_bytes(),
                b" - \"",
                known(self.request.referer),
                b"\" \"",
                known(self.request.agent),
                b"\"",
            ];
            Views::new(parts.concat(), Kind::Plain)
        })
    }

    fn arguments(&self) -> &[Pair<'a>] {
        self.arguments.get_or_init(|| self.request.query.bytes().map(form).unwrap_or_default())
    }

    fn cookies(&self) -> &[Pair<'a>] {
        self.cookies.get_or_init(|| self.header(b"cookie").map(cookies).unwrap_or_default())
    }

    fn headers(&self) -> &[(&'a [u8], Views<'a>)] {
        self.headers.get_or_init(|| {
            let named: [(&[u8], Field<'a>); 4] = [
                (b"Host", self.request.host),
                (b"User-Agent", self.request.agent),
                (b"Referer", self.request.referer),
                (b"Cookie", self.request.cookie),
            ];
            let named = named.into_iter().filter_map(|(name, field)| Some((name, field.bytes()?)));
            // A live request may have them in both places.
            let further = self.request.headers.iter().copied().filter(|(name, _)| {
                let name = std::str::from_utf8(name).unwrap_or_default();
                header(name) == Fields::HEADERS || !self.fields.has(header(name))
            });
            named.chain(further).map(|(name, value)| (name, Views::new(value, Kind::Plain))).collect()
        })
    }

    fn header(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        let known = match wanted {
            b"cookie" => self.request.cookie.bytes(),
            _ => None,
        };
        let further = || self.request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        known.or_else(|| further().map(|(_, value)| *value))
    }

    fn body(&self) -> &Body<'a> {
        self.body.get_or_init(|| {
            let kind = self.header(b"content-type").unwrap_or_default();
            self.request.body.bytes().map(|body| Body::read(body, kind)).unwrap_or_default()
        })
    }

    fn raw_body(&self) -> Option<&Views<'a>> {
        let body = || self.request.body.bytes().map(|body| Views::new(body, Kind::Form));
        self.raw_body.get_or_init(body).as_ref()
    }

    /// Shows `look` the texts that some test may look at, by parts that hold them whole.
    pub(super) fn everything(&self, texts: Texts, look: &mut dyn FnMut(&[u8])) {
        let of_lines =
            [Zone::Method, Zone::Protocol, Zone::Uri, Zone::Query, Zone::Headers, Zone::HeadersNames];
        // An HTTP request's line is in its parts.
        let whole_line = self.request.raw.bytes().is_some().then_some(Zone::Line);
        for zone in of_lines.into_iter().chain(whole_line) {
            self.each(zone, &Names::ANY, &mut |_, views| {
                let others = views.each().filter(|(view, _)| texts == Texts::All || *view != View::Sent);
                others.for_each(|(_, text)| look(text));
                false
            });
        }
        // What a body holds is taken out of it: it may be written in another way.
        for zone in [Zone::RawBody, Zone::BodyArgs, Zone::BodyArgsNames, Zone::FileNames] {
            self.each(zone, &Names::ANY, &mut |_, views| {
                views.each().for_each(|(_, text)| look(text));
                false
            });
        }
    }
}
