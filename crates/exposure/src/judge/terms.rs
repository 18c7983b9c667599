//! A claim, parsed, and what it says about an installed version. Takes terms and an [`Installed`]; gives an
//! [`Assessment`], the verdict without its words. The fleet's index and the judge both stand on [`assess`].

use super::installed::{Booted, Condition, Installed, Parsed, Stream, TOLD_FLAVOURS, flavour_in};
use advisory::{Advisory, Channel, Claim, Order, State, Version};
use std::ops::Range;

/// A claim, parsed. Kept small: a fleet's index holds a million of them.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    introduced: Bound,
    fixed: Bound,
    last: Bound,
    state: State,
    withdrawn: bool,
    /// What few claims have.
    narrow: Option<Box<Narrow>>,
}

/// One end of an affected range.
#[derive(Clone, Debug)]
enum Bound {
    /// The vendor gives none.
    Open,
    At(Version),
    /// The vendor gives one that does not parse.
    Unreadable,
}

impl Bound {
    fn parse(text: Option<&str>, order: Option<Order>) -> Self {
        match text {
            None => Self::Open,
            Some(text) => order.and_then(|order| order.parse(text).ok()).map_or(Self::Unreadable, Self::At),
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

/// What narrows a claim to some builds, hosts or exact versions.
#[derive(Clone, Debug, Default)]
struct Narrow {
    arch: Option<Box<str>>,
    stream: Stream,
    flavour: Option<Box<str>>,
    /// The minor release that alone is spoken to (EUS).
    minor: Option<Box<str>>,
    listed: Vec<(Box<str>, Option<Version>)>,
}

/// Whether a claim speaks about a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    No,
    Yes,
    /// It may, which cannot be told.
    Unclear(Doubt),
}

/// Where a version lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Enumerated as affected.
    Listed,
    /// In the affected range.
    Inside,
    /// At or after the fixed version.
    Past,
    /// After the last affected version.
    AfterLast,
    /// Before the version that introduced the hole.
    Before,
    /// The claim enumerates versions, and this is none of them.
    NotListed,
    /// Cannot be told.
    Unread(Doubt),
}

/// What a claim means for an installed package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assessment {
    Affected(Place),
    /// Fixed on disk; processes run another version that is affected or not known.
    StillMapped,
    /// Fixed on disk; the booted kernel is affected.
    StillBooted,
    Fixed,
    NotAffected(Clear),
    Undetermined(Doubt),
}

/// Why something is not affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clear {
    /// The advisory was withdrawn.
    Withdrawn,
    /// The vendor says so.
    Vendor,
    /// The version lies outside the affected range.
    Outside(Place),
    /// An older kernel, not booted, beside a newer one that is not affected.
    OldKernel,
}

/// Why something cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    ClaimVersion,
    InstalledVersion,
    BootedVersion,
    HalfInstalled,
    Foreign,
    ModuleStream,
    Flavour,
    /// The vendor has not judged.
    Vendor,
    /// The vendor says "fixed" and does not say where.
    NoFixedVersion,
    NoOrder,
    BootedUnseen,
}

/// What a claim says about versions in order: indices of a sorted list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Neighbours that are in the range.
    pub(crate) range: Range<usize>,
    /// What being in the range means.
    pub(crate) meaning: Meaning,
    /// Single ones that are affected besides.
    pub(crate) listed: Vec<usize>,
}

/// What being in a claim's range means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Affected,
    Clean,
    Undetermined,
}

