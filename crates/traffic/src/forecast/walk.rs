//! The steps by which a belief wanders over the posterior (Metropolis & Hastings), all of them measured by the crowd that it
//! is one of: along the differences of two members (differential evolution, ter Braak 2006), a little at random, or anew from the
//! cloud that members with the same kind of tail form.

use super::chance::Chance;
use super::curve::{Belief, Curve, Prior, Tail};
use super::likelihood::{Day, Reading};
use super::noise::Noise;
use super::number::{exp, ln, moments, real};

/// Members that a cloud is drawn about, at least and at most.
const CLOUD: (usize, usize) = (12, 32);
/// How far a cloud reaches about each of them, in parts of the crowd's deviation: (4 / (5 · 32))^(1/7) (Silverman 1986), for three
/// dimensions.
const CLOUD_REACH: f64 = 0.6;

/// What steps are measured by; it stays as it is while members walk.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    prior: &'a Prior,
    days: Vec<Day>,
    /// Members with a floor, members with a slow tail.
    of_kind: [Vec<Belief>; 2],
    clouds: [Option<Cloud>; 2],
    widths: Widths,
}

/// How wide the crowd stands.
#[derive(Debug)]
struct Widths {
    level: f64,
    rate: f64,
    spread: f64,
    clump: f64,
    weekday: [f64; 7],
}

/// A member that walks, and how well it fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    pub(super) belief: Belief,
    reading: Reading,
    of_means: f64,
    of_scatter: f64,
}

impl<'a> Ground<'a> {
    pub(super) fn new(crowd: &[Belief], prior: &'a Prior, days: Vec<Day>) -> Self {
        let width = |view: &dyn Fn(&Belief) -> f64, least: f64| moments(crowd.iter().map(view)).1.max(least);
        let (slow, floor): (Vec<Belief>, Vec<Belief>) =
            crowd.iter().partition(|member| member.curve.tail.is_slow());
        let of_kind = [floor, slow];
        Self {
            prior,
            days,
            clouds: [Cloud::of(&of_kind[0]), Cloud::of(&of_kind[1])],
            of_kind,
            widths: Widths {
                level: width(&|member| member.curve.level, 1e-4),
                rate: width(&|member| member.curve.rate, 1e-6),
                spread: width(&|member| member.spread, 1e-2),
                clump: width(&|member| member.clump, 1e-2),
                weekday: std::array::from_fn(|weekday| width(&|member| member.weekday[weekday], 1e-3)),
            },
        }
    }

    pub(super) fn stand(&self, belief: Belief) -> Stand {
        let reading = Reading::new(&belief);
        Stand {
            belief,
            reading,
            of_means: reading.ln_of_means(&self.days),
            of_scatter: reading.ln_of_scatter(&self.days),
        }
    }

    /// Two members whose tails are of the kind of this one.
    fn two(&self, tail: Tail, chance: &mut Chance) -> Option<(&Belief, &Belief)> {
        let members = &self.of_kind[usize::from(tail.is_slow())];
        let mut one = || members.get(chance.index(members.len()));
        Some((one()?, one()?))
    }

    /// One step of level, rate and tail; whether it was taken.
    pub(super) fn step_curve(&self, stand: &mut Stand, chance: &mut Chance) -> bool {
        let kind = chance.unit();
        if kind < 0.7 {
            return self.step_along(kind, stand, chance);
        }
        let old = stand.belief.curve;
        // What a step that is drawn, not taken from where it stands, has too much of it.
        let mut counted = 0.0;
        let curve = if kind < 0.76 {
            Curve { level: old.level + self.widths.level * chance.normal(), ..old }
        } else if kind < 0.82 {
            Curve { rate: old.rate + self.widths.rate * chance.normal(), ..old }
        } else if kind < 0.87 {
            let tail = Prior::draw_tail(old.tail.is_slow(), chance);
            counted = Prior::ln_tail(tail) - Prior::ln_tail(old.tail);
            Curve { tail, ..old }
        } else {
            let slow = chance.unit() < 0.5;
            let curve = match &self.clouds[usize::from(slow)] {
                Some(cloud) => cloud.draw(slow, chance),
                None => self.prior.draw_curve_of(slow, chance),
            };
            counted = self.ln_drawn(&curve) - self.ln_drawn(&old);
            curve
        };
        let better = self.prior.ln_curve(&curve) - self.prior.ln_curve(&old) - counted;
        let tried = Belief { curve, ..stand.belief };
        self.take(stand, tried, stand.reading.with_curve(&curve), better, chance)
    }

