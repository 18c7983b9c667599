//! What a client of the specification is asked to hold (docs/adr/0011-tuf-for-plans.md says which public cases these are), and
//! no other file here holds: one update from its first request to its memory, document by document.

use crate::assert_refused;
use crate::repository::{ALL, FREE, ROLES, Repository, plan_name, remembered, seen};
use serde_json::{Value, json};
use std::sync::Arc;
use trust::Trusted;
use trust::trusted::Error;

/// All but the root.
const BELOW: [&str; 4] = ["plans", "targets", "snapshot", "timestamp"];

#[test]
fn a_host_asks_for_the_five_documents_in_order_and_remembers_them_as_they_came() {
    let repository = Repository::new();
    // No canonical spelling: whoever writes down his own shows it.
    let odd = [b" \n", &repository.files.get("timestamp.json")[..], b"\n\n"].concat();
    repository.files.put("timestamp.json", odd);
    let (directory, _host) = repository.updated();
    assert_eq!(
        *repository.files.asked.lock().unwrap(),
        ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.plans.json"]
    );
    for role in ["root", "timestamp", "snapshot"] {
        let came = repository.files.get(&repository.name(role));
        assert_eq!(remembered(directory.path(), role).unwrap().into_bytes(), came, "{role}");
    }
}

/// What may be wrong with one document.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Strangers have signed it.
    Unsigned,
    /// It says another version than its name.
    Version,
    /// It is not there.
    Missing,
    /// It has other bytes than it is named by, as many.
    Digest,
    /// It has more bytes than it is named by.
    Length,
    /// It says that it is of another kind, and is signed for what it is.
    Kind,
    /// It has expired.
    Expired,
    /// It follows another specification.
    Specification,
}

#[test]
fn an_update_ends_at_the_first_fault_and_what_came_before_is_remembered() {
    use Fault::{Digest, Expired, Kind, Length, Missing, Specification, Unsigned, Version};
    for role in ROLES {
        for fault in [Unsigned, Version, Missing, Digest, Length, Kind, Expired, Specification] {
            let named_by_version = role != "timestamp";
            let named_by_digest = named_by_version && role != "root";
            if (fault == Version && !named_by_version)
                || ([Digest, Length].contains(&fault) && !named_by_digest)
                // That there is no further root is no fault.
                || (fault == Missing && role == "root")
            {
                continue;
            }
            let mut repository = Repository::new();
            let (directory, mut host) = repository.updated();
            if fault == Unsigned {
                let of = repository.holders[role].clone();
                repository.give(role, &of.keys, of.threshold, &[0, 1]);
            }
            repository.publish_with(&ALL, |document, says| match fault {
                _ if document != role => {}
                Version => says["version"] = json!(3),
                Kind => says["_type"] = json!(if role == "snapshot" { "timestamp" } else { "snapshot" }),
                Expired => says["expires"] = json!("2027-02-28T00:00:00Z"),
                Specification => says["spec_version"] = json!("2.0.0"),
                Unsigned | Missing | Digest | Length => {}
            });
            let name = repository.name(role);
            match fault {
                Missing => repository.files.remove(&name),
                Length => repository.files.put(&name, [repository.files.get(&name), b" ".to_vec()].concat()),
                Digest => {
                    // The order of two members, which no signature covers.
                    let text = String::from_utf8(repository.files.get(&name)).unwrap();
                    let (signatures, signed) = text[1..text.len() - 1].split_once(",\"signed\"").unwrap();
                    repository.files.put(&name, format!("{{\"signed\"{signed},{signatures}}}"));
                }
                Unsigned | Version | Kind | Expired | Specification => {}
            }
            let problem = crate::world::refused(host.update(repository.now));
            let expected = match fault {
                // tough verifies a document as what it should be.
                Unsigned | Kind => matches!(problem, Error::Unsigned(_)),
                Version if role == "root" => matches!(problem, Error::Rollback(_)),
                Version | Digest => matches!(problem, Error::Mismatch(_)),
                Missing => matches!(&problem, Error::Fetch(said) if said.contains(&name)),
                Length => matches!(problem, Error::Endless(..)),
                Specification => matches!(problem, Error::Malformed(_)),
                Expired => matches!(problem, Error::Expired { what, .. } if what == role),
            };
            assert!(expected, "{role} {fault:?}: {problem:?}");
            // A root that has expired is a root all the same: the next one is signed by its owners.
            let before = match role {
                "root" if fault == Expired => [2, 1, 1],
                "root" => [1, 1, 1],
                "timestamp" => [2, 1, 1],
                "snapshot" => [2, 2, 1],
                _ => [2, 2, 2],
            };
            assert_eq!(seen(directory.path()), before, "{role} {fault:?}");
        }
    }
}

