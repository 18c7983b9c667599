//! A host's life: it enrols, checks in, reports, renews, is revoked.

use crate::fleet::{Agent, Centre, connect, csr, inventory, json, post, until};
use crate::store_for_tests::on_each_store;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use server::identity::Authority;
use server::store::audit::{self, Actor};
use server::store::events::{self, Kind};
use server::store::hosts::{self, Changed, HostState};
use server::store::{Store, backup, certificates, commit, host_list, inventories};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio_util::sync::CancellationToken;
use wire::v1::{CHECK_IN_PATH, CheckedIn, RENEW_PATH, Renew, Renewed, Reported};

#[tokio::test]
async fn a_host_enrols_checks_in_reports_and_then_nothing_is_written() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let mut agent = centre.enrol("web-1").await;
        let host = hosts::get(&centre.store, &agent.id).await.unwrap().unwrap();
        assert_eq!((host.name.as_str(), host.group.as_str(), host.number), ("web-1", "front", 1));
        assert_eq!(host.labels["role"], "web");
        assert_eq!(host.address, "127.0.0.1");

        let first: CheckedIn = agent.check_in().await.read();
        assert_eq!(
            first,
            CheckedIn {
                next_seconds: 60,
                report: false,
                job: None,
                rehearse: None,
                hint: false,
                heard: None
            }
        );
        let seen = inventory(&[("openssl", "3.0.1-1"), ("zlib1g", "1.2-3")]);
        agent.check_in.inventory = "1".repeat(64);
        assert!(agent.check_in().await.read::<CheckedIn>().report);
        let reported: Reported = agent.report(&seen).await.read();
        assert_eq!(reported.missing, Vec::<String>::new());
        let stored = inventories::current(&centre.store, &agent.id).await.unwrap().unwrap();
        assert_eq!(
            (stored.inventory.packages, stored.hash),
            (seen.packages.clone(), agent.check_in.inventory.clone())
        );
        assert_eq!(stored.inventory.host, "web-1");
        assert_eq!(stored.inventory.observed, seen.observed);

        let before = (events::last(&centre.store).await.unwrap(), audited(&centre.store).await);
        assert_eq!(before.1, ["authority.create", "trust.make-key", "enrolment.create", "host.enrol"]);
        let told = events::after(&centre.store, 0, 10).await.unwrap().pop().unwrap();
        assert_eq!((told.kind, told.object.as_str()), (Kind::Inventory, agent.id.as_str()));
        assert_eq!(told.detail, serde_json::json!({ "number": 1, "hash": agent.check_in.inventory }));
        let host = hosts::get(&centre.store, &agent.id).await.unwrap();
        assert_eq!(host.as_ref().unwrap().release, "Debian 12");
        for _ in 0..3 {
            assert!(!agent.check_in().await.read::<CheckedIn>().report);
        }
        assert_eq!(agent.report(&seen).await.status, 200);
        assert_eq!((events::last(&centre.store).await.unwrap(), audited(&centre.store).await), before);
        assert_eq!(hosts::get(&centre.store, &agent.id).await.unwrap(), host);

        // Who was heard is written together.
        assert_eq!(centre.roster.flush(&centre.store, &CancellationToken::new()).await.unwrap(), 1);
        let after = hosts::get(&centre.store, &agent.id).await.unwrap().unwrap();
        assert!(after.seen_at > host.as_ref().unwrap().seen_at);
        assert_eq!(after.revision, host.unwrap().revision);
        assert!(after.is_silent(after.seen_at + jiff::SignedDuration::from_mins(16), 15));
        assert!(!after.is_silent(after.seen_at + jiff::SignedDuration::from_mins(14), 15));
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_known_until_it_is_right() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let mut agent = centre.enrol("web-1").await;
        // A day behind; more than any number that is kept; right again.
        for (said, known) in [(-86_400, -86_400), (i64::MAX, i64::from(i32::MAX)), (0, 0)] {
            agent.check_in.clock_ahead_seconds = said;
            assert_eq!(agent.check_in().await.status, 200);
            assert_eq!(centre.roster.flush(&centre.store, &CancellationToken::new()).await.unwrap(), 1);
            let host = host_list::get(&centre.store, &agent.id).await.unwrap().unwrap();
            assert_eq!(host.clock_ahead_seconds, known);
        }
    })
    .await;
}

#[tokio::test]
async fn a_resumed_session_is_still_the_same_host() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let mut agent = centre.enrol("web-1").await;
        let signed = centre
            .authority
            .sign_host(&csr(&agent.key), agent.id.parse().unwrap(), Timestamp::now(), 30)
            .unwrap();
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            agent.config = centre.config_of(Some((&agent.key, &signed.pem)), version);
            let (first, second) = (agent.check_in().await, agent.check_in().await);
            assert!(!first.resumed && second.resumed, "{version:?}");
            assert_eq!((first.status, second.status), (200, 200));
        }
    })
    .await;
}

