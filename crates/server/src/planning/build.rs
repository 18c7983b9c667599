//! The plan itself. Takes what was asked for, hosts with their classes, and chance; gives the text that approvers sign, or every
//! fault of it. Reads nothing, and no clock.

use super::asked::{Asked, EXPIRES_AFTER, REBOOTS, canary_id};
use super::classes::{Host, Machine};
use super::replay;
use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;
use rollout::denylist::Denylist;
use rollout::plan::{
    Change, Digest, FORMAT, File, HostClass, HostId, Late, Plan, PlanId, Reboot, Rollback, ServiceGroup,
};
use rollout::waves::{self, Cut, Member};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Bytes of a plan that a host takes.
const PLAN_BYTES_MAX: u64 = trust::plan::PLAN_BYTES_MAX;

/// Hosts that were selected and are not in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PlanLeftOut)]
pub struct LeftOut {
    /// Why.
    pub why: String,
    /// How many.
    pub hosts: u64,
}

/// Everything that a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Its id.
    pub id: PlanId,
    /// What was asked for.
    pub asked: &'a Asked,
    /// Chance for its waves.
    pub seed: [u8; 32],
    /// When it is made.
    pub now: Timestamp,
    /// Its hosts.
    pub hosts: &'a [Host],
    /// What they have.
    pub machines: &'a [Machine],
    /// Its classes, and each host's, by number.
    pub classes: (&'a [HostClass], &'a [usize]),
    /// Bulletins that it answers.
    pub bulletins: &'a BTreeSet<String>,
    /// CVEs that it closes.
    pub cves: &'a BTreeSet<String>,
    /// Versions that failed before.
    pub denied: &'a Denylist,
}

/// Makes a plan, or lists its faults.
pub fn plan(parts: &Parts<'_>) -> Result<Plan, Vec<String>> {
    let Parts { id, asked, seed, now, hosts, machines, classes: (classes, of_host), bulletins, cves, denied } =
        *parts;
    let (canaries, mut faults) = canaries(asked, hosts);
    let (replays, unsendable) = replay::replays(&asked.replays, cves);
    faults.extend(unsendable);
    let sizes = asked.sizes().unwrap_or_else(|fault| {
        faults.push(fault);
        Vec::new()
    });
    let members: Vec<Member> = hosts
        .iter()
        .zip(of_host)
        .map(|(host, &class)| Member {
            host: host.id,
            class: classes[class].name.clone(),
            role: host.role.clone(),
            region: host.region.clone(),
            os: machines[host.machine].release.clone(),
            groups: host.groups.clone(),
        })
        .collect();
    let cut = Cut {
        seed,
        canaries: &canaries,
        sampled: asked.sampled(hosts.len(), canaries.len()),
        sizes: &sizes,
        gate: asked.gate(hosts.len(), asked.soak_seconds(), 0, 0),
        hosts_at_once_max: 1,
        track: asked.track(),
        late: asked.late.as_ref().map(|late| Late {
            group: late.group.clone(),
            hosts_max: late.hosts_max,
            class: largest(classes, of_host),
            groups: Vec::new(),
        }),
    };
    let mut waves = match waves::waves(&members, &cut) {
        Ok(waves) => waves,
        Err(problem) => {
            faults.push(problem.to_string());
            return Err(faults);
        }
    };
    let mut patched = 0;
    for wave in &mut waves {
        let count = wave.hosts().count();
        patched += count;
        wave.hosts_at_once_max = asked.at_once(count);
        wave.gate = asked.gate(count, wave.gate.soak_seconds, patched, hosts.len() - patched);
    }
    let plan = Plan {
        format: FORMAT,
        id,
        title: asked.title(),
        created: now,
        not_before: asked.not_before.unwrap_or(now),
        expires: asked.expires.unwrap_or_else(|| now.saturating_add(EXPIRES_AFTER).unwrap_or(Timestamp::MAX)),
        decision: asked.decision.clone(),
        bulletins: bulletins.iter().cloned().collect(),
        environment: asked.environment(),
        track: asked.track(),
        supersedes: asked.supersedes,
        classes: classes.to_vec(),
        waves,
        windows: asked.windows.clone(),
        blackouts: asked.blackouts.clone(),
        groups: groups(asked, hosts),
        probes: asked.probes.clone(),
        replays,
        reboot: asked.reboot.unwrap_or(Reboot::IfNeeded { reboots_max: REBOOTS }),
        rollback: asked.rollback.unwrap_or(Rollback::OnFailure),
        overrides: asked.overrides.clone(),
        timing: asked.timing(),
    };
    faults.extend(plan.check(&TimeZoneDatabase::bundled()).iter().map(ToString::to_string));
    faults.extend(denied.refuses(&plan).iter().map(ToString::to_string));
    let bytes = u64::try_from(plan.bytes().len()).unwrap_or(u64::MAX);
    if bytes > PLAN_BYTES_MAX {
        faults.push(format!(
            "the plan has {bytes} bytes, and at most {PLAN_BYTES_MAX} reach a host: split it by selector"
        ));
    }
    if faults.is_empty() { Ok(plan) } else { Err(faults) }
}

