//! Feeds that are broken, or that somebody broke: nothing is ever taken away by them, and it is told.

use crate::store_for_tests::{Fresh, on_each_store};
use crate::vendor::{Answer, Vendor};
use crate::world::{Record, World, app, osv, osv_record, record};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::SignedDuration;
use server::config::{self, Config};
use server::feeds::{self, Error, Limits, Outcome, Reading, Wrong};
use server::store::audit::{self, Actor};
use server::store::{advisories, events, feeds as stored};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

const FEED: &str = "vendor";

struct Stage {
    world: World,
    vendor: Vendor,
    limits: Limits,
}

impl Stage {
    fn new(fresh: &Fresh, stale_days: u32) -> Self {
        let vendor = Vendor::start();
        let feed = config::Feed {
            name: FEED.into(),
            location: format!("http://user:s3cret%40@{}/feed?token=hidden", vendor.address),
            every_minutes: 60,
            stale_days,
            release: String::new(),
        };
        let mut world = World::new(fresh);
        world.app = app(fresh.store.clone(), Config { feeds: vec![feed], ..Config::default() });
        let limits = Limits { bytes_max: 1 << 20, deadline: Duration::from_millis(800) };
        Self { world, vendor, limits }
    }

    async fn read(&mut self, answer: Answer) -> Reading {
        self.accept(answer, None).await
    }

    async fn accept(&mut self, answer: Answer, actor: Option<&Actor>) -> Reading {
        self.vendor.says(answer);
        self.world.later();
        feeds::read_within(&self.world.app, FEED, actor, self.world.now, self.limits).await.unwrap()
    }

    async fn known(&self) -> BTreeSet<String> {
        advisories::known(self.world.store(), FEED).await.unwrap().into_keys().collect()
    }

    async fn state(&self) -> stored::State {
        stored::get(self.world.store(), FEED).await.unwrap().unwrap()
    }
}

fn records(count: u32, day: u32) -> Vec<Record> {
    (0..count).map(|n| record(&format!("ADV-{n:02}"), day, "lamp", "1.0-2")).collect()
}

fn wrongs(reading: &Reading) -> Vec<Wrong> {
    reading.alarms.iter().map(|alarm| alarm.wrong).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A zip of stored entries.
fn zip(records: &[Record]) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8)
                .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
        })
    };
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for record in records {
        let (text, name) = (osv_record(record), format!("{}.json", record.id));
        let size = u32::try_from(text.len()).unwrap().to_le_bytes();
        let mut common = vec![10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc(text.as_bytes()).to_le_bytes());
        common.extend([size, size].concat());
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x0a\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(u32::try_from(zip.len()).unwrap().to_le_bytes());
        directory.extend(name.as_bytes());
        zip.extend(b"PK\x03\x04");
        zip.extend(&common);
        zip.extend(name.as_bytes());
        zip.extend(text.as_bytes());
    }
    let (start, size) = (u32::try_from(zip.len()).unwrap(), u32::try_from(directory.len()).unwrap());
    let count = u16::try_from(records.len()).unwrap().to_le_bytes();
    zip.extend(directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend([count, count].concat());
    zip.extend([size.to_le_bytes(), start.to_le_bytes()].concat());
    zip.extend([0, 0]);
    zip
}

#[tokio::test]
async fn what_did_not_change_is_neither_sent_nor_stored_again() {
    on_each_store(async |fresh| {
        let mut stage = Stage::new(&fresh, 0);
        let full =
            Answer::ok(osv(&records(10, 1))).header("ETag", "\"one\"").header("Last-Modified", "yesterday");
        let reading = stage.read(full.clone()).await;
        assert_eq!(reading, Reading { outcome: Outcome::Read { begun: 10, ended: 0 }, alarms: Vec::new() });
        assert!(
            stage.vendor.heard().contains("authorization: basic dxnlcjpzm2nyzxra"),
            "{}",
            stage.vendor.heard()
        );
        let events = events::last(stage.world.store()).await.unwrap();
        assert_eq!(stage.read(Answer::status(304)).await.outcome, Outcome::Unchanged);
        assert!(stage.vendor.heard().contains("if-none-match: \"one\""));
        assert!(stage.vendor.heard().contains("if-modified-since: yesterday"));
        // A server that knows no conditions, and one that has only another order.
        assert_eq!(stage.read(full).await.outcome, Outcome::Unchanged);
        let mut turned = records(10, 2);
        turned.reverse();
        let reading = stage.read(Answer::ok(osv(&turned))).await;
        assert_eq!(reading.outcome, Outcome::Read { begun: 0, ended: 0 });
        assert_eq!(events::last(stage.world.store()).await.unwrap(), events);
        // One of ten.
        turned[0].fixed = "1.0-3".into();
        assert_eq!(stage.read(Answer::ok(osv(&turned))).await.outcome, Outcome::Read { begun: 1, ended: 0 });
        let told = events::after(stage.world.store(), events, 10).await.unwrap();
        assert_eq!(told[0].detail, serde_json::json!({ "ids": ["ADV-09"] }));
    })
    .await;
}

