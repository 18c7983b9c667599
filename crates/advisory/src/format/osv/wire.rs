//! An OSV record as it stands in JSON: borrowed text, every list and word capped.
//!
//! Source: OSV schema 1.7. Fields that nothing here reads (`details`, `credits`) are skipped without a copy.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Bytes of an id; the longest in use have some 40.
pub(super) const ID_MAX: usize = 256;
/// Bytes of a package name, a version, an ecosystem; the longest in use have some 200.
pub(super) const WORD_MAX: usize = 1_024;
/// Affected packages of one record; a kernel of all Ubuntu flavours and releases has some 2,000.
const AFFECTED_MAX: usize = 100_000;
/// Ranges of one affected package.
const RANGES_MAX: usize = 1_000;
/// Events of one range.
const EVENTS_MAX: usize = 10_000;
/// Enumerated versions of one affected package.
const VERSIONS_MAX: usize = 50_000;
/// Aliases, related and upstream ids, each; a kernel bulletin has some 1,000.
const EDGES_MAX: usize = 20_000;
/// Severities and references.
const ENTRIES_MAX: usize = 5_000;

/// One record, with all fields of the right type.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    pub id: Option<Word<'a, ID_MAX>>,
    #[serde(borrow)]
    pub summary: Option<Text<'a>>,
    #[serde(borrow)]
    pub published: Option<Text<'a>>,
    #[serde(borrow)]
    pub modified: Option<Text<'a>>,
    #[serde(borrow)]
    pub withdrawn: Option<Text<'a>>,
    #[serde(borrow)]
    pub aliases: Edges<'a>,
    #[serde(borrow)]
    pub related: Edges<'a>,
    #[serde(borrow)]
    pub upstream: Edges<'a>,
    #[serde(borrow)]
    pub severity: List<Score<'a>, ENTRIES_MAX>,
    #[serde(borrow)]
    pub affected: List<Affected<'a>, AFFECTED_MAX, 8>,
    #[serde(borrow)]
    pub references: List<Reference<'a>, ENTRIES_MAX>,
    #[serde(borrow)]
    pub database_specific: Option<Box<Specific<'a>>>,
}

/// The same record with every field unread, for when one of them has the wrong type.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct RawRecord<'a> {
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub summary: Option<&'a RawValue>,
    #[serde(borrow)]
    pub published: Option<&'a RawValue>,
    #[serde(borrow)]
    pub modified: Option<&'a RawValue>,
    #[serde(borrow)]
    pub withdrawn: Option<&'a RawValue>,
    #[serde(borrow)]
    pub aliases: Option<&'a RawValue>,
    #[serde(borrow)]
    pub related: Option<&'a RawValue>,
    #[serde(borrow)]
    pub upstream: Option<&'a RawValue>,
    #[serde(borrow)]
    pub severity: Option<&'a RawValue>,
    #[serde(borrow)]
    pub affected: Option<&'a RawValue>,
    #[serde(borrow)]
    pub references: Option<&'a RawValue>,
    #[serde(borrow)]
    pub database_specific: Option<&'a RawValue>,
}

pub(super) type Edges<'a> = List<Word<'a, ID_MAX>, EDGES_MAX>;
pub(super) type RawAffected<'a> = List<&'a RawValue, AFFECTED_MAX>;

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Affected<'a> {
    #[serde(borrow)]
    pub package: Option<Package<'a>>,
    #[serde(borrow)]
    pub ranges: List<Range<'a>, RANGES_MAX, 1>,
    #[serde(borrow)]
    pub versions: List<Word<'a, WORD_MAX>, VERSIONS_MAX>,
    #[serde(borrow)]
    pub severity: List<Score<'a>, ENTRIES_MAX>,
    #[serde(borrow)]
    pub ecosystem_specific: Option<Box<Specific<'a>>>,
    #[serde(borrow)]
    pub database_specific: Option<Box<Specific<'a>>>,
}

#[derive(serde::Deserialize)]
pub(super) struct Package<'a> {
    #[serde(borrow)]
    pub ecosystem: Word<'a, WORD_MAX>,
    #[serde(borrow)]
    pub name: Word<'a, WORD_MAX>,
}

/// The package of an `affected` entry of which something else cannot be read.
#[derive(serde::Deserialize)]
pub(super) struct Outline<'a> {
    #[serde(borrow)]
    pub package: Package<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct Range<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Word<'a, ID_MAX>,
    #[serde(borrow, default)]
    pub events: List<Event<'a>, EVENTS_MAX, 2>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Event<'a> {
    #[serde(borrow)]
    pub introduced: Option<Word<'a, WORD_MAX>>,
    #[serde(borrow)]
    pub fixed: Option<Word<'a, WORD_MAX>>,
    #[serde(borrow)]
    pub last_affected: Option<Word<'a, WORD_MAX>>,
    #[serde(borrow)]
    pub limit: Option<Word<'a, WORD_MAX>>,
}

