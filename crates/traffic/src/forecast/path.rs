//! One possible future: how a belief's curve goes on, and what may happen to it.

use super::chance::Chance;
use super::curve::{Belief, Curve, Prior};
use super::number::{exp, ln};

/// Changes of course that are expected beforehand: one in 800 days, as firmly as if 250 had been seen.
const CHANGES_BEFORE: (f64, f64) = (0.3, 250.0);
/// How far a change moves the level: ln, scale of a Student's t with 3 degrees.
const JUMP: f64 = 0.7;
/// ln of how much further growth goes before it turns: exponential with this mean. Nothing in a log tells how many hosts there
/// are still to find.
const GROWTH_LEFT: f64 = 1.0;
/// ln of more sources than there are IPv4 addresses.
const LN_SOURCES_MAX: f64 = 22.2;

/// What is known of a series beside its posterior.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// Days from the beginning of the present curve to the last evening.
    pub(super) since: f64,
    /// Changes of course so far.
    pub(super) changes: f64,
    /// Days of the series.
    pub(super) days: f64,
    /// Sources on days on which the attack should have slept, and such days' sources had it been awake.
    pub(super) asleep: (f64, f64),
    /// Days from the last evening to the last one on which the attack is awake, where its calendar has one; negative if that is past.
    pub(super) until: Option<f64>,
}

/// One possible future.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) belief: Belief,
    since: f64,
    /// Days from the last evening to the end of growth, and the curve from then.
    turn: Option<(f64, Curve)>,
    /// Days from the last evening, and what is added to ln of the level.
    jumps: Vec<(f64, f64)>,
    /// The share that stays on days on which the attack sleeps.
    asleep: f64,
    until: Option<f64>,
}

impl Path {
    /// Draws the future of a belief, `horizon` days on.
    pub(super) fn new(belief: &Belief, past: &Past, horizon: f64, chance: &mut Chance) -> Self {
        let curve = belief.curve;
        let turn = (curve.rate < 0.0).then(|| {
            // Not later than in a million days: a rate of nearly 0 is no growth.
            let after = (GROWTH_LEFT * chance.exponential() / -curve.rate).min(1e6);
            let peak = curve.ln_mean(past.since + after).min(LN_SOURCES_MAX);
            (after, Prior::draw_decay(peak, chance))
        });
        let every = (CHANGES_BEFORE.1 + past.days) / (CHANGES_BEFORE.0 + past.changes);
        let mut jumps = Vec::new();
        let mut at = every * chance.exponential();
        while at < horizon {
            jumps.push((at, JUMP * chance.t3()));
            at += every * chance.exponential();
        }
        let (seen, expected) = past.asleep;
        // Before any such day: a tenth, as if 0.3 of 3 had been seen.
        let asleep = (chance.gamma(0.3 + seen) / (3.0 + expected)).min(1.0);
        Self { belief: *belief, since: past.since, turn, jumps, asleep, until: past.until }
    }

    /// ln of the sources on the `ahead`th day after the last, without weekdays and changes of course.
    pub(super) fn ln_level(&self, ahead: f64) -> f64 {
        match &self.turn {
            Some((after, then)) if ahead > *after => then.ln_mean(ahead - after),
            Some(_) | None => self.belief.curve.ln_mean(self.since + ahead).min(LN_SOURCES_MAX),
        }
    }

    /// The curve that it ends on.
    pub(super) fn last_curve(&self) -> Curve {
        self.turn.as_ref().map_or(self.belief.curve, |(_, then)| *then)
    }

    /// ln of the sources a day that never end; −∞ if nothing stays.
    pub(super) fn ln_floor(&self) -> f64 {
        self.last_curve().ln_floor() + self.until.map_or(0.0, |_| ln(self.asleep))
    }

    /// The level, and after the last day awake what is left of it.
    pub(super) fn ln_left(&self, ahead: f64) -> f64 {
        let over = self.until.is_some_and(|until| ahead > until);
        self.ln_level(ahead) + if over { ln(self.asleep) } else { 0.0 }
    }

    /// Sources expected on that day, everything included.
    pub(super) fn mean(&self, ahead: f64, weekday: usize, awake: bool) -> f64 {
        let moved: f64 = self.jumps.iter().filter(|(at, _)| *at < ahead).map(|(_, by)| by).sum();
        let ln_mean = (self.ln_level(ahead) + moved).min(LN_SOURCES_MAX) + self.belief.weekday[weekday];
        exp(ln_mean) * if awake { 1.0 } else { self.asleep }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::curve::Tail;

    fn belief(rate: f64, fade: f64) -> Belief {
        let curve = Curve { level: ln(1000.0), rate, tail: Tail::Floor { fade } };
        Belief { curve, weekday: [0.0; 7], spread: 0.0, clump: -3.0 }
    }

    #[test]
    fn growth_turns_some_day_and_never_passes_every_address() {
        let past = Past { since: 5.0, changes: 0.0, days: 5.0, asleep: (0.0, 0.0), until: None };
        for number in 0..200 {
            let path = Path::new(&belief(-3.0, 2.0), &past, 0.0, &mut Chance::new(2, number));
            let most = (0..400).map(|day| path.ln_level(f64::from(day))).fold(0.0, f64::max);
            assert!(most <= LN_SOURCES_MAX + 1e-9 && path.ln_level(3000.0) < most, "path {number}: {most}");
        }
    }
}