impl Terms {
    pub(crate) fn new(advisory: &Advisory, claim: &Claim) -> Self {
        let order = claim.release.family.order();
        let versions = || {
            [&claim.fixed, &claim.introduced, &claim.last_affected]
                .into_iter()
                .filter_map(|text| text.as_deref())
                .chain(claim.versions.iter().map(String::as_str))
        };
        let flavour = match claim.flavour.as_deref().map(str::to_ascii_lowercase) {
            // Versions do not tell of this flavour, the name does: `linux-realtime` is enough.
            Some(flavour)
                if !TOLD_FLAVOURS.contains(&&*flavour)
                    && claim.name.split('-').any(|word| word == flavour) =>
            {
                None
            }
            Some(flavour) => Some(flavour.into()),
            None => versions().chain([claim.name.as_str()]).find_map(flavour_in).map(Box::from),
        };
        let narrow = Narrow {
            arch: claim.arch.as_deref().map(Box::from),
            stream: Stream::read(claim.module.as_ref(), versions()),
            flavour,
            minor: match &claim.channel {
                Channel::Eus(minor) => Some(minor.as_str().into()),
                Channel::Main | Channel::Security | Channel::PointRelease | Channel::Lts | Channel::Esm => {
                    None
                }
            },
            listed: claim
                .versions
                .iter()
                .map(|text| (text.as_str().into(), order.and_then(|order| order.parse(text).ok())))
                .collect(),
        };
        let plain = narrow.arch.is_none()
            && narrow.stream == Stream::Plain
            && narrow.flavour.is_none()
            && narrow.minor.is_none()
            && narrow.listed.is_empty();
        Self {
            introduced: Bound::parse(claim.introduced.as_deref(), order),
            fixed: Bound::parse(claim.fixed.as_deref(), order),
            last: Bound::parse(claim.last_affected.as_deref(), order),
            state: claim.state,
            withdrawn: advisory.withdrawn.is_some(),
            narrow: (!plain).then(|| Box::new(narrow)),
        }
    }

    /// The only minor release the claim speaks to (EUS); `None` is all.
    pub(crate) fn minor(&self) -> Option<&str> {
        self.narrow.as_ref()?.minor.as_deref()
    }

    pub(crate) fn withdrawn(&self) -> bool {
        self.withdrawn
    }

    /// Whether the claim is about builds of this architecture, stream and flavour.
    pub(crate) fn speaks(&self, arch: &str, stream: &Stream, flavour: Option<&str>) -> Speaks {
        let narrow = self.narrow.as_deref();
        // A package may become architecture-independent and back between two versions.
        let independent = |arch: &str| arch == "noarch" || arch == "all";
        let claimed_arch = narrow.and_then(|narrow| narrow.arch.as_deref());
        if claimed_arch.is_some_and(|claimed| claimed != arch && !independent(claimed) && !independent(arch))
        {
            return Speaks::No;
        }
        let unclear_stream = match (narrow.map_or(&Stream::Plain, |narrow| &narrow.stream), stream) {
            (Stream::Plain, Stream::Plain) => false,
            (Stream::Plain, Stream::Of(_) | Stream::Unknown)
            | (Stream::Of(_) | Stream::Unknown, Stream::Plain) => {
                return Speaks::No;
            }
            (Stream::Of(claimed), Stream::Of(installed)) if claimed == installed => false,
            (Stream::Of(_), Stream::Of(_)) => return Speaks::No,
            (Stream::Unknown, Stream::Of(_) | Stream::Unknown) | (Stream::Of(_), Stream::Unknown) => true,
        };
        match (narrow.and_then(|narrow| narrow.flavour.as_deref()), flavour) {
            // Any build of the name may be of a flavour that no version tells of.
            (Some(claimed), _) if !TOLD_FLAVOURS.contains(&claimed) => Speaks::Unclear(Doubt::Flavour),
            (Some(claimed), installed) if installed != Some(claimed) => Speaks::No,
            _ if unclear_stream => Speaks::Unclear(Doubt::ModuleStream),
            (None, Some(_)) => Speaks::Unclear(Doubt::Flavour),
            _ => Speaks::Yes,
        }
    }

