//! One request as a log's line, or a live connection, tells of it. Readers of log formats make it; rules look at it.

mod body;
mod decode;
mod escape;
mod fields;
mod line;
mod views;

pub use escape::unescaped;
pub use fields::Fields;
pub use views::View;

pub(crate) use body::{Body, Pair, cookies, form};
pub(crate) use decode::{once, resolved};
pub(crate) use views::{Kind, Views};

/// What is known of one part of a request.
///
/// A log that has no place for a part says nothing of it: a rule that needs the part can then not be judged, which is
/// another answer than "no match".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Field<'a> {
    /// The source has no place for it.
    #[default]
    Unlogged,
    /// The source has a place for it, and the request had none.
    Absent,
    /// As it was sent; what a log escaped is undone, what the sender encoded is not.
    Is(&'a [u8]),
}

/// One request, in borrowed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Request<'a> {
    /// `GET`.
    pub method: Field<'a>,
    /// Path without the query, as sent: `/scripts/..%255c../cmd.exe`.
    pub path: Field<'a>,
    /// What follows the first `?`, without it.
    pub query: Field<'a>,
    /// `HTTP/1.0`.
    pub protocol: Field<'a>,
    /// The whole request line where it could not be told apart (bytes of another protocol, a piece of a body).
    pub raw: Field<'a>,
    /// The `Host` header, or the virtual host that a log names.
    pub host: Field<'a>,
    /// The `User-Agent` header.
    pub agent: Field<'a>,
    /// The `Referer` header.
    pub referer: Field<'a>,
    /// The `Cookie` header.
    pub cookie: Field<'a>,
    /// Further headers of a live request or a log that has them: names in any case.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// The body, as far as it is at hand.
    pub body: Field<'a>,
    /// What was answered, where that is known.
    pub status: Option<u16>,
}

impl<'a> Field<'a> {
    /// The bytes, where there are some.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Field::Is(bytes) => Some(bytes),
            Field::Unlogged | Field::Absent => None,
        }
    }
}
