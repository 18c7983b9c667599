//! Every host, in memory: enough to answer a check-in, and to notice when two hosts share a key.
//!
//! Loaded at the start, then follows the events. Some 250 bytes a host. No lock is held over a wait.

use super::{Counters, clean};
use crate::identity::Peer;
use crate::store::events::{Event, Kind};
use crate::store::hosts::{self, Host, HostState, Seen};
use crate::store::{Doing, Error, Store, certificates};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::v1::CheckIn;

/// Parts of the roster that are locked by themselves: many more than threads.
const SHARDS: usize = 64;
/// Runs of a host's agent that are remembered, the present one among them.
const STREAMS: usize = 4;
/// Requests that a host may make at once: what an agent asks for in two hours, and more than its first report takes.
const REQUESTS_AT_ONCE: i64 = 120;
/// Hosts in one reading at the start.
const PAGE: i64 = 5_000;
/// Bytes of an agent's version.
const AGENT_BYTES_MAX: usize = 64;

/// What is known of the fleet's hosts.
#[derive(Debug)]
pub struct Roster {
    shards: Vec<Mutex<Shard>>,
    /// Revoked certificates of hosts that stay.
    revoked: RwLock<HashSet<u128>>,
    /// What the listener has done.
    pub counters: Counters,
}

#[derive(Debug, Default)]
struct Shard {
    hosts: HashMap<Uuid, Entry>,
    /// Heard since the last [`Roster::flush`].
    heard: Vec<Uuid>,
    /// By how many seconds clocks are ahead of ours, as hosts say; of those that are not right.
    clocks: HashMap<Uuid, i64>,
}

#[derive(Debug)]
struct Entry {
    number: u32,
    state: HostState,
    heard: bool,
    address: IpAddr,
    /// When it was heard last, microseconds.
    seen: i64,
    /// SHA-256 of its inventory; zeroes: none.
    inventory: [u8; 32],
    /// SHA-256 of its machine id; zeroes: that of its next check-in.
    machine: [u8; 32],
    /// The present run of its agent, and those before, by the first bytes of their hashes; 0: none.
    streams: [u64; STREAMS],
    /// The group it was enrolled into, or was moved to.
    group: Box<str>,
    /// When its requests so far will have been paid for, at one for each pace; microseconds.
    paid: i64,
    agent: Box<str>,
}

/// Why a host may not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// Two hosts seem to share its key.
    Quarantined,
    /// It is no longer part of the fleet.
    Revoked,
    /// It was removed, or never was.
    Unknown,
    /// Its certificate was revoked.
    CertificateRevoked,
    /// Its certificate has ended since it was shown.
    CertificateEnded,
}

/// What a check-in tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The host is here; whether we want its inventory.
    Here {
        /// Its inventory is another one than we know.
        report: bool,
    },
    /// The host may not speak.
    Refused(Barred),
    /// It was released from quarantine: its machine is not on record.
    Unbound,
    /// Two hosts speak under one key; why we think so.
    Cloned(String),
    /// A hash is none.
    Malformed(&'static str),
}

/// How many hosts there are, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Part of the fleet, silent ones too.
    pub active: u64,
    /// Held back.
    pub quarantined: u64,
    /// Taken out.
    pub revoked: u64,
    /// Active, and not heard by this server for too long.
    pub silent: u64,
}

impl Roster {
    /// Reads all hosts. Follow the events that come after; those told meanwhile may be followed again.
    pub async fn load(store: &Store, now: Timestamp) -> Result<Self, Error> {
        let roster = Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            revoked: RwLock::default(),
            counters: Counters::default(),
        };
        let mut after = String::new();
        loop {
            let page = hosts::page(store, &after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            for host in &page {
                roster.put(host);
            }
        }
        let mut after = String::new();
        loop {
            let rows = sqlx::query(
                "SELECT host, hash FROM inventories WHERE until_at IS NULL AND host > $1 ORDER BY host LIMIT $2",
            )
            .bind(after.clone())
            .bind(PAGE)
            .fetch_all(store.reader())
            .await
            .doing("read the hashes of inventories")?;
            for row in &rows {
                roster.has(row.get(0), row.get(1));
            }
            let Some(last) = rows.last() else { break };
            after = last.get(0);
        }
        let revoked = certificates::revoked(store, now).await?;
        roster
            .revoked_mut()
            .extend(revoked.iter().filter_map(|serial| u128::from_str_radix(serial, 16).ok()));
        Ok(roster)
    }

    /// Follows what this server or another one changed.
    pub async fn follow(&self, store: &Store, event: &Event) -> Result<(), Error> {
        match event.kind {
            Kind::Host => {
                if let Some(serial) = event.detail["serial"].as_str()
                    && let Ok(serial) = u128::from_str_radix(serial, 16)
                {
                    self.revoked_mut().insert(serial);
                }
                // The row is newer than the event, or as new.
                match hosts::get(store, &event.object).await? {
                    Some(host) => self.put(&host),
                    None => self.remove(&event.object),
                }
            }
            Kind::Inventory => {
                if let Some(hash) = event.detail["hash"].as_str() {
                    self.has(&event.object, hash);
                }
            }
            Kind::Feed
            | Kind::Advisories
            | Kind::Findings
            | Kind::Access
            | Kind::Plan
            | Kind::Rollout
            | Kind::Census => {}
        }
        Ok(())
    }