#[tokio::test]
async fn a_revocation_counts_on_a_kept_connection_and_on_a_resumed_session() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let (agent, other) = (centre.enrol("web-1").await, centre.enrol("web-2").await);
        let mut kept = agent.connect().await.unwrap();
        let body = json(&agent.check_in);
        assert_eq!(post(&mut kept, CHECK_IN_PATH, &[], &body).await.unwrap().status, 200);
        let now = Timestamp::now();
        let by = Actor::Person("ada".to_owned());
        let done = hosts::revoke(&centre.store, now, &by, &agent.id, "sold").await.unwrap();
        let Changed::Done(host) = done else { panic!("{done:?}") };
        assert_eq!((host.state, host.reason.as_str()), (HostState::Revoked, "sold"));
        until(async || centre.roster.census(now, 15).revoked == 1).await;
        let refused = post(&mut kept, CHECK_IN_PATH, &[], &body).await.unwrap();
        assert_eq!(refused.refusal(), (403, "revoked".to_owned()));
        let resumed = agent.check_in().await;
        assert!(resumed.resumed);
        assert_eq!(resumed.refusal(), (403, "revoked".to_owned()));

        // One certificate of a host that stays; also for a server that starts later.
        let serial: String = sqlx::query_scalar("SELECT serial FROM certificates WHERE host = $1")
            .bind(other.id.clone())
            .fetch_one(centre.store.reader())
            .await
            .unwrap();
        assert!(certificates::revoke(&centre.store, now, &by, &serial, "lost").await.unwrap());
        until(async || other.check_in().await.status == 403).await;
        let later = Centre::start(&fresh).await;
        let config = &other.config;
        let mut stream = connect(later.address, config, None).await.unwrap();
        let refused = post(&mut stream, CHECK_IN_PATH, &[], &json(&other.check_in)).await.unwrap();
        assert_eq!(refused.refusal(), (403, "revoked".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_host_renews_over_its_present_certificate_and_not_in_a_loop() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let agent = centre.enrol("web-1").await;
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let renewed: Renewed = agent.post(RENEW_PATH, &Renew { csr: csr(&key) }).await.read();
        let next = Agent::new(&centre, agent.id.clone(), key, &renewed.certificate, "web-1");
        assert_eq!(next.check_in().await.status, 200);
        // Its own key, once more: a copy of another host's would be refused.
        let other = centre.enrol("web-2").await;
        let stolen = other.post(RENEW_PATH, &Renew { csr: csr(&agent.key) }).await;
        assert_eq!(stolen.refusal(), (409, "malformed".to_owned()));
        let mut status = 200;
        for _ in 0..6 {
            let key = KeyPair::generate().unwrap();
            let answer = agent.post(RENEW_PATH, &Renew { csr: csr(&key) }).await;
            status = answer.status;
        }
        assert_eq!(status, 429);
    })
    .await;
}

#[tokio::test]
async fn only_small_curves_are_signed_and_only_over_their_own_signature() {
    on_each_store(async |fresh| {
        let authority = Authority::open(&fresh.store, Timestamp::now()).await.unwrap();
        let sign = |csr: &str| authority.sign_host(csr, uuid::Uuid::now_v7(), Timestamp::now(), 90);
        let good = csr(&KeyPair::generate().unwrap());
        let signed = sign(&good).unwrap();
        let days = signed.not_after.duration_since(signed.not_before).as_hours();
        assert_eq!(days, 30 * 24 + 1, "at most thirty days, and an hour for late clocks");
        assert!(sign(&csr(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap())).is_err());
        // Another key under the same signature.
        let mut lines: Vec<&str> = good.lines().collect();
        let (first, last) = (lines[2].to_owned(), lines.len() - 2);
        let swapped = format!("{}{}", &first[1..], &first[..1]);
        lines[2] = &swapped;
        assert!(sign(&lines.join("\n")).is_err());
        assert!(last > 2 && sign("").is_err() && sign("-----BEGIN CERTIFICATE REQUEST-----").is_err());
    })
    .await;
}

#[tokio::test]
async fn of_two_servers_that_start_at_once_one_makes_the_authority() {
    on_each_store(async |fresh| {
        let other = Store::open(&fresh.url).await.unwrap();
        let now = Timestamp::now();
        let (one, two) = tokio::join!(Authority::open(&fresh.store, now), Authority::open(&other, now));
        let again = Authority::open(&other, now).await.unwrap();
        assert_eq!(one.unwrap().fingerprint(), again.fingerprint());
        assert_eq!(two.unwrap().fingerprint(), again.fingerprint());
        assert_eq!(audited(&other).await, ["authority.create"]);
        other.close().await;
    })
    .await;
}

