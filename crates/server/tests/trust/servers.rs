//! Servers that die, that are several, and that lose their key.

use crate::signing::{act, office, plan};
use crate::store_for_tests::on_each_store;
use rollout::plan::{Digest, PlanId};
use serde_json::json;
use server::signing::Signing;
use server::store::audit::Actor;
use server::store::commit;
use trust::proposal::Countersigned;

#[tokio::test(flavor = "multi_thread")]
async fn what_broke_off_between_publishing_and_acting_is_done_at_the_next_start() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        let (plan, proposal) = plan(&office, "web").await;
        assert_eq!(office.sign(&proposal, &office.keys[0]).await.status, 200);
        let signed: Vec<Countersigned> =
            serde_json::from_value(office.signed(&proposal, &office.keys[1]).await).unwrap();
        // The text is lost while the last one signs: nothing is published, and nothing of it stays.
        let body: Vec<u8> = sqlx::query_scalar("SELECT body FROM plans WHERE id = $1")
            .bind(plan.clone())
            .fetch_one(centre.store.reader())
            .await
            .unwrap();
        let set = async |body: Vec<u8>| {
            let mut writing = centre.store.begin().await.unwrap();
            sqlx::query("UPDATE plans SET body = $1 WHERE id = $2")
                .bind(body)
                .bind(plan.clone())
                .execute(&mut *writing)
                .await
                .unwrap();
            commit(writing, "test").await.unwrap();
        };
        set(Vec::new()).await;
        let failed = centre.signing.sign(&proposal, &signed, &Actor::Server, centre.now()).await;
        assert!(failed.is_err());
        assert_eq!(office.proposal(&proposal).await["state"], "open");
        assert_eq!(office.proposal(&proposal).await["missing"], json!([]));
        set(body).await;
        // Published by the next tick of anybody; this server dies before it acts.
        centre.signing.sign(&proposal, &signed, &Actor::Server, centre.now()).await.unwrap();
        assert_eq!(office.proposal(&proposal).await["state"], "published");
        assert_eq!(office.rollout(&plan).await["state"], "draft");
        for _ in 0..2 {
            centre.signing.tick(&centre.app, centre.now()).await.unwrap();
            assert_eq!(office.rollout(&plan).await["state"], "armed");
        }
        act(&office, &plan, "start").await;
        centre.signing.tick(&centre.app, centre.now()).await.unwrap();
        assert_eq!(office.rollout(&plan).await["state"], "wave");
        let (_, problems) =
            server::signing::doctor(&centre.store, &centre.keys.path().join("authority.key"), centre.now())
                .await
                .unwrap();
        assert_eq!(problems, [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_servers_either_publishes_once_and_the_other_learns_of_it() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        let told = std::sync::Arc::new(tokio::sync::Notify::new());
        let key_file = centre.keys.path().join("authority.key");
        let other = Signing::open(&centre.store, told, &key_file, false, centre.now()).await.unwrap();
        let (plan, proposal) = plan(&office, "web").await;
        let signed = async |key: usize| -> Vec<Countersigned> {
            serde_json::from_value(office.signed(&proposal, &office.keys[key]).await).unwrap()
        };
        let (ada, ben, now) = (signed(0).await, signed(1).await, centre.now());
        let (one, two) = tokio::join!(
            Box::pin(centre.signing.sign(&proposal, &ada, &Actor::Server, now)),
            Box::pin(other.sign(&proposal, &ben, &Actor::Server, now))
        );
        assert!(one.unwrap() || two.unwrap(), "whoever was last has published");
        let id = PlanId(plan.parse().unwrap());
        let digest =
            Digest::try_from(office.plan(&plan).await["digest"].as_str().unwrap().to_owned()).unwrap();
        for event in server::store::events::after(&centre.store, 0, 1_000).await.unwrap() {
            centre.signing.follow(&event).await.unwrap();
            other.follow(&event).await.unwrap();
        }
        for signing in [&centre.signing, &other] {
            assert!(signing.is_in_force(id, digest));
            signing.settle(&centre.app, now).await.unwrap();
        }
        assert_eq!(office.rollout(&plan).await["state"], "armed");
        let published: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM audit WHERE action = 'proposal.publish'")
                .fetch_one(centre.store.reader())
                .await
                .unwrap();
        assert_eq!(published, 2, "the founding and the plan, once each");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_key_file_says_so_until_owners_put_another_key_in_its_place() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        let mut host = office.host(&centre.signing.root().unwrap());
        host.update(centre.now()).await.unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let told = std::sync::Arc::new(tokio::sync::Notify::new());
        let key_file = elsewhere.path().join("authority.key");
        let other = Signing::open(&centre.store, told, &key_file, false, centre.now()).await.unwrap();
        assert!(other.alarms(centre.now())[0].contains("nothing is kept fresh"));
        centre.wait(4 * 3_600);
        assert!(other.refresh(centre.now()).await.is_err());
        let key = other.other_key(centre.now()).await.unwrap();
        let change = server::signing::Change::Online(key.to_string());
        let now = centre.now();
        let proposal = other.propose(&change, "another key", &Actor::Server, now).await.unwrap().id;
        for key in &office.keys[..2] {
            let signed = serde_json::from_value(office.signed(&proposal, key).await).unwrap();
            let signed: Vec<Countersigned> = signed;
            other.sign(&proposal, &signed, &Actor::Server, now).await.unwrap();
        }
        assert!(other.has_key());
        assert_eq!(other.alarms(now), [""; 0]);
        for event in server::store::events::after(&centre.store, 0, 1_000).await.unwrap() {
            centre.signing.follow(&event).await.unwrap();
        }
        assert!(!centre.signing.has_key(), "it was this one's turn");
        host.update(now).await.unwrap();
    })
    .await;
}
