//! How fast word spreads in a large fleet: every host checks in with the real engine once a minute, at its own second.

use super::centre::{Book, Centre};
use super::chance::Chance;
use super::fleet::{BEGIN, Sealed, Shape};
use super::world::POLL_MS;
use crate::capacity::Capacity;
use crate::order::{CheckIn, Report, Stage};
use crate::plan::HostId;
use crate::rollout::Event;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::rc::Rc;

/// Canaries of the large plan.
const CANARIES: usize = 10;
/// When it halts: after the canaries' soak, when the large wave is open.
const HALT_MS: u64 = 600_000;
/// Messages lost, in a thousand.
const LOST: u64 = 10;
/// A check-in that is not answered is sent again after so long.
const RETRY_MS: u64 = 10_000;
/// A message takes up to so long.
const DELAY_MS: u64 = 400;
/// A hint over the open connection takes up to so long, and the host's answer again.
const HINT_MS: u64 = 1_500;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Hosts.
    pub hosts: usize,
    /// From the halt until 99 of 100 hosts were told, milliseconds.
    pub halt_99_ms: u64,
    /// From the start to the first canary with an order, by check-ins alone.
    pub first_polled_ms: u64,
    /// The same, if canaries are hinted at.
    pub first_hinted_ms: u64,
    /// Check-ins the engine answered.
    pub check_ins: u64,
}

/// Measures with so many live hosts.
pub fn measure(hosts: usize, seed: u64) -> Spread {
    let chance = Chance::of(seed);
    let ids: Vec<HostId> = (0..hosts).map(super::fleet::host_id).collect();
    let shape = Shape {
        waves: vec![CANARIES, hosts - CANARIES],
        hosts_at_once_max: u32::try_from(hosts).unwrap_or(u32::MAX),
        ..Shape::default()
    };
    let sealed = Rc::new(Sealed::signed(shape.plan()));
    let mut centre = Centre::new(hosts, Capacity::of(&sealed.plan));
    centre.books.push(Book::armed(Rc::clone(&sealed), &ids, BEGIN));
    let mut check_ins = 0;

    // Approved and started in the middle of everyone's minute: the first canary that checks in gets its order.
    centre.order_of(0, Event::Started, BEGIN).expect("armed");
    let mut first_polled_ms = u64::MAX;
    for (number, &id) in ids.iter().enumerate().take(CANARIES) {
        let mut of_host = chance.child(number as u64);
        let mut at = of_host.below(POLL_MS);
        loop {
            at += of_host.below(DELAY_MS);
            let lost = of_host.permille(LOST);
            let answer = centre.check_in(id, number, &said(&mut of_host, None), time(at));
            check_ins += 1;
            if answer.order.is_some() && !lost {
                first_polled_ms = first_polled_ms.min(at + of_host.below(DELAY_MS));
                break;
            }
            at += if lost { RETRY_MS } else { POLL_MS };
        }
    }
    let mut hinted = chance.child(u64::MAX);
    let first_hinted_ms =
        (0..CANARIES).map(|_| hinted.below(HINT_MS) + 2 * hinted.below(DELAY_MS)).min().unwrap_or(u64::MAX);

    // Everyone is preparing; then it halts. A host is told when its check-in is answered with the withdrawal.
    centre.books[0].rollout.state = crate::rollout::State::Wave(crate::rollout::At {
        wave: 1,
        phase: crate::rollout::Phase::Open,
        opened: BEGIN,
    });
    centre.books[0].rows[1] = centre.books[0].rows[1].turn(crate::grant::Door::Open);
    for (number, &id) in ids.iter().enumerate().skip(CANARIES) {
        let mut of_host = chance.child(number as u64);
        centre.check_in(id, number, &said(&mut of_host, None), time(HALT_MS));
        check_ins += 1;
    }
    centre.order_of(0, Event::Paused { by: "a person".to_owned() }, time(HALT_MS)).expect("it is under way");
    let mut told: Vec<u64> = Vec::with_capacity(hosts);
    for (number, &id) in ids.iter().enumerate().skip(CANARIES) {
        let mut of_host = chance.child(number as u64);
        let machine = of_host.draw();
        let mut at = of_host.below(POLL_MS);
        loop {
            at += of_host.below(DELAY_MS);
            let lost = of_host.permille(2 * LOST);
            let report =
                Report { plan: sealed.plan.id, fence: 1, seq: 1, machine, boot: 1, stage: Stage::Preflight };
            let said = CheckIn { nonce: at, machine, report: Some(report), healthy: None };
            let answer = centre.check_in(id, number, &said, time(HALT_MS + at));
            check_ins += 1;
            if answer.withdraw.is_some() && !lost {
                told.push(at + of_host.below(DELAY_MS));
                break;
            }
            at += if lost { RETRY_MS } else { POLL_MS };
        }
    }
    told.sort_unstable();
    let halt_99_ms = told.get(told.len() * 99 / 100).copied().unwrap_or(u64::MAX);
    Spread { hosts, halt_99_ms, first_polled_ms, first_hinted_ms, check_ins }
}

fn said(chance: &mut Chance, report: Option<Report>) -> CheckIn {
    CheckIn { nonce: 0, machine: chance.clone().draw(), report, healthy: Some(true) }
}

fn time(ms: u64) -> Timestamp {
    let ms = i64::try_from(ms).expect("some minutes");
    BEGIN.checked_add(SignedDuration::from_millis(ms)).expect("some minutes")
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u64| format!("{}.{} s", ms / 1_000, ms % 1_000 / 100);
        writeln!(out, "{} hosts, a check-in a minute, {} check-ins answered", self.hosts, self.check_ins)?;
        writeln!(out, "halt known to 99 % of live hosts: {}", seconds(self.halt_99_ms))?;
        writeln!(out, "start to first canary with its order, polling: {}", seconds(self.first_polled_ms))?;
        writeln!(out, "start to first canary with its order, hinted: {}", seconds(self.first_hinted_ms))
    }
}
