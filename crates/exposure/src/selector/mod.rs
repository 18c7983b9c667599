//! Which hosts are meant: one language for lists, policies, plans and the command line. Takes a text; gives a [`Selector`]
//! that takes what is known of a host and says whether it is meant. docs/selectors.md is for its users.
//!
//! ```text
//! any  = all { "or" all }          all  = not { "and" not }       not = "not" not | "(" any ")" | test
//! test = "all" | "has" key | key ("=" | "!=") value | key ["not"] "in" "(" value { "," value } ")"
//! ```

mod parse;
#[cfg(test)]
mod tests;

use advisory::{Family, Release};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Bytes of a selector: a hundred tests; whoever needs more labels the hosts.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Parentheses and `not` inside each other. Each costs a few hundred bytes of stack.
pub const DEPTH_MAX: usize = 32;

/// States a host can be in, as `state=` has them.
pub const STATES: [&str; 4] = ["active", "silent", "quarantined", "revoked"];

/// Selects hosts. Its text ([`Display`](fmt::Display)) is canonical: parsed, it gives the same selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Expression);

/// What is known of one host.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Its name for itself.
    pub name: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Its group.
    pub group: &'a str,
    /// What people say about it.
    pub labels: &'a BTreeMap<String, String>,
    /// Its release in words, `Debian 12`, or as selectors have it, `debian:12`; empty: not known.
    pub release: &'a str,
    /// One of [`STATES`].
    pub state: &'a str,
    /// Whether a build that the test takes is installed.
    pub has_package: &'a dyn Fn(&Package) -> bool,
    /// Whether an advisory of this id, or one that closes this CVE, affects it.
    pub affected_by: &'a dyn Fn(&str) -> bool,
}

impl fmt::Debug for Facts<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Facts").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// At which character, from 1.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "read selector, character {}: {}; {}", self.at, self.reason, self.remedy)
    }
}

impl std::error::Error for Error {}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    All,
    Has(String),
    Test {
        key: Key,
        differs: bool,
        values: Values,
    },
    Not(Box<Expression>),
    /// Two or more, none of which is an `Every`.
    Every(Vec<Expression>),
    /// Two or more, none of which is an `Any`.
    Any(Vec<Expression>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Field(Field),
    Label(String),
}

/// What every host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Id,
    Group,
    Release,
    State,
    Package,
    Affected,
}

impl Field {
    const ALL: [Self; 7] =
        [Self::Name, Self::Id, Self::Group, Self::Release, Self::State, Self::Package, Self::Affected];

    fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Id => "id",
            Self::Group => "group",
            Self::Release => "release",
            Self::State => "state",
            Self::Package => "package",
            Self::Affected => "affected",
        }
    }
}

/// Alternatives, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    Texts(Vec<Pattern>),
    Packages(Vec<Package>),
}

/// A text, or a pattern: `*` stands for anything, `?` for one character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: String,
    is_glob: bool,
}

/// A package, and perhaps a bound of its version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Package {
    /// Its binary or source name.
    pub name: Pattern,
    /// How its version compares, in the order of its release. A version that cannot be compared passes none but `!=`.
    pub version: Option<(Comparison, String)>,
}

/// How two versions compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Comparison {
    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }
}

impl Selector {
    /// Reads a selector. Keys that are no field are labels.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::selector(text, None).map(Self)
    }

    /// Reads a selector that names no label but `labels`, which are those that hosts have: a slip of the pen would otherwise
    /// silently select nobody, or with `!=` everybody. The error names the nearest known key.
    pub fn parse_knowing(text: &str, labels: &BTreeSet<String>) -> Result<Self, Error> {
        parse::selector(text, Some(labels)).map(Self)
    }

    /// Whether the host is meant.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        self.0.matches(facts)
    }

    /// The packages it asks about, so that a fleet can be asked once instead of host by host.
    pub fn packages(&self) -> Vec<&Package> {
        let mut found = Vec::new();
        self.0.walk(&mut |expression| {
            if let Expression::Test { values: Values::Packages(packages), .. } = expression {
                found.extend(packages);
            }
        });
        found
    }

    /// The advisories and CVEs it asks about.
    pub fn advisories(&self) -> Vec<&str> {
        let mut found = Vec::new();
        self.0.walk(&mut |expression| {
            if let Expression::Test { key: Key::Field(Field::Affected), values: Values::Texts(ids), .. } =
                expression
            {
                found.extend(ids.iter().map(|id| id.text.as_str()));
            }
        });
        found
    }
}

impl Expression {
    fn matches(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Has(label) => facts.labels.contains_key(label),
            Self::Not(inner) => !inner.matches(facts),
            Self::Every(parts) => parts.iter().all(|part| part.matches(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(facts)),
            Self::Test { key, differs, values } => *differs != is_one_of(key, values, facts),
        }
    }

    fn walk<'e>(&'e self, visit: &mut impl FnMut(&'e Self)) {
        visit(self);
        match self {
            Self::Not(inner) => inner.walk(visit),
            Self::Every(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.walk(visit)),
            Self::All | Self::Has(_) | Self::Test { .. } => {}
        }
    }
}

