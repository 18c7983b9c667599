//! Whose keys count: chains of roots, thresholds, keys and signatures that are named twice, recovery by new keys.

use crate::assert_refused;
use crate::repository::{ALL, FREE, ROLES, Repository, seen};
use crate::world::{alias, hex};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use trust::trusted::Error;

/// Owners, how many must sign, who did.
type Root = (&'static [usize], u64, &'static [usize]);

/// Whether the last root of the chain is good; those before it are.
const CHAINS: [(&str, &[Root], bool); 18] = [
    ("one owner follows another", &[(&[7], 1, &[7]), (&[3], 1, &[3, 7]), (&[3], 1, &[3])], true),
    ("strangers sign, too", &[(&[7], 1, &[0, 7, 1]), (&[3], 1, &[0, 3, 7, 1]), (&[3], 1, &[0, 3, 1])], true),
    ("any two of four", &[(&[1, 2, 3, 4], 2, &[1, 2]), (&[1, 2, 3, 4], 2, &[4, 3])], true),
    (
        "any three of five, again and again",
        &[
            (&[5, 6, 7, 8, 9], 3, &[5, 7, 9]),
            (&[5, 6, 7, 8, 9], 3, &[9, 6, 5]),
            (&[5, 6, 7, 8, 9], 3, &[6, 7, 8]),
            (&[5, 6, 7, 8, 9], 3, &[6, 7, 8]),
        ],
        true,
    ),
    (
        "one of five goes, those who stay sign",
        &[(&[5, 6, 7, 8, 9], 3, &[5, 7, 9]), (&[5, 6, 8, 9, 0], 3, &[5, 6, 9])],
        true,
    ),
    (
        "one of five goes and signs with them once more",
        &[
            (&[5, 6, 7, 8, 9], 3, &[5, 7, 9]),
            (&[5, 6, 8, 9, 0], 3, &[5, 7, 9, 0]),
            (&[5, 6, 8, 9, 0], 3, &[5, 9, 0]),
        ],
        true,
    ),
    (
        "all go and sign with those who come",
        &[
            (&[0, 1, 2, 3], 3, &[0, 1, 2]),
            (&[4, 5, 6, 7], 3, &[1, 2, 3, 4, 5, 6]),
            (&[4, 5, 6, 7], 3, &[7, 6, 5]),
        ],
        true,
    ),
    ("more must sign", &[(&[1, 2, 3], 1, &[2]), (&[1, 2, 3], 2, &[3, 2])], true),
    ("fewer must sign", &[(&[1, 2, 3], 2, &[1, 3]), (&[1, 2, 3], 1, &[1, 3]), (&[1, 2, 3], 1, &[2])], true),
    ("a second one comes, and must sign", &[(&[1], 1, &[1]), (&[1, 2], 2, &[2, 1])], true),
    ("the old owner did not sign", &[(&[7], 1, &[7]), (&[3], 1, &[3, 0, 1])], false),
    ("the new owner did not sign", &[(&[7], 1, &[7]), (&[3], 1, &[7, 0, 1])], false),
    ("too few of the new", &[(&[5, 6, 7, 8, 9], 3, &[5, 7, 9]), (&[5, 6, 8, 9, 0], 3, &[5, 7, 9])], false),
    ("too few of the old", &[(&[5, 6, 7, 8, 9], 3, &[5, 7, 9]), (&[5, 6, 8, 9, 0], 3, &[5, 9, 0])], false),
    ("more must sign, and did not", &[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[3])], false),
    ("fewer must sign, but not yet", &[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1])], false),
    ("nobody signed", &[(&[1], 1, &[1]), (&[1], 1, &[])], false),
    ("one signed twice", &[(&[1, 2], 2, &[1, 2]), (&[1, 2], 2, &[1, 1])], false),
];

#[test]
fn a_chain_of_roots_is_followed_as_far_as_old_and_new_owners_have_signed() {
    for (case, chain, good) in CHAINS {
        let (keys, threshold, signers) = chain[0];
        let mut repository = Repository::owned_by(keys, threshold, signers);
        for (keys, threshold, signers) in &chain[1..] {
            repository.give("root", keys, *threshold, signers);
            repository.publish(&["root"]);
        }
        let (directory, mut host) = repository.host();
        let updated = host.update(repository.now);
        let last = repository.version("root");
        if good {
            assert!(updated.is_ok(), "{case}: {updated:?}");
            assert_eq!(seen(directory.path())[0], last, "{case}");
        } else {
            assert!(matches!(updated, Err(Error::Unsigned(_))), "{case}: {updated:?}");
            assert_eq!(host.root_version(), last - 1, "{case}");
        }
    }
}

