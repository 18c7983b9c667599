//! The agent against a server of the test's own, over real TLS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod census;
mod centre;
mod fleet;
mod forged;
mod orders;

use agent::apt::Network;
use agent::enrol::{Enrolment, enrol};
use agent::settings::Settings;
use agent::state::{self, State};
use agent::{Config, Contact, Ended, Pace, Told};
use centre::{Answer, Centre, HOST, public_key, public_key_of_request};
use rcgen::{KeyPair, PublicKeyData};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wire::v1::{CHECK_IN_PATH, ENROL_PATH, RENEW_PATH, REPORT_PATH};

/// The longest that anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A made-up host with two packages.
struct Host {
    directory: TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { directory: tempfile::tempdir().unwrap() };
        for (path, text) in [
            ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"),
            ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
            ("etc/hostname", "lamp\n"),
        ] {
            let path = host.root().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        host.install("oil", "1-1");
        host
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// "wick 1-1", and `name` in this version.
    fn install(&self, name: &str, version: &str) {
        let entry = |name: &str, version: &str| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
            )
        };
        fs::create_dir_all(self.root().join("var/lib/dpkg/info")).unwrap();
        // As dpkg does it: a new file takes the old one's place.
        let new = self.root().join("var/lib/dpkg/status-new");
        fs::write(&new, entry("wick", "1-1") + &entry(name, version)).unwrap();
        fs::rename(new, self.root().join("var/lib/dpkg/status")).unwrap();
    }

    fn enrol(&self, centre: &Centre) -> agent::identity::Identity {
        self.enrol_with(centre, &centre.token()).unwrap()
    }

    fn enrol_with(
        &self,
        centre: &Centre,
        token: &str,
    ) -> Result<agent::identity::Identity, agent::enrol::Error> {
        let state = State::create(&self.state()).unwrap();
        let (server, root) = (centre.url(), self.root());
        let asked = Enrolment { server: &server, token, authority: None, name: None, root: &root };
        enrol(&state, &asked).map(|joined| joined.identity)
    }

    fn start(&self) -> Running {
        self.start_at(&pace())
    }

    fn start_at(&self, pace: &Pace) -> Running {
        self.start_with(pace, Settings::default())
    }

    fn start_with(&self, pace: &Pace, settings: Settings) -> Running {
        let (state, root) = (self.state(), self.root());
        let config = Config { state, root, network: Network::None, pace: *pace, settings };
        let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let thread = std::thread::spawn({
            let (stop, told) = (stop.clone(), told.clone());
            move || agent::run(config, &stop, &mut |what| told.lock().unwrap().push(what))
        });
        Running { stop, told, thread: Some(thread) }
    }
}

/// A day in a second.
fn pace() -> Pace {
    let ms = Duration::from_millis;
    Pace {
        first_within: ms(0),
        interval_min: ms(20),
        back_off_base: ms(20),
        back_off_max: ms(100),
        triggers: ms(20),
        settling: ms(0),
        renew: ms(50),
        step: ms(20),
        step_working: ms(50),
        step_slow: ms(200),
        unanswered: ms(50),
        news_min: ms(0),
        probes: ms(50),
        ..Pace::default()
    }
}

/// An agent at work.
struct Running {
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<Vec<Told>>>,
    thread: Option<JoinHandle<Result<Ended, state::Error>>>,
}

impl Running {
    fn told(&self, wanted: impl Fn(&Told) -> bool) -> usize {
        self.told.lock().unwrap().iter().filter(|told| wanted(told)).count()
    }