#[tokio::test]
async fn whoever_has_the_store_alone_does_not_have_the_authority() {
    on_each_store(async |fresh| {
        let directory = tempfile::tempdir().unwrap();
        let (file, now) = (directory.path().join("authority.key"), Timestamp::now());
        let made = Authority::open_sealed(&fresh.store, now, &file).await.unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let stored: Vec<String> =
            sqlx::query_scalar("SELECT value FROM settings").fetch_all(fresh.store.reader()).await.unwrap();
        assert!(stored.iter().all(|value| !value.contains("PRIVATE")), "{stored:?}");
        let mut backed_up = Vec::new();
        backup::write(&fresh.store, now, &mut backed_up, &mut |_, _| {}).await.unwrap();
        let mut text = String::new();
        GzDecoder::new(&*backed_up).read_to_string(&mut text).unwrap();
        assert!(text.contains("BEGIN CERTIFICATE") && !text.contains("PRIVATE"));

        // Again with the file; not without it, with another one, or with one that others may read.
        let again = Authority::open_sealed(&fresh.store, now, &file).await.unwrap();
        assert_eq!(again.fingerprint(), made.fingerprint());
        let refused = async |file: &Path| {
            let problem = Authority::open_sealed(&fresh.store, now, file).await.unwrap_err().to_string();
            assert!(problem.contains("copy the file of the server that made the authority"), "{problem}");
            problem
        };
        let other = directory.path().join("other.key");
        assert!(refused(&other).await.contains("it is not there"));
        assert!(!other.exists(), "a new key would hide that the right one is missing");
        for (text, told) in [("0".repeat(64), "its key is another one"), ("0".repeat(63), "64 hex digits")] {
            std::fs::write(&other, text).unwrap();
            std::fs::set_permissions(&other, PermissionsExt::from_mode(0o600)).unwrap();
            assert!(refused(&other).await.contains(told), "{told}");
        }
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(refused(&file).await.contains("others may read it"));
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(Authority::open(&fresh.store, now).await.is_err());

        // Restored without its key, it is of no use; one starts over.
        Authority::forget(&fresh.store, now).await.unwrap();
        let anew = Authority::open_sealed(&fresh.store, now, &other).await;
        assert!(anew.is_err(), "the file is still no key");
        std::fs::remove_file(&other).unwrap();
        let anew = Authority::open_sealed(&fresh.store, now, &other).await.unwrap();
        assert_ne!(anew.fingerprint(), made.fingerprint());
        let told = ["authority.create", "authority.forget", "authority.create"];
        assert_eq!(audited(&fresh.store).await, told);
    })
    .await;
}

#[tokio::test]
async fn an_authority_in_clear_is_sealed_and_stays_the_same() {
    on_each_store(async |fresh| {
        let directory = tempfile::tempdir().unwrap();
        let (file, now) = (directory.path().join("authority.key"), Timestamp::now());
        let clear = Authority::open(&fresh.store, now).await.unwrap();
        assert!(Authority::is_clear(&fresh.store).await.unwrap());
        Authority::seal(&fresh.store, now, &file).await.unwrap();
        assert!(!Authority::is_clear(&fresh.store).await.unwrap());
        let sealed = Authority::open_sealed(&fresh.store, now, &file).await.unwrap();
        assert_eq!(sealed.fingerprint(), clear.fingerprint());
        // Sealed about its certificate: it opens under no other.
        let mut writing = fresh.store.begin().await.unwrap();
        sqlx::query("UPDATE settings SET value = REPLACE(value, 'certificate\":\"', 'certificate\":\" ')")
            .execute(&mut *writing)
            .await
            .unwrap();
        commit(writing, "test").await.unwrap();
        assert!(Authority::verify(&fresh.store, &file).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn people_change_hosts_unless_somebody_was_faster() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let agent = centre.enrol("web-1").await;
        let (store, now, by) = (&centre.store, Timestamp::now(), Actor::Person("ada".to_owned()));
        let labels = BTreeMap::from([("role".to_owned(), "db".to_owned())]);
        let done =
            hosts::relabel(store, now, &by, &agent.id, Some("back"), Some(&labels), Some(1)).await.unwrap();
        let Changed::Done(host) = done else { panic!("{done:?}") };
        assert_eq!((host.group.as_str(), &host.labels, host.revision), ("back", &labels, 2));
        assert_eq!(hosts::by_name(store, "web-1").await.unwrap(), std::slice::from_ref(&host));
        let late = hosts::relabel(store, now, &by, &agent.id, None, None, Some(1)).await.unwrap();
        assert_eq!(late, Changed::Stale);
        assert_eq!(
            hosts::remove(store, now, &by, &agent.id, "scrapped").await.unwrap(),
            Changed::Done(hosts::Host { revision: 3, ..host })
        );
        assert_eq!(hosts::remove(store, now, &by, &agent.id, "scrapped").await.unwrap(), Changed::Missing);
        until(async || centre.roster.number(&agent.id).is_none()).await;
        assert_eq!(agent.check_in().await.refusal(), (403, "revoked".to_owned()));
        assert_eq!(hosts::all(store).await.unwrap(), []);
    })
    .await;
}

async fn audited(store: &Store) -> Vec<String> {
    audit::after(store, 0, 100).await.unwrap().into_iter().map(|entry| entry.action).collect()
}