    /// Where an installed version lies.
    pub(crate) fn place(&self, text: &str, version: Option<&Version>, order: Option<Order>) -> Place {
        let listed = self.listed();
        let equal = |entry: &(Box<str>, Option<Version>)| {
            *entry.0 == *text || version.is_some_and(|version| entry.1.as_ref() == Some(version))
        };
        if listed.iter().any(equal) {
            return Place::Listed;
        }
        if self.introduced.is_open() && self.fixed.is_open() && self.last.is_open() {
            return match self.state {
                State::Fixed | State::NotAffected if !listed.is_empty() => Place::NotListed,
                State::Fixed => Place::Unread(Doubt::NoFixedVersion),
                State::Affected
                | State::NotAffected
                | State::WontFix
                | State::Deferred
                | State::EndOfLife
                | State::Undetermined => Place::Inside,
            };
        }
        let Some(version) = version else {
            return Place::Unread(if order.is_some() { Doubt::InstalledVersion } else { Doubt::NoOrder });
        };
        match (&self.fixed, &self.last) {
            (Bound::At(fixed), _) if version >= fixed => return Place::Past,
            (Bound::Open, Bound::At(last)) if version > last => return Place::AfterLast,
            _ => {}
        }
        match &self.introduced {
            Bound::At(introduced) if version < introduced => return Place::Before,
            Bound::At(_) | Bound::Open | Bound::Unreadable => {}
        }
        self.doubt().map_or(Place::Inside, Place::Unread)
    }

    /// What keeps versions inside the range's readable ends from being judged.
    fn doubt(&self) -> Option<Doubt> {
        match (&self.introduced, &self.fixed, &self.last) {
            (Bound::Unreadable, _, _) | (_, Bound::Unreadable, _) | (_, Bound::Open, Bound::Unreadable) => {
                Some(Doubt::ClaimVersion)
            }
            (_, Bound::Open, Bound::Open) if self.state == State::Fixed => Some(Doubt::NoFixedVersion),
            _ => None,
        }
    }

    fn listed(&self) -> &[(Box<str>, Option<Version>)] {
        self.narrow.as_ref().map_or(&[], |narrow| &narrow.listed)
    }

    /// [`Terms::place`] and the state's meaning for all of `versions`, which are sorted and all parsed in the claim's
    /// order: two binary searches instead of a walk.
    pub(crate) fn span(&self, versions: &[Version]) -> Span {
        let none = Span { range: 0..0, meaning: Meaning::Clean, listed: Vec::new() };
        if self.withdrawn {
            return none;
        }
        if self.state == State::Undetermined {
            return Span { range: 0..versions.len(), meaning: Meaning::Undetermined, ..none };
        }
        let start = match &self.introduced {
            Bound::At(introduced) => versions.partition_point(|version| version < introduced),
            Bound::Open | Bound::Unreadable => 0,
        };
        let end = match (&self.fixed, &self.last) {
            (Bound::At(fixed), _) => versions.partition_point(|version| version < fixed),
            (Bound::Open, Bound::At(last)) => versions.partition_point(|version| version <= last),
            _ => versions.len(),
        };
        let unbounded = self.introduced.is_open() && self.fixed.is_open() && self.last.is_open();
        let listed = self.listed();
        let exact_only = unbounded && !listed.is_empty() && self.state == State::Fixed;
        let meaning = if self.state != State::NotAffected && exact_only {
            Meaning::Clean
        } else if self.doubt().is_some() {
            Meaning::Undetermined
        } else if self.state == State::NotAffected {
            Meaning::Clean
        } else {
            Meaning::Affected
        };
        let mut found: Vec<usize> =
            listed.iter().filter_map(|(_, version)| versions.binary_search(version.as_ref()?).ok()).collect();
        found.sort_unstable();
        found.dedup();
        Span { range: start..end.max(start), meaning, listed: found }
    }

    /// Whether versions that are enumerated are affected; a "not affected" claim enumerates what is not.
    pub(crate) fn listed_are_affected(&self) -> bool {
        self.state != State::NotAffected
    }

