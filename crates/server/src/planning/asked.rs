//! What an operator asks for, with every default and its reason. Takes a request; gives what a plan is made of.

use super::replay::AskedReplay;
use jiff::{SignedDuration, Timestamp};
use rollout::plan::{
    Blackout, Control, GateTerms, HostId, Override, PlanId, Probe, Reboot, Rollback, Timing, Track, Window,
};
use rollout::waves::Size;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A canary for each so many hosts: one host shows what fails everywhere, more show what fails here and there.
pub const HOSTS_PER_CANARY: usize = 100;
/// Canaries that are drawn at most: as many as a plan may have whatever its size.
pub const CANARIES_MAX: usize = 10;
/// A tenth, then half, then the rest: each wave shows the next one something, and three soaks fit into a day.
pub const WAVES: [&str; 2] = ["10%", "50%"];
/// Of a wave's hosts may be under change at once: a tenth, so that a fault that only load shows takes no more.
pub const AT_ONCE_PERCENT: usize = 10;
/// Hosts under change at once at most: what one archive serves.
pub const AT_ONCE_MAX: usize = 200;
/// Of a wave's hosts must be proven. The rest may be off, held or broken for reasons of their own.
pub const PROVEN_PERCENT: u32 = 90;
/// Of a wave's hosts may fail, percent, rounded down: none of fewer than fifty.
pub const BAD_PERCENT: usize = 2;
/// Of a wave's hosts may skip, percent, rounded down.
pub const SKIPPED_PERCENT: usize = 10;
/// A wave is watched for an hour, the least on the normal track; a sixth of it on the emergency track.
pub const SOAK_SECONDS: u32 = 3_600;
/// Answers about health that a wave must give: one for each host, and at most so many.
pub const SAMPLES_MAX: usize = 1_000;
/// Hosts on either side before patched ones are compared with others: with fewer, chance decides.
pub const COMPARED_MIN: u32 = 10;
/// Points by which more patched hosts than others may be unhealthy.
pub const WORSE_PERCENT: u32 = 5;
/// A plan is good for 30 days: as long as the list that names it.
pub const EXPIRES_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A host reboots once, if something patched can only run then.
pub const REBOOTS: u32 = 1;
/// A host may prepare for so long without being heard: fifteen check-ins; its downloads go on meanwhile.
pub const LEASE_SECONDS: u32 = 900;
/// Five check-ins: a halt reaches every host within as long.
pub const CLEARANCE_SECONDS: u32 = 300;
/// From the point of no return to the final report: twice what a slow host takes.
pub const DEADLINE_SECONDS: u32 = 7_200;
/// A host not heard for half a working day is lost.
pub const SILENCE_SECONDS: u32 = 4 * 3_600;
/// What a host takes, reboot included.
pub const EXPECTED_SECONDS: u32 = 900;
/// How long services may take to come up.
pub const VERIFY_SECONDS: u32 = 300;
/// How long a host watches itself: five check-ins.
pub const HOST_SOAK_SECONDS: u32 = 300;
/// The environment, if nobody says.
pub const ENVIRONMENT: &str = "default";

/// What is to be planned. Everything but `fix` or `everything` has a default.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = NewPlan)]
pub struct Asked {
    /// One line for people; made of `fix` if absent.
    #[schema(max_length = 256)]
    pub title: Option<String>,
    /// Source packages, CVEs and advisories' ids: `openssl`, `CVE-2026-1234`, `DSA-5800-1`.
    #[schema(max_items = 1000)]
    pub fix: Vec<String>,
    /// Everything for which there is an open finding.
    pub everything: bool,
    /// Which hosts; `all` if absent.
    pub select: Option<String>,
    /// Hosts that go first, by id or name.
    #[schema(max_items = 1000)]
    pub canaries: Vec<String>,
    /// Hosts that are drawn to go first with them; one for each hundred if absent and no canary is named.
    pub sample: Option<u32>,
    /// The waves after the canaries': `10%` of all hosts, or a number of hosts. Whoever is left goes last.
    #[schema(max_items = 63)]
    pub waves: Option<Vec<String>>,
    /// `normal` or `emergency`.
    #[schema(value_type = Option<TrackShape>)]
    pub track: Option<Track>,
    /// Hosts under change at once; a tenth of each wave if absent.
    pub at_once: Option<u32>,
    /// What a wave must show.
    pub gate: Gate,
    /// When hosts may begin, as a plan has it; at any time if there is none.
    #[schema(value_type = Vec<Object>)]
    pub windows: Vec<Window>,
    /// Days on which nobody begins, as a plan has it.
    #[schema(value_type = Vec<Object>)]
    pub blackouts: Vec<Blackout>,
    /// A service group for each value of a label.
    pub services: Vec<Service>,
    /// Service groups by selector.
    pub groups: Vec<Group>,
    /// What must answer on a host afterwards, as a plan has it.
    #[schema(value_type = Vec<Object>)]
    pub probes: Vec<Probe>,
    /// Services that attempts are replayed to once they are patched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 8)]
    pub replays: Vec<AskedReplay>,
    /// Whether hosts may reboot, as a plan has it: `"never"` or `{"if-needed":{"reboots_max":1}}`.
    #[schema(value_type = Option<Object>)]
    pub reboot: Option<Reboot>,
    /// What a host does when it fails: `on-failure` (back to the old versions) or `never`.
    #[schema(value_type = Option<RollbackShape>)]
    pub rollback: Option<Rollback>,
    /// Hosts that are enrolled later.
    pub late: Option<LateHosts>,
    /// No host begins before this; now if absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// No host begins after this; in 30 days if absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
    /// Leases and deadlines.
    pub timing: Times,
    /// The decision that it carries out.
    pub decision: Option<String>,
    /// The plan that it replaces.
    #[schema(value_type = Option<String>)]
    pub supersedes: Option<PlanId>,
    /// Entries of the denylist that approvers are asked to overrule, as a plan has it.
    #[schema(value_type = Vec<Object>)]
    pub overrides: Vec<Override>,
    /// Whose approvers sign it.
    pub environment: Option<String>,
    /// Whether to propose it as soon as it is ready.
    pub propose: Option<bool>,
}

