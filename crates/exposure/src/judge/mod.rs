//! One claim, one package, one host: the verdict, and how it was reached. Takes advisories and inventories; gives
//! verdicts with explanations. Whatever cannot be told is *undetermined*, with its reason; nothing falls through to clean.
//!
//! [`judge`] is the only judge: [`Shelf`] asks it for a whole host, and the fleet's index is held to give the same
//! answers from the same terms.

mod fix;
mod installed;
mod shelf;
pub(crate) mod words;
pub(crate) mod terms;

pub use installed::{Booted, Condition, Host, Installed, KernelRow, Stream, names};
pub(crate) use installed::{Parsed, Plain, is_kernel};
pub use shelf::{Finding, Opinion, Shelf};

use crate::inventory::{Origin, Package, Part};
use crate::verdict::{Explanation, Fix, Undetermined, Verdict};
use advisory::{Advisory, Claim, NameKind, State};
use std::rc::Rc;
use terms::{Assessment, Doubt, Terms, assess};
use words::{Words, with_reason};

/// What one claim of an advisory means for one package of a host; `None` where the claim does not speak about it: another
/// release, name, architecture, module stream, flavour or minor release.
///
/// `claim` is one of `advisory`'s, `package` one of the host's inventory.
pub fn judge(
    advisory: &Advisory,
    claim: &Claim,
    package: &Package,
    host: &Host<'_>,
) -> Option<(Verdict, Explanation)> {
    if claim.release != host.inventory.system.release {
        return None;
    }
    let installed = Rc::new(host.installed(package, claim.name_kind, &claim.name)?);
    let parsed = Parsed::new(&installed, host.order());
    let terms = Terms::new(advisory, claim);
    let case = Case::new(advisory, claim, &terms, package, host, &installed, &parsed)?;
    Some((case.verdict(), case.explanation()))
}

/// A claim that speaks about a package, assessed; and everything that the verdict's words are taken from.
#[derive(Clone, Debug)]
struct Case<'a> {
    advisory: &'a Advisory,
    claim: &'a Claim,
    package: &'a Package,
    host: &'a Host<'a>,
    /// Shared by all claims that name the package so.
    installed: Rc<Installed>,
    terms: &'a Terms,
    assessment: Assessment,
}

impl<'a> Case<'a> {
    /// `claim` is for the host's release; `terms` are its; `installed` is `package` under the name it names, `parsed` its
    /// versions.
    fn new(
        advisory: &'a Advisory,
        claim: &'a Claim,
        terms: &'a Terms,
        package: &'a Package,
        host: &'a Host<'a>,
        installed: &Rc<Installed>,
        parsed: &Parsed,
    ) -> Option<Self> {
        if terms.minor().is_some_and(|minor| minor != host.inventory.system.version_id) {
            return None;
        }
        let assessment = assess(terms, installed, parsed, host.order())?;
        Some(Self { advisory, claim, package, host, installed: Rc::clone(installed), terms, assessment })
    }
}