/// Keys, threshold, signers, and whether that is enough.
const SIGNED: [(&[usize], u64, &[usize], bool); 11] = [
    (&[3], 1, &[3], true),
    (&[3], 1, &[0, 3, 1], true),
    (&[3], 1, &[0, 1], false),
    (&[3], 1, &[], false),
    (&[5, 6, 7, 8, 9], 3, &[5, 7, 9], true),
    (&[5, 6, 7, 8, 9], 3, &[9, 5, 6], true),
    (&[5, 6, 7, 8, 9], 3, &[6, 7, 8], true),
    (&[5, 6, 7, 8, 9], 3, &[5, 6, 7, 8, 9], true),
    (&[5, 6, 8, 9, 0], 3, &[5, 7, 9], false),
    (&[5, 6, 8, 9, 0], 3, &[5, 9], false),
    (&[5, 6, 8, 9, 0], 3, &[5, 9, 9], false),
];

#[test]
fn every_role_is_signed_by_the_keys_that_are_named_for_it_today() {
    for role in ["timestamp", "snapshot", "targets", "plans"] {
        for (keys, threshold, signers, good) in SIGNED {
            let mut repository = Repository::new();
            let (_directory, mut host) = repository.updated();
            repository.give(role, keys, threshold, signers);
            repository.publish(&ALL);
            let updated = host.update(repository.now);
            let said = format!("{role}: {threshold} of {keys:?}, signed by {signers:?}: {updated:?}");
            assert!(
                if good { updated.is_ok() } else { matches!(updated, Err(Error::Unsigned(_))) },
                "{said}"
            );
        }
    }
}

#[test]
fn a_threshold_that_rises_asks_for_documents_that_are_signed_anew() {
    for (role, naming) in [
        ("timestamp", &["root"][..]),
        ("snapshot", &["root"][..]),
        ("targets", &["root"][..]),
        ("plans", &["targets", "snapshot", "timestamp"][..]),
    ] {
        let mut repository = Repository::new();
        repository.give(role, &[0, 1], 1, &[0]);
        repository.publish(&ALL);
        let (directory, mut host) = repository.updated();
        repository.give(role, &[0, 1], 2, &[0]);
        repository.publish(naming);
        assert_refused!(host.update(repository.now), Error::Unsigned(_));
        // Nor does a host choke on what it remembers by the old threshold.
        drop(host);
        let source = std::sync::Arc::new(repository.files.clone());
        let mut host = trust::Trusted::open(directory.path(), source).unwrap();
        repository.give(role, &[0, 1], 2, &[1, 0]);
        repository.publish(&["plans", "targets", "snapshot", "timestamp"]);
        host.update(repository.now).unwrap();
    }
}

#[test]
fn a_role_that_nobody_could_sign_for_is_refused_with_the_root_that_names_it() {
    for role in ["timestamp", "snapshot", "targets", "plans"] {
        let mut repository = Repository::new();
        let (_directory, mut host) = repository.updated();
        repository.give(role, &[0, 1], 3, &[0, 1]);
        repository.publish(&ALL);
        if role == "plans" {
            assert_refused!(host.update(repository.now), Error::Unsigned(_));
            continue;
        }
        assert_refused!(host.update(repository.now), Error::Keys(said) if said.to_string().contains("3 signers of 2"));
        assert_eq!(host.root_version(), 1, "{role}");
    }
}

#[test]
fn an_id_that_a_role_names_twice_is_refused() {
    for role in ROLES {
        let mut repository = Repository::new();
        let (_directory, mut host) = repository.updated();
        repository.hand_over(role, &[0, 0], 1, &[0]);
        repository.publish(&ALL);
        assert_refused!(host.update(repository.now), Error::Keys(said) if said.to_string().contains("twice"));
        // And never counts as two.
        let mut repository = Repository::new();
        let (_directory, mut host) = repository.updated();
        repository.hand_over(role, &[0, 0], 2, &[0]);
        repository.publish(&ALL);
        assert_refused!(host.update(repository.now), Error::Keys(_) | Error::Unsigned(_));
    }
}

