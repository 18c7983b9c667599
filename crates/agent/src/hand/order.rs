//! What the two halves say to each other: one order, what is needed to verify it, one reply; then perhaps another order. A line of JSON each; a file
//! follows its line, byte by byte.

use advisory::Problem;
use rollout::converge::Act;
use rollout::order::Direction;
use rollout::plan::{Digest, PlanId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use trust::Fetch;
use uuid::Uuid;

/// Bytes of one line: an order with a clearance has 6 KiB.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// What can be asked. There is no command in it, and no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Deed {
    Fetch,
    Drain,
    Apply,
    Repair,
    Revert,
    Restart,
    Reboot,
    GiveBack,
}

impl Deed {
    /// What an act asks to be done; `None` for those that ask nothing.
    pub(crate) fn of(act: &Act) -> Option<Self> {
        match act {
            Act::Go | Act::Rest(_) => None,
            Act::Fetch => Some(Self::Fetch),
            Act::Drain => Some(Self::Drain),
            Act::GiveBack => Some(Self::GiveBack),
            Act::Apply => Some(Self::Apply),
            Act::Repair => Some(Self::Repair),
            Act::Revert => Some(Self::Revert),
            Act::Restart => Some(Self::Restart),
            Act::Reboot => Some(Self::Reboot),
        }
    }

    /// Whether the package manager changes packages for it.
    pub(crate) fn is_transaction(self) -> bool {
        match self {
            Self::Apply | Self::Repair | Self::Revert => true,
            Self::Fetch | Self::Drain | Self::Restart | Self::Reboot | Self::GiveBack => false,
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Fetch => "fetch the files of",
            Self::Drain => "drain for",
            Self::Apply => "apply",
            Self::Repair => "repair what was interrupted of",
            Self::Revert => "revert",
            Self::Restart => "restart what maps old files of",
            Self::Reboot => "reboot for",
            Self::GiveBack => "give back what was taken for",
        })
    }
}

/// One deed of one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    pub(crate) deed: Deed,
    pub(crate) plan: PlanId,
    /// The plan's content.
    pub(crate) digest: Digest,
    /// The grant.
    pub(crate) fence: u64,
    pub(crate) direction: Direction,
    /// The approvers' word that it goes back, where it does.
    pub(crate) word: Option<Uuid>,
    /// The server's signed word that the rollout is not halted, as it came.
    pub(crate) clearance: Option<String>,
}

impl Order {
    /// Why this order is not carried out.
    pub(crate) fn refused(&self, reason: impl fmt::Display) -> Problem {
        Problem::new(&self.deed.to_string(), format!("plan {}", self.plan), reason)
    }
}

/// What the agent asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ask {
    /// A number for the next check-in, so that this half can tell how old the answer is.
    Nonce,
    Begin(Order),
    /// What was taken from the host for a job is to be given back; by which job, this half knows.
    GiveBack,
    /// The centre's signed word that it heard this host.
    Heard(String),
}

/// What this half answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// First a file of what approvers have signed is needed: the agent gives it, and listens on.
    Need {
        name: String,
        bytes_max: u64,
    },
    Nonce(u64),
    Begun,
    Noted,
    Refused(Problem),
}

/// The head of a file that was needed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Given {
    /// So many bytes follow.
    File(u64),
    Absent,
    /// Nothing is known about it.
    Unknown(String),
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Line {
    ends: Mutex<(BufReader<UnixStream>, UnixStream)>,
}

impl Line {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        let writes = stream.try_clone()?;
        Ok(Self { ends: Mutex::new((BufReader::new(stream), writes)) })
    }

    pub(crate) fn say(&self, what: &impl Serialize) -> io::Result<()> {
        say(&mut self.ends().1, what)
    }

    pub(crate) fn hear<T: DeserializeOwned>(&self) -> io::Result<T> {
        hear(&mut self.ends().0)
    }

    /// What comes next, if it begins to come within this time. `None`: nothing does, or the other end is gone.
    pub(crate) fn hear_next<T: DeserializeOwned>(&self, within: Duration) -> io::Result<Option<T>> {
        let from = &mut self.ends().0;
        let patience = from.get_ref().read_timeout()?;
        from.get_ref().set_read_timeout(Some(within))?;
        let is_silent = match from.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(problem) if matches!(problem.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => true,
            Err(problem) => return Err(problem),
        };
        from.get_ref().set_read_timeout(patience)?;
        if is_silent { Ok(None) } else { hear(from).map(Some) }
    }

    /// Gives a file that was needed.
    pub(crate) fn give(&self, bytes: &[u8]) -> io::Result<()> {
        let mut ends = self.ends();
        say(&mut ends.1, &Given::File(bytes.len() as u64))?;
        ends.1.write_all(bytes)
    }

    fn ends(&self) -> std::sync::MutexGuard<'_, (BufReader<UnixStream>, UnixStream)> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other half as the source of what approvers have signed: whatever it gives counts only once it verifies.
