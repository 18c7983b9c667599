//! Whether candidates can really be fetched: an index can promise what the archive does not have any more.

use super::tool::{Apt, settings};
use crate::program::is_stopped;
use exposure::inventory::{Candidate, Fetch, Gap, Part};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use ureq::{Agent, Proxy};

/// Requests under way at the same time.
const CONNECTIONS: usize = 8;

/// Longest time that one request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(4);

/// How often we look whether we are to stop while requests are under way.
const PATIENCE: Duration = Duration::from_millis(50);

/// Hosts that failed so often and never answered are not asked any more.
const FAILURES_MAX: usize = 4;

/// How often a list of packages is asked for again without those that apt does not know.
const REFUSALS_MAX: usize = 16;

/// One file that an index promises.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Promise {
    address: String,
    size_bytes: u64,
}

/// What asking the archives has taught besides [`Candidate::fetch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// What kept archives from answering.
    pub gaps: Vec<Gap>,
    /// Candidates, `name:arch=version`, whose archive cannot be reached at all.
    pub unreachable: BTreeSet<String>,
}

impl Apt {
    /// Asks the archives for every candidate that would be fetched, and writes the answers into
    /// [`Candidate::fetch`]. Nothing is downloaded.
    pub fn check_fetchable(&self, candidates: &mut [Candidate], deadline: Duration) -> Asked {
        let end = Instant::now() + deadline;
        let mut promises = match self.promises(candidates, deadline) {
            Ok(promises) => promises,
            Err(reason) => {
                for candidate in candidates.iter_mut().filter(|candidate| candidate.to.is_some()) {
                    candidate.fetch = Fetch::Unchecked(reason.clone());
                }
                let remedy = self.remedy("look again with the network up");
                let gap = Gap { remedy, ..gap("apt-get download --print-uris".to_owned(), reason) };
                return Asked { gaps: vec![gap], unreachable: BTreeSet::new() };
            }
        };
        let asker = Arc::new(Asker::new(self, end));
        let answers =
            ask_all(&asker, promises.values().filter_map(|promise| promise.as_ref().ok().cloned()).collect());
        let hosts = asker.hosts();
        let mut unreachable = BTreeSet::new();
        for candidate in candidates {
            let Some(name) = apt_name(candidate) else { continue };
            candidate.fetch = match promises.remove(&name) {
                Some(Ok(promise)) => {
                    let host = host_of(&promise.address).and_then(|host| hosts.get(host));
                    if let Some(reason) = host.filter(|host| host.is_dead()).map(|host| &host.reason) {
                        unreachable.insert(name);
                        Fetch::Unchecked(reason.clone())
                    } else {
                        answers.get(&promise.address).cloned().unwrap_or_else(out_of_time)
                    }
                }
                Some(Err(reason)) => Fetch::Missing(reason),
                None => Fetch::Unchecked("apt names no address for it".to_owned()),
            };
        }
        let gaps = hosts.iter().filter_map(|(name, host)| host.gap(name)).collect();
        Asked { gaps, unreachable }
    }

    /// Where apt would fetch each candidate from: by apt's name for it, the file, or why there is none.
    fn promises(
        &self,
        candidates: &[Candidate],
        deadline: Duration,
    ) -> Result<BTreeMap<String, Result<Promise, String>>, String> {
        let mut names: Vec<String> = candidates.iter().filter_map(apt_name).collect();
        let mut promises = BTreeMap::new();
        for _ in 0..REFUSALS_MAX {
            if names.is_empty() {
                return Ok(promises);
            }
            let program = self.program("apt-get").args(["-q", "download", "--print-uris", "--"]);
            let program = program.args(names.iter().cloned()).deadline(deadline);
            let output = program.run().map_err(|error| error.to_string())?;
            if output.code == Some(0) {
                let files = files(&String::from_utf8_lossy(&output.stdout));
                for name in names {
                    if let Some(promise) = files.get(&name) {
                        promises.insert(name, Ok(promise.clone()));
                    }
                }
                return Ok(promises);
            }
            // E: Version '2' for 'x:amd64' was not found; E: Can't find a source to download version '2' of 'x:amd64'
            let refused = |name: &String| {
                let (package, version) = name.split_once('=').unwrap_or((name, ""));
                let short = package.split(':').next().unwrap_or(package);
                output.stderr.lines().any(|line| {
                    line.contains(&format!("'{version}'"))
                        && (line.contains(&format!("'{package}'")) || line.contains(&format!("'{short}'")))
                })
            };
            let (bad, good): (Vec<_>, Vec<_>) = names.into_iter().partition(refused);
            if bad.is_empty() {
                program.check(&output).map_err(|error| error.to_string())?;
            }
            let reason = "apt knows no archive that has it".to_owned();
            promises.extend(bad.into_iter().map(|name| (name, Err(reason.clone()))));
            names = good;
        }
        Err("apt refuses too many of the candidates".to_owned())
    }
}

