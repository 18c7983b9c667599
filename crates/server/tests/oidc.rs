//! Logging in through a real identity provider, run as a process; needs Node.js and npm, and is skipped without.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

#[path = "api_for_tests/mod.rs"]
mod api_for_tests;
mod store_for_tests;

use api_for_tests::{Answer, Centre};
use openidconnect::url::{Url, form_urlencoded};
use serde_json::json;
use server::people::roles::Role;
use server::people::sessions;
use server::{Config, config};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use store_for_tests::on_each_store;

const REDIRECT: &str = "https://localhost:8470/login/callback";

/// The provider's process; ends with the test.
struct Provider {
    process: Child,
    /// Open until the end: it has more to say, and dies if nobody listens.
    _says: BufReader<ChildStdout>,
    issuer: String,
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The provider's packages, installed once; or why they cannot be.
fn installed() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc_provider");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc_provider");
    let modules = place.join("node_modules");
    let lock = std::fs::read(source.join("package-lock.json")).unwrap();
    if std::fs::read(place.join("package-lock.json")).ok() != Some(lock) || !modules.exists() {
        std::fs::create_dir_all(&place).unwrap();
        std::fs::copy(source.join("package.json"), place.join("package.json")).unwrap();
        std::fs::copy(source.join("package-lock.json"), place.join("package-lock.json")).unwrap();
        let run = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(&place)
            .output()
            .map_err(|problem| format!("npm: {problem}"))?;
        if !run.status.success() {
            let _ = std::fs::remove_dir_all(&modules);
            return Err(String::from_utf8_lossy(&run.stderr).into_owned());
        }
    }
    Ok(modules)
}

fn provider() -> Option<Provider> {
    let started = installed().and_then(|modules| {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc_provider/provider.mjs");
        let mut process = Command::new("node")
            .arg(program)
            .arg(port.to_string())
            .arg(REDIRECT)
            .arg(modules)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|problem| format!("node: {problem}"))?;
        let mut line = String::new();
        let mut says = BufReader::new(process.stdout.take().unwrap());
        says.read_line(&mut line).unwrap();
        let provider = Provider { process, _says: says, issuer: format!("http://127.0.0.1:{port}") };
        if line.trim() == "ready" { Ok(provider) } else { Err(format!("the provider says {line:?}")) }
    });
    started.inspect_err(|reason| eprintln!("SKIPPED: needs an identity provider: {reason}")).ok()
}

/// As much of a browser as the provider's pages need.
struct Browser {
    agent: ureq::Agent,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new() -> Self {
        let config = ureq::Agent::config_builder().max_redirects(0).http_status_as_error(false).build();
        Self { agent: ureq::Agent::new_with_config(config), cookies: BTreeMap::new() }
    }

