//! Whether a fix can be had. Takes a claim and what the host's package manager would do; gives a [`Fix`].
//!
//! A fix is not a fix until it can be fetched and installed: only the host's own candidates make one fetchable.

use super::installed::{Host, compared, without_numbers};
use crate::inventory::{Action, ArchiveClass, Candidate, Fetch, Package, Part};
use crate::verdict::Fix;
use advisory::{Channel, Claim, NameKind, Version};
use std::cell::LazyCell;

/// What can be done about `package`, which `claim` affects and for which it names a `fixed` or `last_affected` version.
pub(super) fn fix(claim: &Claim, package: &Package, host: &Host<'_>) -> Fix {
    let parse = |text: &str| host.order().and_then(|order| order.parse(text).ok());
    // Only where there is a candidate.
    let range = LazyCell::new(|| {
        (claim.fixed.as_deref().and_then(parse), claim.last_affected.as_deref().and_then(parse))
    });
    let closes = |version: &Version| match &*range {
        (Some(fixed), _) => version >= fixed,
        (None, Some(last)) => claim.fixed.is_none() && version > last,
        (None, None) => false,
    };
    let kernel = host.kernel_source(package);
    let mut obstacle = None;
    let mut oldest_offer = None;
    for candidate in &host.inventory.candidates {
        let same = candidate.name == package.name && same_arch(&candidate.arch, &package.arch);
        // A new kernel is another package: linux-image-6.1.0-38-amd64 replaces linux-image-6.1.0-37-amd64.
        let next_kernel = || {
            kernel.is_some()
                && same_arch(&candidate.arch, &package.arch)
                && without_numbers(&candidate.name) == without_numbers(&package.name)
        };
        if !same && !next_kernel() {
            continue;
        }
        let Some(to) = candidate.to.as_deref() else {
            obstacle.get_or_insert_with(|| "the package manager would remove it".to_owned());
            continue;
        };
        let Some(offered) = compared_candidate(candidate, to, claim) else { continue };
        if !parse(offered).as_ref().is_some_and(closes) {
            oldest_offer.get_or_insert_with(|| format!("the enabled archives offer {offered} only"));
            continue;
        }
        match (&candidate.action, &candidate.fetch) {
            (Action::Upgrade | Action::Install, Fetch::Fetchable | Fetch::Unchecked(_)) => {
                return Fix::Fetchable { version: to.to_owned() };
            }
            (Action::Upgrade | Action::Install, Fetch::Missing(why)) => {
                obstacle = Some(format!("an archive lists {to}, but the file cannot be had: {why}"));
            }
            (Action::KeptBack(why), _) => obstacle = Some(format!("{to} is kept back: {why}")),
            (Action::Remove, _) => obstacle = Some("the package manager would remove it".to_owned()),
        }
    }
    let Some(version) = claim.fixed.clone() else {
        return Fix::None {
            why: obstacle.unwrap_or_else(|| {
                let last = claim.last_affected.as_deref().unwrap_or_default();
                format!("the vendor names no fixed version; no enabled archive offers one after {last}")
            }),
        };
    };
    let why = obstacle.unwrap_or_else(|| not_offered(claim, package, host, oldest_offer));
    Fix::Announced { version, why }
}

/// Why no candidate closes it.
fn not_offered(claim: &Claim, package: &Package, host: &Host<'_>, offer: Option<String>) -> String {
    let inventory = host.inventory;
    let esm = inventory.archives.iter().any(|archive| archive.class == ArchiveClass::Esm);
    if claim.channel == Channel::Esm && !esm {
        return "only in ESM, which is not enabled".to_owned();
    }
    if let Some(gap) = inventory.gaps_in(Part::Candidates).next() {
        return format!("could not be looked up: {}: {}", gap.object, gap.reason);
    }
    let held = if package.held { "; the package is held" } else { "" };
    let offer = offer.unwrap_or_else(|| "no enabled archive offers it".to_owned());
    format!("{offer}{held}")
}

/// The candidate's version of the kind that the claim compares.
fn compared_candidate<'c>(candidate: &'c Candidate, to: &'c str, claim: &Claim) -> Option<&'c str> {
    match claim.name_kind {
        NameKind::Binary => Some(to),
        NameKind::Source => {
            compared(&candidate.source, &candidate.source_version, to, &candidate.arch, &claim.name)
        }
    }
}

/// Packages become architecture-independent and back; the package manager then changes one for the other.
fn same_arch(a: &str, b: &str) -> bool {
    let independent = |arch: &str| arch == "all" || arch == "noarch";
    a == b || independent(a) || independent(b)
}