/// Every fault that can be told before any host was asked: the plan is made with a stand-in for what would change.
pub fn faults(parts: &Parts<'_>) -> Vec<String> {
    let mut classes: Vec<HostClass> = Vec::new();
    let mut of_host = Vec::with_capacity(parts.hosts.len());
    let nothing = File { sha256: Digest([0; 32]), size_bytes: 1 };
    for host in parts.hosts {
        let machine = &parts.machines[host.machine];
        let known = |class: &HostClass| (&class.release, &class.arch) == (&machine.release, &machine.arch);
        let place = classes.iter().position(known).unwrap_or_else(|| {
            let number = classes.len();
            classes.push(HostClass {
                name: format!("class {number}"),
                release: machine.release.clone(),
                arch: machine.arch.clone(),
                changes: vec![Change {
                    name: "stand-in".to_owned(),
                    arch: "all".to_owned(),
                    source: "stand-in".to_owned(),
                    from: None,
                    to: "1".to_owned(),
                    archive: "stand-in".to_owned(),
                    file: nothing.clone(),
                    back: None,
                }],
            });
            number
        });
        of_host.push(place);
    }
    plan(&Parts { classes: (&classes, &of_host), ..*parts }).err().unwrap_or_default()
}

/// The canaries that were named, and names that are nobody's.
fn canaries(asked: &Asked, hosts: &[Host]) -> (BTreeSet<HostId>, Vec<String>) {
    let (mut found, mut faults) = (BTreeSet::new(), Vec::new());
    for named in &asked.canaries {
        let id = canary_id(named);
        let mut fit = hosts.iter().filter(|host| Some(host.id) == id || host.name == *named);
        match (fit.next(), fit.next()) {
            (Some(host), None) => _ = found.insert(host.id),
            (None, _) => faults.push(format!(
                "canary {named:?} is none of the plan's hosts: name one that is selected, is heard and needs the fix"
            )),
            (Some(_), Some(_)) => {
                faults.push(format!("canary {named:?} is the name of several hosts: give its id"));
            }
        }
    }
    (found, faults)
}

/// The service groups that hosts are in, with how many may be away.
fn groups(asked: &Asked, hosts: &[Host]) -> Vec<ServiceGroup> {
    let named: BTreeSet<&String> = hosts.iter().flat_map(|host| &host.groups).collect();
    let mut groups: BTreeMap<String, u32> = BTreeMap::new();
    for name in named {
        let of_label = |name: &str| {
            let service = asked
                .services
                .iter()
                .find(|service| name.strip_prefix(&service.label).is_some_and(|rest| rest.starts_with('=')));
            service.map(|service| service.away_max)
        };
        let given = asked.groups.iter().find(|group| group.name == *name).map(|group| group.away_max);
        if let Some(away_max) = given.or_else(|| of_label(name)) {
            groups.insert(name.clone(), away_max);
        }
    }
    groups.into_iter().map(|(name, away_max)| ServiceGroup { name, away_max }).collect()
}

/// The class that most hosts are in: the one that late hosts must fit.
fn largest(classes: &[HostClass], of_host: &[usize]) -> String {
    let count = |number: usize| of_host.iter().filter(|&&class| class == number).count();
    let largest = (0..classes.len()).max_by_key(|&number| (count(number), std::cmp::Reverse(number)));
    largest.map(|number| classes[number].name.clone()).unwrap_or_default()
}
