//! What must not work, by the name of the attack.

use crate::fleet::{Agent, Centre, answer, connect, csr, inventory, json, post, report, send_head};
use crate::store_for_tests::on_each_store;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use server::hosts::{Barred, Limits};
use server::identity::{Authority, Peer};
use server::store::audit::Actor;
use server::store::{Store, enrolment, hosts, inventories};
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::v1::{CHECK_IN_PATH, ENROL_PATH, REPORT_PATH};

/// Everything that takes time is over in a moment.
fn hurried() -> Limits {
    Limits {
        handshake: Duration::from_millis(300),
        head: Duration::from_millis(300),
        body_grace: Duration::from_millis(300),
        body_rate: 1 << 20,
        ..Limits::default()
    }
}

#[tokio::test]
async fn expired_foreign_and_self_made_certificates_are_not_let_in() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let agent = centre.enrol("web-1").await;
        let id = agent.id.parse().unwrap();
        let (now, request) = (Timestamp::now(), csr(&agent.key));
        let long_ago = now - SignedDuration::from_hours(24 * 31);
        let expired = centre.authority.sign_host(&request, id, long_ago, 30).unwrap().pem;

        let elsewhere = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", elsewhere.path().join("p.db").display());
        let theirs = Authority::open(&Store::open(&url).await.unwrap(), now).await.unwrap();
        let foreign = theirs.sign_host(&request, id, now, 30).unwrap().pem;

        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, agent.id.clone());
        params.subject_alt_names = vec![SanType::URI(format!("urn:uuid:{id}").try_into().unwrap())];
        let self_made = params.self_signed(&agent.key).unwrap().pem();

        for certificate in [expired, foreign, self_made] {
            for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
                let config = centre.config_of(Some((&agent.key, &certificate)), version);
                let outcome = async {
                    let mut stream = connect(centre.address, &config, None).await?;
                    post(&mut stream, CHECK_IN_PATH, &[], &json(&agent.check_in)).await
                };
                assert!(outcome.await.is_err(), "{version:?}");
            }
        }
        // And none at all.
        let mut stream = connect(centre.address, &centre.config(None), None).await.unwrap();
        let refused = post(&mut stream, CHECK_IN_PATH, &[], &json(&agent.check_in)).await.unwrap();
        assert_eq!(refused.refusal(), (401, "token".to_owned()));

        // A session that was begun in time and goes on after the end.
        let signed = centre.authority.sign_host(&request, id, now, 30).unwrap();
        let serial = u128::from_str_radix(&signed.serial, 16).unwrap();
        let peer = Peer { host: id, serial, not_after: signed.not_after };
        let last = signed.not_after - SignedDuration::from_secs(1);
        assert_eq!(centre.roster.standing(&peer, last), Ok(()));
        assert_eq!(centre.roster.standing(&peer, signed.not_after), Err(Barred::CertificateEnded));
        assert_eq!(agent.check_in().await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_token_replayed_expired_or_revoked_lets_nobody_in() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let keys: Vec<KeyPair> = (0..5).map(|_| KeyPair::generate().unwrap()).collect();
        // Two at once, and one later.
        let token = centre.token().await;
        let (one, two) =
            tokio::join!(centre.try_enrol(&keys[0], &token, "a"), centre.try_enrol(&keys[1], &token, "b"));
        let mut status = [one.status, two.status];
        status.sort_unstable();
        assert_eq!(status, [200, 403]);
        let replayed = centre.try_enrol(&keys[2], &token, "c").await;
        assert_eq!(replayed.refusal(), (403, "token".to_owned()));

        let (_, expired) = centre.token_for(SignedDuration::from_secs(-1), 1).await;
        let (id, revoked) = centre.token_for(SignedDuration::from_hours(1), 1).await;
        assert!(enrolment::revoke(&centre.store, Timestamp::now(), &Actor::Server, &id).await.unwrap());
        for token in [expired.as_str(), revoked.as_str(), "enrol-0000", "'; DROP TABLE hosts; --"] {
            assert_eq!(centre.try_enrol(&keys[3], token, "d").await.refusal(), (403, "token".to_owned()));
        }
        assert_eq!(hosts::all(&centre.store).await.unwrap().len(), 1);

        // For three hosts: three, also when five come at once.
        let (id, three) = centre.token_for(SignedDuration::from_hours(1), 3).await;
        let coming = keys.iter().map(|key| async {
            let other = KeyPair::generate().unwrap();
            let _ = key;
            centre.try_enrol(&other, &three, "e").await.status
        });
        let mut status = futures_util::future::join_all(coming).await;
        status.sort_unstable();
        assert_eq!(status, [200, 200, 200, 403, 403]);
        let listed = enrolment::list(&centre.store).await.unwrap();
        let token = listed.iter().find(|token| token.id == id).unwrap();
        assert_eq!((token.used, token.hosts), (3, 3));
    })
    .await;
}

