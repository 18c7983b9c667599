//! From a web server's configuration to the hours that the centre is told.

use crate::centre::{Answer, Centre};
use crate::{Host, pace, wait};
use agent::settings::{self, Settings};
use agent::state::State;
use agent::{Contact, Told};
use base64::Engine;
use rustix::process::{Pid, Signal};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use traffic::census::{Key, Sketch};
use wire::v1::census::{CENSUS_PATH, Counted, Hour, Terms};

fn terms(key: u8) -> Terms {
    Terms { key: format!("{key:02x}").repeat(32), next_seconds: 1 }
}

fn counting() -> Settings {
    Settings { census: settings::Census { on: true, ..settings::Census::default() }, ..Settings::default() }
}

/// The host with this configuration of nginx.
fn with_nginx(text: &str) -> Host {
    let host = Host::new();
    for path in ["etc/nginx", "usr/share/nginx/logs"] {
        fs::create_dir_all(host.root().join(path)).unwrap();
    }
    fs::write(host.root().join("etc/nginx/nginx.conf"), text).unwrap();
    host
}

fn log(host: &Host) -> PathBuf {
    host.root().join("usr/share/nginx/logs/access.log")
}

fn red() -> String {
    format!("/default.ida?{}%u9090%u6858%ucbd3%u7801%u9090=a", "N".repeat(224))
}

/// What the centre would have: each hour as it was told last.
fn stored(centre: &Centre) -> Vec<Hour> {
    let memory = centre.memory.lock().unwrap();
    let hours = memory.counted.iter().flat_map(|counted| counted.hours.iter());
    hours
        .map(|hour| (hour.hour, hour.clone()))
        .collect::<std::collections::BTreeMap<_, _>>()
        .into_values()
        .collect()
}

/// Requests, Code Red's attempts, those answered, and sources.
fn sum(hours: &[Hour]) -> (u64, u64, u64, u64) {
    let red: Vec<_> =
        hours.iter().flat_map(|hour| &hour.attempts).filter(|of| of.signature == "codered1").collect();
    let mut sources = Sketch::default();
    for of in &red {
        assert_eq!(of.cves, ["CVE-2001-0500"]);
        let bytes = base64::engine::general_purpose::STANDARD.decode(&of.sources).unwrap();
        sources.unite(&Sketch::from_bytes(&bytes).unwrap());
    }
    let total = |of: fn(&wire::v1::census::Attempts) -> u64| red.iter().map(|one| of(one)).sum();
    let requests = hours.iter().map(|hour| hour.requests).sum();
    (requests, total(|of| of.attempts), total(|of| of.answered), sources.count().count)
}

fn last(centre: &Centre) -> Option<Counted> {
    centre.memory.lock().unwrap().counted.last().cloned()
}

fn census(host: &Host) -> agent::census::CensusStatus {
    agent::status(&State::open(&host.state()).unwrap()).and_then(|status| status.census).unwrap_or_default()
}

#[test]
fn what_is_written_while_the_server_or_the_agent_is_away_is_told_once_through_rotation() {
    let centre = Centre::start();
    let host = with_nginx("http { access_log logs/access.log; }");
    let write = |path: &Path, from: u8, to: u8| {
        let now = jiff::Timestamp::now().strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
        let mut log = OpenOptions::new().append(true).create(true).open(path).unwrap();
        for source in from..to {
            writeln!(log, "198.51.100.{source} - - [{now}] \"GET {} HTTP/1.0\" 404 9", red()).unwrap();
            writeln!(log, "192.0.2.{source} - - [{now}] \"GET / HTTP/1.0\" 200 9").unwrap();
        }
    };
    host.enrol(&centre);
    // A server of the version before knows nothing of a census; what is written is not lost by that.
    write(&log(&host), 0, 5);
    let agent = host.start_with(&pace(), counting());
    wait("the agent asks for terms", || !centre.heard(CENSUS_PATH).is_empty());
    fs::rename(log(&host), log(&host).with_extension("log.1")).unwrap();
    write(&log(&host), 5, 10);
    centre.memory.lock().unwrap().terms = Some(terms(1));
    wait("both files are told", || sum(&stored(&centre)) == (20, 10, 0, 10));
    let key = host.state().join("census.json");
    assert_eq!(crate::mode(&key), 0o600);
    assert!(!agent.told.lock().unwrap().iter().any(|told| told.to_string().contains(&terms(1).key)));

    // The server is away, the log is rotated, and the agent starts again in the middle of a line.
    centre.set_down(true);
    write(&log(&host), 10, 15);
    wait("they wait", || census(&host).waiting > 0);
    agent.stop().unwrap();
    fs::rename(log(&host).with_extension("log.1"), log(&host).with_extension("log.2")).unwrap();
    fs::rename(log(&host), log(&host).with_extension("log.1")).unwrap();
    write(&log(&host), 15, 20);
    let mut half = OpenOptions::new().append(true).open(log(&host)).unwrap();
    half.write_all(b"203.0.113.1 - - [").unwrap();
    let agent = host.start_with(&pace(), counting());
    centre.set_down(false);
    wait("everything is told", || sum(&stored(&centre)) == (40, 20, 0, 20));
    assert_eq!(last(&centre).unwrap().key, Key::new([1; 32]).id());

    // Another key: sketches of before cannot be united with these, so the next hour is the first.
    centre.memory.lock().unwrap().terms = Some(terms(2));
    write(&log(&host), 20, 21);
    wait("the agent says that it begins anew", || {
        agent.told(|told| told.to_string().contains("another key")) > 0
    });
    let told = sum(&stored(&centre));
    assert!(told.1 >= 20, "{told:?}");
    agent.stop().unwrap();
}