    /// ln of the density with which a curve is drawn anew.
    fn ln_drawn(&self, curve: &Curve) -> f64 {
        match &self.clouds[usize::from(curve.tail.is_slow())] {
            Some(cloud) => cloud.ln_density(curve),
            None => self.prior.ln_curve_of(curve),
        }
    }

    /// A step along the difference of two members, with their weekdays or without.
    fn step_along(&self, kind: f64, stand: &mut Stand, chance: &mut Chance) -> bool {
        let old = stand.belief;
        let Some((one, other)) = self.two(old.curve.tail, chance) else { return false };
        // 2.38 / √(2 · dimensions), for ten of them with the weekdays and for three without; and shorter steps for narrow, bent
        // places.
        let length = if kind < 0.28 {
            0.53
        } else if kind < 0.5 {
            0.97
        } else {
            0.3
        };
        let mut along = |from: f64, one: f64, other: f64, width: f64| {
            from + length * (one - other) + 0.03 * width * (2.0 * chance.unit() - 1.0)
        };
        let shape = along(old.curve.tail.shape(), one.curve.tail.shape(), other.curve.tail.shape(), 0.1);
        let curve = Curve {
            level: along(old.curve.level, one.curve.level, other.curve.level, self.widths.level),
            rate: along(old.curve.rate, one.curve.rate, other.curve.rate, self.widths.rate),
            // A share beyond the whole is reflected: steps stay as likely there as back.
            tail: old.curve.tail.with_shape(if old.curve.tail.is_slow() { shape } else { shape.abs() }),
        };
        let mut tried = Belief { curve, ..old };
        let mut better = self.prior.ln_curve(&curve) - self.prior.ln_curve(&old.curve);
        let mut reading = stand.reading.with_curve(&curve);
        if kind < 0.28 {
            for (weekday, factor) in tried.weekday.iter_mut().enumerate() {
                *factor = along(
                    *factor,
                    one.weekday[weekday],
                    other.weekday[weekday],
                    self.widths.weekday[weekday],
                );
            }
            better += self.prior.ln_weekdays(&tried.weekday) - self.prior.ln_weekdays(&old.weekday);
            reading = reading.with_weekdays(&tried.weekday);
        }
        self.take(stand, tried, reading, better, chance)
    }

    /// One step of the scatter.
    pub(super) fn step_noise(&self, stand: &mut Stand, chance: &mut Chance) {
        let old = stand.belief;
        let Some((one, other)) = self.two(old.curve.tail, chance) else { return };
        // 2.38 / √(2 · 2 dimensions).
        let spread =
            old.spread + 1.19 * (one.spread - other.spread) + 0.1 * self.widths.spread * chance.normal();
        let clump = old.clump + 1.19 * (one.clump - other.clump) + 0.1 * self.widths.clump * chance.normal();
        let better = self.prior.ln_noise(spread, clump) - self.prior.ln_noise(old.spread, old.clump);
        let reading = stand.reading.with_noise(Noise::of_logs(spread, clump));
        let of_scatter = reading.ln_of_scatter(&self.days);
        let better = better + of_scatter - stand.of_scatter;
        if self.take(stand, Belief { spread, clump, ..old }, reading, better, chance) {
            stand.of_scatter = of_scatter;
        }
    }

    /// One step of each weekday. A weekday touches only its own days, so one reading of the days serves all seven.
    pub(super) fn step_weekdays(&self, stand: &mut Stand, chance: &mut Chance) {
        let old = stand.belief.weekday;
        let tried: [f64; 7] = std::array::from_fn(|weekday| {
            old[weekday] + 2.0 * self.widths.weekday[weekday] * chance.normal()
        });
        let gains = stand.reading.weekday_gains(&tried, &self.days);
        for weekday in 0..7 {
            let better =
                self.prior.ln_weekday(weekday, tried[weekday]) - self.prior.ln_weekday(weekday, old[weekday]);
            if -chance.exponential() < gains[weekday] + better {
                stand.belief.weekday[weekday] = tried[weekday];
                stand.of_means += gains[weekday];
            }
        }
        stand.reading = stand.reading.with_weekdays(&stand.belief.weekday);
    }