impl Fetch for Line {
    fn fetch(&self, name: &str, bytes_max: u64, _within: Duration) -> io::Result<Box<dyn Read + Send>> {
        let mut ends = self.ends();
        say(&mut ends.1, &Reply::Need { name: name.to_owned(), bytes_max })?;
        match hear::<Given>(&mut ends.0)? {
            Given::Absent => Err(ErrorKind::NotFound.into()),
            Given::Unknown(reason) => Err(io::Error::other(reason)),
            // One more than allowed would be refused by whoever asked; the line could not go on behind it.
            Given::File(length) if length > bytes_max => Err(io::Error::other("it is longer than it may be")),
            Given::File(length) => {
                let mut bytes = Vec::new();
                (&mut ends.0).take(length).read_to_end(&mut bytes)?;
                if bytes.len() as u64 != length {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Ok(Box::new(Cursor::new(bytes)))
            }
        }
    }
}

fn say(to: &mut UnixStream, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)
}

fn hear<T: DeserializeOwned>(from: &mut BufReader<UnixStream>) -> io::Result<T> {
    let mut line = Vec::new();
    from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the line ends in the middle"));
    }
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_needed_comes_whole_or_not_at_all() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (hand, agent) = (Line::new(ours).unwrap(), Line::new(theirs).unwrap());
        let giving = std::thread::spawn(move || {
            for bytes in [&b"root"[..], b"longer than allowed"] {
                let Reply::Need { name, .. } = agent.hear().unwrap() else { panic!("a file was needed") };
                assert_eq!(name, "1.root.json");
                agent.give(bytes).unwrap();
            }
        });
        let mut read = Vec::new();
        let mut fetch = |bytes_max| {
            hand.fetch("1.root.json", bytes_max, Duration::ZERO)
                .and_then(|mut from| {
                    read.clear();
                    from.read_to_end(&mut read)
                })
                .map(|_| read.clone())
        };
        assert_eq!(fetch(4).unwrap(), b"root");
        assert!(fetch(4).is_err());
        giving.join().unwrap();
    }

    #[test]
    fn orders_follow_each_other_on_one_line_until_one_does_not_come_or_the_other_end_is_gone() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let patience = Duration::from_secs(5);
        ours.set_read_timeout(Some(patience)).unwrap();
        let (hand, agent) = (Line::new(ours).unwrap(), Line::new(theirs).unwrap());
        agent.say(&Ask::Nonce).unwrap();
        agent.say(&Ask::GiveBack).unwrap();
        let within = Duration::from_millis(20);
        assert!(matches!(hand.hear_next(within).unwrap(), Some(Ask::Nonce)));
        assert!(matches!(hand.hear_next(within).unwrap(), Some(Ask::GiveBack)));
        assert!(hand.hear_next::<Ask>(within).unwrap().is_none(), "it is silent");
        assert_eq!(
            hand.ends().0.get_ref().read_timeout().unwrap(),
            Some(patience),
            "what has begun has its time"
        );
        agent.say(&Ask::Nonce).unwrap();
        drop(agent);
        assert!(matches!(hand.hear_next(within).unwrap(), Some(Ask::Nonce)));
        assert!(hand.hear_next::<Ask>(patience).unwrap().is_none(), "nobody is there");
    }

    #[test]
    fn an_order_holds_nothing_that_could_be_a_command() {
        let order = r#"{"begin":{"deed":"apply","plan":"00000000-0000-0000-0000-000000000007","digest":"DIGEST","fence":1,
            "direction":"forward","word":null,"clearance":null}}"#;
        let order = order.replace("DIGEST", &"0".repeat(64));
        assert!(serde_json::from_str::<Ask>(&order).is_ok());
        assert!(
            serde_json::from_str::<Ask>(&order.replace("\"fence\"", "\"script\":\"id\",\"fence\"")).is_err()
        );
        assert!(serde_json::from_str::<Ask>(&order.replace("apply", "run")).is_err());
    }
}
