//! Whether a plan's probes pass: asked on a thread of its own, so that a service that hangs does not keep the host from
//! checking in.

use crate::program::{self, Program};
use rollout::order::Stage;
use rollout::plan::{Asked, Digest, HostId, Plan, Probe};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// Probes asked at once.
const AT_ONCE: usize = 8;
/// An answer older than this says nothing about now.
const GOOD_FOR: Duration = Duration::from_secs(120);
/// Bytes of a status line that are read; the rest of an answer is not asked for.
const STATUS_BYTES_MAX: usize = 256;

/// What is looked at: another stage, or another boot, begins anew, so that no answer from before counts after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) digest: Digest,
    pub(super) fence: u64,
    pub(super) seq: u64,
    pub(super) stage: Option<Stage>,
    pub(super) boot: u64,
}

/// Asks, again and again.
#[derive(Debug)]
pub(super) struct Prober {
    every: Duration,
    key: Option<Key>,
    /// A round under way, and when it began.
    round: Option<(Instant, Receiver<Round>)>,
    /// The last answer, and when it was begun to be asked for.
    last: Option<(Instant, bool)>,
    /// How often systemd had restarted each unit at the first round.
    restarts: BTreeMap<String, u64>,
}

/// What one round found.
#[derive(Debug, Default)]
struct Round {
    healthy: bool,
    restarts: BTreeMap<String, u64>,
}

impl Prober {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, key: None, round: None, last: None, restarts: BTreeMap::new() }
    }

    /// Looks at nothing any more.
    pub(super) fn forget(&mut self) {
        (self.key, self.round, self.last) = (None, None, None);
        self.restarts.clear();
    }

    /// Begins a round, if it is time for one; takes what the last one found. `None`: not looked yet, for this `key`.
    pub(super) fn ask(&mut self, key: Key, plan: &Plan, host: HostId) -> Option<bool> {
        if self.key != Some(key) {
            self.forget();
            self.key = Some(key);
        }
        self.take();
        let is_due = self.last.is_none_or(|(at, _)| at.elapsed() >= self.every);
        if self.round.is_none() && is_due {
            let probes = of_host(plan, host);
            let (tell, told) = channel();
            let began = Instant::now();
            let asking = std::thread::Builder::new().name("probes".to_owned()).spawn(move || {
                if let Some(round) = ask_all(&probes) {
                    // Nobody there to hear it: it was about another stage.
                    let _ = tell.send(round);
                }
            });
            self.round = asking.is_ok().then_some((began, told));
        }
        self.last.filter(|(at, _)| at.elapsed() < GOOD_FOR).map(|(_, healthy)| healthy)
    }

    fn take(&mut self) {
        let Some((began, told)) = &self.round else { return };
        let round = match told.try_recv() {
            Ok(round) => round,
            Err(TryRecvError::Empty) => return,
            // Something could not be asked, or the thread broke off: that is no answer.
            Err(TryRecvError::Disconnected) => {
                self.round = None;
                return;
            }
        };
        let mut healthy = round.healthy;
        for (unit, count) in round.restarts {
            // Active at every look, and restarted in between: it flaps.
            let first = *self.restarts.entry(unit).or_insert(count);
            healthy &= count <= first;
        }
        self.last = Some((*began, healthy));
        self.round = None;
    }
}

/// The probes that are for this host.
fn of_host(plan: &Plan, host: HostId) -> Vec<Probe> {
    let groups = match plan.place(host) {
        Some(place) => &place.cohort.groups[..],
        None => plan.late().map_or(&[][..], |late| &late.groups),
    };
    let is_ours = |probe: &&Probe| probe.group.as_ref().is_none_or(|group| groups.contains(group));
    plan.probes.iter().filter(is_ours).cloned().collect()
}

/// `None`: nothing is known to be down, and something could not be asked.
fn ask_all(probes: &[Probe]) -> Option<Round> {
    let mut round = Round { healthy: true, restarts: BTreeMap::new() };
    let mut is_whole = true;
    for some in probes.chunks(AT_ONCE) {
        let answers: Vec<Option<Answer>> = std::thread::scope(|scope| {
            let asking: Vec<_> = some.iter().map(|probe| scope.spawn(|| ask(probe))).collect();
            asking.into_iter().map(|asked| asked.join().unwrap_or(None)).collect()
        });
        for answer in answers {
            let Some((passes, restarts)) = answer else {
                is_whole = false;
                continue;
            };
            round.healthy &= passes;
            round.restarts.extend(restarts);
        }
        if !round.healthy || program::is_stopped() {
            break;
        }
    }
    (is_whole || !round.healthy).then_some(round)
}