    /// Goes there, or stays. `better`: by how much it is likelier before any day is looked at, what steps favour taken off.
    fn take(
        &self,
        stand: &mut Stand,
        tried: Belief,
        reading: Reading,
        better: f64,
        chance: &mut Chance,
    ) -> bool {
        let least = stand.of_means - better - chance.exponential();
        // What the prior excludes needs no look at the days.
        if least.is_nan() || least >= f64::INFINITY {
            return false;
        }
        let of_means = reading.ln_of_means(&self.days);
        let taken = of_means > least;
        if taken {
            *stand = Stand { belief: tried, reading, of_means, ..*stand };
        }
        taken
    }
}

/// Normal laws about some members of one kind, in level, rate and the tail's shape: all as wide, and bent as all members are.
#[derive(Debug)]
struct Cloud {
    /// Where they stand, in units of `root`.
    middles: Vec<[f64; 3]>,
    /// Lower root of the covariance (Cholesky).
    root: [[f64; 3]; 3],
}

impl Cloud {
    fn of(members: &[Belief]) -> Option<Self> {
        if members.len() < CLOUD.0 {
            return None;
        }
        let count = real(members.len());
        let mut middle = [0.0; 3];
        for member in members {
            for (sum, value) in middle.iter_mut().zip(place(&member.curve)) {
                *sum += value / count;
            }
        }
        let mut spread = [[0.0; 3]; 3];
        for member in members {
            let away = place(&member.curve);
            for row in 0..3 {
                for column in 0..=row {
                    spread[row][column] +=
                        (away[row] - middle[row]) * (away[column] - middle[column]) / count;
                }
            }
        }
        let mut cloud = Self { middles: Vec::new(), root: lower_root(spread)? };
        let every = members.len().div_ceil(CLOUD.1);
        cloud.middles =
            members.iter().step_by(every).map(|member| cloud.in_its_units(place(&member.curve))).collect();
        Some(cloud)
    }

    fn draw(&self, slow: bool, chance: &mut Chance) -> Curve {
        let middle = self.middles[chance.index(self.middles.len())];
        let at: [f64; 3] = middle.map(|value| value + chance.normal());
        let [level, rate, shape] = std::array::from_fn(|row| {
            (0..=row).map(|column| self.root[row][column] * at[column]).sum::<f64>()
        });
        let tail = if slow { Tail::Slow { ln_power: shape } } else { Tail::Floor { fade: shape } };
        Curve { level, rate, tail }
    }

    fn ln_density(&self, curve: &Curve) -> f64 {
        let at = self.in_its_units(place(curve));
        let near = |middle: &[f64; 3]| -> f64 {
            exp(-0.5 * middle.iter().zip(at).map(|(middle, at)| (at - middle) * (at - middle)).sum::<f64>())
        };
        let sum: f64 = self.middles.iter().map(near).sum();
        let size = self.root[0][0] * self.root[1][1] * self.root[2][2] * real(self.middles.len());
        // ln (2π)^(3/2).
        ln(sum / size) - 2.756_815_599_614_018
    }

    fn in_its_units(&self, place: [f64; 3]) -> [f64; 3] {
        let mut at = [0.0; 3];
        for row in 0..3 {
            let known: f64 = (0..row).map(|column| self.root[row][column] * at[column]).sum();
            at[row] = (place[row] - known) / self.root[row][row];
        }
        at
    }
}

/// The lower root of a covariance that is `CLOUD_REACH` times as wide. None where members stand in a plane, or on one spot.
fn lower_root(spread: [[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let mut root = [[0.0_f64; 3]; 3];
    for (row, cells) in spread.iter().enumerate() {
        for (column, cell) in cells.iter().enumerate().take(row + 1) {
            let whole = CLOUD_REACH * CLOUD_REACH * cell;
            let known: f64 = (0..column).map(|k| root[row][k] * root[column][k]).sum();
            if column < row {
                root[row][column] = (whole - known) / root[column][column];
            } else if whole - known > 1e-9 * whole && whole - known > 1e-12 {
                root[row][row] = (whole - known).sqrt();
            } else {
                return None;
            }
        }
    }
    Some(root)
}

fn place(curve: &Curve) -> [f64; 3] {
    [curve.level, curve.rate, curve.tail.shape()]
}