/// How much haste there is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = PlanTrack)]
#[expect(dead_code, reason = "the shape of rollout's type in the OpenAPI document")]
pub(crate) enum TrackShape {
    /// Soaks for at least an hour.
    Normal,
    /// Soaks for at least five minutes.
    Emergency,
}

/// What a host does when it fails.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = PlanRollback)]
#[expect(dead_code, reason = "the shape of rollout's type in the OpenAPI document")]
pub(crate) enum RollbackShape {
    /// It stays as it is.
    Never,
    /// It installs the old versions.
    OnFailure,
}

/// What a wave must show before the next one begins. What is absent depends on the wave's size.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = NewPlanGate)]
pub struct Gate {
    /// Proven of all its hosts, percent.
    pub proven_percent_min: Option<u32>,
    /// Failed and lost hosts that are borne; never all of a wave.
    pub bad_max: Option<u32>,
    /// Hosts that may skip.
    pub skipped_max: Option<u32>,
    /// How long it is watched, before the emergency track shortens it.
    pub soak_seconds: Option<u32>,
    /// Answers about health.
    pub samples_min: Option<u32>,
    /// Comparison with hosts not patched yet; `null`: none. Absent: where there are enough hosts on both sides.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ControlTerms>)]
    pub control: Option<Option<ControlTerms>>,
}

/// Comparison of patched hosts with hosts not patched yet.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPlanControl)]
pub struct ControlTerms {
    /// Hosts needed on either side.
    pub hosts_min: u32,
    /// Points by which more patched hosts may be unhealthy.
    pub worse_percent_max: u32,
}

/// Service groups: one for each value of a label.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPlanService)]
pub struct Service {
    /// The label: hosts with `service=web` are the group `service=web`. A host without it is in none.
    pub label: String,
    /// Hosts of each group that may be away at once.
    pub away_max: u32,
}

/// A service group.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPlanGroup)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its hosts.
    pub select: String,
    /// Of these, hosts that may be away at once.
    pub away_max: u32,
}

/// Hosts that are enrolled later and join the last wave.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPlanLate)]
pub struct LateHosts {
    /// Hosts that are enrolled into this group.
    pub group: String,
    /// No more than this.
    pub hosts_max: u32,
}

/// Leases and deadlines, seconds; see the plan's `timing`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = NewPlanTiming)]
#[expect(missing_docs, reason = "rollout::plan::Timing says what each is")]
pub struct Times {
    pub lease_seconds: Option<u32>,
    pub clearance_seconds: Option<u32>,
    pub deadline_seconds: Option<u32>,
    pub silence_seconds: Option<u32>,
    pub expected_seconds: Option<u32>,
    pub verify_seconds: Option<u32>,
    pub host_soak_seconds: Option<u32>,
}

/// `null` is something else than absent.
#[expect(clippy::option_option, reason = "absent, null and given are three things")]
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<ControlTerms>>, D::Error> {
    Option::<ControlTerms>::deserialize(from).map(Some)
}

impl Asked {
    /// Its title, given or made.
    pub fn title(&self) -> String {
        let made = || match self.fix.as_slice() {
            [] => "Fix everything that is open".to_owned(),
            [one] => format!("Fix {one}"),
            [one, rest @ ..] => format!("Fix {one} and {} more", rest.len()),
        };
        self.title.clone().unwrap_or_else(made)
    }