/// `name:arch=version`, as apt takes it and as the file name gives it back.
pub(super) fn apt_name(candidate: &Candidate) -> Option<String> {
    Some(format!("{}:{}={}", candidate.name, candidate.arch, candidate.to.as_ref()?))
}

/// What apt's cache calls a package's file.
pub(crate) fn cached_name(name: &str, version: &str, arch: &str) -> String {
    format!("{name}_{}_{arch}.deb", version.replace(':', "%3a"))
}

/// `'ADDRESS' NAME_VERSION_ARCH.deb SIZE HASH`, by apt's name of the package.
fn files(text: &str) -> HashMap<String, Promise> {
    text.lines()
        .filter_map(|line| {
            let (address, rest) = line.strip_prefix('\'')?.split_once("' ")?;
            let mut words = rest.split(' ');
            let file = words.next()?.strip_suffix(".deb")?;
            let size_bytes = words.next()?.parse().ok()?;
            let mut parts = file.split('_');
            let (name, version, arch) = (parts.next()?, parts.next()?, parts.next()?);
            let version = version.replace("%3a", ":");
            Some((format!("{name}:{arch}={version}"), Promise { address: address.to_owned(), size_bytes }))
        })
        .collect()
}

fn out_of_time() -> Fetch {
    Fetch::Unchecked("no time was left to ask".to_owned())
}

fn gap(object: String, reason: String) -> Gap {
    let remedy = "look again with the network up".to_owned();
    Gap { part: Part::Candidates, object, reason, remedy }
}

/// What a host made of our requests.
#[derive(Clone, Debug, Default)]
struct Host {
    asked: usize,
    failed: usize,
    /// Why it failed at last; empty if it did not.
    reason: String,
}

impl Host {
    /// Whether no request was answered.
    fn is_dead(&self) -> bool {
        self.failed > 0 && self.failed == self.asked
    }

    fn gap(&self, name: &str) -> Option<Gap> {
        match self.failed {
            0 => None,
            _ if self.is_dead() => Some(gap("files of the archives".to_owned(), self.reason.clone())),
            failed => {
                let reason = format!("{failed} of {} files: {}", self.asked, self.reason);
                Some(gap(format!("files of {name}"), reason))
            }
        }
    }
}

/// The host of an address, with its port; `None` where there is none to ask.
fn host_of(address: &str) -> Option<&str> {
    let (scheme, rest) = address.split_once(':')?;
    let host = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    matches!(scheme, "http" | "https").then_some(host)
}

