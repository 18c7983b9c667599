//! How long those who gave wrong passwords must wait. By account this is kept in the store; by address, and for names
//! that nobody has, in memory.

use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

/// Wrong passwords in a row that cost nothing: people mistype.
const FREE: i64 = 4;
/// The wait after the first that costs, seconds; each further one doubles it.
const FIRST_WAIT_SECONDS: i64 = 1;
/// The longest wait, seconds: 5 minutes. 288 guesses a day get nowhere, and nobody is locked out for good.
const WAIT_SECONDS_MAX: i64 = 300;
/// Guesses from one address that cost nothing: many people sit behind one.
const FREE_PER_ADDRESS: i64 = 20;
/// Addresses and names remembered: 65,536 × about 100 bytes = 6.5 MB.
const REMEMBERED_MAX: usize = 65_536;
/// Forgotten after so long without a guess, seconds.
const FORGOTTEN_SECONDS: i64 = 3600;

/// How long to wait after that many wrong passwords in a row.
pub fn wait(failures: i64) -> SignedDuration {
    wait_beyond(failures, FREE)
}

fn wait_beyond(failures: i64, free: i64) -> SignedDuration {
    if failures <= free {
        return SignedDuration::ZERO;
    }
    // 2^9 seconds are more than the longest wait.
    let doublings = (failures - free - 1).min(9);
    SignedDuration::from_secs((FIRST_WAIT_SECONDS << doublings).min(WAIT_SECONDS_MAX))
}

/// Who guessed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Guesser {
    /// An address; of IPv6 the network, as one machine has all of it.
    Address(IpAddr),
    /// A name that nobody has, by its hash: it may be anything, even a password in the wrong field.
    Name(String),
}

impl Guesser {
    /// Who comes from this address: IPv6 by its /64.
    pub fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                Self::Address(IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()))
            }
            address @ IpAddr::V4(_) => Self::Address(address),
        }
    }

    fn free(&self) -> i64 {
        match self {
            Self::Address(_) => FREE_PER_ADDRESS,
            Self::Name(_) => FREE,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Guesses {
    count: i64,
    locked_until: Timestamp,
    last: Timestamp,
}

/// Wrong guesses in memory.
#[derive(Debug, Default)]
pub struct BackOff {
    guesses: Mutex<HashMap<Guesser, Guesses>>,
}

impl BackOff {
    /// Counts a guess before it is looked at, so that many at once do not slip through; or tells until when to wait.
    pub fn count(&self, who: &Guesser, now: Timestamp) -> Result<(), Timestamp> {
        let mut guesses = self.guesses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if guesses.len() >= REMEMBERED_MAX && !guesses.contains_key(who) {
            forget(&mut guesses, now);
        }
        let entry = guesses.entry(who.clone()).or_insert(Guesses {
            count: 0,
            locked_until: Timestamp::MIN,
            last: now,
        });
        if entry.locked_until > now {
            return Err(entry.locked_until);
        }
        if now.duration_since(entry.last).as_secs() > FORGOTTEN_SECONDS {
            entry.count = 0;
        }
        entry.count += 1;
        entry.last = now;
        entry.locked_until = now.checked_add(wait_beyond(entry.count, who.free())).unwrap_or(Timestamp::MAX);
        Ok(())
    }

    /// Takes one guess back: it was right. The others stay, or whoever has one account could guess at all.
    pub fn forgive(&self, who: &Guesser) {
        let mut guesses = self.guesses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(entry) = guesses.get_mut(who) {
            entry.count = (entry.count - 1).max(0);
            entry.locked_until = Timestamp::MIN;
        }
    }
}

/// Makes room: what is old goes; if all is new, everything, as an attacker with that many addresses is not stopped here.
fn forget(guesses: &mut HashMap<Guesser, Guesses>, now: Timestamp) {
    guesses.retain(|_, entry| now.duration_since(entry.last).as_secs() <= FORGOTTEN_SECONDS);
    if guesses.len() >= REMEMBERED_MAX {
        guesses.clear();
    }
}
