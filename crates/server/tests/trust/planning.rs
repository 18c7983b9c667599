//! From what is asked for to a plan: who is asked, what stands in the way, and what is refused at once.

use crate::api_for_tests::{Answer, Centre};
use crate::people::{Office, id};
use crate::store_for_tests::{Fresh, on_each_store};
use crate::world::{answers, changes, heard, host, report};
use rollout::plan::{Change, Plan};
use serde_json::{Value, json};

const OLD: [(&str, &str, bool); 3] =
    [("libssl3", "3.0.11", false), ("openssl", "3.0.11", false), ("zlib1g", "1.2", false)];

fn upgrade() -> Vec<Change> {
    changes(&[("libssl3", Some("3.0.11"), "3.0.15"), ("openssl", Some("3.0.11"), "3.0.15")])
}

async fn office(fresh: Fresh) -> Office {
    Office::founded(Centre::new(fresh.store).await).await
}

async fn ask(office: &Office, body: &Value) -> Answer {
    office.centre.post(&office.operator, "/api/v1/plans", body).await
}

async fn asked(office: &Office, body: &Value) -> String {
    let answer = ask(office, body).await;
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.json()["state"], "rehearsing");
    id(&answer.json())
}

async fn text(office: &Office, plan: &str) -> Plan {
    let bytes = office.centre.get(&office.viewer, &format!("/api/v1/plans/{plan}/bytes")).await;
    assert_eq!(bytes.status, 200);
    Plan::read(&bytes.body).unwrap()
}

/// The hosts of `hosts` that are asked something.
fn due(office: &Office, hosts: &[String]) -> Vec<usize> {
    (0..hosts.len()).filter(|&at| office.centre.planning.due(&hosts[at]).is_some()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_host_of_each_class_is_asked_and_whoever_differs_is_asked_in_turn() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        let mut hosts = Vec::new();
        for number in 0..4 {
            hosts.push(host(centre, &format!("web-{number}"), &[("service", "web")], "12", &OLD).await);
        }
        // The same openssl, and an older library beside it that the upgrade takes with it.
        let drifted = [OLD[0], OLD[1], ("zlib1g", "1.1", false)];
        for number in 4..6 {
            hosts.push(host(centre, &format!("web-{number}"), &[], "12", &drifted).await);
        }
        let new = host(centre, "new", &[], "12", &[("libssl3", "3.0.15", false)]).await;
        let trixie = host(centre, "trixie", &[], "13", &OLD).await;
        // Asked is whoever was heard last.
        centre.wait(1);
        heard(centre, &hosts[2]).await;
        let body = json!({
            "fix": ["cve-2026-1001"], "select": "group=web", "services": [{ "label": "service", "away_max": 2 }],
        });
        let plan = asked(&office, &body).await;
        assert_eq!(due(&office, &hosts), [2]);
        assert!(centre.planning.due(&trixie).is_some() && centre.planning.due(&new).is_none());
        assert_eq!(centre.planning.due(&trixie).unwrap().sources, ["openssl"]);
        let closed =
            || [upgrade(), changes(&[("zlib1g", Some("1.2"), "1.3")])].concat();
        assert!(answers(centre, &hosts[2], closed(), &[]).await);
        assert!(answers(centre, &trixie, closed(), &[]).await);
        // Four fit; two have another zlib than was rehearsed.
        assert_eq!(office.plan(&plan).await["state"], "rehearsing");
        let further = due(&office, &hosts);
        assert!(further == [4] || further == [5], "{further:?}");
        let older = [upgrade(), changes(&[("zlib1g", Some("1.1"), "1.3")])].concat();
        assert!(answers(centre, &hosts[further[0]], older, &[]).await);
        let told = office.plan(&plan).await;
        assert_eq!((&told["state"], &told["hosts"]), (&json!("ready"), &json!(7)), "{told}");
        assert_eq!(told["left_out"], json!([{ "why": "there is nothing of this to be fixed on them", "hosts": 1 }]));
        let classes: Vec<&Value> = told["rehearsals"].as_array().unwrap().iter().map(|one| &one["class"]).collect();
        assert_eq!(classes, ["debian-12-amd64", "debian-13-amd64", "debian-12-amd64-2"]);
        assert_eq!(told["rehearsals"][0]["hosts"], 6);
        let plan = text(&office, &plan).await;
        assert_eq!(told["digest"], plan.digest().to_string());
        assert_eq!(plan.bulletins, ["CVE-2026-1001"]);
        let class = |host: &str| {
            let place = plan.place(rollout::plan::HostId(host.parse().unwrap())).unwrap();
            (place.cohort.class.clone(), place.cohort.groups.clone())
        };
        let web = vec!["service=web".to_owned()];
        assert_eq!(class(&hosts[0]), ("debian-12-amd64".to_owned(), web.clone()));
        assert_eq!(class(&hosts[5]), ("debian-12-amd64-2".to_owned(), Vec::new()));
        assert_eq!(class(&trixie), ("debian-13-amd64".to_owned(), Vec::new()));
        assert_eq!((plan.groups[0].name.as_str(), plan.groups[0].away_max), ("service=web", 2));
        // It is proposed by itself, and nobody asks hosts any more.
        assert!(told["proposal"].is_string());
        assert_eq!(due(&office, &hosts), [0; 0]);
        assert!(!centre.planning.answered(&hosts[0], &nothing(), centre.now()).await.unwrap());
    })
    .await;
}

