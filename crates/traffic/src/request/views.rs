//! The same text as it was sent and as it may be understood. A rule that finds its pattern in any of them holds.

use super::decode;
use std::borrow::Cow;

/// One way to read a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// As it was sent.
    Sent,
    /// Percent-decoded once, as a server decodes it.
    Once,
    /// Decoded as far as it goes: three passes of `%XX`, `%uXXXX`, overlong UTF-8.
    Full,
    /// A path, decoded and resolved: no `.`, `..`, empty segments or backslashes.
    Resolved,
}

impl View {
    /// All of them, from the least to the most decoded.
    pub const ALL: [View; 4] = [View::Sent, View::Once, View::Full, View::Resolved];

    /// Its name in rules and explanations.
    pub fn name(self) -> &'static str {
        match self {
            View::Sent => "sent",
            View::Once => "once",
            View::Full => "full",
            View::Resolved => "resolved",
        }
    }

    /// The view of that name.
    pub fn named(name: &str) -> Option<View> {
        View::ALL.into_iter().find(|view| view.name() == name)
    }
}

/// What a text is, for how it is decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Dot segments are resolved.
    Path,
    /// `+` is a space.
    Form,
    /// Neither.
    Plain,
}

/// A text and its other readings, as far as they differ from it.
#[derive(Clone, Debug)]
pub(crate) struct Views<'a> {
    sent: Cow<'a, [u8]>,
    once: Option<Vec<u8>>,
    full: Option<Vec<u8>>,
    resolved: Option<Vec<u8>>,
}

impl<'a> Views<'a> {
    pub(crate) fn new(sent: impl Into<Cow<'a, [u8]>>, kind: Kind) -> Self {
        let sent = sent.into();
        let plus = kind == Kind::Form;
        let (once, full) = if decode::is_plain(&sent, plus) {
            (None, None)
        } else {
            let once = decode::once(&sent, plus);
            let full = decode::full(&sent, plus).filter(|full| once.as_ref() != Some(full));
            (once, full)
        };
        let last = full.as_deref().or(once.as_deref()).unwrap_or(&sent);
        let resolved = if kind == Kind::Path { decode::resolved(last) } else { None };
        Self { sent, once, full, resolved }
    }

    /// Path and query as one text. Where the path resolves to another one, so does the text; its query is then read in
    /// full, and has nothing to resolve.
    pub(crate) fn joined(path: &Views<'_>, query: &Views<'_>) -> Views<'static> {
        let join = |path: &[u8], query: &[u8]| [path, b"?", query].concat();
        let full = |views: &Views<'_>| views.full.as_deref().map(<[u8]>::to_vec);
        let once = |views: &Views<'_>| views.once.as_deref().unwrap_or(&views.sent).to_vec();
        let changed_once = path.once.is_some() || query.once.is_some();
        let changed_full = path.full.is_some() || query.full.is_some();
        Views {
            sent: Cow::Owned(join(&path.sent, &query.sent)),
            once: changed_once.then(|| join(&once(path), &once(query))),
            full: changed_full.then(|| {
                join(&full(path).unwrap_or_else(|| once(path)), &full(query).unwrap_or_else(|| once(query)))
            }),
            resolved: path.resolved.as_deref().map(|resolved| join(resolved, query.last())),
        }
    }

    /// The text in its most decoded form.
    pub(crate) fn last(&self) -> &[u8] {
        self.full.as_deref().or(self.once.as_deref()).unwrap_or(&self.sent)
    }

    /// Each reading that differs from the ones before it.
    pub(crate) fn each(&self) -> impl Iterator<Item = (View, &[u8])> {
        let others = [(View::Once, &self.once), (View::Full, &self.full), (View::Resolved, &self.resolved)];
        std::iter::once((View::Sent, &*self.sent))
            .chain(others.into_iter().filter_map(|(view, text)| Some((view, text.as_deref()?))))
    }

    /// The text as `view` reads it, which may be as an earlier one does.
    pub(crate) fn read(&self, view: View) -> &[u8] {
        let texts = [None, self.once.as_deref(), self.full.as_deref(), self.resolved.as_deref()];
        let upto = View::ALL.iter().position(|&other| other == view).unwrap_or(0);
        texts[..=upto].iter().rev().find_map(|text| *text).unwrap_or(&self.sent)
    }
}