/// Whether a probe passes; of a unit, also how often it was restarted.
type Answer = (bool, Option<(String, u64)>);

/// Asks one probe. `None`: systemd could not be asked, which says nothing about the unit.
fn ask(probe: &Probe) -> Option<Answer> {
    let within = Duration::from_secs(probe.timeout_seconds.into());
    match &probe.what {
        Asked::UnitActive(unit) => {
            let shown = Program::new("systemctl")
                .args(["show", "--property=ActiveState,NRestarts", "--"])
                .arg(unit)
                .deadline(within)
                .run_ok()
                .ok()?;
            let text = String::from_utf8_lossy(&shown.stdout);
            let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            let restarts = value("NRestarts").and_then(|count| count.parse().ok());
            Some((value("ActiveState") == Some("active"), restarts.map(|count| (unit.clone(), count))))
        }
        Asked::TcpPort(port) => Some((connect(*port, within).is_ok(), None)),
        Asked::HttpPath { port, path } => {
            Some((http(*port, path, within).is_ok_and(|status| (100..400).contains(&status)), None))
        }
    }
}

pub(super) fn connect(port: u16, within: Duration) -> io::Result<TcpStream> {
    let to = |address: IpAddr| TcpStream::connect_timeout(&SocketAddr::new(address, port), within);
    to(Ipv4Addr::LOCALHOST.into()).or_else(|_| to(Ipv6Addr::LOCALHOST.into()))
}

/// The status of a path's answer.
fn http(port: u16, path: &str, within: Duration) -> io::Result<u16> {
    let end = Instant::now() + within;
    let left = || {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok::<_, io::Error>(left) }
    };
    let mut stream = connect(port, within)?;
    stream.set_write_timeout(Some(left()?))?;
    let agent = concat!("palisade-agent/", env!("CARGO_PKG_VERSION"));
    // In one piece: written part by part, it would leave in as many packets.
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < STATUS_BYTES_MAX && line.last() != Some(&b'\n') {
        stream.set_read_timeout(Some(left()?))?;
        if stream.read(&mut byte)? == 0 {
            break;
        }
        line.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&line);
    let mut words = text.split_whitespace();
    let status =
        words.next().filter(|word| word.starts_with("HTTP/")).and_then(|_| words.next()?.parse().ok());
    status.ok_or_else(|| io::Error::other("that is no HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    fn probe(what: Asked) -> Probe {
        Probe { group: None, what, timeout_seconds: 1 }
    }

    /// Answers every connection with these bytes; none at all: keeps it waiting.
    fn service(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for mut stream in listener.incoming().flatten() {
                if answer.is_empty() {
                    held.push(stream);
                    continue;
                }
                // A request that nobody has read when the connection closes takes the answer with it.
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        port
    }

    #[test]
    fn a_probe_passes_only_with_an_answer_in_time() {
        let passes = |what| ask(&probe(what)).is_some_and(|(passes, _)| passes);
        let path = |port| passes(Asked::HttpPath { port, path: "/health".into() });
        assert!(
            path(service("HTTP/1.1 204 No Content\r\n\r\n")) && path(service("HTTP/1.0 302 Found\r\n\r\n"))
        );
        assert!(!path(service("HTTP/1.1 404 Not Found\r\n\r\n")) && !path(service("SSH-2.0-x\r\n")));
        let silent = service("");
        let began = Instant::now();
        assert!(!path(silent) && began.elapsed() < Duration::from_secs(5));
        assert!(passes(Asked::TcpPort(silent)));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(!passes(Asked::TcpPort(closed)));
        assert!(!passes(Asked::UnitActive("no-such-unit.service".into())));
    }

    #[test]
    fn a_unit_that_was_restarted_since_is_not_healthy_though_active() {
        let mut prober = Prober::new(Duration::ZERO);
        let round = |prober: &mut Prober, count| {
            let (tell, told) = channel();
            tell.send(Round { healthy: true, restarts: [("a".to_owned(), count)].into() }).unwrap();
            prober.round = Some((Instant::now(), told));
            prober.take();
            prober.last.unwrap().1
        };
        assert!(round(&mut prober, 3) && round(&mut prober, 3) && !round(&mut prober, 4));
        prober.forget();
        assert!(round(&mut prober, 4), "what happened before counts no more");
    }
}
