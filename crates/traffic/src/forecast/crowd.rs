//! The posterior as a crowd of beliefs that follows the series day by day (iterated batch importance sampling, Chopin 2002).
//!
//! Each evening every belief is weighted by how well it foretold the day; when few carry the weight, the crowd is drawn anew and
//! each member walks by Metropolis steps whose size the crowd itself gives (differential evolution, ter Braak 2006). So one
//! pass over a series gives the posterior of every evening: the forecast and its whole backtest.
//!
//! The crowd lives on islands that never mix. What they disagree about tells how far the sampler is from its target.

use super::chance::Chance;
use super::curve::{Belief, Curve, Day, Normal, Prior, condensed};
use super::number::{exp, moments, real};

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
        let mut fewer = None;
        let everybody = self.everybody();
        for island in &mut self.islands {
            for (member, weight) in island.members.iter().zip(&mut island.weights) {
                *weight += member.ln_density(last);
            }
            if island.worth() < WORTH_MIN * real(MEMBERS) {
                island.draw_anew();
                island.walk(&everybody, &self.prior, fewer.get_or_insert_with(|| condensed(days)));
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
        let fewer = condensed(days);
        for _ in 0..sweeps_max {
            if worst < agreed {
                break;
            }
            let everybody = self.everybody();
            for island in &mut self.islands {
                island.walk(&everybody, &self.prior, &fewer);
            }
            worst = self.disagreement(days);
        }
        worst
    }

    /// The members of all islands, weights aside.
    fn everybody(&self) -> Vec<Belief> {
        self.islands.iter().flat_map(|island| island.members.iter().copied()).collect()
    }

    fn disagreement(&self, days: &[Day]) -> f64 {
        let now = days.last().map_or(0.0, |day| day.place);
        let views: [&dyn Fn(&Belief) -> f64; 4] = [
            &|belief| belief.curve.ln_mean(now),
            &|belief| belief.curve.ln_mean(now + 28.0),
            &|belief| belief.curve.fade.min(12.0),
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
        let count = real(self.members.len());
        let first = self.chance.unit();
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
        self.members = drawn;
        self.weights.fill(0.0);
    }

    /// Moves every member by steps as long as members of the whole crowd differ. What stands where never crosses to another
    /// island.
    fn walk(&mut self, crowd: &[Belief], prior: &Prior, days: &[Day]) {
        let mut fits: Vec<f64> = self.members.iter().map(|member| member.ln_likelihood(days)).collect();
        let mut moved = vec![false; self.members.len()];
        let scale = Scale::of(crowd);
        for sweep in 0..SWEEPS.1 {
            let share = real(moved.iter().filter(|moved| **moved).count()) / real(moved.len());
            if sweep >= SWEEPS.0 && share >= MOVED_MIN {
                break;
            }
            for number in 0..self.members.len() {
                let member = &mut self.members[number];
                let fit = &mut fits[number];
                for _ in 0..2 {
                    moved[number] |= step_curve(member, fit, crowd, &scale, prior, days, &mut self.chance);
                }
                // These move more easily than the curve: by turns.
                if (sweep + number) % 2 == 0 {
                    step_noise(member, fit, crowd, &scale, prior, days, &mut self.chance);
                } else {
                    step_weekdays(member, fit, &scale, prior, days, &mut self.chance);
                }
            }
        }
    }
}

/// How wide the crowd stands.
struct Scale {
    level: f64,
    rate: f64,
    fade: f64,
    spread: f64,
    clump: f64,
    weekday: [f64; 7],
}

impl Scale {
    fn of(crowd: &[Belief]) -> Self {
        let width = |view: &dyn Fn(&Belief) -> f64, least: f64| moments(crowd.iter().map(view)).1.max(least);
        Self {
            level: width(&|member| member.curve.level, 1e-4),
            rate: width(&|member| member.curve.rate, 1e-6),
            fade: width(&|member| member.curve.fade, 1e-3),
            spread: width(&|member| member.spread, 1e-2),
            clump: width(&|member| member.clump, 1e-2),
            weekday: std::array::from_fn(|weekday| width(&|member| member.weekday[weekday], 1e-3)),
        }
    }
}

/// The difference of two members of the crowd.
fn two<'a>(crowd: &'a [Belief], chance: &mut Chance) -> (&'a Belief, &'a Belief) {
    (&crowd[chance.index(crowd.len())], &crowd[chance.index(crowd.len())])
}

