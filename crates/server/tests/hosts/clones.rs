//! Copied images: two hosts on one key are noticed, named and held back; a restart is not taken for one.

use crate::fleet::{Agent, Centre, until};
use crate::store_for_tests::on_each_store;
use advisory::digest::sha256;
use jiff::Timestamp;
use server::hosts::Limits;
use server::store::audit::{self, Actor};
use server::store::hosts::{self, HostState};
use std::time::Duration;

#[tokio::test]
async fn two_hosts_that_speak_in_turn_are_quarantined_and_named() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let agent = centre.enrol("web-1").await;
        assert_eq!(agent.check_in_as("one", "127.0.0.2").await.status, 200);
        // Started anew: nothing to see here.
        assert_eq!(agent.check_in_as("two", "127.0.0.2").await.status, 200);
        assert_eq!(agent.check_in_as("two", "127.0.0.2").await.status, 200);
        assert_eq!(agent.check_in_as("copy", "127.0.0.3").await.status, 200);
        let refused = agent.check_in_as("two", "127.0.0.2").await;
        assert_eq!(refused.refusal(), (403, "quarantined".to_owned()));
        assert!(refused.head.contains("retry-after: "), "{}", refused.head);
        let host = hosts::get(&centre.store, &agent.id).await.unwrap().unwrap();
        assert_eq!(host.state, HostState::Quarantined);
        assert!(host.reason.contains("127.0.0.2") && host.reason.contains("127.0.0.3"), "{}", host.reason);
        let entry = audit::after(&centre.store, 0, 100).await.unwrap().pop().unwrap();
        assert_eq!((entry.action.as_str(), entry.object.as_str()), ("host.quarantine", agent.id.as_str()));
        assert_eq!(agent.check_in_as("copy", "127.0.0.3").await.status, 403);

        let (now, by) = (Timestamp::now(), Actor::Person("ada".to_owned()));
        hosts::release(&centre.store, now, &by, &agent.id, "looked at it").await.unwrap();
        until(async || centre.roster.census(now, 15).quarantined == 0).await;
        assert_eq!(agent.check_in_as("two", "127.0.0.2").await.status, 200);
        let host = hosts::get(&centre.store, &agent.id).await.unwrap().unwrap();
        assert_eq!((host.state, host.machine), (HostState::Active, sha256(b"web-1")));
    })
    .await;
}

#[tokio::test]
async fn another_machine_under_the_same_key_is_quarantined_and_named() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let mut agent = centre.enrol("web-1").await;
        assert_eq!(agent.check_in_as("one", "127.0.0.2").await.status, 200);
        agent.check_in.machine = sha256(b"another machine");
        let refused = agent.check_in_as("other", "127.0.0.3").await;
        assert_eq!(refused.refusal(), (403, "quarantined".to_owned()));
        let host = hosts::get(&centre.store, &agent.id).await.unwrap().unwrap();
        assert_eq!(host.state, HostState::Quarantined);
        assert!(host.reason.contains("127.0.0.2") && host.reason.contains("127.0.0.3"), "{}", host.reason);

        // The operator kept the new one: released, whoever speaks next is the host, and the other one a copy.
        let (now, by) = (Timestamp::now(), Actor::Person("ada".to_owned()));
        hosts::release(&centre.store, now, &by, &agent.id, "looked at it").await.unwrap();
        until(async || centre.roster.census(now, 15).quarantined == 0).await;
        assert_eq!(agent.check_in_as("other", "127.0.0.3").await.status, 200);
        agent.check_in.machine = sha256(b"web-1");
        assert_eq!(agent.check_in_as("one", "127.0.0.2").await.status, 403);
    })
    .await;
}

/// Checks in with one of two servers, and waits until the other one could know of it.
async fn heard_by(centre: &Centre, agent: &mut Agent, stream: &str, from: &str) -> u16 {
    agent.address = centre.address;
    let before = Timestamp::now();
    let status = agent.check_in_as(stream, from).await.status;
    if status == 200 {
        let seen = async || hosts::get(&centre.store, &agent.id).await.unwrap().unwrap().seen_at > before;
        until(seen).await;
    }
    status
}

#[tokio::test]
async fn copies_that_speak_through_different_servers_are_quarantined_and_named() {
    on_each_store(async |fresh| {
        let limits = Limits { flushed: Duration::from_millis(20), ..Limits::default() };
        let one = Centre::start_within(&fresh, limits.clone()).await;
        let other = Centre::start_within(&fresh, limits).await;
        let mut agent = one.enrol("web-1").await;
        until(async || other.roster.number(&agent.id).is_some()).await;

        // Behind a balancer, and started anew each time: one host.
        for run in 0..12 {
            let stream = format!("run {run}");
            for centre in [&one, &other, &one] {
                assert_eq!(heard_by(centre, &mut agent, &stream, "127.0.0.2").await, 200);
            }
        }
        // Neither server hears both of these.
        let mut rounds = 0;
        let id = agent.id.clone();
        let state = async || hosts::get(&one.store, &id).await.unwrap().unwrap();
        while state().await.state == HostState::Active {
            assert!(rounds < 8, "not noticed");
            rounds += 1;
            heard_by(&one, &mut agent, "original", "127.0.0.2").await;
            heard_by(&other, &mut agent, "copy", "127.0.0.3").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let host = state().await;
        assert!(host.reason.contains("127.0.0.2") && host.reason.contains("127.0.0.3"), "{}", host.reason);
        let entries = audit::after(&one.store, 0, 100).await.unwrap();
        let held = |entry: &&audit::Entry| entry.action == "host.quarantine" && entry.object == agent.id;
        assert_eq!(entries.iter().filter(held).count(), 1);
        let now = Timestamp::now();
        for centre in [&one, &other] {
            until(async || centre.roster.census(now, 15).quarantined == 1).await;
            assert_eq!(heard_by(centre, &mut agent, "copy", "127.0.0.3").await, 403);
        }

        // Looked at and released, it is one host again, until the copy speaks.
        hosts::release(&one.store, now, &Actor::Person("ada".to_owned()), &agent.id, "why").await.unwrap();
        until(async || one.roster.census(now, 15).quarantined == 0).await;
        until(async || other.roster.census(now, 15).quarantined == 0).await;
        assert_eq!(heard_by(&one, &mut agent, "original", "127.0.0.2").await, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(heard_by(&one, &mut agent, "original", "127.0.0.2").await, 200);
    })
    .await;
}

#[tokio::test]
async fn servers_that_write_late_what_an_ended_run_said_make_no_copy_of_it() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let agent = centre.enrol("web-1").await;
        let mut at = Timestamp::now();
        let hurry = tokio_util::sync::CancellationToken::new();
        // Three servers that still have to write the old run, and whose clocks are ahead; the new one is heard in between.
        for stream in [1, 2, 1, 2, 1, 2, 1, 2, 2, 2, 2] {
            at += jiff::SignedDuration::from_secs(30);
            let (address, version) = ("127.0.0.2".to_owned(), "0.1.0".to_owned());
            let seen = hosts::Seen {
                id: agent.id.clone(),
                at,
                address,
                agent: version,
                stream,
                clock_ahead_seconds: 0,
            };
            hosts::saw(&centre.store, &[seen], &hurry).await.unwrap();
            assert_eq!(hosts::in_turns(&centre.store).await.unwrap(), []);
        }
    })
    .await;
}
