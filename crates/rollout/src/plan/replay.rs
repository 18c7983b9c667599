//! Attempts that are replayed to a patched service: how it does under them is a part of the proof. They are data, sent to
//! the host itself at a bounded rate; nothing in here is run.

use super::{HostId, Plan};
use serde::{Deserialize, Serialize};

/// Services of one plan that attempts are replayed to.
pub const REPLAYS_MAX: usize = 8;
/// Attempts of one replay, sent in turn.
pub const ATTEMPTS_MAX: usize = 64;
/// Bytes of one attempt: method, target, headers and body. Four times what web servers take as a head (8 KiB of nginx's
/// four buffers).
pub const ATTEMPT_BYTES_MAX: usize = 32 << 10;
/// Bytes of all attempts of one replay: a plan stays something that people read.
pub const ATTEMPTS_BYTES_MAX: usize = 256 << 10;
/// Headers of one attempt.
pub const HEADERS_MAX: usize = 32;
/// Attempts a second. Code Red's peak was 13,000 a day on one server: one in seven seconds; so this is 130 times that.
pub const RATE_MAX: u32 = 20;
/// Longest round: a minute.
pub const ROUND_SECONDS_MAX: u32 = 60;
/// Longest time between two rounds.
pub const PAUSE_SECONDS_MAX: u32 = 3_600;
/// CVEs that are named as those for which no attempt is known.
pub const UNKNOWN_MAX: usize = 1_000;

/// One service that attempts are replayed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Only on hosts of this service group; `None`: on all.
    pub group: Option<String>,
    /// Port of the loopback address.
    pub port: u16,
    /// What harmless requests ask for, from `/`.
    pub path: String,
    /// The unit that serves it: its restarts and its memory are watched.
    pub unit: String,
    /// The host that is asked for, of the many that a server may serve; `None`: `localhost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Over TLS. Whose certificate is shown is not judged: the question is how the service does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// What is sent, in turn. None: harmless requests alone.
    pub attempts: Vec<Attempt>,
    /// CVEs of the plan for which no attempt is known: for people. What is not sent proves nothing.
    pub unknown: Vec<String>,
    /// How much is sent.
    pub load: Load,
    /// What is borne.
    pub terms: Terms,
}

/// One request, as an attacker sends it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// The signature that recognises it: `codered1`.
    pub signature: String,
    /// `GET`.
    pub method: String,
    /// Path and query as they are sent: `/default.ida?NNN`.
    pub target: String,
    /// Headers besides those that every request has (`Host` may be another).
    pub headers: Vec<Header>,
    /// The body.
    pub body: Option<String>,
}

/// One header of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// How much is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Attempts a second, and as many harmless requests.
    pub rate_per_second: u32,
    /// How long a round lasts.
    pub round_seconds: u32,
    /// From a round's end to the next one's beginning.
    pub pause_seconds: u32,
}

/// What is borne of a patched service, under attempts as without. Each against what the same service showed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Points more of the harmless requests that may go unanswered, or be answered with a status of 500 or above.
    pub failed_percent_max: u32,
    /// Of the attempts, how many may go without any answer. 100 where refusing to answer is what the service does.
    pub unanswered_percent_max: u32,
    /// How many times as long as before all but the slowest twentieth of the harmless requests may take.
    pub slower_times_max: u32,
    /// Below this, slower does not count.
    pub latency_floor_ms: u32,
    /// How much more memory the unit may take, percent.
    pub memory_percent_max: u32,
    /// Below this, more does not count.
    pub memory_floor_bytes: u64,
}

/// Five a second for twenty seconds: a hundred of each kind, of which one is a percent.
impl Default for Load {
    fn default() -> Self {
        Self { rate_per_second: 5, round_seconds: 20, pause_seconds: 30 }
    }
}

/// What a service that copes stays far below, and one that a person would call unstable does not.
impl Default for Terms {
    fn default() -> Self {
        Self {
            failed_percent_max: 2,
            unanswered_percent_max: 5,
            slower_times_max: 5,
            latency_floor_ms: 100,
            memory_percent_max: 50,
            memory_floor_bytes: 64 << 20,
        }
    }
}

impl Plan {
    /// What is replayed on a host, whether it is named or joins late.
    pub fn replays_of(&self, host: HostId) -> impl Iterator<Item = &Replay> {
        let groups = self.groups_of(host);
        self.replays.iter().filter(|replay| replay.group.as_ref().is_none_or(|group| groups.contains(group)))
    }
}

impl Attempt {
    /// Bytes of all its texts.
    pub fn size_bytes(&self) -> usize {
        let headers = self.headers.iter().map(|header| header.name.len() + header.value.len());
        self.method.len()
            + self.target.len()
            + headers.sum::<usize>()
            + self.body.as_ref().map_or(0, String::len)
    }

    /// Why it cannot be sent as a request of HTTP/1.1; `None`: it can.
    pub fn fault(&self) -> Option<String> {
        let token = |text: &str| {
            // RFC 9110, section 5.6.2.
            let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !text.is_empty() && text.bytes().all(in_token)
        };
        if !token(&self.method) {
            return Some(format!("{:?} is no method", self.method));
        }
        if self.target.is_empty() || !self.target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some("its target is empty, or has spaces or other bytes than ASCII".to_owned());
        }
        if self.headers.len() > HEADERS_MAX {
            return Some(format!("{} headers; at most {HEADERS_MAX}", self.headers.len()));
        }
        for header in &self.headers {
            if !token(&header.name) || header.value.chars().any(|c| c != '\t' && c.is_control()) {
                return Some(format!("{:?} is no header", header.name));
            }
            // Where the request ends is ours to say: one that runs into the next would be sent to nobody knows whom.
            if FRAMING.iter().any(|known| header.name.eq_ignore_ascii_case(known)) {
                return Some(format!("the header {} is set by whoever sends it", header.name));
            }
        }
        let bytes = self.size_bytes();
        (bytes > ATTEMPT_BYTES_MAX).then(|| format!("{bytes} bytes; at most {ATTEMPT_BYTES_MAX}"))
    }
}

/// Headers that say where a request ends.
const FRAMING: [&str; 5] = ["connection", "content-length", "transfer-encoding", "upgrade", "expect"];
