//! The census at the agents' door: one key for the fleet, each hour once, and nothing that is out of bounds.

use crate::fleet::{Agent, Answer, Centre, answer, connect};
use crate::store_for_tests::on_each_store;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use server::store::{audit, census, events};
use tokio::io::AsyncWriteExt;
use traffic::census::{Hasher, Key, Sketch};
use traffic::format::Source;
use wire::v1::census::{Attempts, CENSUS_PATH, Counted, Hour, Taken, Terms};

async fn get(agent: &Agent) -> Answer {
    let mut stream = agent.connect().await.unwrap();
    let head = format!("GET {CENSUS_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    answer(&mut stream).await.unwrap()
}

fn key_of(terms: &Terms) -> Key {
    assert_eq!(terms.key.len(), 64);
    let digits = |place: usize| u8::from_str_radix(&terms.key[2 * place..2 * place + 2], 16).unwrap();
    Key::new(std::array::from_fn(digits))
}

fn sources(key: &Key, addresses: std::ops::Range<u32>) -> String {
    let (hasher, mut sketch) = (Hasher::new(key), Sketch::default());
    for number in addresses {
        let address = std::net::Ipv4Addr::from(number).to_string();
        sketch.insert(&hasher, Source::address(address.as_bytes()).unwrap());
    }
    BASE64.encode(sketch.to_bytes())
}

fn counted(key: &Key, hour: i64) -> Counted {
    let attempts = Attempts {
        signature: "codered1".to_owned(),
        cves: vec!["CVE-2001-0500".to_owned()],
        attempts: 5,
        answered: 0,
        sources: sources(key, 1..4),
    };
    let hours = vec![Hour { hour, requests: 100, unread: 1, attempts: vec![attempts] }];
    Counted { key: key.id(), logs: 2, problems: Vec::new(), hours }
}

#[tokio::test]
async fn hosts_count_under_one_key_and_what_is_told_twice_is_counted_once() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let (one, other) = (centre.enrol("one").await, centre.enrol("other").await);
        let terms: Terms = get(&one).await.read();
        assert_eq!(get(&other).await.read::<Terms>(), terms);
        let key = key_of(&terms);
        // Sealed in the store, and in no entry of the log.
        let kept: Vec<String> =
            sqlx::query_scalar("SELECT value FROM settings").fetch_all(centre.store.reader()).await.unwrap();
        assert!(kept.iter().all(|kept| !kept.contains(&terms.key)), "the key lies in the store in clear");
        let entries = audit::after(&centre.store, 0, 1_000).await.unwrap();
        let made: Vec<_> = entries.iter().filter(|entry| entry.action == "census.make-key").collect();
        assert_eq!(made.len(), 1);
        assert!(!format!("{entries:?}{terms:?}").contains(&terms.key));

        let hour = Timestamp::now().as_second() / 3_600;
        let told = counted(&key, hour);
        let stored =
            async |agent: &Agent, told: &Counted| agent.post(CENSUS_PATH, told).await.read::<Taken>().stored;
        assert!(stored(&one, &told).await);
        let moment = async || {
            (census::revision(&centre.store).await.unwrap(), events::last(&centre.store).await.unwrap())
        };
        let before = moment().await;
        assert!(stored(&one, &told).await, "what was told before is no fault");
        assert_eq!(moment().await, before, "nothing is written");
        assert!(stored(&other, &told).await);
        let mut foreign = told.clone();
        foreign.key = Key::new([1; 32]).id();
        foreign.hours[0].requests = 1_000_000;
        assert!(!stored(&one, &foreign).await, "another key tells sources apart otherwise");

        let day = hour.div_euclid(census::DAY_HOURS);
        let sums = census::signatures(&centre.store, (day, day), "", 10).await.unwrap();
        assert_eq!((sums.len(), sums[0].days[0].attempts, sums[0].days[0].hosts), (1, 10, 2));
        assert_eq!(sums[0].sources.count, 3, "the same three sources came to both");
        let requests = census::requests(&centre.store, day, day).await.unwrap();
        assert_eq!((requests[0].requests, requests[0].unread, requests[0].hosts), (200, 2, 2));
    })
    .await;
}

#[tokio::test]
async fn strangers_and_hostile_counts_are_refused_and_leave_nothing() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let agent = centre.enrol("one").await;
        let key = key_of(&get(&agent).await.read());
        let mut stranger = connect(centre.address, &centre.config(None), None).await.unwrap();
        stranger
            .write_all(format!("GET {CENSUS_PATH} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
            .await
            .unwrap();
        assert_eq!(answer(&mut stranger).await.unwrap().refusal(), (401, "token".to_owned()));
        let mut put = agent.connect().await.unwrap();
        put.write_all(format!("PUT {CENSUS_PATH} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(answer(&mut put).await.unwrap().status, 405);

        let hour = Timestamp::now().as_second() / 3_600;
        let good = counted(&key, hour);
        let bad = |change: &dyn Fn(&mut Counted)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad
        };
        for (bad, reason) in [
            (bad(&|bad| bad.hours[0].hour += 3), "in the future"),
            (bad(&|bad| bad.hours[0].hour -= 24 * 401), "older than anything"),
            (
                bad(&|bad| bad.hours[0].attempts[0].signature = "a\u{1b}[2J".to_owned()),
                "no id of a signature",
            ),
            (
                bad(&|bad| bad.hours[0].attempts[0].cves = vec!["CVE-2001-0500 '".to_owned()]),
                "no id like CVE",
            ),
            (bad(&|bad| bad.hours[0].attempts[0].sources = "AQ==".to_owned()), "no sketch"),
            (bad(&|bad| bad.hours = vec![bad.hours[0].clone(); 169]), "168 are allowed"),
        ] {
            let refused = agent.post(CENSUS_PATH, &bad).await;
            assert_eq!(refused.refusal(), (422, "malformed".to_owned()));
            let said = String::from_utf8_lossy(&refused.body).into_owned();
            assert!(said.contains(reason), "{said}");
        }
        assert_eq!(agent.post(CENSUS_PATH, &serde_json::json!({ "key": 1 })).await.status, 400);
        // A log of last month is no fault of the host: what is too late to be added up is passed over.
        let late = bad(&|bad| bad.hours[0].hour -= 24 * 30);
        assert!(agent.post(CENSUS_PATH, &late).await.read::<Taken>().stored);
        assert_eq!(centre.roster.counters.census_late.load(std::sync::atomic::Ordering::Relaxed), 1);
        let days = census::requests(&centre.store, 0, i64::MAX).await.unwrap();
        assert!(days.is_empty(), "{days:?}");
    })
    .await;
}
