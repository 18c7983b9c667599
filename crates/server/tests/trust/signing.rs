//! Who may sign, what is in force then, and what hosts make of it.

use crate::api_for_tests::Centre;
use crate::people::{Office, id, key, line};
use crate::store_for_tests::{Fresh, on_each_store};
use crate::world::{answers, changes, host};
use rollout::plan::{Digest, PlanId};
use rollout::word::Word;
use serde_json::{Value, json};
use server::config::{Config, Trust};
use server::store::audit::Actor;
use trust::statement::NotHalted;

pub async fn office(fresh: Fresh) -> Office {
    Office::founded(Centre::new(fresh.store).await).await
}

/// A plan that is ready and proposed: its id, and the proposal's.
pub async fn plan(office: &Office, name: &str) -> (String, String) {
    let centre = &office.centre;
    let web = host(centre, name, &[], "12", &[("libssl3", "3.0.11", false)]).await;
    let body =
        json!({ "fix": ["openssl"], "select": format!("name={name}"), "title": format!("Fix {name}") });
    let answer = centre.post(&office.operator, "/api/v1/plans", &body).await;
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    let plan = id(&answer.json());
    assert!(answers(centre, &web, changes(&[("libssl3", Some("3.0.11"), "3.0.15")]), &[]).await);
    let told = office.plan(&plan).await;
    assert_eq!(told["state"], "ready", "{told}");
    (plan, told["proposal"].as_str().unwrap().to_owned())
}

