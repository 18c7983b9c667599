//! One claim, one package, one host: the verdict, and how it was reached. Takes advisories and inventories; gives
//! verdicts with explanations. Whatever cannot be told is *undetermined*, with its reason; nothing falls through to clean.
//!
//! [`judge`] is the only judge: [`Shelf`] asks it for a whole host, and the fleet's index is held to give the same
//! answers from the same terms.

mod fix;
mod installed;
mod shelf;
pub(crate) mod terms;

pub use installed::{Booted, Condition, Host, Installed, KernelRow, Stream, names};
pub(crate) use installed::{Parsed, Plain};
pub use shelf::{Finding, Opinion, Shelf};

use crate::inventory::{Origin, Package, Part};
use crate::verdict::{Explanation, Fix, Undetermined, Verdict};
use advisory::{Advisory, Claim, NameKind, State};
use std::rc::Rc;
use terms::{Assessment, Clear, Doubt, Place, Terms, assess};

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
    fn verdict(&self) -> Verdict {
        match self.assessment {
            Assessment::Affected(_) => Verdict::Affected { fix: self.fix() },
            Assessment::StillMapped => Verdict::FixedStillRunning { by: self.mapped_by() },
            Assessment::StillBooted => Verdict::FixedStillRunning { by: vec![self.booted()] },
            Assessment::Fixed => Verdict::Fixed,
            Assessment::NotAffected(clear) => Verdict::NotAffected { why: self.clear(clear) },
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

    fn booted(&self) -> String {
        format!("booted kernel {}", self.host.inventory.kernel.booted.as_deref().unwrap_or("not known"))
    }

    fn clear(&self, clear: Clear) -> String {
        let Self { claim, installed, .. } = self;
        match clear {
            Clear::Withdrawn => "the vendor has withdrawn the advisory".to_owned(),
            Clear::Vendor => with_reason("the vendor says it is not affected", &claim.reason),
            Clear::Outside(Place::Before) => {
                format!(
                    "{} is older than the first affected version, {}",
                    installed.version,
                    shown(claim.introduced.as_ref())
                )
            }
            Clear::Outside(Place::AfterLast) => {
                format!(
                    "{} is newer than the last affected version, {}",
                    installed.version,
                    shown(claim.last_affected.as_ref())
                )
            }
            Clear::Outside(_) => format!("{} is not one of the affected versions", installed.version),
            Clear::OldKernel => {
                let row = installed.kernel.as_deref();
                let newest = row.and_then(|row| row.newest.as_deref()).unwrap_or_default();
                format!("an older kernel that is not booted; {newest} is installed beside it")
            }
        }
    }

    fn doubt(&self, doubt: Doubt) -> Undetermined {
        let Self { claim, package, installed, host, .. } = self;
        match doubt {
            Doubt::ClaimVersion => Undetermined::ClaimVersion { version: self.unreadable() },
            Doubt::InstalledVersion => {
                Undetermined::InstalledVersion { version: installed.version.to_string() }
            }
            Doubt::BootedVersion => {
                Undetermined::InstalledVersion { version: self.booted_version().to_owned() }
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
                    Some(_) => format!("{} belongs to no installed package", self.booted()),
                    None => host
                        .inventory
                        .gaps_in(Part::Kernel)
                        .next()
                        .map_or_else(String::new, |gap| format!("{}: {}", gap.object, gap.reason)),
                },
            },
        }
    }

    /// The first of the claim's versions that does not parse.
    fn unreadable(&self) -> String {
        let order = self.host.order();
        [&self.claim.fixed, &self.claim.introduced, &self.claim.last_affected]
            .into_iter()
            .flatten()
            .find(|text| order.is_none_or(|order| order.parse(text).is_err()))
            .cloned()
            .unwrap_or_default()
    }

    fn booted_version(&self) -> &str {
        match self.installed.kernel.as_deref() {
            Some(KernelRow { booted: Booted::At(version), .. }) => version,
            _ => "",
        }
    }

    fn explanation(&self) -> Explanation {
        let Self { advisory, claim, package, host, installed, .. } = self;
        let (rule, claimed) = self.rule(self.assessment);
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

    /// The rule that decided, and the claim's version it decided by.
    fn rule(&self, assessment: Assessment) -> (String, String) {
        let Self { claim, installed, .. } = self;
        let own = &*installed.version;
        let fixed = shown(claim.fixed.as_ref());
        match assessment {
            Assessment::Affected(Place::Listed) => {
                (format!("installed {own} is enumerated as affected"), own.to_owned())
            }
            Assessment::Affected(_) => {
                let from = claim
                    .introduced
                    .as_ref()
                    .map_or_else(String::new, |from| format!("introduced {from} ≤ "));
                match (&claim.fixed, &claim.last_affected) {
                    (Some(fixed), _) => (format!("{from}installed {own} < fixed {fixed}"), fixed.clone()),
                    (None, Some(last)) => {
                        (format!("{from}installed {own} ≤ last affected {last}"), last.clone())
                    }
                    (None, None) if claim.introduced.is_some() => (
                        format!("{from}installed {own}, no fixed version"),
                        shown(claim.introduced.as_ref()).to_owned(),
                    ),
                    (None, None) => (format!("every version is affected, installed is {own}"), String::new()),
                }
            }
            Assessment::StillMapped => {
                (format!("installed {own} is not affected any more, but older files are mapped"), self.end())
            }
            Assessment::StillBooted => (
                format!(
                    "a fixed kernel is installed, but {} is {}, which is affected",
                    self.booted(),
                    self.booted_version()
                ),
                self.end(),
            ),
            Assessment::Fixed => (format!("installed {own} ≥ fixed {fixed}"), fixed.to_owned()),
            Assessment::NotAffected(clear) => {
                let claimed = match clear {
                    Clear::Outside(Place::Before) => shown(claim.introduced.as_ref()).to_owned(),
                    Clear::Outside(Place::AfterLast) | Clear::OldKernel => self.end(),
                    Clear::Outside(_) | Clear::Withdrawn | Clear::Vendor => String::new(),
                };
                (self.clear(clear), claimed)
            }
            Assessment::Undetermined(doubt) => {
                let claimed = if doubt == Doubt::ClaimVersion { self.unreadable() } else { self.end() };
                (self.doubt_rule(doubt), claimed)
            }
        }
    }

    fn doubt_rule(&self, doubt: Doubt) -> String {
        let Self { claim, installed, host, .. } = self;
        let own = &*installed.version;
        let order =
            host.order().map_or_else(|| "any order we know".to_owned(), |order| format!("the {order} order"));
        match doubt {
            Doubt::ClaimVersion => {
                format!("the claim's version {} does not parse in {order}", self.unreadable())
            }
            Doubt::InstalledVersion => format!("installed version {own} does not parse in {order}"),
            Doubt::BootedVersion => {
                format!("the booted kernel's version {} does not parse in {order}", self.booted_version())
            }
            Doubt::HalfInstalled => {
                "unpacking was interrupted: files of two versions may lie side by side".to_owned()
            }
            Doubt::Foreign => "the vendor's claim does not speak about somebody else's build".to_owned(),
            Doubt::ModuleStream => {
                let stream = |stream: &Stream| match stream {
                    Stream::Of(module) => module.to_string(),
                    Stream::Unknown | Stream::Plain => "not known".to_owned(),
                };
                let claimed =
                    claim.module.as_ref().map_or_else(|| "not known".to_owned(), ToString::to_string);
                format!(
                    "module stream of the claim: {claimed}, of the package: {}",
                    stream(&installed.stream)
                )
            }
            Doubt::Flavour => match installed.flavour.as_deref() {
                Some(flavour) => format!(
                    "installed {own} is a {flavour} build, which has versions of its own; the claim is about plain builds"
                ),
                None => format!(
                    "the claim is about {} builds; whether {own} is one cannot be told",
                    claim.flavour.as_deref().unwrap_or_default()
                ),
            },
            Doubt::Vendor => with_reason("the vendor has not judged", &claim.reason),
            Doubt::NoFixedVersion => "the vendor says that it is fixed, not in which version".to_owned(),
            Doubt::NoOrder => format!("versions of {} cannot be compared", claim.release.family),
            Doubt::BootedUnseen => {
                "which kernel is booted cannot be told from the installed packages".to_owned()
            }
        }
    }

    /// The end of the claim's range; empty if it has none.
    fn end(&self) -> String {
        self.claim.fixed.clone().or_else(|| self.claim.last_affected.clone()).unwrap_or_default()
    }
}

fn shown(version: Option<&String>) -> &str {
    version.map(String::as_str).unwrap_or_default()
}

fn with_reason(said: &str, reason: &str) -> String {
    if reason.is_empty() { said.to_owned() } else { format!("{said}: {reason}") }
}
