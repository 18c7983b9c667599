//! The plan: what approvers sign, and all that a host may ever be asked to do. Exact versions by digest, named hosts in
//! named waves, gates, windows, limits. There is no command, hook or script in it, and no field that could hold one.

pub mod check;
pub mod digest;
pub mod probe;
pub mod replay;

pub use digest::Digest;
pub use probe::{Asked, Http, Probe};
pub use replay::Replay;

use advisory::Problem;
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// The format written here. A reader refuses others: what it does not know it must not carry out.
pub const FORMAT: u32 = 1;
/// Largest plan: 500,000 hosts × 39 bytes, 64 classes × 1,000 packages × 600 bytes, and the rest.
pub const BYTES_MAX: usize = 64 << 20;
/// Hosts named in one plan.
pub const HOSTS_MAX: usize = 500_000;
/// Waves of one plan.
pub const WAVES_MAX: usize = 64;
/// Host classes of one plan.
pub const CLASSES_MAX: usize = 64;
/// Packages changed in one class.
pub const CHANGES_MAX: usize = 1_000;
/// Cohorts of one wave: classes × service groups that occur together.
pub const COHORTS_MAX: usize = 10_000;
/// Windows, blackouts, groups, probes, bulletins, overrides: each list.
pub const LIST_MAX: usize = 10_000;
/// One text of a plan.
pub const TEXT_MAX: usize = 512;

/// A host's id: the one in its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostId(pub Uuid);

/// A plan's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanId(pub Uuid);

impl fmt::Display for HostId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The signed content of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// Its id.
    pub id: PlanId,
    /// One line for people.
    pub title: String,
    /// When it was made.
    pub created: Timestamp,
    /// No host begins before this.
    pub not_before: Timestamp,
    /// No host begins after this.
    pub expires: Timestamp,
    /// The decision it carries out, if there is one.
    pub decision: Option<String>,
    /// Bulletins it answers: `DSA-5800-1`.
    pub bulletins: Vec<String>,
    /// The environment whose approvers sign it.
    pub environment: String,
    /// Normal, or emergency: shorter soak.
    pub track: Track,
    /// The plan that this one replaces.
    pub supersedes: Option<PlanId>,
    /// What is changed, for each kind of host.
    pub classes: Vec<HostClass>,
    /// Who, in which order. The first wave holds the canaries.
    pub waves: Vec<Wave>,
    /// When hosts may begin; empty: at any time.
    pub windows: Vec<Window>,
    /// Days on which nobody begins.
    pub blackouts: Vec<Blackout>,
    /// How many hosts of a service may be away at once.
    pub groups: Vec<ServiceGroup>,
    /// What must answer on a host afterwards.
    pub probes: Vec<Probe>,
    /// Attempts that a patched service must bear. Left out where there are none: plans signed before keep their digests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replays: Vec<Replay>,
    /// Whether hosts may reboot.
    pub reboot: Reboot,
    /// What a host does when it fails.
    pub rollback: Rollback,
    /// Entries of the denylist that the approvers overrule.
    pub overrides: Vec<Override>,
    /// Leases and deadlines.
    pub timing: Timing,
}

/// How much haste there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Track {
    /// Soaks at least [`check::SOAK_MIN_NORMAL`].
    Normal,
    /// Soaks at least [`check::SOAK_MIN_EMERGENCY`]; has canaries all the same.
    Emergency,
}

/// Hosts for which the same packages change in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostClass {
    /// Its name in this plan: `debian-12-amd64`.
    pub name: String,
    /// Release: `debian:12`.
    pub release: String,
    /// Native architecture in the package manager's words.
    pub arch: String,
    /// The closure: whole source packages and what they depend on. Nothing outside is installed, nothing is removed.
    pub changes: Vec<Change>,
}

/// One binary package from one exact version to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Binary package.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Its source package.
    pub source: String,
    /// Version before; `None`: newly installed as a dependency.
    pub from: Option<String>,
    /// Version after.
    pub to: String,
    /// The archive it comes from, as the host's package manager names it: `Debian-Security:12/oldstable-security`.
    pub archive: String,
    /// The file of `to`.
    pub file: File,
    /// The file of `from`, which the host keeps before it begins; `None`: no way back.
    pub back: Option<File>,
}

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// SHA-256.
    pub sha256: Digest,
    /// Size.
    pub size_bytes: u64,
}