pub async fn act(office: &Office, plan: &str, what: &str) -> Value {
    let path = format!("/api/v1/rollouts/{plan}/{what}");
    let body = if what == "start" { json!({}) } else { json!({ "reason": "because" }) };
    let answer = office.centre.post(&office.operator, &path, &body).await;
    assert_eq!(answer.status, 200, "{what}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_found_the_trust_and_nobody_else_does() {
    on_each_store(async |fresh| {
        let office = Office::new(Centre::new(fresh.store).await).await;
        let centre = &office.centre;
        assert_eq!(office.trust().await["founded"], false);
        assert_eq!(centre.get(&office.viewer, "/api/v1/trust/root").await.status, 404);
        let proposal = office.found().await;
        let told = office.proposal(&proposal).await;
        let differences = told["differences"].to_string();
        for said in ["people approve: 2 of 3 keys", "ada", "the server's own key is"] {
            assert!(differences.contains(said), "{said}: {differences}");
        }
        assert_eq!(told["missing"].as_array().unwrap().len(), 3);
        assert_eq!(told["missing"][0]["count"], 2);
        // A stranger's key, ada's name over somebody else's signature, and what she signed for another proposal.
        let mallory = key("mallory");
        let good = office.signed(&proposal, &office.keys[0]).await;
        let mut forged = good.clone();
        forged[0]["keyid"] = json!(mallory.public().id().to_string());
        assert_eq!(office.send(&proposal, &forged).await.status, 422);
        forged[0]["keyid"] = json!(office.keys[1].public().id().to_string());
        assert_eq!(office.send(&proposal, &forged).await.status, 422);
        centre.wait(1);
        let other = office.found().await;
        let answer = office.send(&other, &good).await;
        assert_eq!(answer.status, 422, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(office.send(&proposal, &json!([{ "document": "root" }])).await.status, 400);
        // Twice is once.
        for _ in 0..2 {
            let answer = office.send(&proposal, &good).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["state"]), (200, &json!("open")));
        }
        let told = office.proposal(&proposal).await;
        assert_eq!(told["missing"][0]["count"], 1);
        assert_eq!(told["signed"][0]["keys"][0]["name"], "ada");
        // One-key mode's way is closed.
        let alone =
            centre.post(&office.approver, &format!("/api/v1/proposals/{proposal}/sign"), &json!({})).await;
        assert_eq!(alone.status, 409);
        let answer = office.sign(&proposal, &office.keys[2]).await;
        assert_eq!(answer.json()["state"], "published");
        let told = office.trust().await;
        assert_eq!(
            (&told["founded"], &told["one_key"], &told["root_version"]),
            (&json!(true), &json!(false), &json!(1))
        );
        assert_eq!(told["approvers"]["threshold"], 2);
        let root = centre.get(&office.viewer, "/api/v1/trust/root").await.body;
        assert_eq!(office.host(&root).update(centre.now()).await.unwrap(), []);
        // The other founding is over, and there is no third.
        let other = office.proposal(&other).await;
        assert_eq!(other["state"], "withdrawn");
        assert!(other["why"].as_str().unwrap().contains("founded already"), "{other}");
        let quorum = json!({ "threshold": 1, "keys": [line(&mallory)] });
        let again = json!({ "owners": quorum, "approvers": quorum });
        assert_eq!(centre.post(&office.admin, "/api/v1/trust/founding", &again).await.status, 409);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_reads_a_plan_as_its_approvers_signed_it_and_no_more_once_it_is_withdrawn() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        let root = centre.signing.root().unwrap();
        let mut host = office.host(&root);
        let (first, first_proposal) = plan(&office, "first").await;
        let (second, second_proposal) = plan(&office, "second").await;
        // Ben signs the second; then the first is published.
        let early = office.signed(&second_proposal, &office.keys[1]).await;
        assert_eq!(office.send(&second_proposal, &early).await.status, 200);
        assert_eq!(centre.get(&office.viewer, &format!("/api/v1/rollouts/{first}")).await.status, 404);
        office.approve(&first_proposal).await;
        assert_eq!(office.rollout(&first).await["state"], "armed");
        let told = office.proposal(&second_proposal).await;
        assert_eq!(
            (&told["state"], &told["signed"]),
            (&json!("open"), &json!([])),
            "nobody has signed what is new"
        );
        assert!(told["why"].as_str().unwrap().contains("signed anew"), "{told}");
        assert_eq!(
            office.send(&second_proposal, &early).await.status,
            422,
            "what was signed was another list"
        );
        office.approve(&second_proposal).await;

        let listed = host.update(centre.now()).await.unwrap();
        assert_eq!(listed.len(), 2);
        let bytes = centre.get(&office.viewer, &format!("/api/v1/plans/{first}/bytes")).await.body;
        assert_eq!(host.read(&first, centre.now()).await, bytes);
        assert_eq!(office.plan(&first).await["digest"], Digest::of(&bytes).to_string());
        let whole = centre.get(&office.viewer, &format!("/api/v1/plans/{first}?body=true")).await.json();
        assert_eq!(whole["plan"]["title"], "Fix first");
        assert_eq!(office.plan(&first).await["plan"], Value::Null);
        assert!(centre.signing.file("metadata/standing.json").await.unwrap().is_none());

        act(&office, &second, "start").await;
        let bearer = format!("Bearer {}", office.operator);
        let path = format!("/api/v1/plans/{second}?reason=withdrawn%20by%20the%20vendor");
        let answer = centre.ask("DELETE", &path, &[("authorization", &bearer)], None).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["kind"]), (200, &json!("withdraw")));
        office.approve(&id(&answer.json())).await;
        let rollout = office.rollout(&second).await;
        assert_eq!(rollout["state"], "retracted");
        assert!(rollout["state_text"].as_str().unwrap().contains("by the vendor"), "{rollout}");
        assert_eq!(office.plan(&second).await["state"], "withdrawn");
        let listed = host.update(centre.now()).await.unwrap();
        assert_eq!(listed.iter().map(|plan| plan.name.0.to_string()).collect::<Vec<_>>(), [first]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_rollout_goes_on_and_back_only_by_its_approvers_word() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        let (plan, proposal) = plan(&office, "web").await;
        office.approve(&proposal).await;
        let path = format!("/api/v1/rollouts/{plan}");
        let post = async |token: &str, what: &str| {
            centre.post(token, &format!("{path}/{what}"), &json!({ "reason": "odd" })).await
        };
        assert_eq!(post(&office.operator, "back").await.status, 409, "nothing was installed");
        assert_eq!(post(&office.operator, "resume").await.status, 409, "it has not stopped");
        assert_eq!(post(&office.operator, "pause").await.status, 409, "it has not begun");
        act(&office, &plan, "start").await;
        let watch = centre.user(server::people::roles::Role::Watch).await.1;
        let paused = post(&watch, "pause").await.json();
        assert_eq!(paused["state_text"], "paused by watch: odd in wave 0, open");
        let resume = id(&act(&office, &plan, "resume").await);
        assert_eq!(id(&act(&office, &plan, "resume").await), resume, "once is enough");
        assert!(office.proposal(&resume).await["differences"].to_string().contains("goes on (1): because"));
        assert_eq!(office.sign(&resume, &office.keys[0]).await.status, 200);
        assert_eq!(office.rollout(&plan).await["state"], "paused", "one of two");
        assert_eq!(office.sign(&resume, &office.keys[2]).await.status, 200);
        let rollout = office.rollout(&plan).await;
        assert_eq!((&rollout["state"], &rollout["generation"]), (&json!("wave"), &json!(1)));
        assert_eq!(post(&watch, "halt").await.json()["state"], "halted");
        let id_of = PlanId(plan.parse().unwrap());
        let digest =
            Digest::try_from(office.plan(&plan).await["digest"].as_str().unwrap().to_owned()).unwrap();
        assert_eq!(centre.signing.word_in_force(id_of, digest), None);
        let back = id(&act(&office, &plan, "back").await);
        let object = office.proposal(&back).await["object"].as_str().unwrap().to_owned();
        office.approve(&back).await;
        assert_eq!(office.rollout(&plan).await["state"], "rolling-back");
        assert_eq!(centre.signing.word_in_force(id_of, digest), Some(object.parse().unwrap()));
        let mut host = office.host(&centre.signing.root().unwrap());
        // The word that was used has left the list.
        assert_eq!(host.update(centre.now()).await.unwrap().len(), 2);
        let word = Word::read(&host.read(&object, centre.now()).await).unwrap();
        assert!(word.allows_back(id_of, digest));
        // A word that is still to be signed goes with its plan.
        let (other, proposal) = self::plan(&office, "other").await;
        office.approve(&proposal).await;
        act(&office, &other, "start").await;
        act(&office, &other, "halt").await;
        let back = id(&act(&office, &other, "back").await);
        let bearer = format!("Bearer {}", office.operator);
        let path = format!("/api/v1/plans/{other}");
        let withdrawal = centre.ask("DELETE", &path, &[("authorization", &bearer)], None).await.json();
        office.approve(&id(&withdrawal)).await;
        let told = office.proposal(&back).await;
        assert_eq!(told["state"], "withdrawn");
        assert!(told["why"].as_str().unwrap().contains("the plan is not in force any more"), "{told}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_and_revoked_and_hosts_follow() {
    on_each_store(async |fresh| {
        let mut office = office(fresh).await;
        let mut host = office.host(&office.centre.signing.root().unwrap());
        host.update(office.centre.now()).await.unwrap();
        let dora = key("dora");
        let old = office.keys[0].public().id();
        let rotate = json!({ "rotate": { "old": old.short(), "new": line(&dora) } });
        let proposal = id(&office.change(&rotate).await.json());
        // Two of those before, and two of those after.
        for signer in &office.keys {
            assert_eq!(office.sign(&proposal, signer).await.status, 200);
        }
        assert_eq!(office.proposal(&proposal).await["state"], "published");
        office.keys[0] = dora;
        let cleo = office.keys[2].public().id();
        let proposal = id(&office.change(&json!({ "revoke": cleo.to_string() })).await.json());
        // Whoever is revoked has no word in it; ada is out already.
        office.approve(&proposal).await;
        let told = office.trust().await;
        assert_eq!(told["root_version"], 3);
        let names: Vec<&str> = told["approvers"]["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["name"].as_str().unwrap())
            .collect();
        assert_eq!((names.len(), names.contains(&"dora"), names.contains(&"cleo")), (2, true, false));
        for (change, status) in [
            (json!({ "revoke": cleo.to_string() }), 422),
            (json!({ "revoke": "0" }), 422),
            (json!({ "approvers": { "threshold": 3, "keys": [line(&office.keys[0])] } }), 422),
            (json!({ "rotate": { "old": cleo.to_string(), "new": "ssh-rsa AAAA" } }), 422),
            (json!({ "renew": false }), 400),
            (json!({ "renew": true, "online": true }), 400),
            (json!({}), 400),
        ] {
            assert_eq!(office.change(&change).await.status, status, "{change}");
        }
        // The server's own key.
        let before = office.trust().await["online"][0]["id"].clone();
        let proposal = id(&office.change(&json!({ "online": true })).await.json());
        office.approve(&proposal).await;
        let centre = &office.centre;
        assert_ne!(office.trust().await["online"][0]["id"], before);
        host.update(centre.now()).await.unwrap();
        let said = NotHalted {
            fence: 1,
            host: uuid::Uuid::from_u128(1),
            issued_at: centre.now(),
            nonce: 7,
            plan: uuid::Uuid::from_u128(2),
        };
        let (bytes, now) = (centre.signing.not_halted(&said).unwrap(), centre.now());
        let heard = host.does(move |trusted| trusted.not_halted(&bytes, now).unwrap()).await;
        assert_eq!(heard, said);
        // The old one is forgotten, and none lies in the store in clear.
        let kept: String = sqlx::query_scalar("SELECT value FROM settings WHERE name = 'trust.keys'")
            .fetch_one(centre.store.reader())
            .await
            .unwrap();
        assert_eq!(kept.matches("\"sealed\"").count(), 1, "{kept}");
        assert!(!kept.contains("PRIVATE KEY"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_key_mode_the_server_approves_says_so_and_lets_people_take_over() {
    on_each_store(async |fresh| {
        let config = Config { trust: Trust { one_key: true }, ..Config::default() };
        let office = Office::new(Centre::with(fresh.store, config).await).await;
        let centre = &office.centre;
        let told = office.trust().await;
        assert_eq!((&told["founded"], &told["one_key"]), (&json!(true), &json!(true)));
        let status = centre.get(&office.viewer, "/api/v1/status").await.json();
        assert_eq!(status["trust"]["one_key"], true);
        let mut host = office.host(&centre.signing.root().unwrap());
        let (first, proposal) = plan(&office, "web").await;
        let sign = async |proposal: &str| {
            centre.post(&office.approver, &format!("/api/v1/proposals/{proposal}/sign"), &json!({})).await
        };
        assert_eq!(sign(&proposal).await.json()["state"], "published");
        assert_eq!(office.rollout(&first).await["state"], "armed");
        assert_eq!(host.update(centre.now()).await.unwrap().len(), 1);
        // The way out: people approve, and own as well; the server's key signs once more, for them.
        let people = json!({ "threshold": 2, "keys": office.keys.iter().map(line).collect::<Vec<_>>() });
        assert_eq!(office.change(&json!({ "owners": people })).await.status, 409);
        let proposal = id(&office.change(&json!({ "approvers": people })).await.json());
        assert_eq!(sign(&proposal).await.json()["state"], "open");
        office.approve(&proposal).await;
        let told = office.trust().await;
        assert_eq!((&told["one_key"], &told["owners"]["threshold"]), (&json!(false), &json!(2)));
        host.update(centre.now()).await.unwrap();
        let (_, proposal) = plan(&office, "db").await;
        assert_eq!(sign(&proposal).await.status, 409);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_keeps_its_own_documents_fresh_and_says_what_people_must_sign() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        let mut host = office.host(&centre.signing.root().unwrap());
        host.update(centre.now()).await.unwrap();
        assert!(!centre.signing.refresh(centre.now()).await.unwrap(), "it is fresh");
        centre.wait(5 * 3_600);
        assert!(centre.signing.refresh(centre.now()).await.unwrap());
        centre.wait(3 * 3_600);
        host.update(centre.now()).await.unwrap();
        centre.wait(4 * 3_600);
        let late = host.update(centre.now()).await.unwrap_err();
        assert!(late.contains("timestamp") && late.contains("expired"), "{late}");
        let (_, problems) =
            server::signing::doctor(&centre.store, &centre.keys.path().join("authority.key"), centre.now())
                .await
                .unwrap();
        assert!(problems.iter().any(|problem| problem.contains("a host would refuse it")), "{problems:?}");
        assert!(centre.signing.refresh(centre.now()).await.unwrap());
        host.update(centre.now()).await.unwrap();
        assert_eq!(office.trust().await["alarms"], json!([]));
        centre.wait(24 * 24 * 3_600);
        let viewer = centre.named("late", server::people::roles::Role::Admin).await.1;
        let told = centre.get(&viewer, "/api/v1/trust").await.json();
        assert!(told["alarms"][0].as_str().unwrap().contains("the list of plans expires at"), "{told}");
        // A proposal that waits for a week is made again, with a list that lasts.
        let change = server::signing::Change::Renew;
        let now = centre.now();
        let proposal = centre.signing.propose(&change, "renew", &Actor::Server, now).await.unwrap();
        centre.wait(8 * 24 * 3_600);
        centre.signing.tick(&centre.app, centre.now()).await.unwrap();
        let viewer = centre.named("later", server::people::roles::Role::Admin).await.1;
        let told = centre.get(&viewer, &format!("/api/v1/proposals/{}", proposal.id)).await.json();
        assert!(told["why"].as_str().unwrap().contains("waited for a week"), "{told}");
        assert_ne!(told["digest"], proposal.digest);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_come_as_alertmanager_sends_them_and_go_when_they_are_resolved() {
    on_each_store(async |fresh| {
        let office = Office::new(Centre::new(fresh.store).await).await;
        let centre = &office.centre;
        let send = async |status: &str| {
            let body = json!({
                "version": "4", "status": status, "receiver": "palisade", "externalURL": "https://alerts.example",
                "alerts": [
                    { "status": status, "labels": { "alertname": "Errors", "job": "shop" }, "annotations": { "summary": "5xx" },
                      "fingerprint": "c0ffee", "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z" },
                    { "status": status, "labels": { "alertname": "Slow" } },
                ],
            });
            centre.post(&office.operator, "/api/v1/alerts", &body).await.status
        };
        let names = async || {
            let page = centre.get(&office.viewer, "/api/v1/alerts").await.json();
            page["items"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            assert_eq!(send("firing").await, 204);
        }
        assert_eq!(names().await, ["Slow", "c0ffee"]);
        let entries: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM audit WHERE action = 'alert.fire'")
            .fetch_one(centre.store.reader())
            .await
            .unwrap();
        assert_eq!(entries, 2, "said again is not said anew");
        let bearer = format!("Bearer {}", office.operator);
        let remove = async |name: &str| {
            centre.ask("DELETE", &format!("/api/v1/alerts/{name}"), &[("authorization", &bearer)], None).await.status
        };
        assert_eq!(remove("Slow").await, 204);
        assert_eq!(remove("Slow").await, 404);
        assert_eq!(send("resolved").await, 204);
        assert_eq!(names().await, [""; 0]);
        let nameless = json!({ "alerts": [{ "status": "firing", "labels": {} }] });
        assert_eq!(centre.post(&office.operator, "/api/v1/alerts", &nameless).await.status, 400);
    })
    .await;
}