fn nothing() -> wire::v1::Rehearsed {
    wire::v1::Rehearsed {
        id: uuid::Uuid::nil(),
        changes: Vec::new(),
        blocks: Vec::new(),
        restarts: Vec::new(),
        reboot: None,
        download_bytes: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_a_hosts_way_blocks_the_plan_and_is_named() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        let good = host(centre, "good", &[], "12", &OLD).await;
        let held = host(centre, "held", &[], "12", &[("libssl3", "3.0.11", true), OLD[1], OLD[2]]).await;
        let plan = asked(&office, &json!({ "fix": ["openssl"] })).await;
        assert!(answers(centre, &good, upgrade(), &[]).await);
        assert_eq!(office.plan(&plan).await["state"], "rehearsing", "it is waited for all");
        assert!(answers(centre, &held, Vec::new(), &["libssl3 is held"]).await);
        let told = office.plan(&plan).await;
        assert_eq!((&told["state"], &told["proposal"]), (&json!("blocked"), &Value::Null));
        assert_eq!(told["blocks"], json!(["held: libssl3 is held"]));
        let propose =
            centre.post(&office.operator, &format!("/api/v1/plans/{plan}/propose"), &json!({})).await;
        assert_eq!(propose.status, 409);
        // Without it.
        let plan = asked(&office, &json!({ "fix": ["openssl"], "select": "name!=held" })).await;
        let upgraded = changes(&[("libssl3", Some("3.0.11"), "3.0.15")]);
        assert!(answers(centre, &good, upgraded, &[]).await);
        assert_eq!(office.plan(&plan).await["state"], "ready");
        // Nothing newer to be had.
        let plan = asked(&office, &json!({ "fix": ["openssl"], "select": "name=good" })).await;
        assert!(answers(centre, &good, Vec::new(), &[]).await);
        let blocks = office.plan(&plan).await["blocks"].to_string();
        assert!(blocks.contains("good: nothing newer of openssl can be had there"), "{blocks}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_failed_is_refused_unless_approvers_are_asked_to_overrule_it() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        let web = host(centre, "web", &[], "12", &OLD).await;
        let mut writing = centre.store.begin().await.unwrap();
        sqlx::query("INSERT INTO denied (package, version, class, plan, why, at) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind("libssl3")
            .bind("3.0.15")
            .bind("debian:12/amd64")
            .bind(uuid::Uuid::nil().to_string())
            .bind("\"nginx does not come up\"")
            .bind(1_i64)
            .execute(&mut *writing)
            .await
            .unwrap();
        server::store::commit(writing, "test").await.unwrap();
        let plan = asked(&office, &json!({ "fix": ["openssl"] })).await;
        assert!(answers(centre, &web, upgrade(), &[]).await);
        let told = office.plan(&plan).await;
        assert_eq!(told["state"], "blocked");
        assert!(told["blocks"][0].as_str().unwrap().contains("nginx does not come up"), "{told}");
        let overrides = json!([{
            "package": "libssl3", "version": "3.0.15", "class": "debian:12/amd64", "reason": "nginx was mended",
        }]);
        let plan = asked(&office, &json!({ "fix": ["openssl"], "overrides": overrides })).await;
        assert!(answers(centre, &web, upgrade(), &[]).await);
        assert_eq!(office.plan(&plan).await["state"], "ready");
        assert_eq!(text(&office, &plan).await.overrides[0].reason, "nginx was mended");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_that_can_be_told_is_told_at_once() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        host(centre, "web", &[], "12", &OLD).await;
        let db = host(centre, "db", &[], "12", &OLD).await;
        let faults = async |body: Value| -> Vec<String> {
            let answer = ask(&office, &body).await;
            assert_eq!(answer.status, 422, "{body} {}", String::from_utf8_lossy(&answer.body));
            assert_eq!(answer.json()["type"], "urn:palisade:problem:faulty");
            let faults = answer.json()["faults"].as_array().unwrap().clone();
            faults.iter().map(|fault| fault.as_str().unwrap().to_owned()).collect()
        };
        let found = faults(json!({
            "fix": ["openssl"], "waves": ["1o%"], "canaries": ["nobody"], "at_once": 0,
            "gate": { "soak_seconds": 60, "proven_percent_min": 0 },
            "windows": [{ "zone": "Europe/Atlantis", "every": { "weekly": ["monday"] }, "opens": "02:00:00", "minutes": 60 }],
            "groups": [{ "name": "all", "select": "all", "away_max": 0 }],
        }))
        .await;
        for fault in ["1o%", "nobody", "no host may be under change", "60 s", "0 % proven", "Atlantis", "may be away"] {
            assert!(found.iter().any(|found| found.contains(fault)), "{fault}: {found:#?}");
        }
        for (body, fault) in [
            (json!({}), "name what is to be fixed"),
            (json!({ "fix": ["openssl"], "everything": true }), "not both"),
            (json!({ "fix": ["opensssl"] }), "no selected host has a source package of that name"),
            (json!({ "fix": ["openssl"], "select": "name=nobody" }), "it selects none"),
            (json!({ "fix": ["openssl"], "select": "(" }), "select:"),
            (json!({ "fix": ["CVE-2026-1001"], "select": "release=debian:13" }), "no host is left"),
            (json!({ "fix": ["openssl"], "canaries": ["web", "db"] }), "2 of 2 hosts are canaries"),
        ] {
            let found = faults(body).await;
            assert!(found.iter().any(|found| found.contains(fault)), "{fault}: {found:?}");
        }
        // Silent hosts are left out.
        centre.wait(16 * 60);
        heard(centre, &db).await;
        let plan = asked(&office, &json!({ "everything": true })).await;
        assert!(answers(centre, &db, upgrade(), &[]).await);
        let told = office.plan(&plan).await;
        assert_eq!((&told["state"], &told["hosts"]), (&json!("ready"), &json!(1)), "{told}");
        assert_eq!(told["left_out"], json!([{ "why": "they are silent", "hosts": 1 }]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_does_not_wait_for_ever_for_hosts_that_do_not_answer() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        let mut hosts = Vec::new();
        for name in ["a", "b", "c", "d"] {
            hosts.push(host(centre, name, &[], "12", &OLD).await);
            centre.wait(1);
        }
        let hear_all = async || {
            for host in &hosts {
                heard(centre, host).await;
            }
        };
        let plan = asked(&office, &json!({ "fix": ["openssl"] })).await;
        let mut seen = Vec::new();
        for _ in 0..3 {
            let open: Vec<usize> = due(&office, &hosts).into_iter().filter(|at| !seen.contains(at)).collect();
            assert_eq!(open.len(), 1, "one after the other: {seen:?}");
            seen.extend(open);
            centre.wait(601);
            hear_all().await;
            centre.planning.tick(centre.now()).await.unwrap();
        }
        let told = office.plan(&plan).await;
        assert_eq!(told["state"], "blocked", "{told}");
        assert!(told["blocks"][0].as_str().unwrap().contains("silent for 10 minutes"), "{told}");
        assert_eq!(told["rehearsals"][0]["state"], "silent");
        assert_eq!(due(&office, &hosts), [0; 0]);
        // Whoever says what does not fit its inventory is not believed, and asked no more.
        let alone = asked(&office, &json!({ "fix": ["openssl"], "select": "name=a" })).await;
        let other = changes(&[("libssl3", Some("3.0.10"), "3.0.15")]);
        assert!(answers(centre, &hosts[0], other, &[]).await);
        let told = office.plan(&alone).await;
        assert!(told["blocks"][0].as_str().unwrap().contains("does not fit its last inventory"), "{told}");
        // A host that is fixed meanwhile drops out.
        let alone = asked(&office, &json!({ "fix": ["openssl"], "select": "name in (a, b)" })).await;
        let first = due(&office, &hosts)[0];
        report(centre, &hosts[1 - first], "12", &[("libssl3", "3.0.15", false)]).await;
        assert!(answers(centre, &hosts[first], upgrade(), &[]).await);
        assert_eq!(office.plan(&alone).await["hosts"], 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_plan_asks_nobody_and_its_proposal_is_withdrawn() {
    on_each_store(async |fresh| {
        let office = office(fresh).await;
        let centre = &office.centre;
        let web = host(centre, "web", &[], "12", &OLD).await;
        let delete = async |plan: &str| {
            let bearer = format!("Bearer {}", office.operator);
            centre
                .ask(
                    "DELETE",
                    &format!("/api/v1/plans/{plan}?reason=wrong"),
                    &[("authorization", &bearer)],
                    None,
                )
                .await
        };
        let plan = asked(&office, &json!({ "fix": ["openssl"] })).await;
        assert_eq!(delete(&plan).await.status, 204);
        centre.planning.follow(&dropped(&plan)).await.unwrap();
        assert!(centre.planning.due(&web).is_none());
        let plan = asked(&office, &json!({ "fix": ["openssl"] })).await;
        assert!(answers(centre, &web, upgrade(), &[]).await);
        let proposal = office.plan(&plan).await["proposal"].as_str().unwrap().to_owned();
        assert_eq!(delete(&plan).await.status, 204);
        assert_eq!(office.proposal(&proposal).await["state"], "withdrawn");
        assert_eq!(office.send(&proposal, &json!([])).await.status, 400);
        assert_eq!(delete(&plan).await.status, 409);
    })
    .await;
}

fn dropped(plan: &str) -> server::store::events::Event {
    server::store::events::Event {
        seq: 1,
        at: jiff::Timestamp::UNIX_EPOCH,
        kind: server::store::events::Kind::Plan,
        object: plan.to_owned(),
        detail: json!({ "rehearsals": true }),
    }
}