/// A set of hosts that begin together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// Its name: `canaries`, `wave 1`.
    pub name: String,
    /// Its hosts, by what they have in common.
    pub cohorts: Vec<Cohort>,
    /// Hosts under change at once.
    pub hosts_at_once_max: u32,
    /// The condition to go on.
    pub gate: GateTerms,
    /// Only in the last wave: hosts that were not known when the plan was made.
    pub late: Option<Late>,
}

/// Hosts of a wave with the same class and service groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cohort {
    /// Name of a [`HostClass`].
    pub class: String,
    /// Names of [`ServiceGroup`]s.
    pub groups: Vec<String>,
    /// Canaries.
    pub canary: bool,
    /// Sorted, each once.
    pub hosts: Vec<HostId>,
}

/// Hosts that may join the last wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// Hosts that were enrolled into this group.
    pub group: String,
    /// No more than this.
    pub hosts_max: u32,
    /// The class they must fit.
    pub class: String,
    /// Service groups that they count in.
    pub groups: Vec<String>,
}

/// What a wave must show before the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateTerms {
    /// Proven of all hosts that the wave had when it opened.
    pub proven_percent_min: u32,
    /// Failed, lost, rolled back, inconsistent and quarantined hosts that are borne; one more halts.
    pub bad_max: u32,
    /// Hosts that may skip.
    pub skipped_max: u32,
    /// How long the wave is watched after its last host has settled.
    pub soak_seconds: u32,
    /// Answers about health from the wave's hosts during the soak.
    pub samples_min: u32,
    /// Comparison with hosts not patched yet; `None`: not compared.
    pub control: Option<Control>,
}

/// Comparison of patched hosts with hosts not patched yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Hosts needed on either side.
    pub hosts_min: u32,
    /// How many points more of the patched hosts may be unhealthy.
    pub worse_percent_max: u32,
}

/// When hosts may begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// IANA time zone: `Europe/Zurich`.
    pub zone: String,
    /// On which days.
    pub every: Recurrence,
    /// Local time at which it opens.
    pub opens: Time,
    /// How long it stays open, in elapsed time, also over a change of the clock.
    pub minutes: u32,
}

/// On which days a window opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Recurrence {
    /// On these days of every week.
    Weekly(Vec<Day>),
    /// On one weekday of every month.
    Monthly {
        /// First to fourth, or last.
        nth: Nth,
        /// Of this day.
        day: Day,
    },
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the days of the week")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// Which of a month's four or five same weekdays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "ordinals")]
pub enum Nth {
    First,
    Second,
    Third,
    Fourth,
    Last,
}

/// Days on which nobody begins, whatever the windows say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blackout {
    /// IANA time zone.
    pub zone: String,
    /// First day.
    pub from: Date,
    /// Last day, included.
    pub to: Date,
    /// Why, for people: `year-end closing`.
    pub reason: String,
}

/// Hosts that serve the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceGroup {
    /// Its name.
    pub name: String,
    /// Hosts that may be away at once.
    pub away_max: u32,
}

/// Whether hosts may reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reboot {
    /// A person reboots; until then the host is not proven.
    Never,
    /// If something patched can only run after a reboot.
    IfNeeded {
        /// Reboots of one host for this plan.
        reboots_max: u32,
    },
}

/// What a host does when it fails after the point of no return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rollback {
    /// It stays as it is.
    Never,
    /// It installs the old files that it kept. This also allows a rollback of the whole rollout.
    OnFailure,
}

/// An entry of the denylist that this plan installs nevertheless.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Binary package.
    pub package: String,
    /// Version.
    pub version: String,
    /// Release and architecture it failed on: `debian:12/amd64`.
    pub class: String,
    /// Why it is safe now.
    pub reason: String,
}

