//! What the OpenAPI document says against what the API does: schemathesis asks everything that the document allows, and
//! much that it does not. Needs the program (PyPI `schemathesis`), named by `PALISADE_SCHEMATHESIS`; skipped without.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

#[path = "api_for_tests/mod.rs"]
mod api_for_tests;
#[path = "api_for_tests/fleet.rs"]
mod fleet;

use api_for_tests::Centre;
use server::people::roles::Role;
use server::store::Store;
use server::store::census::{self, Attempts, Counted, Hour};
use tokio::net::TcpListener;

/// Of one source: register 1 has rank 5.
fn attempts() -> Attempts {
    let cves = ["CVE-2026-1001".to_owned()].into();
    Attempts { attempts: 3, answered: 1, sources: "AAABBQ==".to_owned(), cves }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_does_what_its_document_says() {
    let Ok(program) = std::env::var("PALISADE_SCHEMATHESIS") else {
        eprintln!("SKIPPED: PALISADE_SCHEMATHESIS does not name the program schemathesis");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("palisade.db").display());
    let centre = Centre::new(Store::open(&url).await.unwrap()).await;
    fleet::fleet(&centre).await;
    fleet::inventory(&centre, fleet::WEB, "6.1.0-1").await;
    let hour =
        Hour { requests: 9, attempts: [("codered1".to_owned(), attempts())].into(), ..Hour::default() };
    let counted =
        Counted { logs: 1, hours: [(api_for_tests::BEGIN / 3_600, hour)].into(), ..Counted::default() };
    census::take(&centre.store, centre.now(), fleet::WEB, &counted).await.unwrap();
    let (_, token) = centre.user(Role::Admin).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = centre.router.clone();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut run = std::process::Command::new(program);
    run.arg("run").arg(format!("http://{address}/api/v1/openapi.json"));
    run.arg("--header").arg(format!("Authorization: Bearer {token}"));
    // A stream does not end; a log-in leads to another server.
    run.args([
        "--exclude-path",
        "/api/v1/events",
        "--exclude-path",
        "/login/oidc",
        "--exclude-path",
        "/login/callback",
    ]);
    // What a schema cannot say is refused too: a selector's grammar, a time in the past, a control character.
    run.args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"]);
    run.args(["--max-examples", "40", "--seed", "1", "--generation-database", "none", "--no-color"]);
    run.current_dir(directory.path());
    let run = tokio::task::spawn_blocking(move || run.output()).await.unwrap().unwrap();
    serving.abort();
    assert!(
        run.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
}