    /// Asks; gives where it is sent on.
    fn go(&mut self, url: &Url, form: Option<&str>) -> Option<Url> {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let answer = match form {
            None => self.agent.get(url.as_str()).header("cookie", cookies).call(),
            Some(form) => self
                .agent
                .post(url.as_str())
                .header("cookie", cookies)
                .header("content-type", "application/x-www-form-urlencoded")
                .send(form),
        };
        let answer = answer.unwrap();
        for line in answer.headers().get_all("set-cookie") {
            let (name, value) = line.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = answer.headers().get("location").map(|location| location.to_str().unwrap().to_owned());
        location.map(|location| url.join(&location).unwrap())
    }

    /// Logs in at the provider as `NAME+GROUP,GROUP`, consents, and gives the address of ours that it sends to.
    fn log_in(&mut self, start: &str, login: &str) -> Url {
        let mut url = Url::parse(start).unwrap();
        let (login, groups) = login.split_once('+').unwrap_or((login, ""));
        self.go(&url.join(&format!("/groups/{login}/{groups}")).unwrap(), None);
        for _ in 0..20 {
            if url.as_str().starts_with(REDIRECT) {
                return url;
            }
            let page = url.path().contains("/interaction/");
            let mut next = self.go(&url, None);
            if page && next.is_none() {
                let form = |prompt| {
                    let mut form = form_urlencoded::Serializer::new(String::new());
                    form.append_pair("prompt", prompt)
                        .append_pair("login", login)
                        .append_pair("password", "x");
                    form.finish()
                };
                // The page says which it is; the wrong one is refused.
                next = self.go(&url, Some(&form("login"))).or_else(|| self.go(&url, Some(&form("consent"))));
            }
            url = next.unwrap_or_else(|| panic!("stuck at {url}"));
        }
        panic!("sent in circles")
    }
}

async fn centre(fresh: store_for_tests::Fresh, provider: &Provider, directory: &Path) -> Centre {
    let secret = directory.join("secret");
    std::fs::write(&secret, "the client's secret\n").unwrap();
    let roles = [("admins", "admin"), ("readers", "viewer")];
    let config = Config {
        oidc: Some(config::Oidc {
            issuer: provider.issuer.clone(),
            client_id: "palisade".to_owned(),
            client_secret_file: Some(secret),
            redirect: REDIRECT.to_owned(),
            groups_claim: "groups".to_owned(),
            roles: roles.map(|(group, role)| (group.to_owned(), role.to_owned())).into(),
        }),
        ..Config::default()
    };
    Centre::with(fresh.store, config).await
}

/// Departs; gives the provider's address and our cookie.
async fn depart(centre: &Centre, back_to: &str) -> (String, String) {
    let answer = centre.ask("GET", &format!("/login/oidc?back_to={back_to}"), &[], None).await;
    assert_eq!(answer.status, 303, "{}", String::from_utf8_lossy(&answer.body));
    let cookie = format!("__Host-palisade-login={}", answer.cookie("__Host-palisade-login").unwrap());
    (answer.header("location").to_owned(), cookie)
}

async fn arrive(centre: &Centre, url: &Url, cookie: &str) -> Answer {
    let path = format!("{}?{}", url.path(), url.query().unwrap());
    centre.ask("GET", &path, &[("cookie", cookie)], None).await
}

async fn log_in(centre: &Centre, login: &str) -> Answer {
    let (start, cookie) = depart(centre, "/hosts").await;
    let back = Browser::new().log_in(&start, login);
    arrive(centre, &back, &cookie).await
}

async fn who(centre: &Centre, answer: &Answer) -> Answer {
    let cookie = format!("{}={}", sessions::COOKIE, answer.cookie(sessions::COOKIE).unwrap());
    centre.ask("GET", "/api/v1/session", &[("cookie", &cookie)], None).await
}

#[tokio::test]
async fn a_person_gets_the_role_of_the_groups_and_loses_it_with_them() {
    let Some(provider) = provider() else { return };
    let directory = tempfile::tempdir().unwrap();
    on_each_store(async |fresh| {
        let centre = centre(fresh, &provider, directory.path()).await;
        let (_, admin) = centre.user(Role::Admin).await;
        let first = log_in(&centre, "ada+readers").await;
        assert_eq!(first.status, 303, "{}", String::from_utf8_lossy(&first.body));
        assert_eq!(first.header("location"), "/hosts");
        let ada = who(&centre, &first).await.json();
        assert_eq!((&ada["name"], &ada["role"]), (&json!("ada"), &json!("viewer")));

        let again = who(&centre, &log_in(&centre, "ada+readers,admins,others").await).await.json();
        assert_eq!((&again["id"], &again["role"]), (&ada["id"], &json!("admin")), "the same account, raised");

        // A local account of the same name is somebody else's.
        let other = who(&centre, &log_in(&centre, "admin+readers").await).await.json();
        assert_eq!((&other["name"], &other["role"]), (&json!("admin@127.0.0.1"), &json!("viewer")));

        let refused = log_in(&centre, "ada+others").await;
        assert_eq!(refused.status, 403);
        assert!(refused.cookie(sessions::COOKIE).is_none());
        assert_eq!(who(&centre, &first).await.status, 401, "sessions end with the role");
        assert_eq!(log_in(&centre, "eve").await.status, 403, "in no group at all");

        let path = format!("/api/v1/users/{}", ada["id"].as_str().unwrap());
        assert_eq!(centre.patch(&admin, &path, &json!({ "disabled": true })).await.status, 200);
        assert_eq!(log_in(&centre, "ada+admins").await.status, 403, "a disabled user stays disabled");
        assert_eq!(centre.get(&admin, &path).await.json()["disabled"], true);
    })
    .await;
}

#[tokio::test]
async fn a_log_in_is_finished_once_by_the_browser_that_began_it_with_its_own_code() {
    let Some(provider) = provider() else { return };
    let directory = tempfile::tempdir().unwrap();
    on_each_store(async |fresh| {
        let centre = centre(fresh, &provider, directory.path()).await;
        let (start, cookie) = depart(&centre, "/").await;
        let query: BTreeMap<_, _> = Url::parse(&start).unwrap().query_pairs().into_owned().collect();
        assert_eq!(query["code_challenge_method"], "S256");
        assert!(query.contains_key("nonce") && query["state"].len() == 64);
        let back = Browser::new().log_in(&start, "ada+readers");
        assert_eq!(arrive(&centre, &back, "").await.status, 400, "another browser");
        let (_, foreign) = depart(&centre, "/").await;
        assert_eq!(arrive(&centre, &back, &foreign).await.status, 400, "another log-in's cookie");
        let done = arrive(&centre, &back, &cookie).await;
        assert_eq!(done.status, 303);
        assert_eq!(arrive(&centre, &back, &cookie).await.status, 400, "a second time");

        // A stolen code, put into the thief's own log-in: the provider wants the verifier of the one it was made for.
        let (start, _) = depart(&centre, "/").await;
        let stolen = Browser::new().log_in(&start, "ada+admins");
        let (start, cookie) = depart(&centre, "/").await;
        let own =
            Url::parse(&start).unwrap().query_pairs().find(|(key, _)| key == "state").unwrap().1.into_owned();
        let code = stolen.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned();
        let forged = Url::parse_with_params(REDIRECT, [("code", code), ("state", own)]).unwrap();
        let answer = arrive(&centre, &forged, &cookie).await;
        assert_eq!(answer.status, 502);
        assert!(answer.cookie(sessions::COOKIE).is_none());

        let (start, cookie) = depart(&centre, "/").await;
        let back = Browser::new().log_in(&start, "ada+readers");
        centre.wait(601);
        assert_eq!(arrive(&centre, &back, &cookie).await.status, 400, "after ten minutes");

        for evil in ["//evil.example", "https://evil.example", "/%5Cevil.example", "/%0d%0aset-cookie:a=b"] {
            let (start, cookie) = depart(&centre, evil).await;
            let back = Browser::new().log_in(&start, "ada+readers");
            assert_eq!(arrive(&centre, &back, &cookie).await.header("location"), "/", "{evil}");
        }
        let denied = centre.ask("GET", "/login/callback?error=access_denied&state=x", &[], None).await;
        assert_eq!(denied.status, 403);
    })
    .await;
}
