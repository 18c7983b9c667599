//! How a fleet is cut, for any fleet.

use proptest::prelude::*;
use rollout::plan::{GateTerms, HostId, Late, Track};
use rollout::sim::fleet::{GROUP, Shape, host_id};
use rollout::waves::{Cut, Member, Size, waves};
use std::collections::BTreeSet;

fn member(number: usize, role: usize, region: usize) -> Member {
    Member {
        host: host_id(number),
        class: "debian-12".to_owned(),
        role: format!("role-{role}"),
        region: format!("region-{region}"),
        os: "debian:12".to_owned(),
        groups: vec![format!("group-{}", role % 2)],
    }
}

fn terms() -> GateTerms {
    Shape::default().plan().waves[0].gate
}

fn cut<'a>(seed: u8, canaries: &'a BTreeSet<HostId>, sizes: &'a [Size]) -> Cut<'a> {
    let late =
        Late { group: GROUP.to_owned(), hosts_max: 3, class: "debian-12".to_owned(), groups: Vec::new() };
    Cut {
        seed: [seed; 32],
        canaries,
        sampled: 1,
        sizes,
        gate: GateTerms { soak_seconds: 86_400, ..terms() },
        hosts_at_once_max: 10,
        track: Track::Normal,
        late: Some(late),
    }
}

fn of(stratum: (usize, usize), members: &[(usize, usize)], hosts: &BTreeSet<HostId>) -> usize {
    let here =
        |&(number, &labels): &(usize, &(usize, usize))| labels == stratum && hosts.contains(&host_id(number));
    members.iter().enumerate().filter(here).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_host_has_one_place_and_every_beginning_its_share_of_each_stratum(
        labels in proptest::collection::vec((0..3_usize, 0..3_usize), 2..200),
        seed in any::<u8>(),
        first in 0..30_u32,
        second in 0..30_usize,
        named in 0..3_usize,
    ) {
        let members: Vec<Member> =
            labels.iter().enumerate().map(|(number, &(role, region))| member(number, role, region)).collect();
        let canaries: BTreeSet<HostId> = (0..named.min(members.len() - 1)).map(host_id).collect();
        let sizes = [Size::Percent(first), Size::Count(second)];
        let cut = cut(seed, &canaries, &sizes);
        let waves_of = |members: &[Member]| waves(members, &cut).expect("a good fleet");
        let made = waves_of(&members);
        let all: Vec<HostId> = made.iter().flat_map(|wave| wave.hosts().collect::<Vec<_>>()).collect();
        prop_assert_eq!(all.len(), members.len());
        prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), members.len());
        prop_assert!(canaries.iter().all(|host| made[0].hosts().any(|other| other == *host)));
        prop_assert!(made[0].cohorts.iter().all(|cohort| cohort.canary));
        prop_assert!(made[1..].iter().all(|wave| wave.cohorts.iter().all(|cohort| !cohort.canary)));
        prop_assert!(made.iter().rev().skip(1).all(|wave| wave.late.is_none()));

        // The order of members is nothing; the seed is everything.
        let mut turned = members.clone();
        turned.reverse();
        prop_assert_eq!(&waves_of(&turned), &made);

        // Whoever was not named is drawn by share.
        let drawn: Vec<(usize, usize)> = labels.clone();
        let mut until: BTreeSet<HostId> = BTreeSet::new();
        let rest = |hosts: &BTreeSet<HostId>| hosts.difference(&canaries).copied().collect::<BTreeSet<_>>();
        let everyone = rest(&all.iter().copied().collect());
        for wave in &made {
            until.extend(wave.hosts());
            let begun = rest(&until);
            for stratum in labels.iter().copied().collect::<BTreeSet<_>>() {
                let (have, size) = (of(stratum, &drawn, &begun), of(stratum, &drawn, &everyone));
                // Share and bound times the number of hosts: one for its own rounding, and its part of nine strata's.
                let count = everyone.len().max(1);
                let (share, bound) = (size * begun.len(), count + size * 9);
                prop_assert!((have * count).abs_diff(share) <= bound, "{have} × {count}, not {share} ± {bound}");
            }
        }
    }
}

#[test]
fn the_emergency_track_soaks_shorter_and_keeps_its_canary() {
    let members: Vec<Member> = (0..50).map(|number| member(number, 0, 0)).collect();
    let none = BTreeSet::new();
    let normal = waves(&members, &cut(1, &none, &[Size::Percent(20)])).expect("a good fleet");
    let hasty = Cut { track: Track::Emergency, sampled: 0, ..cut(1, &none, &[Size::Percent(20)]) };
    let emergency = waves(&members, &hasty).expect("a good fleet");
    assert_eq!(normal.iter().map(|wave| wave.hosts().count()).collect::<Vec<_>>(), [1, 10, 39]);
    assert_eq!(emergency.iter().map(|wave| wave.hosts().count()).collect::<Vec<_>>(), [1, 10, 39]);
    assert_eq!(normal[1].gate.soak_seconds, 86_400);
    assert_eq!(emergency[1].gate.soak_seconds, 14_400);
}

#[test]
fn a_host_more_moves_no_other_out_of_order() {
    let of = |count: usize| -> Vec<HostId> {
        let members: Vec<Member> = (0..count).map(|number| member(number, 0, 0)).collect();
        let none = BTreeSet::new();
        let sizes = [Size::Count(1); 60];
        let made = waves(&members, &cut(3, &none, &sizes)).expect("a good fleet");
        made.iter().flat_map(|wave| wave.hosts().collect::<Vec<_>>()).collect()
    };
    let more = of(41);
    let without: Vec<HostId> = more.into_iter().filter(|&host| host != host_id(40)).collect();
    assert_eq!(without, of(40));
}

#[test]
fn a_canary_that_is_not_in_the_fleet_is_a_fault() {
    let canaries: BTreeSet<HostId> = [host_id(9)].into();
    let refused = waves(&[member(0, 0, 0)], &cut(1, &canaries, &[])).expect_err("a stranger");
    assert!(refused.to_string().contains("select it, or name another"), "{refused}");
}