#[test]
fn a_log_that_cannot_be_read_is_a_problem_on_both_sides_and_check_ins_go_on() {
    let centre = Centre::start();
    let host = with_nginx("http { access_log logs/access.log; access_log syslog:server=unix:/dev/log; }");
    fs::create_dir(log(&host)).unwrap();
    centre.memory.lock().unwrap().terms = Some(terms(1));
    host.enrol(&centre);
    centre.answer(CENSUS_PATH, Answer::refusal(503, "busy", ""));
    let agent = host.start_with(&pace(), counting());
    wait("the owner and the server are told", || {
        census(&host).problems.len() == 2 && last(&centre).is_some_and(|told| told.problems.len() == 2)
    });
    let told = census(&host).problems;
    assert_eq!(last(&centre).map(|counted| counted.problems), Some(told.clone()));
    assert!(told[0].contains("it is no file") && told[1].contains("syslog"), "{told:?}");
    // No log, no hour: a hole must not look like silence.
    assert!(stored(&centre).is_empty());
    fs::remove_dir(log(&host)).unwrap();
    fs::write(log(&host), "").unwrap();
    wait("an hour without requests is told", || !stored(&centre).is_empty());
    assert_eq!((last(&centre).unwrap().logs, sum(&stored(&centre))), (1, (0, 0, 0, 0)));
    assert_eq!(agent::status(&State::open(&host.state()).unwrap()).unwrap().contact, Contact::InTouch);
    assert_eq!(agent.told(|told| matches!(told, Told::OutOfTouch { .. })), 0);
    agent.stop().unwrap();
}

/// Ended when the test is.
struct Nginx(Child);

impl Nginx {
    /// Whether its workers have opened this file.
    fn writes_to(&self, path: &Path) -> bool {
        let pid = self.0.id();
        let is_it = |found: &fs::Metadata| fs::metadata(path).is_ok_and(|file| file.ino() == found.ino());
        let workers = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        workers.split_whitespace().all(|worker| {
            let open = fs::read_dir(format!("/proc/{worker}/fd")).unwrap();
            open.flatten().filter_map(|one| fs::metadata(one.path()).ok()).any(|found| is_it(&found))
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only if it is asked to.
        let _ = rustix::process::kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn ask(port: u16, path: &str) -> String {
    let mut line = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(line, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_nginx_really_logs_is_counted_through_logrotate() {
    if !is_installed("nginx") || !is_installed("logrotate") {
        println!("SKIPPED: needs nginx and logrotate");
        return;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "daemon off; pid nginx.pid; error_log stderr; events {{}}\nhttp {{\n  access_log off;\n\
         log_format shop '$time_iso8601|$remote_addr|$status|\"$request\"';\n  server {{\n\
         listen 127.0.0.1:{port}; access_log logs/access.log shop;\n\
         location / {{ return 404; }} location = /ok {{ return 200 ok; }} location = /default.ida {{ return 200 ok; }}\n}}\n}}\n"
    );
    let centre = Centre::start();
    let host = with_nginx(&text);
    let prefix = host.root().join("usr/share/nginx");
    // Its processes run as whoever runs the test, so that they may enter the test's directory.
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    let mut server = Command::new("nginx");
    server.arg("-p").arg(&prefix).arg("-c").arg(host.root().join("etc/nginx/nginx.conf")).args(["-g", user]);
    let mut nginx = Nginx(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait("nginx answers", || {
        assert!(nginx.0.try_wait().unwrap().is_none(), "nginx has ended");
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    centre.memory.lock().unwrap().terms = Some(terms(1));
    host.enrol(&centre);
    let agent = host.start_with(&pace(), counting());
    let rotation = host.directory.path().join("rotation");
    let text = format!(
        "{} {{\n  rotate 5\n  compress\n  delaycompress\n  create 0640\n  postrotate\n    kill -USR1 {}\n  endscript\n}}\n",
        log(&host).display(),
        nginx.0.id()
    );
    fs::write(&rotation, text).unwrap();
    // What is rotated away before anybody looks is nobody's.
    wait("the log is followed", || !stored(&centre).is_empty());
    for round in 0..3 {
        // Within a second the logs would else be the same, and a copy is counted once.
        assert!(ask(port, &format!("/ok?{round}")).contains("200"));
        assert!(ask(port, &red()).contains("200"));
        assert!(ask(port, "/?x=/default.idaho").contains("404"));
        if round == 1 {
            wait("the first rounds are told", || sum(&stored(&centre)).0 >= 6);
        }
        let mut rotate = Command::new("logrotate");
        rotate.arg("--force").arg("--state").arg(host.directory.path().join("rotated")).arg(&rotation);
        let output = rotate.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // A line that is written to a file while logrotate packs it is lost to everybody.
        wait("nginx writes to the new log", || nginx.writes_to(&log(&host)));
    }
    assert!(log(&host).with_extension("log.2.gz").exists(), "logrotate did not pack");
    assert!(ask(port, &red()).contains("200"));
    let is_told = || sum(&stored(&centre)).0 >= 10;
    wait("everything is told", is_told);
    let (requests, attempts, answered, sources) = sum(&stored(&centre));
    assert!((10..=11).contains(&requests), "{requests}");
    assert_eq!((attempts, answered, sources), (4, 4, 1));
    agent.stop().unwrap();
}