/// Leases and deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// How long a host may prepare without being heard.
    pub lease_seconds: u32,
    /// How old the centre's "not halted" may be at the point of no return.
    pub clearance_seconds: u32,
    /// From the point of no return to the final report; then the host is lost.
    pub deadline_seconds: u32,
    /// A host not heard for so long is silent.
    pub silence_seconds: u32,
    /// How long a host takes, reboot included; so much of a window must remain.
    pub expected_seconds: u32,
    /// How long services may take to come up.
    pub verify_seconds: u32,
    /// How long a host watches itself before it calls itself proven.
    pub host_soak_seconds: u32,
}

/// A host's place in a plan.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Number of its wave, from 0.
    pub wave: usize,
    /// What it shares with others.
    pub cohort: &'a Cohort,
}

impl Plan {
    /// Reads a plan's bytes. Only the canonical bytes of a plan are read, so that a digest has one plan and a plan one
    /// digest. Whether it can be carried out is [`Plan::check`]'s to say.
    pub fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let refused = |reason: String, remedy: &str| {
            Problem::new("read plan", "plan", reason).remedy(remedy.to_owned())
        };
        if bytes.len() > BYTES_MAX {
            return Err(refused(
                format!("{} bytes; at most {BYTES_MAX}", bytes.len()),
                "split it by environment or class",
            ));
        }
        let plan: Self = serde_json::from_slice(bytes)
            .map_err(|error| refused(error.to_string(), "make it again with this version"))?;
        if plan.format != FORMAT {
            let reason = format!("format {}; this version reads {FORMAT}", plan.format);
            return Err(refused(reason, "make it again with this version"));
        }
        if plan.bytes() != bytes {
            return Err(refused("not in canonical form".to_owned(), "make it again; do not edit it by hand"));
        }
        Ok(plan)
    }

    /// Its canonical bytes: JSON, fields in the order of this file, nothing between them.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plan holds only texts, numbers and lists")
    }

    /// SHA-256 over its bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes())
    }

    /// A host's place, if it is named.
    pub fn place(&self, host: HostId) -> Option<Place<'_>> {
        self.waves.iter().enumerate().find_map(|(wave, named)| {
            let cohort = named.cohorts.iter().find(|cohort| cohort.hosts.binary_search(&host).is_ok())?;
            Some(Place { wave, cohort })
        })
    }

    /// The service groups that a host counts in, whether it is named or joins late.
    pub(crate) fn groups_of(&self, host: HostId) -> &[String] {
        match self.place(host) {
            Some(place) => &place.cohort.groups,
            None => self.late().map_or(&[], |late| &late.groups),
        }
    }

    /// A class by its name.
    pub fn class(&self, name: &str) -> Option<&HostClass> {
        self.classes.iter().find(|class| class.name == name)
    }

    /// The class a host is in: its cohort's, or the late joiners' if it is not named and was enrolled into `group`.
    pub fn class_of(&self, host: HostId, group: &str) -> Option<&HostClass> {
        match self.place(host) {
            Some(place) => self.class(&place.cohort.class),
            None => self.late().filter(|late| late.group == group).and_then(|late| self.class(&late.class)),
        }
    }

    /// Who may join the last wave.
    pub fn late(&self) -> Option<&Late> {
        self.waves.last().and_then(|wave| wave.late.as_ref())
    }

    /// The earliest time at which a wave can begin: every wave before it has soaked by then. A host holds to it, so that
    /// not even the centre can have all waves at once.
    pub fn earliest(&self, wave: usize) -> Timestamp {
        let soaked: i64 = self.waves.iter().take(wave).map(|wave| i64::from(wave.gate.soak_seconds)).sum();
        after(self.not_before, soaked)
    }
}

impl Wave {
    /// Hosts it names.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> {
        self.cohorts.iter().flat_map(|cohort| cohort.hosts.iter().copied())
    }
}

impl HostClass {
    /// What the denylist calls it: release and architecture.
    pub fn kind(&self) -> String {
        format!("{}/{}", self.release, self.arch)
    }
}

/// `seconds` after `at`.
pub(crate) fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
