//! The posterior as a crowd of beliefs that follows the series day by day (iterated batch importance sampling, Chopin 2002).
//!
//! Each evening every belief is weighted by how well it foretold the day; when few carry the weight, the crowd is drawn anew and
//! each member walks by Metropolis steps whose size the crowd itself gives (differential evolution, ter Braak 2006). So one
//! pass over a series gives the posterior of every evening: the forecast and its whole backtest.
//!
//! The crowd lives on islands that never mix. What they disagree about tells how far the sampler is from its target.

use super::chance::Chance;
use super::curve::{Belief, Normal, Prior};
use super::likelihood::{Day, Reading, condensed};
use super::number::{exp, moments, real};
use super::walk::{Ground, Stand};

const ISLANDS: u64 = 8;
const MEMBERS: usize = 48;
/// An island is drawn anew when its weights are worth fewer members than this share.
const WORTH_MIN: f64 = 0.4;
/// Sweeps of steps after an island was drawn anew: until so many of its members have moved, within bounds.
const MOVED_MIN: f64 = 0.7;
const SWEEPS: (usize, usize) = (2, 6);

/// The posterior of one evening.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    prior: Prior,
    islands: Vec<Island>,
}

#[derive(Clone, Debug)]
struct Island {
    members: Vec<Belief>,
    /// ln of each member's weight.
    weights: Vec<f64>,
    chance: Chance,
}

impl Crowd {
    /// Nothing was seen yet. `stream` is free for 2¹⁶ streams of chance from here.
    pub(super) fn new(prior: Prior, seed: u64, stream: u64) -> Self {
        let island = |number: u64| {
            let mut chance = Chance::new(seed, stream + number);
            let members = (0..MEMBERS).map(|_| prior.draw(&mut chance)).collect();
            Island { members, weights: vec![0.0; MEMBERS], chance }
        };
        Self { prior, islands: (0..ISLANDS).map(island).collect() }
    }

    /// Takes the last of `days` in, all the others being known.
    pub(super) fn learn(&mut self, days: &[Day]) {
        let Some(last) = days.last() else { return };
        for island in &mut self.islands {
            for (member, weight) in island.members.iter().zip(&mut island.weights) {
                *weight += Reading::new(member).ln_density(last);
            }
        }
        let poor = |island: &Island| island.worth() < WORTH_MIN * real(MEMBERS);
        if self.islands.iter().any(poor) {
            let prior = self.prior;
            let ground = Ground::new(&self.everybody(), &prior, condensed(days));
            for island in self.islands.iter_mut().filter(|island| poor(island)) {
                island.draw_anew();
                island.walk(&ground);
            }
        }
    }

    /// Walks on until the islands agree or `sweeps_max` is reached. Gives how far they disagree: the potential scale reduction
    /// (R-hat) over the islands, the worst of what forecasts depend on.
    pub(super) fn settle(&mut self, days: &[Day], sweeps_max: usize, agreed: f64) -> f64 {
        for island in &mut self.islands {
            island.draw_anew();
        }
        let mut worst = self.disagreement(days);
        let prior = self.prior;
        for _ in 0..sweeps_max {
            if worst < agreed {
                break;
            }
            let ground = Ground::new(&self.everybody(), &prior, condensed(days));
            for island in &mut self.islands {
                island.walk(&ground);
            }
            worst = self.disagreement(days);
        }
        worst
    }

    /// The members of all islands, as often as their weights say.
    fn everybody(&self) -> Vec<Belief> {
        self.islands.iter().flat_map(|island| island.drawn(0.5)).collect()
    }

    fn disagreement(&self, days: &[Day]) -> f64 {
        let now = days.last().map_or(0.0, |day| day.place);
        let views: [&dyn Fn(&Belief) -> f64; 5] = [
            &|belief| belief.curve.ln_mean(now),
            &|belief| belief.curve.ln_mean(now + 28.0),
            &|belief| f64::from(u8::from(belief.curve.tail.is_slow())),
            &|belief| belief.curve.ln_mean(now + 90.0),
            &|belief| exp(belief.spread.min(8.0) * 0.5),
        ];
        let of_view = |view: &&dyn Fn(&Belief) -> f64| {
            let each: Vec<(f64, f64)> =
                self.islands.iter().map(|island| moments(island.members.iter().map(view))).collect();
            let within =
                each.iter().map(|(_, deviation)| deviation * deviation).sum::<f64>() / real(each.len());
            let (_, between) = moments(each.iter().map(|(mean, _)| *mean));
            (1.0 + between * between / within.max(1e-12)).sqrt()
        };
        views.iter().map(of_view).fold(1.0, f64::max)
    }