    /// Takes what the store says about a host; what only this server has heard stays.
    pub fn put(&self, host: &Host) {
        let Ok(id) = Uuid::parse_str(&host.id) else { return };
        let machine = digest(&host.machine).unwrap_or_default();
        let mut shard = self.shard(&id);
        let entry = shard.hosts.entry(id).or_insert_with(|| Entry {
            number: host.number,
            state: host.state,
            heard: false,
            address: host.address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            seen: host.seen_at.as_microsecond(),
            inventory: [0; 32],
            machine,
            streams: [0; STREAMS],
            group: Box::default(),
            paid: 0,
            agent: host.agent.as_str().into(),
        });
        if entry.state == HostState::Quarantined && host.state == HostState::Active {
            // Released: whoever speaks next is the host.
            entry.streams = [0; STREAMS];
        }
        entry.state = host.state;
        entry.machine = machine;
        if *entry.group != *host.group {
            entry.group = host.group.as_str().into();
        }
    }

    /// Forgets a host.
    pub fn remove(&self, id: &str) {
        if let Ok(id) = Uuid::parse_str(id) {
            let mut shard = self.shard(&id);
            shard.hosts.remove(&id);
            shard.clocks.remove(&id);
        }
    }

    /// The host `id` has the inventory `hash` from now on.
    pub fn has(&self, id: &str, hash: &str) {
        if let (Ok(id), Some(hash)) = (Uuid::parse_str(id), digest(hash))
            && let Some(entry) = self.shard(&id).hosts.get_mut(&id)
        {
            entry.inventory = hash;
        }
    }

    /// Whether the host on the other side may speak. To be asked with every request: a session outlives a revocation.
    pub fn standing(&self, peer: &Peer, now: Timestamp) -> Result<(), Barred> {
        self.certificate(peer, now)?;
        self.shard(&peer.host).hosts.get(&peer.host).ok_or(Barred::Unknown)?.standing()
    }

    /// The host on the other side checks in from `address`.
    pub fn check_in(&self, peer: &Peer, address: IpAddr, check_in: &CheckIn, now: Timestamp) -> Heard {
        let Some(machine) = digest(&check_in.machine) else { return Heard::Malformed("machine") };
        let inventory = match check_in.inventory.as_str() {
            "" => None,
            text => match digest(text) {
                Some(inventory) => Some(inventory),
                None => return Heard::Malformed("inventory"),
            },
        };
        let stream = brief(&check_in.stream);
        if let Err(barred) = self.certificate(peer, now) {
            return Heard::Refused(barred);
        }
        let mut shard = self.shard(&peer.host);
        let shard = &mut *shard;
        let Some(entry) = shard.hosts.get_mut(&peer.host) else { return Heard::Refused(Barred::Unknown) };
        if let Err(barred) = entry.standing() {
            return Heard::Refused(barred);
        }
        if entry.machine == [0; 32] {
            return Heard::Unbound;
        }
        if entry.machine != machine {
            return Heard::Cloned(format!(
                "its key is used by another machine: the one that was enrolled was last heard from {}, the other one \
                 speaks from {address}",
                entry.address
            ));
        }
        if entry.streams[0] != stream {
            // An agent that starts draws a stream that was never there; one that comes back never stopped.
            if entry.streams[1..].contains(&stream) {
                return Heard::Cloned(format!(
                    "its key is used by two hosts in turn: one speaks from {address}, the other one from {}",
                    entry.address
                ));
            }
            entry.streams.rotate_right(1);
            entry.streams[0] = stream;
        }
        entry.seen = now.as_microsecond();
        entry.address = address;
        if *entry.agent != *check_in.agent {
            entry.agent = clean(&check_in.agent, AGENT_BYTES_MAX).into();
        }
        match check_in.clock_ahead_seconds {
            0 => shard.clocks.remove(&peer.host),
            // Beyond 68 years it is wrong all the same.
            ahead => shard.clocks.insert(peer.host, ahead.clamp(i32::MIN.into(), i32::MAX.into())),
        };
        if !entry.heard {
            entry.heard = true;
            shard.heard.push(peer.host);
        }
        Heard::Here { report: inventory.is_some_and(|inventory| inventory != entry.inventory) }
    }

    /// Takes a request of a host into account; gives how many seconds too early it comes, if it does. A host may make
    /// 120 at once, and one more for each `pace`. By the host's certificate: others behind its address do not pay.
    pub fn hurries(&self, host: &Uuid, pace: SignedDuration, now: Timestamp) -> Option<u32> {
        let (pace, now) = (i64::try_from(pace.as_micros()).unwrap_or(i64::MAX).max(1), now.as_microsecond());
        let room = pace.saturating_mul(REQUESTS_AT_ONCE);
        let mut shard = self.shard(host);
        // Whoever is not known is refused anyway.
        let entry = shard.hosts.get_mut(host)?;
        // Nothing is ahead of the clock by more than was let through, except when the clock was set back.
        entry.paid = entry.paid.clamp(now, now.saturating_add(room));
        let early = entry.paid.saturating_add(pace) - now - room;
        if early > 0 {
            let seconds = early.saturating_add(999_999) / 1_000_000;
            return Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        }
        entry.paid = entry.paid.saturating_add(pace);
        None
    }