    /// Its environment.
    pub fn environment(&self) -> String {
        self.environment.clone().unwrap_or_else(|| ENVIRONMENT.to_owned())
    }

    /// Its haste.
    pub fn track(&self) -> Track {
        self.track.unwrap_or(Track::Normal)
    }

    /// The waves after the canaries'; errors name the one that is none.
    pub fn sizes(&self) -> Result<Vec<Size>, String> {
        let default = || WAVES.map(str::to_owned).to_vec();
        self.waves.clone().unwrap_or_else(default).iter().map(|text| size(text)).collect()
    }

    /// Hosts drawn to go first.
    pub fn sampled(&self, hosts: usize, named: usize) -> usize {
        let default = if named > 0 { 0 } else { hosts.div_ceil(HOSTS_PER_CANARY).min(CANARIES_MAX) };
        self.sample.map_or(default, |sample| usize::try_from(sample).unwrap_or(usize::MAX))
    }

    /// Hosts of a wave under change at once.
    pub fn at_once(&self, hosts: usize) -> u32 {
        self.at_once.unwrap_or_else(|| count(share(hosts, AT_ONCE_PERCENT).clamp(1, AT_ONCE_MAX)))
    }

    /// What a wave of so many hosts must show. `patched` hosts are done by its end, `rest` are not.
    pub fn gate(&self, hosts: usize, soak_seconds: u32, patched: usize, rest: usize) -> GateTerms {
        let asked = &self.gate;
        let bad = asked.bad_max.unwrap_or_else(|| count(share(hosts, BAD_PERCENT)));
        let enough = |control: &Control| {
            let least = usize::try_from(control.hosts_min).unwrap_or(usize::MAX);
            patched >= least && rest >= least
        };
        let control = match asked.control {
            Some(terms) => terms.map(|ControlTerms { hosts_min, worse_percent_max }| Control {
                hosts_min,
                worse_percent_max,
            }),
            None => {
                Some(Control { hosts_min: COMPARED_MIN, worse_percent_max: WORSE_PERCENT }).filter(enough)
            }
        };
        GateTerms {
            proven_percent_min: asked.proven_percent_min.unwrap_or(PROVEN_PERCENT),
            bad_max: bad.min(count(hosts).saturating_sub(1)),
            skipped_max: asked.skipped_max.unwrap_or_else(|| count(share(hosts, SKIPPED_PERCENT))),
            soak_seconds,
            samples_min: asked.samples_min.unwrap_or_else(|| count(hosts.clamp(1, SAMPLES_MAX))),
            // After the last wave nobody is left to compare with.
            control: control.filter(|_| rest > 0),
        }
    }

    /// How long a wave is watched on the normal track.
    pub fn soak_seconds(&self) -> u32 {
        self.gate.soak_seconds.unwrap_or(SOAK_SECONDS)
    }

    /// Leases and deadlines.
    pub fn timing(&self) -> Timing {
        let Times {
            lease_seconds,
            clearance_seconds,
            deadline_seconds,
            silence_seconds,
            expected_seconds,
            verify_seconds,
            host_soak_seconds,
        } = self.timing;
        Timing {
            lease_seconds: lease_seconds.unwrap_or(LEASE_SECONDS),
            clearance_seconds: clearance_seconds.unwrap_or(CLEARANCE_SECONDS),
            deadline_seconds: deadline_seconds.unwrap_or(DEADLINE_SECONDS),
            silence_seconds: silence_seconds.unwrap_or(SILENCE_SECONDS),
            expected_seconds: expected_seconds.unwrap_or(EXPECTED_SECONDS),
            verify_seconds: verify_seconds.unwrap_or(VERIFY_SECONDS),
            host_soak_seconds: host_soak_seconds.unwrap_or(HOST_SOAK_SECONDS),
        }
    }
}

/// `10%` or `20`.
fn size(text: &str) -> Result<Size, String> {
    let fault =
        || format!("wave {text:?} is neither a share of all hosts (\"10%\") nor a number of hosts (\"20\")");
    match text.strip_suffix('%') {
        Some(percent) => match percent.parse() {
            Ok(percent @ 1..=100) => Ok(Size::Percent(percent)),
            _ => Err(fault()),
        },
        None => match text.parse() {
            Ok(hosts) if hosts > 0 => Ok(Size::Count(hosts)),
            _ => Err(fault()),
        },
    }
}

/// So many percent of a number, rounded down.
fn share(of: usize, percent: usize) -> usize {
    of.saturating_mul(percent) / 100
}

fn count(hosts: usize) -> u32 {
    u32::try_from(hosts).unwrap_or(u32::MAX)
}

/// A canary that was named, read as an id where it is one.
pub(crate) fn canary_id(named: &str) -> Option<HostId> {
    uuid::Uuid::try_parse(named).ok().map(HostId)
}