#[test]
fn no_document_goes_back_whether_or_not_digests_name_it() {
    for digests in [true, false] {
        for (role, kept) in
            [("timestamp", [1, 2, 2]), ("snapshot", [1, 2, 2]), ("targets", [1, 3, 2]), ("plans", [1, 3, 2])]
        {
            let mut repository = Repository::new();
            repository.digests = digests;
            repository.publish(&BELOW);
            let (directory, mut host) = repository.updated();
            repository.set_version(role, 0);
            repository.publish(if role == "timestamp" { &["timestamp"] } else { &BELOW });
            assert_refused!(host.update(repository.now), Error::Rollback(_));
            assert_eq!(seen(directory.path()), kept, "{role}");
        }
    }
}

#[test]
fn a_timestamp_of_the_version_that_was_seen_changes_nothing() {
    let mut repository = Repository::new();
    let plan = repository.plan(plan_name(), b"plan");
    repository.publish(&BELOW);
    let (directory, mut host) = repository.updated();
    let first = remembered(directory.path(), "timestamp");
    // It names a snapshot that nobody has; it is good for longer. What was seen first counts.
    for (field, value) in
        [("/meta/snapshot.json/version", json!(100)), ("/expires", json!("2029-01-01T00:00:00Z"))]
    {
        repository.set_version("timestamp", 1);
        repository.publish_with(&["timestamp"], |_, says| *says.pointer_mut(field).unwrap() = value.clone());
        assert_eq!(host.update(repository.now).unwrap(), std::slice::from_ref(&plan));
        assert_eq!(remembered(directory.path(), "timestamp"), first);
    }
    assert_eq!(host.plan(plan.name, repository.now).unwrap(), b"plan");
    // Unless it is nobody's.
    repository.set_version("timestamp", 1);
    repository.give("timestamp", &[FREE + 1], 1, &[0]);
    repository.publish(&["timestamp"]);
    assert_refused!(host.update(repository.now), Error::Unsigned(_));
    // With new keys versions begin anew, and the same number is another timestamp.
    repository.set_version("timestamp", 1);
    repository.give("timestamp", &[0], 1, &[0]);
    repository.publish(&["root", "snapshot", "timestamp"]);
    host.update(repository.now).unwrap();
    assert_eq!(seen(directory.path()), [2, 2, 3]);
    assert_ne!(remembered(directory.path(), "timestamp"), first);
}

#[test]
fn memory_that_has_expired_is_good_enough_to_update_from() {
    let mut repository = Repository::new();
    let day = |day: i64| repository.now + jiff::SignedDuration::from_hours(24 * day);
    let [now, seventh, eighteenth, later] = [0, 7, 18, 60].map(day);
    let good_until =
        |at: jiff::Timestamp| move |_: &str, says: &mut Value| says["expires"] = json!(at.to_string());
    repository.publish_with(&ALL, good_until(seventh));
    let (directory, mut host) = repository.host();
    host.update(now).unwrap();
    assert_refused!(host.update(eighteenth), Error::Expired { what: "root", .. });
    repository.publish_with(&ALL, good_until(later));
    let mut restarted = Trusted::open(directory.path(), Arc::new(repository.files.clone())).unwrap();
    for host in [&mut restarted, &mut host] {
        host.update(eighteenth).unwrap();
        assert_eq!(host.root_version(), 3);
    }
    assert_eq!(seen(directory.path()), [3, 3, 3]);
}

