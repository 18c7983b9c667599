//! Why a verdict is what it is, in words. Takes a claim, what is installed and the assessment; gives the rule.
//!
//! [`judge`](super::judge()) and the fleet's index explain by these same words.

use super::installed::{Booted, Installed, KernelRow, Stream};
use super::terms::{Assessment, Clear, Doubt, Place};
use advisory::{Claim, Order};

/// What the words of a rule are taken from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    pub(crate) claim: &'a Claim,
    pub(crate) installed: &'a Installed,
    pub(crate) order: Option<Order>,
    /// Release of the booted kernel; `None` where many hosts are spoken of.
    pub(crate) booted: Option<&'a str>,
}

impl Words<'_> {
    /// The rule that decided, and the claim's version it decided by.
    pub(crate) fn rule(&self, assessment: Assessment) -> (String, String) {
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
        let Self { claim, installed, .. } = self;
        let own = &*installed.version;
        let order =
            self.order.map_or_else(|| "any order we know".to_owned(), |order| format!("the {order} order"));
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

    pub(crate) fn booted(&self) -> String {
        self.booted
            .map_or_else(|| "the booted kernel".to_owned(), |release| format!("booted kernel {release}"))
    }

    pub(crate) fn clear(&self, clear: Clear) -> String {
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

    /// The first of the claim's versions that does not parse.
    pub(crate) fn unreadable(&self) -> String {
        let order = self.order;
        [&self.claim.fixed, &self.claim.introduced, &self.claim.last_affected]
            .into_iter()
            .flatten()
            .find(|text| order.is_none_or(|order| order.parse(text).is_err()))
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn booted_version(&self) -> &str {
        match self.installed.kernel.as_deref() {
            Some(KernelRow { booted: Booted::At(version), .. }) => version,
            _ => "",
        }
    }
}

fn shown(version: Option<&String>) -> &str {
    version.map(String::as_str).unwrap_or_default()
}

pub(crate) fn with_reason(said: &str, reason: &str) -> String {
    if reason.is_empty() { said.to_owned() } else { format!("{said}: {reason}") }
}
