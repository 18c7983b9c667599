//! Another authority: hosts stay enrolled, and what the old one signed is refused when it is retired.

use crate::fleet::{Agent, Answer, Centre, connect, csr, json, post, trusting, until};
use crate::store_for_tests::on_each_store;
use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::version::TLS13;
use server::identity::{Authority, Error};
use server::store::{Store, audit};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::v1::{CHECK_IN_PATH, RENEW_PATH, Renew, Renewed};

/// The agent after its renewal, as it keeps what it was told.
async fn renewed(centre: &Centre, agent: &Agent) -> (Agent, Renewed) {
    let key = KeyPair::generate().unwrap();
    let answer: Renewed = agent.post(RENEW_PATH, &Renew { csr: csr(&key) }).await.read();
    let config = trusting(&answer.authority, Some((&key, &answer.certificate)), &TLS13);
    let mut agent = Agent::new(centre, agent.id.clone(), key, &answer.certificate, "web-1");
    agent.config = config;
    (agent, answer)
}

/// A check-in that may end in the handshake.
async fn try_check_in(to: SocketAddr, config: &Arc<ClientConfig>, agent: &Agent) -> io::Result<Answer> {
    let mut connection = connect(to, config, None).await?;
    post(&mut connection, CHECK_IN_PATH, &[], &json(&agent.check_in)).await
}

async fn actions(store: &Store) -> Vec<String> {
    let entries = audit::after(store, 0, 100).await.unwrap();
    entries.into_iter().map(|entry| entry.action).filter(|action| action.starts_with("authority.")).collect()
}

#[tokio::test]
async fn hosts_survive_another_authority_and_what_the_old_one_signed_is_refused_once_it_is_retired() {
    on_each_store(async |fresh| {
        let one = Centre::start(&fresh).await;
        let other = Centre::start(&fresh).await;
        let agent = one.enrol("web-1").await;
        let left = one.enrol("web-2").await;
        let (old, old_pem) = (one.authority.fingerprint(), one.authority.pem());

        let now = Timestamp::now();
        let standing = Authority::rotate(&fresh.store, now, None, 30).await.unwrap();
        let next = standing.next.clone().unwrap();
        assert_eq!((standing.fingerprint.as_str(), next.hosts_left), (old.as_str(), 2));
        let life = next.takeover.until.duration_since(now);
        assert!(life >= SignedDuration::from_hours(30 * 24), "one certificate's life: {life}");
        assert!(matches!(Authority::rotate(&fresh.store, now, None, 30).await, Err(Error::Rotating)));
        for centre in [&one, &other] {
            until(async || centre.authority.pem() != old_pem).await;
        }

        // Certificates begin with whole seconds: let one pass.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        // Nobody notices; whoever renews is told of both, and has a certificate of the next one, good at every server.
        assert_eq!(agent.check_in().await.status, 200);
        let (agent, told) = renewed(&one, &agent).await;
        assert_eq!(told.authority, standing.certificates);
        assert_eq!(told.authority.matches("BEGIN CERTIFICATE").count(), 2);
        let new_pem = told.authority.strip_prefix(&old_pem).unwrap();
        for centre in [&one, &other] {
            assert_eq!(try_check_in(centre.address, &agent.config, &agent).await.unwrap().status, 200);
        }
        assert_eq!(left.check_in().await.status, 200);
        until(async || {
            Authority::standing(&fresh.store).await.unwrap().unwrap().next.unwrap().hosts_left == 1
        })
        .await;
        let joined = one.enrol("web-3").await;
        assert_eq!(joined.check_in().await.status, 200);

        // Too early: the host that has not renewed would be lost.
        let day = now + SignedDuration::from_hours(24);
        assert!(!Authority::retire_if_due(&fresh.store, day).await.unwrap());
        assert!(matches!(Authority::retire(&fresh.store, day, false).await, Err(Error::Early { .. })));
        assert_eq!(Authority::standing(&fresh.store).await.unwrap().unwrap().fingerprint, old);

        assert!(Authority::retire_if_due(&fresh.store, next.takeover.until).await.unwrap());
        assert!(!Authority::retire_if_due(&fresh.store, next.takeover.until).await.unwrap());
        for centre in [&one, &other] {
            until(async || centre.authority.fingerprint() == next.fingerprint).await;
            assert_eq!(centre.authority.pem(), new_pem);
            // Servers show the next one; whoever knows both, or only that one, is at home.
            for authorities in [told.authority.as_str(), new_pem] {
                let config = trusting(authorities, Some((&agent.key, &agent.certificate)), &TLS13);
                assert_eq!(try_check_in(centre.address, &config, &agent).await.unwrap().status, 200);
            }
            // What the old one signed is good for nothing, though it has not ended and its bearer trusts the server.
            let config = trusting(&told.authority, Some((&left.key, &left.certificate)), &TLS13);
            assert!(try_check_in(centre.address, &config, &left).await.is_err());
        }
        // A session of before is not resumed: its certificate is asked for again. And the old one is not believed.
        assert!(try_check_in(one.address, &left.config, &left).await.is_err());
        let strangers = trusting(&old_pem, None, &TLS13);
        assert!(connect(one.address, &strangers, None).await.is_err());
        let all = ["authority.create", "authority.rotate", "authority.retire"];
        assert_eq!(actions(&fresh.store).await, all);
    })
    .await;
}

#[tokio::test]
async fn the_next_authority_is_sealed_and_needs_the_same_file() {
    on_each_store(async |fresh| {
        let directory = tempfile::tempdir().unwrap();
        let (file, another) = (directory.path().join("authority.key"), directory.path().join("another.key"));
        let now = Timestamp::now();
        let authority = Authority::open_sealed(&fresh.store, now, &file).await.unwrap();
        assert!(Authority::rotate(&fresh.store, now, Some(&another), 30).await.is_err());
        assert!(!another.exists(), "a second file was made");
        Authority::rotate(&fresh.store, now, Some(&file), 30).await.unwrap();
        assert!(!Authority::is_clear(&fresh.store).await.unwrap());
        authority.reload(&fresh.store).await.unwrap();
        Authority::retire(&fresh.store, now, true).await.unwrap();
        let again = Authority::open_sealed(&fresh.store, now, &file).await.unwrap();
        assert_ne!(again.fingerprint(), authority.fingerprint());
        assert!(matches!(Authority::retire(&fresh.store, now, true).await, Err(Error::NotRotating)));
    })
    .await;
}