#[test]
fn a_document_that_one_key_signed_twice_is_refused_even_when_enough_others_did() {
    for role in ROLES {
        let mut repository = Repository::new();
        let (_directory, mut host) = repository.updated();
        repository.hand_over(role, &[0, 1], 2, &[0, 1, 1]);
        repository.publish(&ALL);
        assert_refused!(host.update(repository.now), Error::Unsigned(_));
    }
}

#[test]
fn a_bad_signature_counts_for_nothing_and_spoils_nothing() {
    for role in ROLES {
        for bad in ["", "00", &"a5".repeat(64)] {
            for (threshold, good) in [(1, true), (2, false)] {
                let mut repository = Repository::new();
                repository.digests = false;
                repository.publish(&ALL);
                let (_directory, mut host) = repository.updated();
                repository.hand_over(role, &[0, 1], threshold, &[0, 1]);
                repository.publish(&ALL);
                let id = repository.id(1);
                repository.rewrite(role, |file| {
                    let all = file["signatures"].as_array_mut().unwrap();
                    all.iter_mut().find(|one| one["keyid"] == json!(id)).unwrap()["sig"] = json!(bad);
                });
                let updated = host.update(repository.now);
                let said = format!("{role}, threshold {threshold}, {bad:?}: {updated:?}");
                assert!(
                    if good { updated.is_ok() } else { matches!(updated, Err(Error::Unsigned(_))) },
                    "{said}"
                );
            }
        }
    }
}

const ECDSA: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEtfGX+od7ZuelbvYerW1NrBKwzFqi
R8WRAwlt3kT8tmLjPSmpsPtcg4jKnn8Ua/tzPxWaG6ZCOZ+ty+W9c2/BrQ==
-----END PUBLIC KEY-----
";

#[test]
fn a_key_of_another_kind_is_refused_in_a_role_even_where_it_is_not_needed() {
    let ecdsa =
        json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": ECDSA.trim_end()}});
    let weak = json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00".repeat(32)}});
    for described in [ecdsa, weak] {
        let id = hex(&Sha256::digest(crate::world::canonical(&described)));
        for role in ["root", "timestamp", "snapshot", "targets"] {
            let mut repository = Repository::new();
            let (_directory, mut host) = repository.updated();
            repository.publish_with(&ALL, |document, says| {
                if document == "root" {
                    says["keys"][&id] = described.clone();
                    says["roles"][role]["keyids"].as_array_mut().unwrap().push(json!(id));
                }
            });
            assert_refused!(host.update(repository.now), Error::Keys(_));
            assert_eq!(host.root_version(), 1);
        }
    }
}

#[test]
fn what_else_a_key_says_of_itself_makes_another_id_and_no_other_key() {
    let mut repository = Repository::new();
    repository.digests = false;
    repository.publish(&ALL);
    let (_directory, mut host) = repository.updated();
    let own = repository.described(3);
    let mut misleading = own.clone();
    misleading["keyid_hash_algorithms"] = json!("md5");
    for described in [alias(&repository.keys[3]).1, misleading] {
        let id = hex(&Sha256::digest(crate::world::canonical(&described)));
        for role in ["timestamp", "snapshot", "targets"] {
            repository.give(role, &[3], 1, &[3]);
            let plain = repository.id(3);
            repository.publish_with(&ALL, |document, says| {
                if document == "root" {
                    says["keys"].as_object_mut().unwrap().remove(&plain);
                    says["keys"][&id] = described.clone();
                    for role in says["roles"].as_object_mut().unwrap().values_mut() {
                        let ids = role["keyids"].as_array_mut().unwrap();
                        for one in ids.iter_mut().filter(|one| **one == json!(plain)) {
                            *one = json!(id);
                        }
                    }
                }
            });
            for role in ["timestamp", "snapshot", "targets"] {
                repository.rewrite(role, |file| {
                    if file["signatures"][0]["keyid"] == json!(plain) {
                        file["signatures"][0]["keyid"] = json!(id);
                    }
                });
            }
            host.update(repository.now).unwrap();
            assert_eq!(host.root_version(), repository.version("root"));
        }
    }
}