#[tokio::test]
async fn a_shrunken_feed_keeps_what_was_known_until_a_person_has_looked() {
    on_each_store(async |fresh| {
        let mut stage = Stage::new(&fresh, 0);
        stage.read(Answer::ok(osv(&records(10, 1)))).await;
        let mut fewer = records(5, 2);
        fewer[0].id = "ADV-new".into();
        for _ in 0..2 {
            let reading = stage.read(Answer::ok(osv(&fewer))).await;
            assert_eq!(wrongs(&reading), [Wrong::Shrunken]);
        }
        let known = stage.known().await;
        assert!(known.len() == 11 && known.contains("ADV-new"), "{known:?}");
        assert!(stage.state().await.alarm.starts_with("shrunken: 5 records, where there were 10"));
        let person = Actor::Person("ada".into());
        let reading = stage.accept(Answer::ok(osv(&fewer)), Some(&person)).await;
        assert_eq!(reading, Reading { outcome: Outcome::Read { begun: 0, ended: 6 }, alarms: Vec::new() });
        assert_eq!(stage.known().await.len(), 5);
        let entries = audit::after(stage.world.store(), 0, 10).await.unwrap();
        assert_eq!((entries[0].actor.as_str(), entries[0].action.as_str()), ("person:ada", "feed.accept"));
        let last = events::last(stage.world.store()).await.unwrap();
        let told = events::after(stage.world.store(), last - 1, 1).await.unwrap();
        assert_eq!(told[0].detail["cleared"], serde_json::json!(["shrunken"]));
        assert!(
            stage.read(Answer::ok(osv(&fewer[..4]))).await.alarms.is_empty(),
            "four of five are no alarm"
        );
    })
    .await;
}

#[tokio::test]
async fn a_feed_that_is_rolled_back_makes_nothing_older() {
    on_each_store(async |fresh| {
        let mut stage = Stage::new(&fresh, 0);
        let mut new = records(10, 20);
        new[3].fixed = "1.0-9".into();
        stage.read(Answer::ok(osv(&new))).await;
        // All of it, then one record.
        let old = records(9, 10);
        let reading = stage.read(Answer::ok(osv(&old))).await;
        assert_eq!(
            (wrongs(&reading), reading.outcome),
            (vec![Wrong::RolledBack], Outcome::Read { begun: 0, ended: 0 })
        );
        let mut one = new.clone();
        one[3] = old[3].clone();
        let reading = stage.read(Answer::ok(osv(&one))).await;
        assert_eq!(
            (wrongs(&reading), reading.outcome),
            (vec![Wrong::RolledBack], Outcome::Read { begun: 0, ended: 0 })
        );
        assert!(reading.alarms[0].reason.starts_with("1 records are older"), "{:?}", reading.alarms);
        // Cured by itself.
        assert!(stage.read(Answer::ok(osv(&new))).await.alarms.is_empty());
        assert_eq!(stage.known().await.len(), 10);
    })
    .await;
}

#[tokio::test]
async fn a_feed_that_was_cut_off_takes_nothing_away() {
    on_each_store(async |fresh| {
        let mut stage = Stage::new(&fresh, 0);
        let whole = zip(&records(10, 1));
        assert_eq!(
            stage.read(Answer::ok(whole.clone())).await.outcome,
            Outcome::Read { begun: 10, ended: 0 }
        );
        // A zip without its end has no directory: nothing can be trusted.
        let cut = &whole[..whole.len() / 2];
        let reading = stage.read(Answer::ok(cut)).await;
        assert_eq!(
            (wrongs(&reading), reading.outcome),
            (vec![Wrong::Unreadable], Outcome::Read { begun: 0, ended: 0 })
        );
        // One line per record: what stands before the cut is used.
        let mut more = records(10, 2);
        more[0].id = "ADV-new".into();
        let lines: Vec<String> = more.iter().map(|record| osv_record(record).replace('\n', " ")).collect();
        let packed = gzip(&lines.join("\n"));
        let reading = stage.read(Answer::ok(&packed[..packed.len() - 20])).await;
        assert_eq!(
            (wrongs(&reading), reading.outcome),
            (vec![Wrong::Truncated], Outcome::Read { begun: 1, ended: 0 })
        );
        // Cut off on the way: it comes again.
        let reading = stage.read(Answer { promised: 1000, ..Answer::ok(whole.clone()) }).await;
        assert!(matches!(reading.outcome, Outcome::Failed(_)), "{reading:?}");
        assert_eq!(stage.known().await.len(), 11);
        let reading = stage.read(Answer::ok(zip(&records(11, 3)))).await;
        assert_eq!((wrongs(&reading), reading.outcome), (vec![], Outcome::Read { begun: 1, ended: 1 }));
    })
    .await;
}

