//! The fleets and plans of the simulation.

use crate::plan::{
    Asked, Change, Cohort, Control, Digest, File, GateTerms, HostClass, HostId, Late, Plan, PlanId, Probe,
    Reboot, Rollback, ServiceGroup, Timing, Track, Wave, after,
};
use crate::window::Calendar;
use jiff::Timestamp;
use uuid::Uuid;

/// When every simulation begins: a Monday in March, some days before the clocks change in Europe.
pub const BEGIN: Timestamp = Timestamp::constant(1_774_224_000, 0);
/// Packages of the plans here, old and new version.
pub const PACKAGES: [(&str, &str, &str); 2] =
    [("openssl", "3.0.15-1", "3.0.15-2"), ("libssl3", "3.0.15-1", "3.0.15-2")];
/// Approvers' keys.
pub const APPROVERS: [u8; 3] = [1, 2, 3];
/// Approvers needed.
pub const THRESHOLD: usize = 2;
/// The server's own key, which approves nothing.
pub const SERVER: u8 = 9;
/// The group that late joiners are enrolled into.
pub const GROUP: &str = "web";

/// The host of this number.
pub fn host_id(number: usize) -> HostId {
    HostId(Uuid::from_u128(0x5eed_0000_0000_4000_8000_0000_0000_0000 + number as u128))
}

/// The plan of this number.
pub fn plan_id(number: u32) -> PlanId {
    PlanId(Uuid::from_u128(0x914a_0000_0000_4000_8000_0000_0000_0000 + u128::from(number)))
}

/// A plan with its signers: who signed which digest. A signed digest is a value that only its key's holder makes.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The plan.
    pub plan: Plan,
    /// Its digest.
    pub digest: Digest,
    /// Its windows.
    pub calendar: Calendar,
    /// Key, and what it signed.
    pub signers: Vec<(u8, Digest)>,
    /// What every agent found when it looked at them.
    pub verified: bool,
    /// Approvers have signed its rollback, too.
    pub back: bool,
}

impl Sealed {
    /// Signed by enough approvers.
    pub fn signed(plan: Plan) -> Self {
        let digest = plan.digest();
        let signers = APPROVERS[..THRESHOLD].iter().map(|&key| (key, digest)).collect();
        let zones = jiff::tz::TimeZoneDatabase::bundled();
        let calendar =
            Calendar::read(&plan.windows, &plan.blackouts, &zones).expect("plans here have good windows");
        let mut sealed = Self { plan, digest, calendar, signers, verified: false, back: false };
        sealed.verified = sealed.is_verified();
        sealed
    }

    /// The same plan with other signers.
    #[must_use]
    pub fn resigned(mut self, signers: Vec<(u8, Digest)>) -> Self {
        self.signers = signers;
        self.verified = self.is_verified();
        self
    }

    /// What every agent asks: enough different approvers' keys over exactly these bytes.
    pub fn is_verified(&self) -> bool {
        let signed = |key: &&u8| self.signers.contains(&(**key, self.digest));
        APPROVERS.iter().filter(signed).count() >= THRESHOLD
    }
}

/// Numbers of a plan.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Number of the plan.
    pub number: u32,
    /// Hosts of each wave.
    pub waves: Vec<usize>,
    /// Packages changed, 1 or 2.
    pub packages: usize,
    /// Proven of each wave.
    pub proven_percent_min: u32,
    /// Failures borne in each wave.
    pub bad_max: u32,
    /// Skips borne.
    pub skipped_max: u32,
    /// Hosts at once.
    pub hosts_at_once_max: u32,
    /// Hosts of a service group that may be away, by group; host n is in group n modulo their number.
    pub away_max: Vec<u32>,
    /// Compare with hosts not patched.
    pub control: bool,
    /// Late joiners of the last wave.
    pub late_max: u32,
    /// Whether hosts turn back.
    pub rollback: Rollback,
    /// Whether they reboot.
    pub reboot: Reboot,
    /// The plan replaced.
    pub supersedes: Option<PlanId>,
    /// Windows.
    pub windows: Vec<crate::plan::Window>,
    /// Leases and deadlines.
    pub timing: Timing,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            number: 1,
            waves: vec![1, 4],
            packages: 1,
            proven_percent_min: 100,
            bad_max: 0,
            skipped_max: 0,
            hosts_at_once_max: 10,
            away_max: Vec::new(),
            control: false,
            late_max: 0,
            rollback: Rollback::OnFailure,
            reboot: Reboot::IfNeeded { reboots_max: 2 },
            supersedes: None,
            windows: Vec::new(),
            timing: Timing {
                lease_seconds: 300,
                clearance_seconds: 120,
                deadline_seconds: 1_800,
                silence_seconds: 900,
                expected_seconds: 600,
                verify_seconds: 180,
                host_soak_seconds: 120,
            },
        }
    }
}