#[derive(serde::Deserialize)]
pub(super) struct Score<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Word<'a, ID_MAX>,
    #[serde(borrow)]
    pub score: Word<'a, WORD_MAX>,
}

#[derive(serde::Deserialize)]
pub(super) struct Reference<'a> {
    #[serde(borrow, default)]
    pub url: Option<Text<'a>>,
}

/// The vendors' own words that mean something to us. Their place may hold anything; other types are as good as absent.
#[derive(Default)]
pub(super) struct Specific<'a> {
    /// Debian: `unimportant`, `not yet assigned`, `end-of-life`, `low` ….
    pub urgency: Option<Cow<'a, str>>,
    /// GitHub, Azure Linux: `HIGH`.
    pub severity: Option<Cow<'a, str>>,
    /// Ubuntu: `medium`.
    pub ubuntu_priority: Option<Cow<'a, str>>,
    /// RustSec: `unmaintained`.
    pub informational: Option<Cow<'a, str>>,
}

/// Text of any length (within the record's) and content.
#[derive(Clone, Debug)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

/// A word that becomes a key or is compared: at most `MAX` bytes, no control characters.
#[derive(Clone, Debug)]
pub(super) struct Word<'a, const MAX: usize>(pub Cow<'a, str>);

/// A list of at most `MAX` items, room for `FIRST` to begin with; `null` is the empty list, as some vendors' programs
/// write it.
pub(super) struct List<T, const MAX: usize, const FIRST: usize = 4>(pub Vec<T>);

impl<T, const MAX: usize, const FIRST: usize> Default for List<T, MAX, FIRST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Str<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Str<'a> {
            type Value = Text<'a>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Str(PhantomData))
    }
}

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for Word<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        if text.len() > MAX {
            return Err(D::Error::custom(format_args!("a word of {} bytes, allowed are {MAX}", text.len())));
        }
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(D::Error::custom("a control character in a word"));
        }
        Ok(Self(text))
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize, const FIRST: usize> Deserialize<'de>
    for List<T, MAX, FIRST>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize, const FIRST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize, const FIRST: usize> Visitor<'de> for Items<T, MAX, FIRST> {
            type Value = List<T, MAX, FIRST>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(List(Vec::new()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    if list.len() == MAX {
                        return Err(A::Error::custom(format_args!("a list of more than {MAX} items")));
                    }
                    if list.is_empty() {
                        list.reserve_exact(FIRST);
                    }
                    list.push(item);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_any(Items(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Specific<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything(PhantomData)).map(|found| match found {
            Found::Object(specific) => specific,
            Found::Text(_) | Found::Else => Self::default(),
        })
    }
}

/// What stands where vendors may write anything.
enum Found<'a> {
    Object(Specific<'a>),
    Text(Cow<'a, str>),
    Else,
}

impl<'de: 'a, 'a> Deserialize<'de> for Found<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Leaf(PhantomData))
    }
}

/// Accepts every type one level deep: an object's fields are leaves.
struct Anything<'a>(PhantomData<&'a ()>);
/// Accepts every type and keeps only text: no recursion, whatever the depth of the input.
struct Leaf<'a>(PhantomData<&'a ()>);

macro_rules! accept_everything {
    () => {
        type Value = Found<'a>;
        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("anything")
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Found::Else)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Found::Else)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Found::Else)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Found::Else)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Found::Else)
        }
        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Found::Text(Cow::Borrowed(text)))
        }
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Found::Text(Cow::Owned(text.to_owned())))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Found::Else)
        }
    };
}

impl<'de: 'a, 'a> Visitor<'de> for Leaf<'a> {
    accept_everything!();
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Found::Else)
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Anything<'a> {
    accept_everything!();
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut specific = Specific::default();
        while let Some(Text(key)) = fields.next_key()? {
            let slot = match &*key {
                "urgency" => &mut specific.urgency,
                "severity" => &mut specific.severity,
                "ubuntu_priority" => &mut specific.ubuntu_priority,
                "informational" => &mut specific.informational,
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if let Found::Text(text) = fields.next_value()? {
                *slot = Some(text).filter(|text| text.len() <= ID_MAX);
            }
        }
        Ok(Found::Object(specific))
    }
}