#[tokio::test]
async fn an_address_that_guesses_tokens_has_to_wait() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let key = KeyPair::generate().unwrap();
        for _ in 0..10 {
            assert_eq!(centre.try_enrol(&key, "enrol-0000", "x").await.status, 403);
        }
        let good = centre.token().await;
        let refused = centre.try_enrol(&key, &good, "x").await;
        assert_eq!(refused.refusal(), (429, "busy".to_owned()));
        assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    })
    .await;
}

#[tokio::test]
async fn a_host_cannot_write_another_ones_inventory() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let (mut liar, victim) = (centre.enrol("liar").await, centre.enrol("victim").await);
        // There is no field for it; one that is made up is not heeded.
        let mut body = serde_json::to_value(report(&inventory(&[("openssl", "1")]))).unwrap();
        body["host"] = victim.id.clone().into();
        let mut stream = liar.connect().await.unwrap();
        let named = format!("X-Host: {}", victim.id);
        let reported = post(&mut stream, REPORT_PATH, &[&named], &json(&body)).await.unwrap();
        assert_eq!(reported.status, 200);
        assert!(inventories::current(&centre.store, &victim.id).await.unwrap().is_none());
        assert!(inventories::current(&centre.store, &liar.id).await.unwrap().is_some());
        // Nor can it lay a body under the hash that another host's piece has.
        let mut poisoned = report(&inventory(&[("openssl", "2")]));
        let (hash, _) = poisoned.bodies.iter().find(|(_, body)| body.contains("openssl")).unwrap();
        let hash = hash.clone();
        let part = poisoned.parts.iter().find(|(_, other)| **other == hash).unwrap().0.clone();
        poisoned.parts.remove(&part);
        poisoned.parts.insert("future".to_owned(), hash.clone());
        poisoned.bodies.insert(hash.clone(), "[]".to_owned());
        assert_eq!(liar.post(REPORT_PATH, &poisoned).await.refusal(), (422, "malformed".to_owned()));
        assert_eq!(liar.report(&inventory(&[("openssl", "2")])).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_body_of_a_gigabyte_is_cut() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let agent = centre.enrol("web-1").await;
        for path in [ENROL_PATH, CHECK_IN_PATH, REPORT_PATH] {
            let mut stream = agent.connect().await.unwrap();
            send_head(&mut stream, path, &["Content-Length: 1073741824"]).await.unwrap();
            assert_eq!(answer(&mut stream).await.unwrap().refusal(), (413, "malformed".to_owned()));
        }
        // Without saying so before.
        let mut stream = agent.connect().await.unwrap();
        send_head(&mut stream, REPORT_PATH, &["Transfer-Encoding: chunked"]).await.unwrap();
        let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 1 << 16], b"\r\n"].concat();
        let mut sent = 0;
        while sent < 1 << 30 && stream.write_all(&chunk).await.is_ok() {
            sent += 1 << 16;
        }
        assert!(sent < 64 << 20, "{sent}");
        assert_eq!(agent.check_in().await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn slow_handshakes_heads_and_bodies_are_cut() {
    on_each_store(async |fresh| {
        let centre = Centre::start_within(&fresh, hurried()).await;
        let agent = centre.enrol("web-1").await;
        let start = Instant::now();
        let mut silent = TcpStream::connect(centre.address).await.unwrap();
        assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0);

        let mut half = agent.connect().await.unwrap();
        half.write_all(b"POST /agent/v1/check-in HTTP/1.1\r\nHost: l").await.unwrap();
        let mut rest = Vec::new();
        let _ = half.read_to_end(&mut rest).await;

        let mut slow = agent.connect().await.unwrap();
        send_head(&mut slow, REPORT_PATH, &["Content-Length: 1000"]).await.unwrap();
        for _ in 0..10 {
            let _ = slow.write_all(b" ").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(answer(&mut slow).await.unwrap().refusal(), (408, "malformed".to_owned()));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    })
    .await;
}

#[tokio::test]
async fn a_bomb_is_not_unpacked_and_an_honest_body_is() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let agent = centre.enrol("web-1").await;
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        let megabyte = vec![b' '; 1 << 20];
        for _ in 0..200 {
            bomb.write_all(&megabyte).unwrap();
        }
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 1 << 20);
        let body = json(&report(&inventory(&[("openssl", "1")])));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&body).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&body).unwrap();
        let cases: [(&str, &[u8], u16); 5] = [
            ("gzip", &bomb, 413),
            ("gzip", &gzip.finish().unwrap(), 200),
            ("deflate", &zlib.finish().unwrap(), 200),
            ("gzip", b"not gzip", 400),
            ("br", &body, 415),
        ];
        for (encoding, body, status) in cases {
            let mut stream = agent.connect().await.unwrap();
            let header = format!("Content-Encoding: {encoding}");
            let answer = post(&mut stream, REPORT_PATH, &[&header], body).await.unwrap();
            assert_eq!(answer.status, status, "{encoding}: {answer:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_cannot_forge_a_line_of_a_log() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let name = format!("web\n2026-01-01 ERROR all is lost\0\u{1b}[2J{}", "x".repeat(300));
        let key = KeyPair::generate().unwrap();
        assert_eq!(centre.try_enrol(&key, &centre.token().await, &name).await.status, 200);
        let host = hosts::all(&centre.store).await.unwrap().pop().unwrap();
        assert!(!host.name.chars().any(char::is_control) && host.name.len() <= 253, "{:?}", host.name);
    })
    .await;
}