/// One step of level, rate and floor; whether it was taken.
fn step_curve(
    member: &mut Belief,
    fit: &mut f64,
    crowd: &[Belief],
    scale: &Scale,
    prior: &Prior,
    days: &[Day],
    chance: &mut Chance,
) -> bool {
    let old = member.curve;
    // What a step that is drawn from the prior has too much of it.
    let mut counted = 0.0;
    let mut tried = *member;
    let kind = chance.unit();
    if kind < 0.75 {
        let (one, other) = two(crowd, chance);
        // 2.38 / √(2 · dimensions), for ten of them with the weekdays and for three without; and shorter steps for narrow, bent
        // places.
        let length = if kind < 0.3 {
            0.53
        } else if kind < 0.55 {
            0.97
        } else {
            0.3
        };
        let mut along = |from: f64, one: f64, other: f64, width: f64| {
            from + length * (one - other) + 0.03 * width * chance.normal()
        };
        tried.curve = Curve {
            level: along(old.level, one.curve.level, other.curve.level, scale.level),
            rate: along(old.rate, one.curve.rate, other.curve.rate, scale.rate),
            fade: along(old.fade, one.curve.fade, other.curve.fade, scale.fade).abs(),
        };
        if kind < 0.3 {
            for (weekday, factor) in tried.weekday.iter_mut().enumerate() {
                *factor =
                    along(*factor, one.weekday[weekday], other.weekday[weekday], scale.weekday[weekday]);
            }
        }
    } else if kind < 0.83 {
        tried.curve.level += scale.level * chance.normal();
    } else if kind < 0.9 {
        tried.curve.rate += scale.rate * chance.normal();
    } else {
        tried.curve.fade = Prior::draw_fade(chance);
        counted = Prior::ln_fade(tried.curve.fade) - Prior::ln_fade(old.fade);
    }
    let better = prior.ln_curve(&tried.curve) - prior.ln_curve(&old) - counted
        + prior.ln_weekdays(&tried.weekday)
        - prior.ln_weekdays(&member.weekday);
    take(member, fit, tried, better, days, chance)
}

fn step_noise(
    member: &mut Belief,
    fit: &mut f64,
    crowd: &[Belief],
    scale: &Scale,
    prior: &Prior,
    days: &[Day],
    chance: &mut Chance,
) {
    let (one, other) = two(crowd, chance);
    // 2.38 / √(2 · 2 dimensions).
    let spread = member.spread + 1.19 * (one.spread - other.spread) + 0.1 * scale.spread * chance.normal();
    let clump = member.clump + 1.19 * (one.clump - other.clump) + 0.1 * scale.clump * chance.normal();
    let better = prior.ln_noise(spread, clump) - prior.ln_noise(member.spread, member.clump);
    let tried = Belief { spread, clump, ..*member };
    take(member, fit, tried, better, days, chance);
}

fn take(
    member: &mut Belief,
    fit: &mut f64,
    tried: Belief,
    better: f64,
    days: &[Day],
    chance: &mut Chance,
) -> bool {
    let tried_fit = tried.ln_likelihood(days);
    let taken = -chance.exponential() < tried_fit - *fit + better;
    if taken {
        (*member, *fit) = (tried, tried_fit);
    }
    taken
}

/// One step of each weekday. A weekday touches only its own days, so one reading of the days serves all seven.
fn step_weekdays(
    member: &mut Belief,
    fit: &mut f64,
    scale: &Scale,
    prior: &Prior,
    days: &[Day],
    chance: &mut Chance,
) {
    let tried: [f64; 7] = std::array::from_fn(|weekday| {
        member.weekday[weekday] + 2.0 * scale.weekday[weekday] * chance.normal()
    });
    let gains = member.weekday_gains(&tried, days);
    for weekday in 0..7 {
        let better =
            prior.ln_weekday(weekday, tried[weekday]) - prior.ln_weekday(weekday, member.weekday[weekday]);
        if -chance.exponential() < gains[weekday] + better {
            member.weekday[weekday] = tried[weekday];
            *fit += gains[weekday];
        }
    }
}