impl Shape {
    /// Which service groups the host of this number is in.
    pub fn groups(&self, number: usize) -> Vec<String> {
        if self.away_max.is_empty() { Vec::new() } else { vec![format!("g{}", number % self.away_max.len())] }
    }

    /// The plan.
    pub fn plan(&self) -> Plan {
        let file = |text: &str| File { sha256: Digest::of(text.as_bytes()), size_bytes: 1 << 20 };
        let change = |&(name, from, to): &(&str, &str, &str)| Change {
            name: name.to_owned(),
            arch: "amd64".to_owned(),
            source: "openssl".to_owned(),
            from: Some(from.to_owned()),
            to: to.to_owned(),
            archive: "Debian-Security:12/oldstable-security".to_owned(),
            file: file(to),
            back: Some(file(from)),
        };
        let class = HostClass {
            name: "debian-12".to_owned(),
            release: "debian:12".to_owned(),
            arch: "amd64".to_owned(),
            changes: PACKAGES[..self.packages].iter().map(change).collect(),
        };
        let mut next = 0;
        let last = self.waves.len() - 1;
        let waves = self.waves.iter().enumerate().map(|(number, &hosts)| {
            let mut cohorts: Vec<Cohort> = Vec::new();
            for host in next..next + hosts {
                let groups = self.groups(host);
                let id = host_id(host);
                match cohorts.iter_mut().find(|cohort| cohort.groups == groups) {
                    Some(cohort) => cohort.hosts.push(id),
                    None => cohorts.push(Cohort {
                        class: class.name.clone(),
                        groups,
                        canary: number == 0,
                        hosts: vec![id],
                    }),
                }
            }
            next += hosts;
            let control =
                (self.control && number < last).then_some(Control { hosts_min: 1, worse_percent_max: 20 });
            Wave {
                name: format!("wave {number}"),
                cohorts,
                hosts_at_once_max: self.hosts_at_once_max,
                gate: GateTerms {
                    proven_percent_min: self.proven_percent_min,
                    bad_max: self.bad_max.min(u32::try_from(hosts).unwrap_or(u32::MAX).saturating_sub(1)),
                    skipped_max: self.skipped_max,
                    soak_seconds: 300,
                    samples_min: 2,
                    control,
                },
                late: (number == last && number > 0 && self.late_max > 0).then(|| Late {
                    group: GROUP.to_owned(),
                    hosts_max: self.late_max,
                    class: class.name.clone(),
                    groups: self.groups(0),
                }),
            }
        });
        let waves = waves.collect();
        Plan {
            format: crate::plan::FORMAT,
            id: plan_id(self.number),
            title: "fix openssl".to_owned(),
            created: BEGIN,
            not_before: BEGIN,
            expires: after(BEGIN, 14 * 24 * 3_600),
            decision: None,
            bulletins: vec!["DSA-0000-1".to_owned()],
            environment: "production".to_owned(),
            track: Track::Emergency,
            supersedes: self.supersedes,
            classes: vec![class],
            waves,
            windows: self.windows.clone(),
            blackouts: Vec::new(),
            groups: self
                .away_max
                .iter()
                .enumerate()
                .map(|(number, &away_max)| ServiceGroup { name: format!("g{number}"), away_max })
                .collect(),
            probes: vec![Probe { group: None, what: Asked::TcpPort(443), timeout_seconds: 5 }],
            replays: Vec::new(),
            reboot: self.reboot,
            rollback: self.rollback,
            overrides: Vec::new(),
            timing: self.timing,
        }
    }
}
