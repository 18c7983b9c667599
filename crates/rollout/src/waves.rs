//! Who goes when. The canaries that were named and a sample of everyone first, then waves that each look like the fleet:
//! of every role, region, system and service group their share. Which host goes in which is chance, the same for the same
//! seed; a host that is added moves no other out of its order.

use crate::plan::{Cohort, GateTerms, HostId, Late, Track, Wave};
use advisory::Problem;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};

/// A host to be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub host: HostId,
    /// Its class's name.
    pub class: String,
    /// What it is for.
    pub role: String,
    /// Where it is.
    pub region: String,
    /// Its system: `debian:12`.
    pub os: String,
    /// Its service groups.
    pub groups: Vec<String>,
}

/// How the fleet is to be cut.
#[derive(Clone, Debug)]
pub struct Cut<'a> {
    /// Chance. Kept with the plan's draft, so that it can be made again.
    pub seed: [u8; 32],
    /// Hosts that go first, by name.
    pub canaries: &'a BTreeSet<HostId>,
    /// Hosts drawn to go first with them. At least one goes first, named or drawn.
    pub sampled: usize,
    /// The waves after the canaries'; whoever is left forms the last.
    pub sizes: &'a [Size],
    /// Every wave's gate. The emergency track shortens its soak.
    pub gate: GateTerms,
    /// Hosts under change at once.
    pub hosts_at_once_max: u32,
    /// How much haste there is.
    pub track: Track,
    /// Who may join the last wave.
    pub late: Option<Late>,
}

/// How large a wave is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Of all hosts.
    Percent(u32),
    /// Hosts.
    Count(usize),
}

/// On the emergency track a wave soaks for a sixth of the time, and no less than the plan's check asks.
pub const EMERGENCY_SOAK_DIVISOR: u32 = 6;

/// Cuts a fleet into waves.
pub fn waves(members: &[Member], cut: &Cut<'_>) -> Result<Vec<Wave>, Problem> {
    let refused = |object: &str, reason: String, remedy: &str| {
        Err(Problem::new("cut waves", object, reason).remedy(remedy))
    };
    if members.is_empty() {
        return refused("fleet", "no host".to_owned(), "select hosts");
    }
    let named: BTreeSet<HostId> = members.iter().map(|member| member.host).collect();
    if named.len() != members.len() {
        return refused("fleet", "a host twice".to_owned(), "name each host once");
    }
    if let Some(stranger) = cut.canaries.difference(&named).next() {
        let reason = "is not among the plan's hosts".to_owned();
        return refused(&format!("canary {stranger}"), reason, "select it, or name another");
    }
    let (mut order, rest): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(|member| cut.canaries.contains(&member.host));
    order.sort_by_key(|member| member.host);
    let sampled = if order.is_empty() { cut.sampled.max(1) } else { cut.sampled };
    let first = (order.len() + sampled).min(members.len());
    order.extend(stratified(&cut.seed, rest));

    let mut waves = vec![wave("canaries", &order[..first], true, cut)];
    let mut from = first;
    for (number, size) in cut.sizes.iter().enumerate() {
        let hosts = match *size {
            Size::Percent(percent) => {
                let percent = usize::try_from(percent).unwrap_or(usize::MAX);
                members.len().saturating_mul(percent).div_ceil(100)
            }
            Size::Count(count) => count,
        };
        let until = from.saturating_add(hosts).min(order.len());
        if until > from {
            waves.push(wave(&format!("wave {}", number + 1), &order[from..until], false, cut));
        }
        from = until;
    }
    if from < order.len() {
        waves.push(wave("the rest", &order[from..], false, cut));
    }
    if let Some(last) = waves.last_mut() {
        last.gate.control = None;
    }
    if waves.len() > 1
        && let Some(last) = waves.last_mut()
    {
        last.late.clone_from(&cut.late);
    }
    Ok(waves)
}

fn wave(name: &str, members: &[&Member], canary: bool, cut: &Cut<'_>) -> Wave {
    let mut cohorts: BTreeMap<(&str, Vec<String>), Vec<HostId>> = BTreeMap::new();
    for member in members {
        let mut groups = member.groups.clone();
        groups.sort_unstable();
        groups.dedup();
        cohorts.entry((&member.class, groups)).or_default().push(member.host);
    }
    let mut gate = cut.gate;
    if cut.track == Track::Emergency {
        gate.soak_seconds =
            (gate.soak_seconds / EMERGENCY_SOAK_DIVISOR).max(crate::plan::check::SOAK_MIN_EMERGENCY);
    }
    Wave {
        name: name.to_owned(),
        cohorts: cohorts
            .into_iter()
            .map(|((class, groups), mut hosts)| {
                hosts.sort_unstable();
                Cohort { class: class.to_owned(), groups, canary, hosts }
            })
            .collect(),
        hosts_at_once_max: cut.hosts_at_once_max,
        gate,
        late: None,
    }
}

/// Hosts in an order whose every beginning holds, of each stratum, its share, give or take one.
fn stratified<'a>(seed: &[u8; 32], members: Vec<&'a Member>) -> Vec<&'a Member> {
    let mut strata: BTreeMap<String, Vec<(u64, &Member)>> = BTreeMap::new();
    for member in members {
        let mut groups = member.groups.clone();
        groups.sort_unstable();
        // A character that no label has stands between them.
        let stratum = [&member.role, &member.region, &member.os, &groups.join("\u{1f}")]
            .map(String::as_str)
            .join("\u{1e}");
        strata.entry(stratum).or_default().push((chance(seed, member.host.0.as_bytes()), member));
    }
    // The i-th of n hosts stands at (i + u) / n; u is the stratum's own, so that small strata do not all stand together.
    // As whole numbers: (i · 2³² + u) / n, compared by cross products.
    let mut placed: Vec<(u128, u128, u64, &Member)> = Vec::new();
    for (stratum, mut hosts) in strata {
        hosts.sort_unstable_by_key(|&(chance, member)| (chance, member.host));
        let start = u128::from(chance(seed, stratum.as_bytes()) >> 32);
        let count = hosts.len() as u128;
        for (at, (drawn, member)) in hosts.into_iter().enumerate() {
            placed.push((((at as u128) << 32) + start, count, drawn, member));
        }
    }
    placed.sort_unstable_by(|a, b| {
        (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.cmp(&b.2)).then(a.3.host.cmp(&b.3.host))
    });
    placed.into_iter().map(|(_, _, _, member)| member).collect()
}

/// HMAC-SHA-256 of `bytes` under the seed, its first eight bytes.
fn chance(seed: &[u8; 32], bytes: &[u8]) -> u64 {
    let mut mac = Hmac::<Sha256>::new_from_slice(seed).expect("HMAC takes keys of any length");
    mac.update(bytes);
    let drawn = mac.finalize().into_bytes();
    u64::from_be_bytes(drawn[..8].try_into().expect("32 bytes"))
}
