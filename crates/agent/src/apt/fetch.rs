//! Whether candidates can really be fetched: an index can promise what the archive does not have any more.

use super::tool::{Apt, settings};
use exposure::inventory::{Candidate, Fetch, Gap, Part};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use ureq::{Agent, Proxy};

/// Requests under way at the same time.
const CONNECTIONS: usize = 8;

/// Longest time that one request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Hosts that could not be reached so often are not asked any more.
const FAILURES_MAX: usize = 4;

/// How often a list of packages is asked for again without those that apt does not know.
const REFUSALS_MAX: usize = 16;

/// One file that an index promises.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Promise {
    address: String,
    size_bytes: u64,
}

impl Apt {
    /// Asks the archives for every candidate that would be fetched, and writes the answers into
    /// [`Candidate::fetch`]. Nothing is downloaded. Gaps tell what kept the archives from answering.
    pub fn check_fetchable(&self, candidates: &mut [Candidate], deadline: Duration) -> Vec<Gap> {
        let end = Instant::now() + deadline;
        let mut promises = match self.promises(candidates, deadline) {
            Ok(promises) => promises,
            Err(reason) => {
                for candidate in candidates.iter_mut().filter(|candidate| candidate.to.is_some()) {
                    candidate.fetch = Fetch::Unchecked(reason.clone());
                }
                return vec![gap("apt-get download --print-uris", reason)];
            }
        };
        let asker = Asker::new(self, end);
        let answers = asker.ask_all(promises.values().filter_map(|promise| promise.as_ref().ok()));
        for candidate in candidates {
            let Some(name) = apt_name(candidate) else { continue };
            candidate.fetch = match promises.remove(&name) {
                Some(Ok(promise)) => answers.get(&promise.address).cloned().unwrap_or_else(out_of_time),
                Some(Err(reason)) => Fetch::Missing(reason),
                None => Fetch::Unchecked("apt names no address for it".to_owned()),
            };
        }
        asker.unreachable()
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
fn apt_name(candidate: &Candidate) -> Option<String> {
    Some(format!("{}:{}={}", candidate.name, candidate.arch, candidate.to.as_ref()?))
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

fn gap(object: &str, reason: String) -> Gap {
    let remedy = "look again with the network up".to_owned();
    Gap { part: Part::Candidates, object: object.to_owned(), reason, remedy }
}

/// Asks archives for files, several at a time.
struct Asker {
    /// One agent per proxy; the empty name is none.
    agents: HashMap<String, Agent>,
    /// apt's proxy settings, by name.
    settings: HashMap<String, String>,
    end: Instant,
    /// By host: how often it could not be reached, and why at last.
    failures: Mutex<BTreeMap<String, (usize, String)>>,
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
        Self { agents, settings, end, failures: Mutex::default() }
    }

    fn ask_all<'a>(&self, promises: impl Iterator<Item = &'a Promise>) -> HashMap<String, Fetch> {
        let promises: Vec<_> = promises.collect();
        let next = AtomicUsize::new(0);
        let answers = Mutex::new(HashMap::new());
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS.min(promises.len()) {
                scope.spawn(|| {
                    while let Some(promise) = promises.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let answer = self.ask(promise);
                        if let Ok(mut answers) = answers.lock() {
                            answers.insert(promise.address.clone(), answer);
                        }
                    }
                });
            }
        });
        answers.into_inner().unwrap_or_default()
    }

    fn ask(&self, promise: &Promise) -> Fetch {
        let (scheme, rest) = promise.address.split_once(':').unwrap_or(("", ""));
        match scheme {
            "http" | "https" => {
                let host = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                self.ask_host(scheme, host, promise)
            }
            "file" | "copy" => on_disk(rest, promise.size_bytes),
            _ => Fetch::Unchecked(format!("{scheme}: addresses cannot be asked beforehand")),
        }
    }

    fn ask_host(&self, scheme: &str, host: &str, promise: &Promise) -> Fetch {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return out_of_time();
        }
        let failed = self.failures.lock().ok().and_then(|failures| failures.get(host).cloned());
        if let Some((count, reason)) = failed
            && count >= FAILURES_MAX
        {
            return Fetch::Unchecked(reason);
        }
        let Some(agent) = self.agent(scheme, host) else {
            return Fetch::Unchecked("apt's proxy setting cannot be read".to_owned());
        };
        let request = agent.head(&promise.address).config().timeout_global(Some(left.min(REQUEST_DEADLINE)));
        match request.build().call() {
            Ok(answer) => {
                let size = answer.headers().get("content-length").and_then(|value| value.to_str().ok());
                judge(answer.status().as_u16(), size.and_then(|size| size.parse().ok()), promise.size_bytes)
            }
            Err(error) => {
                let reason = format!("{host} cannot be reached: {error}");
                if let Ok(mut failures) = self.failures.lock() {
                    failures.entry(host.to_owned()).or_default().0 += 1;
                    failures.entry(host.to_owned()).or_default().1.clone_from(&reason);
                }
                Fetch::Unchecked(reason)
            }
        }
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

    fn unreachable(self) -> Vec<Gap> {
        let failures = self.failures.into_inner().unwrap_or_default();
        failures.into_values().map(|(_, reason)| gap("files of the archives", reason)).collect()
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