/// Asks for all of them; at an interrupt, and at the deadline, without those that are still under way.
fn ask_all(asker: &Arc<Asker>, promises: Vec<Promise>) -> HashMap<String, Fetch> {
    let (sender, receiver) = channel();
    let next = Arc::new(AtomicUsize::new(0));
    let threads = CONNECTIONS.min(promises.len());
    let promises = Arc::new(promises);
    // Threads of their own, that nobody has to wait for: a request cannot be called off.
    for _ in 0..threads {
        let (asker, promises, next) = (Arc::clone(asker), Arc::clone(&promises), Arc::clone(&next));
        let sender = sender.clone();
        std::thread::spawn(move || {
            while let Some(promise) = promises.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = asker.ask(promise);
                if is_stopped() || sender.send((promise.address.clone(), answer)).is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let mut answers = HashMap::new();
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok((address, answer)) => _ = answers.insert(address, answer),
            Err(RecvTimeoutError::Timeout) if !is_stopped() && Instant::now() < asker.end + PATIENCE => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return answers,
        }
    }
}

/// Asks archives for files, several at a time.
struct Asker {
    /// One agent per proxy; the empty name is none.
    agents: HashMap<String, Agent>,
    /// apt's proxy settings, by name.
    settings: HashMap<String, String>,
    end: Instant,
    /// Hosts asked so far.
    hosts: Mutex<BTreeMap<String, Host>>,
}

impl Asker {
    fn new(apt: &Apt, end: Instant) -> Self {
        let dump = apt.program("apt-config").args(["dump", "Acquire"]).run_ok();
        let text =
            dump.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let settings: HashMap<String, String> =
            settings(&text).filter(|(name, _)| name.contains("::Proxy")).collect();
        let mut agents = HashMap::new();
        for proxy in settings.values().map(String::as_str).chain(["", "environment"]) {
            let proxies = match proxy {
                "" | "DIRECT" | "false" => None,
                "environment" => Proxy::try_from_env(),
                address => Proxy::new(address).ok(),
            };
            let config = Agent::config_builder()
                .proxy(proxies)
                .timeout_global(Some(REQUEST_DEADLINE))
                .http_status_as_error(false)
                .max_redirects(5)
                .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
                .build();
            agents.insert(proxy.to_owned(), config.into());
        }
        Self { agents, settings, end, hosts: Mutex::default() }
    }

    fn ask(&self, promise: &Promise) -> Fetch {
        let (scheme, rest) = promise.address.split_once(':').unwrap_or(("", ""));
        match scheme {
            "http" | "https" => self.ask_host(scheme, host_of(&promise.address).unwrap_or_default(), promise),
            "file" | "copy" => on_disk(rest, promise.size_bytes),
            _ => Fetch::Unchecked(format!("{scheme}: addresses cannot be asked beforehand")),
        }
    }

    fn ask_host(&self, scheme: &str, host: &str, promise: &Promise) -> Fetch {
        if is_stopped() || Instant::now() >= self.end {
            return out_of_time();
        }
        let known = self.hosts().remove(host).unwrap_or_default();
        if known.is_dead() && known.failed >= FAILURES_MAX {
            return Fetch::Unchecked(known.reason);
        }
        let Some(agent) = self.agent(scheme, host) else {
            return Fetch::Unchecked("apt's proxy setting cannot be read".to_owned());
        };
        let answer = self.request(agent, promise).or_else(|error| {
            // A connection that was kept may have been closed meanwhile. A host that never answered gets no second try.
            let known = self.hosts().remove(host).unwrap_or_default();
            if is_stopped() || known.is_dead() || Instant::now() >= self.end {
                return Err(error);
            }
            self.request(&Agent::new_with_config(agent.config().clone()), promise)
        });
        let reason = answer.as_ref().err().map(|error| {
            if matches!(error, ureq::Error::Timeout(_)) {
                format!("no answer in {} s", REQUEST_DEADLINE.as_secs())
            } else {
                error.to_string()
            }
        });
        if let Ok(mut hosts) = self.hosts.lock() {
            let known = hosts.entry(host.to_owned()).or_default();
            known.asked += 1;
            if let Some(reason) = &reason {
                known.failed += 1;
                known.reason.clone_from(reason);
            }
        }
        match (answer, reason) {
            (Ok(fetch), _) => fetch,
            (Err(_), reason) => Fetch::Unchecked(format!("{host}: {}", reason.unwrap_or_default())),
        }
    }

    fn request(&self, agent: &Agent, promise: &Promise) -> Result<Fetch, ureq::Error> {
        let left = self.end.saturating_duration_since(Instant::now()).min(REQUEST_DEADLINE);
        let request = agent.head(&promise.address).config().timeout_global(Some(left)).build();
        let answer = request.call()?;
        let size = answer.headers().get("content-length").and_then(|value| value.to_str().ok());
        let size = size.and_then(|size| size.parse().ok());
        Ok(judge(answer.status().as_u16(), size, promise.size_bytes))
    }

    /// What is known of the hosts by now; of those that never answered, that they cannot be reached.
    fn hosts(&self) -> BTreeMap<String, Host> {
        let mut hosts = self.hosts.lock().map(|hosts| hosts.clone()).unwrap_or_default();
        for (name, host) in hosts.iter_mut().filter(|(_, host)| host.is_dead()) {
            host.reason = format!("{name} cannot be reached: {}", host.reason);
        }
        hosts
    }

    /// The agent for a host: apt's proxy for it, apt's proxy, or that of the environment (apt.conf(5), http).
    fn agent(&self, scheme: &str, host: &str) -> Option<&Agent> {
        let host = host.split(':').next().unwrap_or(host);
        // https takes http's settings where it has none of its own (apt-transport-https(1)).
        let mut names = [scheme, "http"].into_iter().flat_map(|scheme| {
            [format!("Acquire::{scheme}::Proxy::{host}"), format!("Acquire::{scheme}::Proxy")]
        });
        let proxy = names.find_map(|name| self.settings.get(&name));
        self.agents.get(proxy.map_or("environment", String::as_str))
    }
}

/// What an archive's answer means for a file that should have `promised` bytes.
fn judge(status: u16, size: Option<u64>, promised: u64) -> Fetch {
    match (status, size) {
        (200, Some(size)) if size == promised => Fetch::Fetchable,
        (200, Some(size)) => {
            Fetch::Missing(format!("the archive has {size} bytes, the index promises {promised}"))
        }
        (200, None) => Fetch::Unchecked("the archive does not tell the size".to_owned()),
        (404 | 410, _) => Fetch::Missing(format!("the archive does not have it (HTTP {status})")),
        _ => Fetch::Unchecked(format!("the archive answers HTTP {status}")),
    }
}

fn on_disk(path: &str, promised: u64) -> Fetch {
    let path = decode(path.strip_prefix("//").unwrap_or(path));
    match std::fs::metadata(&path) {
        Ok(file) if file.len() == promised => Fetch::Fetchable,
        Ok(file) => {
            Fetch::Missing(format!("{} has {} bytes, the index promises {promised}", path, file.len()))
        }
        Err(error) => Fetch::Missing(format!("{path}: {error}")),
    }
}

/// A path without its `%XX`.
fn decode(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let byte = code.filter(|_| *first == b'%').and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_promises_too_much_is_found_out() {
        assert_eq!(judge(200, Some(5), 5), Fetch::Fetchable);
        assert!(matches!(judge(200, Some(4), 5), Fetch::Missing(_)));
        assert!(matches!(judge(404, Some(5), 5), Fetch::Missing(_)));
        for silent in [judge(200, None, 5), judge(503, None, 5), judge(401, None, 5)] {
            assert!(matches!(silent, Fetch::Unchecked(_)), "{silent:?}");
        }
    }

    /// An archive that answers every file but those whose name ends in `lost`: those it drops.
    fn archive() -> String {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let asked = lines.next().unwrap_or_default();
                while lines.next().is_some_and(|line| !line.is_empty()) {}
                if !asked.contains("lost") {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
                }
            }
        });
        address
    }

    #[test]
    fn only_a_host_that_answers_nothing_is_unreachable() {
        let live = archive();
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let config = Agent::config_builder().proxy(None).http_status_as_error(false).build();
        let asker = Arc::new(Asker {
            agents: HashMap::from([("environment".to_owned(), config.into())]),
            settings: HashMap::new(),
            end: Instant::now() + Duration::from_secs(20),
            hosts: Mutex::default(),
        });
        let files = [(&live, "a"), (&live, "b"), (&live, "lost"), (&dead, "a"), (&dead, "b")];
        let address = |(host, name): (&String, &str)| format!("http://{host}/{name}");
        let promises = files.map(|file| Promise { address: address(file), size_bytes: 5 });
        let answers = ask_all(&asker, promises.into());
        assert_eq!(answers[&address(files[0])], Fetch::Fetchable);
        assert!(matches!(&answers[&address(files[2])], Fetch::Unchecked(_)), "{answers:?}");
        let hosts = asker.hosts();
        assert_eq!((hosts[&live].is_dead(), hosts[&dead].is_dead()), (false, true), "{hosts:?}");
        let told = hosts[&live].gap(&live).unwrap().reason;
        assert!(told.starts_with("1 of 3 files: "), "{told}");
        let told = hosts[&dead].gap(&dead).unwrap().reason;
        assert!(told.starts_with(&format!("{dead} cannot be reached: ")), "{told}");
    }

    #[test]
    fn files_on_disk_are_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a+b"), b"12345").unwrap();
        let address = format!("//{}/a%2bb", directory.path().display());
        assert_eq!(on_disk(&address, 5), Fetch::Fetchable);
        assert!(matches!(on_disk(&address, 6), Fetch::Missing(_)));
        assert!(matches!(on_disk("/nowhere/x", 6), Fetch::Missing(_)));
        assert_eq!(decode("/%e4%b8%ad%zz%"), "/中%zz%");
    }

    #[test]
    fn apts_list_of_files_is_read_back_by_name() {
        let text = "'http://a.example/p/x_2%3a1.0%2bdeb12u1_amd64.deb' x_2%3a1.0+deb12u1_amd64.deb 77 SHA256:00\nnoise\n";
        let files = files(text);
        assert_eq!(files["x:amd64=2:1.0+deb12u1"].size_bytes, 77);
        assert_eq!(files.len(), 1);
    }
}