    /// Independent draws that the crowd is worth when its islands disagree so much.
    pub(super) fn effective(&self, r_hat: f64) -> f64 {
        let members = real(self.islands.len() * MEMBERS);
        // The variance between islands over that within is one in so many.
        (real(self.islands.len()) / (r_hat * r_hat - 1.0).max(1e-9)).min(members)
    }

    /// Every member with its weight; the weights of one island sum to 1.
    pub(super) fn members(&self) -> impl Iterator<Item = (&Belief, f64)> {
        self.islands.iter().flat_map(|island| {
            let shares = island.shares();
            island.members.iter().zip(shares)
        })
    }

    /// What a new curve of the same series begins with: its weekdays and its scatter are those of the old one, less sure.
    pub(super) fn prior_of_next(&self, first_count: f64) -> Prior {
        let belief = |view: &dyn Fn(&Belief) -> f64| {
            let mean = self.members().map(|(member, share)| share * view(member)).sum::<f64>()
                / real(self.islands.len());
            let square = |member: &Belief| (view(member) - mean) * (view(member) - mean);
            let variance = self.members().map(|(member, share)| share * square(member)).sum::<f64>()
                / real(self.islands.len());
            Normal { mean, deviation: 1.3 * variance.sqrt() + 0.02 }
        };
        Prior {
            level: Prior::level(first_count),
            weekday: std::array::from_fn(|weekday| belief(&|member| member.weekday[weekday])),
            spread: belief(&|member| member.spread),
            clump: belief(&|member| member.clump),
        }
    }
}

impl Island {
    fn shares(&self) -> Vec<f64> {
        let most = self.weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = self.weights.iter().map(|weight| exp(weight - most)).collect();
        let total: f64 = shares.iter().sum();
        shares.into_iter().map(|share| share / total).collect()
    }

    /// How many equal weights these are worth (Kish).
    fn worth(&self) -> f64 {
        1.0 / self.shares().iter().map(|share| share * share).sum::<f64>()
    }

    /// Draws the members in proportion to their weights, evenly spread; weights are equal afterwards.
    fn draw_anew(&mut self) {
        let first = self.chance.unit();
        self.members = self.drawn(first);
        self.weights.fill(0.0);
    }

    /// As many members as there are, in proportion to their weights; `first`: where the first one is taken, 0 to 1.
    fn drawn(&self, first: f64) -> Vec<Belief> {
        let count = real(self.members.len());
        let mut drawn = Vec::with_capacity(self.members.len());
        let mut sum = 0.0;
        for (member, share) in self.members.iter().zip(self.shares()) {
            sum += share * count;
            while real(drawn.len()) + first < sum && drawn.len() < self.members.len() {
                drawn.push(*member);
            }
        }
        // Rounding may leave the last place open.
        while drawn.len() < self.members.len() {
            drawn.push(self.members[self.members.len() - 1]);
        }
        drawn
    }

    /// Moves every member by steps that the ground measures. What stands where never crosses to another island.
    fn walk(&mut self, ground: &Ground) {
        let mut stands: Vec<Stand> = self.members.iter().map(|member| ground.stand(*member)).collect();
        let mut moved = vec![false; stands.len()];
        for sweep in 0..SWEEPS.1 {
            let share = real(moved.iter().filter(|moved| **moved).count()) / real(moved.len());
            if sweep >= SWEEPS.0 && share >= MOVED_MIN {
                break;
            }
            for (number, (stand, moved)) in stands.iter_mut().zip(&mut moved).enumerate() {
                for _ in 0..2 {
                    *moved |= ground.step_curve(stand, &mut self.chance);
                }
                // These move more easily than the curve: by turns.
                if (sweep + number) % 2 == 0 {
                    ground.step_noise(stand, &mut self.chance);
                } else {
                    ground.step_weekdays(stand, &mut self.chance);
                }
            }
        }
        for (member, stand) in self.members.iter_mut().zip(stands) {
            *member = stand.belief;
        }
    }
}
