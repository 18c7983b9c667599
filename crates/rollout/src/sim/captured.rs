//! A server in the hands of an attacker. It has the server's keys and everything that was ever sent; it has no approver's
//! key. It answers what it likes, to whom it likes.

use super::chance::Chance;
use super::fleet::{SERVER, Sealed, Shape};
use crate::order::{Answer, CheckIn, Clearance, Direction, Order};
use crate::plan::HostId;
use std::rc::Rc;

/// Answers kept for replays.
const KEPT_MAX: usize = 64;

/// The attacker.
#[derive(Clone, Debug)]
pub struct Captured {
    chance: Chance,
    kept: Vec<Answer>,
    /// A plan that it made itself, with all the signers it can make up.
    pub forged: Rc<Sealed>,
}

impl Captured {
    /// Takes over.
    pub fn new(seed: &Chance, shape: &Shape) -> Self {
        let mut plan = Shape { number: 666, ..shape.clone() }.plan();
        for change in &mut plan.classes[0].changes {
            "9:9-evil".clone_into(&mut change.to);
        }
        let forged = Sealed::signed(plan);
        let genuine = Sealed::signed(shape.plan()).digest;
        // Its own key, the same approver twice over something else, and approvers' words for the real plan.
        let made = vec![(SERVER, forged.digest), (1, genuine), (1, genuine), (2, genuine)];
        Self { chance: seed.child(0xBAD), kept: Vec::new(), forged: Rc::new(forged.resigned(made)) }
    }

    /// Remembers what an honest server said.
    pub fn keep(&mut self, answer: Answer) {
        if answer != Answer::default() {
            if self.kept.len() == KEPT_MAX {
                self.kept.remove(0);
            }
            self.kept.push(answer);
        }
    }

    /// Answers a check-in.
    pub fn answer(&mut self, host: HostId, said: &CheckIn, genuine: &Sealed) -> Answer {
        let replay = (!self.kept.is_empty()).then(|| self.chance.index(self.kept.len()));
        if let Some(at) = replay.filter(|_| self.chance.permille(300)) {
            let mut answer = self.kept[at];
            // As it was; or aimed at this host; or dressed up as an answer to this check-in, which a clearance then is.
            match self.chance.below(3) {
                0 => {}
                1 => {
                    answer.order = answer.order.map(|order| Order { host, ..order });
                    answer.clearance = answer.clearance.map(|clearance| Clearance { host, ..clearance });
                }
                _ => answer.order = answer.order.map(|order| Order { host, nonce: said.nonce, ..order }),
            }
            return answer;
        }
        let sealed = if self.chance.permille(400) { &*self.forged } else { genuine };
        // The forged content under the genuine plan's id, too.
        let plan = if self.chance.permille(300) { genuine.plan.id } else { sealed.plan.id };
        let direction = if self.chance.permille(200) { Direction::Back } else { Direction::Forward };
        let fence = 1 + self.chance.below(5);
        let order = Order { host, plan, digest: sealed.digest, direction, fence, nonce: said.nonce };
        let fence = said.report.map_or(fence, |report| report.fence);
        let clearance = Clearance { host, plan, fence, nonce: said.nonce };
        Answer {
            order: self.chance.permille(700).then_some(order),
            clearance: self.chance.permille(500).then_some(clearance),
            withdraw: self.chance.permille(100).then_some((plan, fence)),
        }
    }
}