#[tokio::test]
async fn strangers_from_one_address_leave_room_for_others() {
    on_each_store(async |fresh| {
        let limits = Limits { strangers: 3, ..Limits::default() };
        let centre = Centre::start_within(&fresh, limits).await;
        let agent = centre.enrol("web-1").await;
        let mut idle = Vec::new();
        for _ in 0..3 {
            idle.push(TcpStream::connect(centre.address).await.unwrap());
        }
        let mut late = TcpStream::connect(centre.address).await.unwrap();
        assert_eq!(late.read(&mut [0; 8]).await.unwrap_or(0), 0);
        assert_eq!(agent.check_in_as("first", "127.0.0.2").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_request_of_ours_is_refused() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let agent: Agent = centre.enrol("web-1").await;
        for (path, body, status) in [
            ("/agent/v1/nothing", "{}".to_owned(), 404),
            ("/agent/v1/check-in/../inventory", "{}".to_owned(), 404),
            (CHECK_IN_PATH, "{".to_owned(), 400),
            (CHECK_IN_PATH, "[".repeat(4_000), 400),
            (CHECK_IN_PATH, "[".repeat(5_000), 413),
            (REPORT_PATH, "[".repeat(100_000), 400),
            (REPORT_PATH, r#"{"observed_at":0,"parts":{"system":"x"},"bodies":{}}"#.to_owned(), 422),
            (REPORT_PATH, r#"{"observed_at":9223372036854775807,"parts":{},"bodies":{}}"#.to_owned(), 400),
            (REPORT_PATH, r#"{"observed_at":0,"parts":{},"bodies":{}}"#.to_owned(), 422),
        ] {
            let mut stream = agent.connect().await.unwrap();
            let answer = post(&mut stream, path, &[], body.as_bytes()).await.unwrap();
            assert_eq!(
                answer.refusal(),
                (status, "malformed".to_owned()),
                "{path} {}",
                &body[..body.len().min(60)]
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_host_that_hammers_waits_and_its_neighbour_behind_the_same_address_does_not() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let (loud, calm) = (centre.enrol("loud").await, centre.enrol("calm").await);
        let mut connection = loud.connect().await.unwrap();
        let body = json(&loud.check_in);
        let (mut answered, mut refused) = (0, None);
        for _ in 0..200 {
            let answer = post(&mut connection, CHECK_IN_PATH, &[], &body).await.unwrap();
            if answer.status != 200 {
                refused = Some(answer);
                break;
            }
            answered += 1;
        }
        let refused = refused.expect("200 at once are too many");
        assert!(answered >= 120, "{answered}");
        assert_eq!(refused.refusal(), (429, "busy".to_owned()));
        assert!(refused.head.contains("retry-after: 1\r\n"), "{}", refused.head);
        assert_eq!(centre.roster.counters.refused_hurried.load(Ordering::Relaxed), 1);
        assert_eq!(calm.check_in().await.status, 200);
        // What was refused is not held against it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(loud.check_in().await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_clock_set_back_does_not_shut_a_host_out() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let agent = centre.enrol("web-1").await;
        let (id, pace, now) = (agent.id.parse().unwrap(), SignedDuration::from_secs(1), Timestamp::now());
        let hurries = |now| centre.roster.hurries(&id, pace, now);
        assert_eq!(hurries(now + SignedDuration::from_hours(24)), None);
        assert_eq!(hurries(now), Some(1), "as if it had used all it may");
        assert_eq!(hurries(now + pace), None);
        assert_eq!((0..1_000).take_while(|_| hurries(now + pace * 500).is_none()).count(), 120);
    })
    .await;
}