    fn stop(mut self) -> Result<Ended, state::Error> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }

    fn ended(mut self) -> Result<Ended, state::Error> {
        wait("the agent ends", || self.thread.as_ref().unwrap().is_finished());
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_unchanged_host_sends_a_few_hundred_bytes_and_no_report() {
    let (centre, host) = (Centre::start(), Host::new());
    host.enrol(&centre);
    let agent = host.start();
    wait("the first report is stored", || agent.told(|told| matches!(told, Told::Reported { .. })) == 1);
    let before = centre.heard(CHECK_IN_PATH).len();
    wait("ten more check-ins", || centre.heard(CHECK_IN_PATH).len() >= before + 10);
    assert_eq!(agent.stop().unwrap(), Ended::Stopped);
    let heard = centre.heard(CHECK_IN_PATH);
    assert_eq!(centre.heard(REPORT_PATH).len(), 1);
    let bytes: Vec<_> = heard.iter().map(|heard| heard.bytes).collect();
    assert!(bytes.iter().all(|(head, body)| head + body < 600 && *body < 400), "{bytes:?}");
    // Every connection after the first resumes its session.
    let resumed: Vec<_> = heard.iter().map(|heard| heard.resumed).collect();
    assert!(!resumed[0] && resumed[1..].iter().all(|resumed| *resumed), "{resumed:?}");
    let streams: BTreeSet<_> = heard.iter().map(|heard| heard.body["stream"].as_str().unwrap()).collect();
    let seqs: Vec<_> = heard.iter().map(|heard| heard.body["seq"].as_u64().unwrap()).collect();
    assert_eq!((streams.len(), seqs), (1, (1..=heard.len() as u64).collect()));
}

#[test]
fn a_changed_host_reports_only_the_pieces_that_changed() {
    let (centre, host) = (Centre::start(), Host::new());
    host.enrol(&centre);
    let agent = host.start();
    wait("the first report", || centre.reports().len() == 1);
    host.install("oil", "1-2");
    wait("the second report", || centre.reports().len() == 2);
    let reports = centre.reports();
    let changed: Vec<_> =
        reports[1].parts.iter().filter(|(part, hash)| reports[0].parts.get(*part) != Some(hash)).collect();
    assert_eq!(changed.iter().map(|(part, _)| part.as_str()).collect::<Vec<_>>(), ["packages.o"]);
    assert_eq!(reports[1].bodies.keys().collect::<Vec<_>>(), [changed[0].1]);
    // A server that was set back to an older state is given what it lacks.
    {
        let mut memory = centre.memory.lock().unwrap();
        memory.inventory.clear();
        memory.bodies.clear();
    }
    wait("everything is told again", || !centre.memory.lock().unwrap().inventory.is_empty());
    let reports = centre.reports();
    assert_eq!(
        reports.last().unwrap().bodies.len(),
        reports[1].parts.values().collect::<BTreeSet<_>>().len()
    );
    agent.stop().unwrap();
}

#[test]
fn what_happened_out_of_touch_is_told_in_order_also_after_a_restart() {
    let (centre, host) = (Centre::start(), Host::new());
    host.enrol(&centre);
    let agent = host.start();
    wait("the first report", || agent.told(|told| matches!(told, Told::Reported { .. })) == 1);
    centre.set_down(true);
    let changes = |agent: &Running| agent.told(|told| matches!(told, Told::Changed { .. }));
    host.install("oil", "1-2");
    wait("the change is seen", || changes(&agent) == 2);
    host.install("oil", "1-3");
    wait("the next one is seen", || changes(&agent) == 3);
    wait("that is said", || agent.told(|told| matches!(told, Told::OutOfTouch { .. })) >= 1);
    agent.stop().unwrap();
    host.install("oil", "1-2");
    let agent = host.start();
    wait("the one while it was stopped is seen", || changes(&agent) == 1);
    let told = agent::status(&State::open(&host.state()).unwrap()).unwrap();
    assert_eq!((told.contact, told.dropped), (Contact::OutOfTouch, 0));
    centre.set_down(false);
    wait("all is told", || centre.reports().len() == 4);
    wait("it is in touch", || agent.told(|told| matches!(told, Told::InTouch)) == 1);
    agent.stop().unwrap();
    let reports = centre.reports();
    assert!(reports.is_sorted_by_key(|report| report.observed_at));
    let oil: Vec<_> = reports.iter().map(|report| &report.parts["packages.o"]).collect();
    assert!(oil[0] != oil[1] && oil[1] != oil[2] && oil[1] == oil[3]);
    let told = agent::status(&State::open(&host.state()).unwrap()).unwrap();
    assert_eq!((told.contact, told.waiting, told.said.as_str()), (Contact::InTouch, 0, ""));
}

#[test]
fn a_busy_server_is_left_in_peace_for_as_long_as_it_asks_but_not_for_ever() {
    let (centre, host) = (Centre::start(), Host::new());
    host.enrol(&centre);
    centre.answer(CHECK_IN_PATH, Answer::refusal(503, "busy", "retry-after: 1\r\n"));
    centre.answer(CHECK_IN_PATH, Answer::refusal(429, "busy", "retry-after: 86400\r\n"));
    let agent = host.start_at(&Pace { retry_after_max: Duration::from_millis(1500), ..pace() });
    wait("it comes back twice", || centre.heard(CHECK_IN_PATH).len() >= 3);
    agent.stop().unwrap();
    let heard = centre.heard(CHECK_IN_PATH);
    let waits: Vec<_> = heard.windows(2).map(|two| two[1].at - two[0].at).collect();
    assert!(waits[0] >= Duration::from_secs(1), "{waits:?}");
    assert!(waits[1] >= Duration::from_millis(1500) && waits[1] < Duration::from_secs(30), "{waits:?}");
}

#[test]
fn a_revoked_host_falls_silent_for_good() {
    let (centre, host) = (Centre::start(), Host::new());
    host.enrol(&centre);
    centre.answer(CHECK_IN_PATH, Answer::refusal(403, "revoked", ""));
    let agent = host.start();
    assert_eq!(agent.ended().unwrap(), Ended::Revoked("revoked, says the centre".into()));
    assert_eq!(centre.heard(CHECK_IN_PATH).len(), 1);
    let told = agent::status(&State::open(&host.state()).unwrap()).unwrap();
    assert_eq!(told.contact, Contact::Revoked);
}

#[test]
fn a_quarantined_host_asks_rarely_and_goes_on_when_released() {
    let (centre, host) = (Centre::start(), Host::new());
    host.enrol(&centre);
    for _ in 0..2 {
        centre.answer(CHECK_IN_PATH, Answer::refusal(403, "quarantined", ""));
    }
    let agent = host.start_at(&Pace { back_off_max: Duration::from_secs(1), ..pace() });
    wait("it is released and reports", || centre.reports().len() == 1);
    assert_eq!(agent.told(|told| matches!(told, Told::Quarantined(_))), 1);
    agent.stop().unwrap();
    let heard = centre.heard(CHECK_IN_PATH);
    let waits: Vec<_> = heard.windows(2).map(|two| two[1].at - two[0].at).take(2).collect();
    assert!(waits.iter().all(|wait| *wait >= Duration::from_millis(500)), "{waits:?}");
}

#[test]
fn the_certificate_is_renewed_with_a_new_key_at_two_thirds_of_its_life() {
    let (centre, host) = (Centre::start(), Host::new());
    centre.memory.lock().unwrap().age_days = 21;
    let first = host.enrol(&centre);
    let agent = host.start();
    wait("it is renewed", || agent.told(|told| matches!(told, Told::Renewed { .. })) == 1);
    let before = centre.heard(CHECK_IN_PATH).len();
    wait("it checks in", || centre.heard(CHECK_IN_PATH).len() > before + 1);
    agent.stop().unwrap();
    let renewal = &centre.heard(RENEW_PATH)[0];
    let asked = public_key_of_request(renewal.body["csr"].as_str().unwrap());
    assert_ne!(public_key(renewal.certificate.as_ref().unwrap()), asked);
    let last = centre.heard(CHECK_IN_PATH).pop().unwrap();
    assert_eq!(public_key(last.certificate.as_ref().unwrap()), asked);
    let now = State::open(&host.state()).unwrap().identity().unwrap();
    assert_eq!((&now.host, now.certificate == first.certificate), (&first.host, false));
    assert!(!host.state().join("next.key").exists());
}

#[test]
fn a_crash_at_any_step_of_a_renewal_leaves_one_usable_identity() {
    let (centre, host) = (Centre::start(), Host::new());
    centre.memory.lock().unwrap().age_days = 21;
    host.enrol(&centre);
    let next = host.state().join("next.key");
    let public = |pem: &str| KeyPair::from_pem(pem).unwrap().subject_public_key_info();
    // The answer was lost: the same key is asked for again.
    let key = KeyPair::generate().unwrap().serialize_pem();
    fs::write(&next, &key).unwrap();
    fs::set_permissions(&next, PermissionsExt::from_mode(0o600)).unwrap();
    let agent = host.start();
    wait("it is renewed", || agent.told(|told| matches!(told, Told::Renewed { .. })) == 1);
    agent.stop().unwrap();
    let asked = centre.heard(RENEW_PATH).pop().unwrap();
    assert_eq!(public_key_of_request(asked.body["csr"].as_str().unwrap()), public(&key));
    // The answer was kept, and the key not yet removed: the next renewal takes another one.
    fs::write(&next, &key).unwrap();
    fs::set_permissions(&next, PermissionsExt::from_mode(0o600)).unwrap();
    let path = host.state().join("identity.json");
    let mut identity: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let old = {
        // As if the certificate were old: the server gives one for the same key.
        let mut memory = centre.memory.lock().unwrap();
        memory.age_days = 21;
        drop(memory);
        let mut params = rcgen::CertificateParams::default();
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(21);
        params.not_after = params.not_before + time::Duration::days(30);
        params.signed_by(&KeyPair::from_pem(&key).unwrap(), &centre.authority).unwrap().pem()
    };
    identity["certificate"] = old.into();
    fs::write(&path, identity.to_string()).unwrap();
    let agent = host.start();
    wait("it is renewed again", || agent.told(|told| matches!(told, Told::Renewed { .. })) == 1);
    agent.stop().unwrap();
    let asked = centre.heard(RENEW_PATH).pop().unwrap();
    assert_ne!(public_key_of_request(asked.body["csr"].as_str().unwrap()), public(&key));
    assert!(State::open(&host.state()).unwrap().identity().is_ok());
}

#[test]
fn a_refused_renewal_is_no_reason_to_fall_silent() {
    let (centre, host) = (Centre::start(), Host::new());
    centre.memory.lock().unwrap().age_days = 21;
    host.enrol(&centre);
    centre.answer(RENEW_PATH, Answer { status: 500, headers: "", body: "oops".into() });
    let agent = host.start();
    wait("it checks in all the same", || !centre.heard(CHECK_IN_PATH).is_empty());
    wait("it is renewed later", || agent.told(|told| matches!(told, Told::Renewed { .. })) == 1);
    assert_eq!(
        agent.told(|told| matches!(told, Told::Problem(problem) if problem.operation.starts_with("renew"))),
        1
    );
    agent.stop().unwrap();
}

#[test]
fn a_server_with_another_authority_than_the_tokens_is_sent_nothing() {
    let (centre, impostor, host) = (Centre::start(), Centre::start(), Host::new());
    let refused = host.enrol_with(&impostor, &centre.token()).unwrap_err().to_string();
    assert!(
        refused.contains("none of the 2 certificates") && refused.contains("nothing was sent"),
        "{refused}"
    );
    assert_eq!(impostor.memory.lock().unwrap().heard.len(), 0);
    let unpinned = host.enrol_with(&centre, "secret").unwrap_err().to_string();
    assert!(unpinned.contains("--authority"), "{unpinned}");
    // Nor later: an enrolled host does not speak to anybody else on the same address.
    host.enrol(&centre);
    let path = host.state().join("identity.json");
    let text = fs::read_to_string(&path).unwrap().replace(&centre.url(), &impostor.url());
    fs::write(&path, text).unwrap();
    let agent = host.start();
    let distrust = |told: &Told| matches!(told, Told::OutOfTouch { reason, .. } if reason.contains("not of the authority"));
    wait("it is told", || agent.told(distrust) == 1);
    agent.stop().unwrap();
    assert_eq!(impostor.memory.lock().unwrap().heard.len(), 0);
}

#[test]
fn enrolling_keeps_the_key_here_and_happens_once() {
    let (centre, host) = (Centre::start(), Host::new());
    // The first answer is lost; the next try asks with the same key.
    centre.answer(ENROL_PATH, Answer { status: 500, headers: "", body: "oops".into() });
    host.enrol_with(&centre, &centre.token()).unwrap_err();
    let half = State::open(&host.state()).unwrap().identity().unwrap_err();
    assert!(matches!(half, state::Error::HalfThere(_)), "{half}");
    let identity = host.enrol(&centre);
    assert_eq!((identity.host.as_str(), identity.server), (HOST, centre.url()));
    let heard = centre.heard(ENROL_PATH);
    let keys: BTreeSet<_> =
        heard.iter().map(|heard| public_key_of_request(heard.body["csr"].as_str().unwrap())).collect();
    assert_eq!((heard.len(), keys.len()), (2, 1));
    assert_eq!(
        (heard[1].body["token"].as_str(), heard[1].body["name"].as_str()),
        (Some("secret"), Some("lamp"))
    );
    let said = heard[1].body.to_string();
    assert!(!said.contains("PRIVATE") && !said.contains("0123456789abcdef0123456789abcdef"), "{said}");
    assert_eq!((mode(&host.state()), mode(&host.state().join("identity.json"))), (0o700, 0o600));
    let again = host.enrol_with(&centre, &centre.token()).unwrap_err().to_string();
    assert!(again.contains("already"), "{again}");
}

#[test]
fn a_directory_that_others_may_read_is_refused() {
    let (centre, host) = (Centre::start(), Host::new());
    host.enrol(&centre);
    fs::set_permissions(host.state(), PermissionsExt::from_mode(0o750)).unwrap();
    let refused = host.start().ended().unwrap_err();
    assert!(matches!(refused, state::Error::Loose { mode: 0o750, .. }), "{refused}");
    fs::set_permissions(host.state(), PermissionsExt::from_mode(0o700)).unwrap();
    fs::set_permissions(host.state().join("identity.json"), PermissionsExt::from_mode(0o644)).unwrap();
    let refused = host.start().ended().unwrap_err();
    assert!(matches!(refused, state::Error::Loose { mode: 0o644, .. }), "{refused}");
    fs::set_permissions(host.state().join("identity.json"), PermissionsExt::from_mode(0o600)).unwrap();
    let agent = host.start();
    wait("it runs", || !centre.heard(CHECK_IN_PATH).is_empty());
    let second = host.start().ended().unwrap_err();
    assert!(matches!(second, state::Error::Busy(_)), "{second}");
    agent.stop().unwrap();
}

#[test]
fn a_key_that_is_not_the_certificates_is_said_at_once() {
    let (centre, host) = (Centre::start(), Host::new());
    host.enrol(&centre);
    let path = host.state().join("identity.json");
    let mut identity: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    identity["key"] = KeyPair::generate().unwrap().serialize_pem().into();
    fs::write(&path, identity.to_string()).unwrap();
    let refused = host.start().ended().unwrap_err().to_string();
    assert!(
        refused.contains("does not belong to the key") && refused.contains("enrol this host again"),
        "{refused}"
    );
}