#[test]
fn memory_with_a_damaged_floor_is_an_error_and_not_a_floor_less() {
    let mut repository = Repository::new();
    repository.publish(&ALL);
    let (directory, _host) = repository.updated();
    let file = directory.path().join("trusted.json");
    let whole: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let open = || Trusted::open(directory.path(), Arc::new(repository.files.clone()));
    for role in ["timestamp", "snapshot"] {
        let text = whole[role].as_str().unwrap();
        for damaged in [
            text.replace("\"version\":2", "\"version\":1"),
            text[..text.len() / 2].to_owned(),
            text.replacen("2028", "2030", 1),
            whole[if role == "snapshot" { "timestamp" } else { "snapshot" }].as_str().unwrap().to_owned(),
            String::new(),
        ] {
            assert_ne!(damaged, text);
            let mut memory = whole.clone();
            memory[role] = json!(damaged);
            std::fs::write(&file, serde_json::to_vec(&memory).unwrap()).unwrap();
            assert_refused!(open(), Error::Directory { .. });
        }
    }
    std::fs::write(&file, serde_json::to_vec(&whole).unwrap()).unwrap();
    open().unwrap().update(repository.now).unwrap();
}

#[test]
fn a_plan_that_changes_is_taken_by_the_digest_of_today() {
    let mut repository = Repository::new();
    let name = plan_name();
    let (_directory, mut host) = repository.host();
    let mut before: Option<Vec<u8>> = None;
    for turn in 0..5 {
        let bytes = format!("turn {turn}").into_bytes();
        let plan = repository.plan(name, &bytes);
        repository.publish(&BELOW);
        assert_eq!(host.update(repository.now).unwrap(), std::slice::from_ref(&plan));
        assert_eq!(host.plan(name, repository.now).unwrap(), bytes);
        // The bytes of before are no longer the plan, on the disk or on the way; those of today need no asking.
        repository.files.asked.lock().unwrap().clear();
        host.verify(name, &bytes, repository.now).unwrap();
        if let Some(before) = before {
            assert_refused!(host.verify(name, &before, repository.now), Error::Mismatch(_));
            assert!(repository.files.asked.lock().unwrap().is_empty());
            repository.files.put(&plan.file(), before);
            assert_refused!(host.plan(name, repository.now), Error::Mismatch(_));
        }
        before = Some(bytes);
    }
    assert_refused!(host.plan(plan_name(), repository.now), Error::NoSuchPlan(_));
}

#[test]
fn a_plan_is_known_by_its_sha256_whatever_other_digests_stand_beside_it() {
    for (keep, beside, good) in [
        (true, None, true),
        (true, Some("sha512"), true),
        (true, Some("unknown"), true),
        (false, Some("sha512"), false),
        (false, Some("unknown"), false),
        (false, None, false),
    ] {
        let mut repository = Repository::new();
        let plan = repository.plan(plan_name(), b"plan");
        repository.publish_with(&BELOW, |document, says| {
            if document == "plans" {
                let hashes = says["targets"][plan.name.to_string()]["hashes"].as_object_mut().unwrap();
                hashes.retain(|_, _| keep);
                hashes.extend(beside.map(|other| (other.to_owned(), json!("ab".repeat(64)))));
            }
        });
        let (_directory, mut host) = repository.host();
        let updated = host.update(repository.now);
        if good {
            assert_eq!(updated.unwrap(), std::slice::from_ref(&plan));
            assert_eq!(host.plan(plan.name, repository.now).unwrap(), b"plan");
        } else {
            assert_refused!(updated, Error::Malformed(_));
        }
    }
}

#[test]
fn a_repository_without_consistent_snapshots_is_read_by_plain_names() {
    let mut repository = Repository::new();
    repository.says.get_mut("root").unwrap()["consistent_snapshot"] = json!(false);
    let plan = repository.plan(plan_name(), b"plan");
    repository.publish(&ALL);
    repository.files.remove(&plan.file());
    repository.files.put(&plan.name.to_string(), *b"plan");
    let (directory, mut host) = repository.host();
    assert_eq!(host.update(repository.now).unwrap(), std::slice::from_ref(&plan));
    assert_eq!(host.plan(plan.name, repository.now).unwrap(), b"plan");
    let asked = repository.files.asked.lock().unwrap().clone();
    let unnumbered = ["timestamp.json", "snapshot.json", "targets.json", "plans.json"].map(str::to_owned);
    assert_eq!(asked[2..], [&unnumbered[..], &[plan.name.to_string()]].concat());
    assert_eq!(
        remembered(directory.path(), "snapshot").unwrap().into_bytes(),
        repository.files.get("snapshot.json")
    );
    repository.files.put(&plan.name.to_string(), *b"palm");
    assert_refused!(host.plan(plan.name, repository.now), Error::Mismatch(_));
}