    /// When this server last heard the host, or what the store said at the start.
    pub fn seen(&self, id: &str) -> Option<Timestamp> {
        let id = Uuid::parse_str(id).ok()?;
        self.shard(&id).hosts.get(&id).map(|entry| time(entry.seen))
    }

    /// The number of the host `id`.
    pub fn number(&self, id: &str) -> Option<u32> {
        let id = Uuid::parse_str(id).ok()?;
        self.shard(&id).hosts.get(&id).map(|entry| entry.number)
    }

    /// The group of a host.
    pub fn group(&self, host: &Uuid) -> Option<String> {
        self.shard(host).hosts.get(host).map(|entry| entry.group.to_string())
    }

    /// Counts hosts by state.
    pub fn census(&self, now: Timestamp, silent_minutes: u32) -> Census {
        let since = now.saturating_sub(SignedDuration::from_mins(i64::from(silent_minutes)));
        let since = since.unwrap_or(Timestamp::MIN).as_microsecond();
        let mut census = Census::default();
        for shard in &self.shards {
            for entry in lock(shard).hosts.values() {
                match entry.state {
                    HostState::Active => {
                        census.active += 1;
                        census.silent += u64::from(entry.seen < since);
                    }
                    HostState::Quarantined => census.quarantined += 1,
                    HostState::Revoked => census.revoked += 1,
                }
            }
        }
        census
    }

    /// Writes who was heard since the last time, with rests until `hurry`; gives how many. What could not be written
    /// is written the next time.
    pub async fn flush(&self, store: &Store, hurry: &CancellationToken) -> Result<usize, Error> {
        let mut seen = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            let shard = &mut *shard;
            for id in shard.heard.drain(..) {
                if let Some(entry) = shard.hosts.get_mut(&id) {
                    entry.heard = false;
                    let clock_ahead = shard.clocks.get(&id).copied().unwrap_or(0);
                    seen.push(entry.seen_as(&id, clock_ahead));
                }
            }
        }
        // In one order in all servers, so that they wait for each other instead of locking each other.
        seen.sort_by(|one, other| one.id.cmp(&other.id));
        let written = hosts::saw(store, &seen, hurry).await;
        if written.is_err() {
            for id in seen.iter().filter_map(|seen| Uuid::parse_str(&seen.id).ok()) {
                let mut shard = self.shard(&id);
                let shard = &mut *shard;
                if let Some(entry) = shard.hosts.get_mut(&id)
                    && !std::mem::replace(&mut entry.heard, true)
                {
                    shard.heard.push(id);
                }
            }
        }
        written.map(|()| seen.len())
    }

    fn certificate(&self, peer: &Peer, now: Timestamp) -> Result<(), Barred> {
        if now >= peer.not_after {
            return Err(Barred::CertificateEnded);
        }
        if self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(&peer.serial) {
            return Err(Barred::CertificateRevoked);
        }
        Ok(())
    }

    fn shard(&self, id: &Uuid) -> MutexGuard<'_, Shard> {
        // The last byte of a UUIDv7 is random.
        lock(&self.shards[usize::from(id.as_bytes()[15]) % SHARDS])
    }

    fn revoked_mut(&self) -> std::sync::RwLockWriteGuard<'_, HashSet<u128>> {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn standing(&self) -> Result<(), Barred> {
        match self.state {
            HostState::Active => Ok(()),
            HostState::Quarantined => Err(Barred::Quarantined),
            HostState::Revoked => Err(Barred::Revoked),
        }
    }

    fn seen_as(&self, id: &Uuid, clock_ahead_seconds: i64) -> Seen {
        Seen {
            id: id.to_string(),
            at: time(self.seen),
            address: self.address.to_string(),
            agent: self.agent.to_string(),
            stream: self.streams[0].cast_signed(),
            clock_ahead_seconds,
        }
    }
}

/// A panic while a shard was locked left no half-done entry: each is changed field by field.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SHA-256 in hex; `None` if it is none. Nothing has the digest of zeroes: it stands for none.
pub(super) fn digest(text: &str) -> Option<[u8; 32]> {
    let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (digest != [0; 32]).then_some(digest)
}

/// A moment that was kept as microseconds.
fn time(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A stream in eight bytes; never 0.
fn brief(stream: &str) -> u64 {
    let digest = Sha256::digest(stream.as_bytes());
    let mut brief = [0; 8];
    brief.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(brief) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_takes_less_than_400_bytes() {
        // Twice the entry: a table that has just grown is half empty. The agent's version lies beside it.
        assert!(2 * (size_of::<(Uuid, Entry)>() + 1) + 24 <= 400, "{}", size_of::<(Uuid, Entry)>());
    }
}