    /// What the claim means for one version, whatever else is installed or running.
    fn assess_version(
        &self,
        text: &str,
        version: Option<&Version>,
        order: Option<Order>,
    ) -> Option<Assessment> {
        if self.state == State::Undetermined {
            return Some(Assessment::Undetermined(Doubt::Vendor));
        }
        let place = self.place(text, version, order);
        let not_affected = self.state == State::NotAffected;
        match place {
            Place::Unread(doubt) => Some(Assessment::Undetermined(doubt)),
            Place::Listed | Place::Inside if not_affected => Some(Assessment::NotAffected(Clear::Vendor)),
            Place::Listed | Place::Inside => Some(Assessment::Affected(place)),
            // "Version 1 is not affected" says nothing about version 2.
            _ if not_affected => None,
            Place::Past => Some(Assessment::Fixed),
            Place::AfterLast | Place::Before | Place::NotListed => {
                Some(Assessment::NotAffected(Clear::Outside(place)))
            }
        }
    }

    /// Whether code of a version that is mapped is vulnerable; where it is not known, it is taken to be.
    pub(crate) fn mapped_is_affected(
        &self,
        text: Option<&str>,
        version: Option<&Version>,
        order: Option<Order>,
    ) -> bool {
        text.is_none_or(|text| {
            matches!(
                self.assess_version(text, version, order),
                Some(Assessment::Affected(_) | Assessment::Undetermined(_))
            )
        })
    }
}

/// What a claim means for an installed package whose name and release it names; `None` if it does not speak about it.
///
/// Minor releases ([`Terms::minor`]) are the caller's: a package does not know its host's.
pub(crate) fn assess(
    terms: &Terms,
    installed: &Installed,
    parsed: &Parsed,
    order: Option<Order>,
) -> Option<Assessment> {
    let speaks = terms.speaks(&installed.arch, &installed.stream, installed.flavour.as_deref());
    if speaks == Speaks::No {
        return None;
    }
    if terms.withdrawn {
        return Some(Assessment::NotAffected(Clear::Withdrawn));
    }
    match installed.condition {
        Condition::HalfInstalled => return Some(Assessment::Undetermined(Doubt::HalfInstalled)),
        Condition::Foreign => return Some(Assessment::Undetermined(Doubt::Foreign)),
        Condition::Sound => {}
    }
    if let Speaks::Unclear(doubt) = speaks {
        return Some(Assessment::Undetermined(doubt));
    }
    let own = terms.assess_version(&installed.version, parsed.own.as_ref(), order)?;
    let past = matches!(own, Assessment::Fixed | Assessment::NotAffected(Clear::Outside(Place::AfterLast)));
    if let Some(row) = &installed.kernel {
        let newer_is_clear = || {
            row.newest.as_deref().is_some_and(|newest| {
                matches!(
                    terms.assess_version(newest, parsed.newest.as_ref(), order),
                    Some(Assessment::Fixed | Assessment::NotAffected(_))
                )
            })
        };
        let affected = matches!(own, Assessment::Affected(_));
        if past || (affected && newer_is_clear()) {
            match &row.booted {
                Booted::Unseen => return Some(Assessment::Undetermined(Doubt::BootedUnseen)),
                Booted::At(booted) => match terms.assess_version(booted, parsed.booted.as_ref(), order) {
                    Some(Assessment::Affected(_)) => return Some(Assessment::StillBooted),
                    Some(Assessment::Undetermined(_)) => {
                        return Some(Assessment::Undetermined(Doubt::BootedVersion));
                    }
                    _ if affected => return Some(Assessment::NotAffected(Clear::OldKernel)),
                    _ => {}
                },
                Booted::Elsewhere if affected => return Some(Assessment::NotAffected(Clear::OldKernel)),
                Booted::Elsewhere => {}
            }
        }
    }
    let mut mapped = installed.running.iter().zip(&parsed.running);
    if past
        && mapped.any(|(text, version)| terms.mapped_is_affected(text.as_deref(), version.as_ref(), order))
    {
        return Some(Assessment::StillMapped);
    }
    Some(own)
}