#[test]
fn versions_that_were_counted_up_are_forgotten_with_the_servers_keys_and_only_then() {
    /// The document that was counted up, with those that name it; and whose keys are new.
    const CASES: [(&str, &[&str], &[&str]); 9] = [
        ("timestamp", &["timestamp"], &["timestamp"]),
        ("snapshot", &["snapshot", "timestamp"], &["snapshot", "timestamp"]),
        ("snapshot", &["snapshot", "timestamp"], &["snapshot"]),
        ("targets", &["targets", "snapshot", "timestamp"], &["snapshot"]),
        ("plans", &["plans", "snapshot", "timestamp"], &["snapshot"]),
        ("timestamp", &["timestamp"], &[]),
        ("snapshot", &["snapshot", "timestamp"], &["targets"]),
        ("targets", &["targets", "snapshot", "timestamp"], &["targets"]),
        ("plans", &["plans", "snapshot", "timestamp"], &["plans"]),
    ];
    for (counted, published, new) in CASES {
        let mut repository = Repository::new();
        let (directory, mut host) = repository.updated();
        repository.set_version(counted, 99_998);
        repository.publish(published);
        host.update(repository.now).unwrap();
        for (at, role) in new.iter().enumerate() {
            repository.give(role, &[at], 1, &[at]);
        }
        repository.set_version(counted, 0);
        repository.publish(&ALL);
        let updated = host.update(repository.now);
        let said = format!("{counted} counted up, new keys for {new:?}: {updated:?}");
        let recovers = new.iter().any(|role| ["timestamp", "snapshot"].contains(role));
        assert!(
            if recovers { updated.is_ok() } else { matches!(updated, Err(Error::Rollback(_))) },
            "{said}"
        );
        if recovers {
            let is = ["root", "timestamp", "snapshot"].map(|role| repository.version(role));
            assert_eq!(seen(directory.path()), is, "{said}");
        }
    }
}

#[test]
fn a_role_that_two_delegate_to_is_believed_by_the_keys_at_the_top_alone() {
    /// Whether `other`, which delegates to a role of its own that is called `plans`, stands before the one at the top.
    const BEFORE: [bool; 2] = [false, true];
    const APPROVER: usize = FREE + 4;
    const OTHER: usize = 5;
    for before in BEFORE {
        for signers in [&[APPROVER][..], &[OTHER], &[APPROVER, OTHER]] {
            let mut repository = Repository::new();
            let (id, key) = (repository.id(OTHER), repository.described(OTHER));
            let role = json!({"name": "other", "keyids": [id], "threshold": 1, "paths": ["*"], "terminating": false});
            let delegates = |role: &Value| json!({"keys": {&id: key}, "roles": [role]});
            let mut again = role.clone();
            again["name"] = json!("plans");
            let other = json!({
                "_type": "targets", "spec_version": "1.0.0", "version": 1, "expires": "2028-01-01T00:00:00Z",
                "targets": {}, "delegations": delegates(&again),
            });
            let other = crate::world::document(&other, &[&repository.keys[OTHER]]);
            repository.files.put("1.other.json", other);
            let plan = repository.plan(crate::repository::plan_name(), b"plan");
            let holders = repository.holders["plans"].clone();
            repository.give("plans", &holders.keys, 1, signers);
            repository.publish_with(&["plans", "targets", "snapshot", "timestamp"], |document, says| {
                if document == "targets" {
                    says["delegations"]["keys"][&id] = key.clone();
                    let roles = says["delegations"]["roles"].as_array_mut().unwrap();
                    roles.insert(usize::from(!before), role.clone());
                }
                if document == "snapshot" {
                    says["meta"]["other.json"] = json!({"version": 1});
                }
            });
            let (_directory, mut host) = repository.host();
            let updated = host.update(repository.now);
            // Before it, it is in the way of every list; that nobody's word is taken for the approvers' holds all the same.
            let good = !before && signers.contains(&APPROVER);
            assert_eq!(updated.is_ok(), good, "before: {before}, signed by {signers:?}: {updated:?}");
            assert!(updated.is_err() || updated.is_ok_and(|plans| plans == [plan]));
        }
    }
}