/// The same JSON, written otherwise.
type Spelling<'a> = &'a dyn Fn(&str) -> String;

#[test]
fn a_document_means_the_same_however_its_json_is_written() {
    let pretty =
        |text: &str| serde_json::to_string_pretty(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
    let spelled: [(&str, Spelling<'_>); 5] = [
        ("pretty", &pretty),
        ("escaped", &|text| text.replace("\"_type\"", r#""\u005ftype""#).replace("Z\"", r#"\u005A""#)),
        ("spaced", &|text| format!("\r\n\t {} \n", text.replace(':', " :\t").replace(" :\t0", ":0"))),
        ("more beside", &|text| text.replacen('{', r#"{"x-unsigned":[null,{"a":1.5}],"#, 1)),
        ("more in a signature", &|text| text.replacen("{\"keyid\"", "{\"x\":{},\"keyid\"", 1)),
    ];
    for role in ROLES {
        for (case, spell) in spelled {
            let mut repository = Repository::new();
            repository.digests = false;
            repository.publish(&ALL);
            let name = repository.name(role);
            let text = String::from_utf8(repository.files.get(&name)).unwrap();
            let other = spell(&text);
            assert_ne!(other, text);
            repository.files.put(&name, other);
            let (_directory, mut host) = repository.host();
            let updated = host.update(repository.now);
            assert!(updated.is_ok(), "{role} {case}: {updated:?}");
        }
    }
}

#[test]
fn numbers_and_moments_have_one_spelling() {
    for (from, to) in [
        ("\"version\":2", "\"version\":\"2\""),
        ("\"version\":2", "\"version\":2.0"),
        ("\"version\":2", "\"version\":2e0"),
        ("\"version\":2", "\"version\":-2"),
        ("\"version\":2", "\"version\":0"),
        ("\"version\":2", "\"version\":02"),
        ("\"version\":2", "\"version\":18446744073709551617"),
        ("\"version\":2", "\"version\":null"),
        ("\"version\":2", "\"version\":3,\"version\":2"),
        ("00Z", "00.5Z"),
        ("00Z", "00"),
        ("2028-01-01", "tomorrow "),
        ("{\"sign", "\u{feff}{\"sign"),
        ("\"signed\"", "\"signed\":{},\"signed\""),
    ] {
        for role in ROLES {
            let mut repository = Repository::new();
            repository.digests = false;
            let (directory, mut host) = repository.updated();
            repository.publish(&ALL);
            let name = repository.name(role);
            let text = String::from_utf8(repository.files.get(&name)).unwrap();
            let other = text.replace(from, to);
            assert_ne!(other, text, "{role} {from}");
            repository.files.put(&name, other);
            assert_refused!(host.update(repository.now), Error::Malformed(_) | Error::Unsigned(_));
            assert_eq!(seen(directory.path())[0], if role == "root" { 1 } else { 2 }, "{role} {to}");
        }
    }
}

#[test]
fn a_moment_that_was_signed_in_another_spelling_is_refused() {
    for moment in
        ["2028-01-01T00:00:00+00:00", "2028-01-01T00:00:00.0Z", "2028-01-01t00:00:00z", "2028-01-01"]
    {
        for role in ROLES {
            let mut repository = Repository::new();
            repository.says.get_mut(role).unwrap()["expires"] = json!(moment);
            let (_directory, mut host) = repository.updated();
            repository.publish(&ALL);
            assert_refused!(host.update(repository.now), Error::Malformed(_) | Error::Unsigned(_));
        }
    }
}

#[test]
fn what_nobody_knows_yet_is_signed_for_like_the_rest() {
    let mut named = Repository::new();
    let plan = named.plan(plan_name(), b"plan");
    let listed = format!("/targets/{}", plan.name.to_string().replace('/', "~1"));
    let digests = format!("{listed}/hashes");
    let places: [(&str, &[&str]); 5] = [
        ("root", &["", "/roles/root", "/roles/snapshot"]),
        ("timestamp", &["", "/meta/snapshot.json"]),
        ("snapshot", &["", "/meta/plans.json", "/meta/targets.json"]),
        ("targets", &[""]),
        ("plans", &["", &listed, &digests]),
    ];
    for (role, pointers) in places {
        for pointer in pointers {
            let mut repository = Repository::new();
            repository.digests = false;
            repository.says.insert("plans", named.says["plans"].clone());
            let (_directory, mut host) = repository.host();
            let more = json!({"more": [1, null, true, "ü", {"b": 1, "a": {}}]});
            repository.publish_with(&ALL, |document, says| {
                if document == role {
                    says.pointer_mut(pointer).unwrap()["x-later"] = more.clone();
                }
            });
            assert_eq!(host.update(repository.now).unwrap().len(), 1, "{role} {pointer}");
            // And cannot be taken away, or changed.
            let (_directory, mut host) = repository.host();
            repository.rewrite(role, |file| {
                let said = file["signed"].pointer_mut(pointer).unwrap();
                said["x-later"]["more"][0] = json!(2);
            });
            assert_refused!(host.update(repository.now), Error::Unsigned(_));
        }
    }
    // tough keeps nothing unknown in these two places. What is signed with it is refused, and never read without it.
    for pointer in ["/delegations", "/delegations/roles/0"] {
        let mut repository = Repository::new();
        repository.publish_with(&ALL, |document, says| {
            if document == "targets" {
                says.pointer_mut(pointer).unwrap()["x-later"] = json!(1);
            }
        });
        assert_refused!(repository.host().1.update(repository.now), Error::Unsigned(_));
    }
}

#[test]
fn only_versions_1_of_the_specification_are_read() {
    for (version, good) in [
        ("1.0.0", true),
        ("1.0.34", true),
        ("1.7.0", true),
        ("2.0.0", false),
        ("0.9.0", false),
        ("10.0.0", false),
        ("1", false),
        ("1.0", false),
        ("1.0.x", false),
        ("", false),
    ] {
        for role in ROLES {
            let mut repository = Repository::new();
            repository.says.get_mut(role).unwrap()["spec_version"] = json!(version);
            let (_directory, mut host) = repository.updated();
            repository.publish(&ALL);
            let updated = host.update(repository.now);
            let refused = matches!(&updated, Err(Error::Malformed(said)) if said.contains(role));
            assert!(if good { updated.is_ok() } else { refused }, "{role} {version:?}: {updated:?}");
            assert_eq!(host.root_version(), if role == "root" && !good { 1 } else { 2 });
            if role == "root" && !good {
                // Nor is it passed through.
                repository.says.get_mut(role).unwrap()["spec_version"] = json!("1.0.0");
                repository.publish(&ALL);
                assert_refused!(host.update(repository.now), Error::Malformed(_));
            }
        }
    }
}

#[test]
fn a_root_that_no_update_could_begin_with_is_not_pinned() {
    for (field, value) in [("version", json!(u64::MAX)), ("spec_version", json!("2.0.0"))] {
        let mut repository = Repository::new();
        repository.publish_with(&["root"], |_, says| says[field] = value.clone());
        let directory = tempfile::tempdir().unwrap();
        let root = repository.files.get("2.root.json");
        let pinned = Trusted::pin(directory.path(), &root, Arc::new(repository.files.clone()));
        assert_refused!(pinned, Error::BadRoot(_));
    }
}

#[test]
fn a_role_is_asked_for_by_its_name_in_percents() {
    for (role, file) in [
        ("?", "1.%3F.json"),
        ("#", "1.%23.json"),
        ("/role", "1.%2Frole.json"),
        ("../role", "1...%2Frole.json"),
    ] {
        let mut repository = Repository::new();
        let plan = repository.plan(plan_name(), b"plan");
        repository.publish(&["plans"]);
        let list = repository.files.get("1.plans.json");
        repository.files.put(file, list);
        repository.publish_with(&["targets", "snapshot", "timestamp"], |document, says| {
            if document == "targets" {
                let roles = says["delegations"]["roles"].as_array_mut().unwrap();
                let mut odd = roles[0].clone();
                odd["name"] = json!(role);
                roles.push(odd);
            }
            if document == "snapshot" {
                says["meta"][format!("{role}.json")] = json!({"version": 1});
            }
        });
        let (directory, mut host) = repository.host();
        assert_eq!(host.update(repository.now).unwrap(), [plan], "{role}");
        assert!(repository.files.asked.lock().unwrap().iter().any(|asked| asked == file), "{role}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "{role}");
    }
}
