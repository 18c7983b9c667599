//! Copied images: two hosts on one key are noticed, named and held back; a restart is not taken for one.

use crate::fleet::{Centre, until};
use crate::store_for_tests::on_each_store;
use advisory::digest::sha256;
use jiff::Timestamp;
use server::store::audit::{self, Actor};
use server::store::hosts::{self, HostState};

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