#[tokio::test]
async fn no_answer_harms_and_none_tells_a_password() {
    on_each_store(async |fresh| {
        let mut stage = Stage::new(&fresh, 0);
        stage.read(Answer::ok(osv(&records(10, 1)))).await;
        let huge = Answer::ok(vec![b' '; (1 << 20) + 1]);
        let bomb = Answer::ok(gzip(&" ".repeat(8 << 20))).header("Content-Encoding", "gzip");
        let slow = Answer { delay: Duration::from_secs(2), ..Answer::ok(osv(&records(1, 1))) };
        let to_itself = Answer::status(302).header("Location", "/again?token=hidden");
        for (answer, told) in [
            (Answer::status(500), "500"),
            (Answer::status(403), "403"),
            (huge, ""),
            (bomb, "more than 1048576 bytes"),
            (slow, "timeout"),
            (to_itself, "redirect"),
        ] {
            let reading = stage.read(answer).await;
            let Outcome::Failed(reason) = &reading.outcome else { panic!("{reading:?}") };
            assert!(reason.to_lowercase().contains(told), "{reason}");
            let kept = stage.state().await;
            assert_eq!((stage.known().await.len(), kept.records), (10, 10));
            let all = format!("{reading:?} {kept:?}");
            assert!(!all.contains("s3cret") && !all.contains("hidden") && !all.contains("user:"), "{all}");
        }
        for wrong_format in ["<html>Sign in</html>", "", "{}", "null"] {
            let reading = stage.read(Answer::ok(wrong_format)).await;
            assert_eq!(reading.outcome, Outcome::Read { begun: 0, ended: 0 }, "{wrong_format}");
            assert!(!reading.alarms.is_empty(), "{wrong_format}");
            assert_eq!(stage.known().await.len(), 10, "{wrong_format}");
        }
        let packed = Answer::ok(gzip(&osv(&records(11, 2)))).header("Content-Encoding", "gzip");
        let reading = stage.read(packed).await;
        assert_eq!((reading.outcome, reading.alarms), (Outcome::Read { begun: 1, ended: 0 }, Vec::new()));
    })
    .await;
}

#[tokio::test]
async fn a_feed_that_nobody_renews_or_that_is_gone_for_long_is_an_alarm_until_cured() {
    on_each_store(async |fresh| {
        let mut stage = Stage::new(&fresh, 14);
        let fresh_day = "2026-03-20T00:00:00Z".parse().unwrap();
        stage.world.now = fresh_day;
        assert!(stage.read(Answer::ok(osv(&records(10, 19)))).await.alarms.is_empty());
        stage.world.now = fresh_day + SignedDuration::from_hours(24 * 15);
        assert_eq!(wrongs(&stage.read(Answer::status(304)).await), [Wrong::Stale]);
        stage.world.now = fresh_day + SignedDuration::from_hours(24 * 2);
        assert!(stage.read(Answer::status(500)).await.alarms.is_empty(), "once is nothing");
        stage.world.now += SignedDuration::from_hours(4);
        assert_eq!(wrongs(&stage.read(Answer::status(500)).await), [Wrong::Unreachable]);
        assert!(stage.read(Answer::status(304)).await.alarms.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_feed_is_read_once_at_a_time_and_named_by_its_name() {
    on_each_store(async |fresh| {
        let mut stage = Stage::new(&fresh, 0);
        let slow = Answer { delay: Duration::from_millis(400), ..Answer::ok(osv(&records(10, 1))) };
        stage.vendor.says(slow);
        let app = Arc::clone(&stage.world.app);
        let both = tokio::join!(feeds::read_now(&app, FEED, None), feeds::read_now(&app, FEED, None));
        assert!(matches!(both, (Ok(_), Err(Error::Busy)) | (Err(Error::Busy), Ok(_))), "{both:?}");
        let unknown = feeds::read_now(&app, "vendro", None).await.unwrap_err();
        assert!(unknown.to_string().contains("the nearest is \"vendor\""), "{unknown}");
        stage.world.later();
    })
    .await;
}
