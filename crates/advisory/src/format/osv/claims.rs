//! `affected` entries to claims: one claim for each affected interval of each package.

use super::ecosystem::{self, Place};
use super::wire::{Affected, Event, Range, WORD_MAX, Word};
use super::{Notes, Unread};
use crate::format::rpm;
use crate::model::{Advisory, Channel, Claim, Module, NameKind, State};
use crate::release::Family;

/// Claims of one record. A hostile record multiplies modules and intervals; the largest honest ones have some 10,000.
const CLAIMS_MAX: usize = 200_000;

/// What the claims of a record have in common.
pub(super) struct Context {
    modules: Vec<Module>,
    channel: Option<Channel>,
}

impl Context {
    pub(super) fn new(advisory: &Advisory) -> Self {
        // Debian's lists say by their names through which archive a fix came.
        let channel = match advisory.id.split('-').next() {
            Some("DSA") => Some(Channel::Security),
            Some("DLA") => Some(Channel::Lts),
            Some("ELA") => Some(Channel::Esm),
            _ => None,
        };
        Self { modules: rpm::streams(&advisory.summary), channel }
    }
}

pub(super) fn claims(
    context: &Context,
    entries: &[Affected<'_>],
    unread: &[Unread<'_>],
    notes: &mut Notes,
) -> Vec<Claim> {
    let mut claims = Vec::with_capacity(entries.len());
    for entry in entries {
        affected(context, entry, &mut claims, notes);
        if claims.len() > CLAIMS_MAX {
            claims.truncate(CLAIMS_MAX);
            notes.add(
                format_args!("more than {CLAIMS_MAX} claims; the rest is left out"),
                "packages named later in this record are not judged; ask its vendor",
            );
            break;
        }
    }
    for entry in unread {
        let Some(outline) = &entry.outline else {
            notes.add(
                format_args!("an \"affected\" entry cannot be read: {}", entry.reason),
                "packages it names are not judged; ask its vendor",
            );
            continue;
        };
        let package = &outline.package;
        let name = &*package.name.0;
        notes.add(
            format_args!("\"affected\" of {name} cannot be read: {}", entry.reason),
            "hosts with this package show as undetermined; ask its vendor",
        );
        let base = base(context, ecosystem::place(&package.ecosystem.0), name);
        claims.push(undetermined(base, format!("the vendor's entry cannot be read: {}", entry.reason)));
    }
    claims
}

fn affected(context: &Context, entry: &Affected<'_>, claims: &mut Vec<Claim>, notes: &mut Notes) {
    let readable = |range: &&Range<'_>| &*range.kind.0 != "GIT";
    let Some(package) = &entry.package else {
        // Commits of a source repository name no package; anything else without a package is a mistake.
        if entry.ranges.0.iter().any(|range| readable(&range)) {
            notes.add("an \"affected\" entry names no package", "it is not judged; ask its vendor");
        }
        return;
    };
    let place = ecosystem::place(&package.ecosystem.0);
    if place.release.version.is_empty() && ecosystem::needs_release(&place.release.family) {
        notes.add(
            format_args!("ecosystem {:?} names no release", package.ecosystem.0),
            "it matches no host; ask its vendor",
        );
    }
    let is_modular = is_module_family(&place.release.family);
    let base = base(context, place, &package.name.0);
    let first = claims.len();
    // Nearly every entry of every feed: one range of one interval, and the claim needs no copy.
    if let [range] = &entry.ranges.0[..]
        && let "ECOSYSTEM" | "SEMVER" = &*range.kind.0
        && let [Event { introduced: Some(start), fixed: None, last_affected: None, limit: None }, ends @ ..] =
            &range.events.0[..]
        && let [] | [Event { introduced: None, fixed: Some(_), last_affected: None, limit: None }] = ends
        && entry.versions.0.is_empty()
    {
        claims.push(interval(base, start, ends.first(), entry));
        if is_modular {
            assign_modules(context, claims, first);
        }
        return;
    }
    for range in entry.ranges.0.iter().filter(readable) {
        match &*range.kind.0 {
            "ECOSYSTEM" | "SEMVER" => intervals(&base, &range.events.0, entry, claims, notes),
            other => {
                notes.add(
                    format_args!("{}: range of unknown type {other:?}", base.name),
                    "hosts with this package show as undetermined",
                );
                claims.push(undetermined(base.clone(), format!("range of unknown type {other:?}")));
            }
        }
    }
    let versions = &entry.versions.0;
    if claims.len() > first {
        // Enumerated versions stand beside the range once; a copy per interval would say nothing more.
        claims[first].versions = versions.iter().map(|version| version.0.clone().into_owned()).collect();
    } else if versions.is_empty() {
        claims.push(undetermined(base, "the vendor gives no versions in the package's own order".to_owned()));
    } else {
        claims.extend(versions.iter().map(|version| exactly(&base, &version.0)));
    }
    if is_modular {
        assign_modules(context, claims, first);
    }
}

/// A claim about `name` that says nothing yet.
fn base(context: &Context, place: Place, name: &str) -> Claim {
    let channel = match (&place.release.family, &context.channel) {
        (Family::Debian, Some(channel)) => channel.clone(),
        _ => place.channel,
    };
    let name = match place.release.family {
        // PEP 503: one project, many spellings.
        Family::PyPi => python_name(name),
        _ => name.to_owned(),
    };
    Claim {
        release: place.release,
        channel,
        name_kind: place.name_kind,
        name,
        module: None,
        flavour: place.flavour,
        arch: None,
        introduced: None,
        fixed: None,
        last_affected: None,
        versions: Vec::new(),
        state: State::Affected,
        reason: String::new(),
    }
}

/// Lower case, with runs of `-`, `_` and `.` as one `-`.
fn python_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for char in name.chars() {
        match char {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            other => normal.push(other.to_ascii_lowercase()),
        }
    }
    normal
}

fn undetermined(base: Claim, reason: String) -> Claim {
    Claim { state: State::Undetermined, reason, ..base }
}

/// One enumerated version, as the range that holds it alone: a claim without bounds would mean every version.
fn exactly(base: &Claim, version: &str) -> Claim {
    Claim {
        introduced: Some(version.to_owned()),
        last_affected: Some(version.to_owned()),
        versions: vec![version.to_owned()],
        ..base.clone()
    }
}

/// Pairs the events of one range to intervals, one claim each.
///
/// OSV evaluates events sorted by version. No version is compared here, and none need be: either introductions and ends
/// alternate as listed, or there is one of each. Anything else is undetermined.
fn intervals(
    base: &Claim,
    events: &[Event<'_>],
    entry: &Affected<'_>,
    claims: &mut Vec<Claim>,
    notes: &mut Notes,
) {
    let introductions = events.iter().filter(|event| event.introduced.is_some()).count();
    let ends = events.iter().filter(|event| event.fixed.is_some() || event.last_affected.is_some()).count();
    let first = claims.len();
    let mut open = None;
    let mut regular = introductions > 0;
    // One of each, the end listed first: the order of the list carries nothing.
    let swapped =
        introductions == 1 && ends == 1 && events.first().is_some_and(|event| event.introduced.is_none());
    let mut sequence: Vec<&Event<'_>> = events.iter().collect();
    if swapped {
        sequence.sort_by_key(|event| event.introduced.is_none());
    }
    for event in sequence {
        let given = [&event.introduced, &event.fixed, &event.last_affected, &event.limit];
        regular &= given.iter().filter(|word| word.is_some()).count() == 1;
        if let Some(version) = &event.introduced {
            regular &= open.is_none();
            open = Some(version);
        } else if event.fixed.is_some() || event.last_affected.is_some() {
            match open.take() {
                Some(start) => claims.push(interval(base.clone(), start, Some(event), entry)),
                None => regular = false,
            }
        }
        // `limit` bounds what the vendor looked at, mostly commits; beyond it we cannot call a version unaffected.
    }
    if let Some(start) = open {
        claims.push(interval(base.clone(), start, None, entry));
    }
    if !regular {
        claims.truncate(first);
        let reason = "the range's introductions and ends do not alternate";
        notes.add(format_args!("{}: {reason}", base.name), "hosts with this package show as undetermined");
        claims.push(undetermined(base.clone(), reason.to_owned()));
    }
}

/// The claim for `[start, end)`. "0" stands before every version (OSV schema).
fn interval(
    mut claim: Claim,
    start: &Word<'_, WORD_MAX>,
    end: Option<&Event<'_>>,
    entry: &Affected<'_>,
) -> Claim {
    let owned = |word: &Option<Word<'_, WORD_MAX>>| word.as_ref().map(|word| word.0.clone().into_owned());
    claim.introduced = (start.0 != "0").then(|| start.0.clone().into_owned());
    if let Some(end) = end {
        claim.fixed = owned(&end.fixed);
        claim.last_affected = owned(&end.last_affected);
    }
    if matches!(claim.release.family, Family::Other(_)) {
        return finish(claim, entry);
    }
    claim.flavour = claim.flavour.or_else(|| {
        let version = claim.fixed.as_deref().filter(|_| claim.name_kind == NameKind::Binary)?;
        rpm::flavour(version).map(str::to_owned)
    });
    finish(claim, entry)
}

/// The state of a claim with its bounds: fixed, or what the vendor says of a package without a fix.
fn finish(mut claim: Claim, entry: &Affected<'_>) -> Claim {
    let specifics = [&entry.ecosystem_specific, &entry.database_specific];
    let urgency = specifics.into_iter().flatten().find_map(|specific| specific.urgency.as_deref());
    let informational =
        entry.database_specific.as_ref().and_then(|specific| specific.informational.as_deref());
    claim.state = match (&claim.fixed, urgency, informational) {
        (Some(_), _, _) => State::Fixed,
        (None, Some("end-of-life"), _) | (None, _, Some("unmaintained")) => State::EndOfLife,
        (None, _, _) => State::Affected,
    };
    if claim.state != State::Fixed
        && let Some(word) = urgency.or(informational)
    {
        word.clone_into(&mut claim.reason);
    }
    claim
}

fn is_module_family(family: &Family) -> bool {
    matches!(
        family,
        Family::AlmaLinux
            | Family::RockyLinux
            | Family::RedHat
            | Family::CentOs
            | Family::OracleLinux
            | Family::Fedora
    )
}

/// Gives the claims from `first` on, where they are about modular builds, the streams the summary names.
fn assign_modules(context: &Context, claims: &mut Vec<Claim>, first: usize) {
    let unknown = [rpm::unknown_stream()];
    let modules = if context.modules.is_empty() { &unknown[..] } else { &context.modules };
    let mut more = Vec::new();
    for claim in &mut claims[first..] {
        let version = claim.fixed.as_deref().or(claim.last_affected.as_deref()).unwrap_or("");
        if rpm::is_modular(version) {
            let (one, others) = modules.split_first().expect("there is always one: named or unknown");
            more.extend(others.iter().map(|module| Claim { module: Some(module.clone()), ..claim.clone() }));
            claim.module = Some(one.clone());
        }
    }
    claims.append(&mut more);
}