impl Case<'_> {
    fn words(&self) -> Words<'_> {
        Words {
            claim: self.claim,
            installed: &self.installed,
            order: self.host.order(),
            booted: self.host.inventory.kernel.booted.as_deref(),
        }
    }

    fn verdict(&self) -> Verdict {
        match self.assessment {
            Assessment::Affected(_) => Verdict::Affected { fix: self.fix() },
            Assessment::StillMapped => Verdict::FixedStillRunning { by: self.mapped_by() },
            Assessment::StillBooted => Verdict::FixedStillRunning { by: vec![self.words().booted()] },
            Assessment::Fixed => Verdict::Fixed,
            Assessment::NotAffected(clear) => Verdict::NotAffected { why: self.words().clear(clear) },
            Assessment::Undetermined(doubt) => Verdict::Undetermined { why: self.doubt(doubt) },
        }
    }

    fn fix(&self) -> Fix {
        let Claim { fixed, last_affected, .. } = self.claim;
        if fixed.is_some() || last_affected.is_some() {
            return fix::fix(self.claim, self.package, self.host);
        }
        let said = match self.claim.state {
            State::Affected | State::Fixed => "no fix yet",
            State::WontFix => "the vendor will not fix it",
            State::Deferred => "the vendor has put the fix off",
            State::EndOfLife => "end of life: the vendor fixes nothing here any more",
            State::NotAffected | State::Undetermined => "the vendor names no fix",
        };
        Fix::None { why: with_reason(said, &self.claim.reason) }
    }

    /// Processes that run another version that is affected, or may be.
    fn mapped_by(&self) -> Vec<String> {
        let order = self.host.order();
        let mut by: Vec<String> = self
            .host
            .stale_versions(self.package, self.claim.name_kind, &self.claim.name)
            .filter(|(_, text)| *text != Some(&*self.installed.version))
            .filter(|(_, text)| {
                let version = text.and_then(|text| order?.parse(text).ok());
                self.terms.mapped_is_affected(*text, version.as_ref(), order)
            })
            .map(|(process, version)| {
                let who = process.unit.as_deref().unwrap_or(&process.name);
                match version {
                    Some(version) => format!("{who} (pid {}, runs {version})", process.pid),
                    None => format!("{who} (pid {}, runs a version that is not known)", process.pid),
                }
            })
            .collect();
        by.sort();
        by.dedup();
        by
    }

    fn doubt(&self, doubt: Doubt) -> Undetermined {
        let Self { claim, package, installed, host, .. } = self;
        match doubt {
            Doubt::ClaimVersion => Undetermined::ClaimVersion { version: self.words().unreadable() },
            Doubt::InstalledVersion => {
                Undetermined::InstalledVersion { version: installed.version.to_string() }
            }
            Doubt::BootedVersion => {
                Undetermined::InstalledVersion { version: self.words().booted_version().to_owned() }
            }
            Doubt::HalfInstalled => Undetermined::HalfInstalled,
            Doubt::Foreign => Undetermined::ForeignOrigin {
                origin: match &package.origin {
                    Origin::Foreign(origin) => origin.clone(),
                    Origin::Local | Origin::Vendor | Origin::Unknown => {
                        "in no archive that this host knows".to_owned()
                    }
                },
            },
            Doubt::ModuleStream => Undetermined::ModuleStream,
            Doubt::Flavour => Undetermined::Flavour {
                flavour: installed.flavour.as_deref().unwrap_or("not known").to_owned(),
            },
            Doubt::Vendor => {
                Undetermined::Vendor { reason: with_reason("the vendor has not judged", &claim.reason) }
            }
            Doubt::NoFixedVersion => Undetermined::Vendor {
                reason: with_reason("the vendor says that it is fixed, not in which version", &claim.reason),
            },
            Doubt::NoOrder => Undetermined::NoOrder,
            Doubt::BootedUnseen => Undetermined::Unseen {
                part: Part::Kernel,
                reason: match &host.inventory.kernel.booted {
                    Some(_) => format!("{} belongs to no installed package", self.words().booted()),
                    None => host
                        .inventory
                        .gaps_in(Part::Kernel)
                        .next()
                        .map_or_else(String::new, |gap| format!("{}: {}", gap.object, gap.reason)),
                },
            },
        }
    }

    /// Whether `other`, about the same claim and host, is explained in the same words.
    fn is_worded_as(&self, other: &Self) -> bool {
        // The package is named as the claim names it.
        self.assessment == other.assessment
            && self.package.origin == other.package.origin
            && self.installed.worded() == other.installed.worded()
    }

    fn explanation(&self) -> Explanation {
        let Self { advisory, claim, package, host, installed, .. } = self;
        let (rule, claimed) = self.words().rule(self.assessment);
        let mut rule = rule;
        if package.origin == Origin::Unknown {
            rule.push_str("; its origin is not known, taken for the vendor's");
        }
        let clean = matches!(self.assessment, Assessment::Fixed | Assessment::NotAffected(_));
        if clean && host.inventory.gaps_in(Part::Processes).next().is_some() {
            rule.push_str("; not all processes could be read, so older code may still run");
        }
        let document = &advisory.document;
        let told = match (advisory.modified, advisory.published) {
            (Some(modified), _) => format!("advisory of {modified}"),
            (None, Some(published)) => format!("advisory of {published}"),
            (None, None) => "advisory without a date".to_owned(),
        };
        let archive = host.inventory.archives.iter().filter_map(|archive| archive.date).max();
        let archive = archive.map_or_else(String::new, |date| format!(", archives of {date}"));
        Explanation {
            rule,
            package: match claim.name_kind {
                NameKind::Source => claim.name.clone(),
                NameKind::Binary => package.name.clone(),
            },
            installed: installed.version.to_string(),
            claimed,
            order: host.order(),
            advisory: advisory.id.clone(),
            document: format!("{} {}", document.feed, document.entry),
            sha256: document.sha256.clone(),
            freshness: format!("{told}{archive}, host seen {}", host.inventory.observed),
        }
    }
}