fn is_one_of(key: &Key, values: &Values, facts: &Facts<'_>) -> bool {
    let values = match values {
        Values::Packages(packages) => return packages.iter().any(|package| (facts.has_package)(package)),
        Values::Texts(values) => values,
    };
    let field = match key {
        Key::Label(label) => {
            let Some(value) = facts.labels.get(label) else { return false };
            return values.iter().any(|pattern| pattern.matches(value));
        }
        Key::Field(field) => field,
    };
    let any = |text: &str| values.iter().any(|pattern| pattern.matches(text));
    match field {
        Field::Name => any(facts.name),
        Field::Id => any(facts.id),
        Field::Group => any(facts.group),
        Field::State => any(facts.state),
        Field::Release => {
            let release = release_word(facts.release);
            values.iter().any(|pattern| pattern.matches(&release) || pattern.is_release(&release))
        }
        Field::Affected => values.iter().any(|id| (facts.affected_by)(&id.text)),
        // Always with `Values::Packages`.
        Field::Package => false,
    }
}

/// `Debian 12` as selectors and plans have it: `debian:12`. What is such a word already stays as it is.
pub fn release_word(text: &str) -> String {
    let word = match text.rsplit_once(' ') {
        Some((family, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("{family}:{version}")
        }
        _ => text.to_owned(),
    };
    word.to_lowercase().replace(' ', "-")
}

impl Pattern {
    /// Whether the text is meant.
    pub fn matches(&self, text: &str) -> bool {
        if self.is_glob { glob(self.text.as_bytes(), text.as_bytes()) } else { self.text == text }
    }

    /// Whether it names this release by the id that os-release has for its family: `rocky:9`, `rhel:9`, `sles:15.6`.
    fn is_release(&self, word: &str) -> bool {
        let Some((id, version)) = self.text.split_once(':') else { return false };
        let release = Release::new(Family::from_os_release_id(id), version);
        !self.is_glob && release_word(&release.to_string()) == word
    }
}

/// Whether `text` fits `pattern`. Goes back to the last `*` only, so time is at most their product.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, place));
                at += 1;
            }
            // One character, not one byte of it.
            Some(b'?') => {
                at += 1;
                place += 1;
                while text.get(place).is_some_and(|byte| byte & 0xC0 == 0x80) {
                    place += 1;
                }
            }
            Some(byte) if *byte == text[place] => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (at, place) = (after, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

impl Package {
    /// Whether the version of a build of that name, in that release, is meant.
    pub fn takes(&self, release: &Release, version: &str) -> bool {
        let Some((comparison, bound)) = &self.version else { return true };
        let order = release.family.order().and_then(|order| order.compare(version, bound).ok());
        match (comparison, order) {
            (Comparison::Equal, Some(order)) => order.is_eq(),
            (Comparison::Unequal, Some(order)) => order.is_ne(),
            (Comparison::Less, Some(order)) => order.is_lt(),
            (Comparison::AtMost, Some(order)) => order.is_le(),
            (Comparison::Greater, Some(order)) => order.is_gt(),
            (Comparison::AtLeast, Some(order)) => order.is_ge(),
            (Comparison::Equal, None) => version == bound,
            (Comparison::Unequal, None) => version != bound,
            (Comparison::Less | Comparison::AtMost | Comparison::Greater | Comparison::AtLeast, None) => {
                false
            }
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(out)
    }
}

impl Expression {
    fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => out.write_str("all"),
            Self::Has(label) => write!(out, "has {}", Shown::key(label)),
            Self::Not(inner) => {
                out.write_str("not ")?;
                inner.write_inside(out, matches!(**inner, Self::Every(_) | Self::Any(_)))
            }
            Self::Every(parts) => write_all(parts, " and ", out, |part| matches!(part, Self::Any(_))),
            Self::Any(parts) => write_all(parts, " or ", out, |_| false),
            Self::Test { key, differs, values } => {
                match key {
                    Key::Field(field) => out.write_str(field.word())?,
                    Key::Label(label) => write!(out, "{}", Shown::key(label))?,
                }
                let values: Vec<String> = match values {
                    Values::Texts(values) => values.iter().map(ToString::to_string).collect(),
                    Values::Packages(packages) => packages.iter().map(ToString::to_string).collect(),
                };
                match (&values[..], differs) {
                    ([one], false) => write!(out, "={one}"),
                    ([one], true) => write!(out, "!={one}"),
                    (_, false) => write!(out, " in ({})", values.join(", ")),
                    (_, true) => write!(out, " not in ({})", values.join(", ")),
                }
            }
        }
    }

    fn write_inside(&self, out: &mut fmt::Formatter<'_>, parenthesised: bool) -> fmt::Result {
        if !parenthesised {
            return self.write(out);
        }
        out.write_str("(")?;
        self.write(out)?;
        out.write_str(")")
    }
}

fn write_all(
    parts: &[Expression],
    between: &str,
    out: &mut fmt::Formatter<'_>,
    parenthesised: impl Fn(&Expression) -> bool,
) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.write_str(between)?;
        }
        part.write_inside(out, parenthesised(part))?;
    }
    Ok(())
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown { text: &self.text, quoted: !self.is_glob && parse::is_glob(&self.text) }.fmt(out)
    }
}

impl fmt::Display for Package {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.name)?;
        match &self.version {
            None => Ok(()),
            Some((comparison, version)) => {
                write!(out, "{}{}", comparison.sign(), Shown { text: version, quoted: false })
            }
        }
    }
}

/// A text as a selector has it: in quotes where it would otherwise be read as something else.
struct Shown<'a> {
    text: &'a str,
    quoted: bool,
}

impl<'a> Shown<'a> {
    fn key(text: &'a str) -> Self {
        Self { text, quoted: parse::is_reserved(text) }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.quoted && parse::is_word(self.text) {
            return out.write_str(self.text);
        }
        write!(out, "\"{}\"", self.text.replace('\\', "\\\\").replace('"', "\\\""))
    }
}
