//! Traces arrive at an OpenTelemetry collector: what was asked, by whom it was begun, and what the server did by itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_for_tests;
#[path = "hosts/fleet.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part is used here")]
mod fleet;
mod store_for_tests;

use server::config::{self, Config, Log};
use server::fleet::Fleet;
use server::people::roles::Role;
use server::store::Store;
use server::{App, feeds, log};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use store_for_tests::Fresh;
use tokio::sync::Notify;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Takes what is sent to it.
fn collector() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, taken) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
    let kept = Arc::clone(&taken);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let (mut request, mut chunk) = (Vec::new(), [0; 8 << 10]);
            let whole = |request: &[u8]| {
                let head = request.windows(4).position(|four| four == b"\r\n\r\n")?;
                let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
                (request.len() >= head + 4 + length.parse::<usize>().ok()?).then_some(())
            };
            while whole(&request).is_none() {
                let count = socket.read(&mut chunk).unwrap();
                assert_ne!(count, 0, "{}", String::from_utf8_lossy(&request));
                request.extend(&chunk[..count]);
            }
            kept.lock().unwrap().extend(request);
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    (address, taken)
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_requests_reports_feeds_and_matching() {
    let (address, sent) = collector();
    let text = format!("[telemetry]\notlp = \"http://{address}/\"\nservice = \"centre-of-tests\"");
    let telemetry = Config::parse(&text).unwrap().telemetry;
    let traces = log::start(&Log::default(), telemetry.as_ref()).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("palisade.db").display());
    let fresh = Fresh { store: Store::open(&url).await.unwrap(), url };

    // A request that is part of its caller's trace.
    let centre = api_for_tests::Centre::new(fresh.store.clone()).await;
    let (_, token) = centre.user(Role::Viewer).await;
    let bearer = format!("Bearer {token}");
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let headers = [
        ("authorization", bearer.as_str()),
        ("traceparent", parent.as_str()),
        ("x-request-id", "the-request-s-id"),
    ];
    let answer = centre.ask("GET", "/api/v1/hosts/nobody?limit=s3cret", &headers, None).await;
    assert_eq!(answer.status, 404);
    // One whose caller does not want it sampled.
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    let headers = [("authorization", bearer.as_str()), ("traceparent", unsampled.as_str())];
    assert_eq!(centre.ask("GET", "/api/v1/feeds", &headers, None).await.status, 200);

    // A host's report, and its matching.
    let hosts = fleet::Centre::start(&fresh).await;
    let mut agent = hosts.enrol("web-1").await;
    assert_eq!(agent.report(&fleet::inventory(&[("openssl", "3.0.11-1")])).await.status, 200);
    let feed = config::Feed {
        name: "vendor-of-tests".to_owned(),
        location: directory.path().join("nothing.json").display().to_string(),
        every_minutes: 60,
        stale_days: 0,
        release: String::new(),
    };
    let config = Config { feeds: vec![feed], ..Config::default() };
    let app = Arc::new(App { config, store: fresh.store.clone(), told: Arc::new(Notify::new()) });
    feeds::read_now(&app, "vendor-of-tests", None).await.unwrap();
    let fleet = Fleet::start(&app).await.unwrap();
    hosts.enrol("web-2").await;
    while fleet.step(jiff::Timestamp::now()).await.unwrap() {}

    tokio::task::spawn_blocking(|| traces.stop()).await.unwrap();
    let sent = sent.lock().unwrap();
    let has = |what: &[u8]| sent.windows(what.len()).any(|some| some == what);
    for what in [
        "POST /v1/traces HTTP/1.1",
        "centre-of-tests",
        "GET /api/v1/hosts/{id}",
        "the-request-s-id",
        "report",
        agent.id.as_str(),
        "store inventory",
        "read feed",
        "vendor-of-tests",
        "match",
    ] {
        assert!(has(what.as_bytes()), "no {what} in {}", String::from_utf8_lossy(&sent));
    }
    assert!(has(&bytes(TRACE)) && has(&bytes(CALLER)), "the caller's trace is lost");
    assert!(!has(b"GET /api/v1/feeds"), "sent, though the caller sampled it out");
    assert!(!has(b"s3cret") && !has(token.as_bytes()), "a secret is in a trace");
}
