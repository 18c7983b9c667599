//! A repository in which a test decides everything: who signs each document, what it says, and how it is named.

use crate::world::{Files, document, hex, key};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use trust::keys::Signer;
use trust::{PlanName, PlanTarget, Trusted};
use uuid::Uuid;

/// In the order in which a host reads them.
pub(crate) const ROLES: [&str; 5] = ["root", "timestamp", "snapshot", "targets", "plans"];
/// In the order in which they are published: each names those before it.
pub(crate) const ALL: [&str; 5] = ["root", "plans", "targets", "snapshot", "timestamp"];
/// Keys that belong to nobody until a test gives them away.
pub(crate) const FREE: usize = 10;

pub(crate) struct Repository {
    pub(crate) files: Files,
    /// Ten [`FREE`] ones, then one for each of [`ROLES`].
    pub(crate) keys: Vec<Signer>,
    pub(crate) holders: BTreeMap<&'static str, Holders>,
    /// What each document says. Publishing counts its version, and fills in whom and what it names.
    pub(crate) says: BTreeMap<&'static str, Value>,
    /// Whether documents are named by length and digest, too.
    pub(crate) digests: bool,
    pub(crate) now: Timestamp,
}

/// Keys by their numbers.
#[derive(Clone)]
pub(crate) struct Holders {
    pub(crate) keys: Vec<usize>,
    pub(crate) threshold: u64,
    pub(crate) signers: Vec<usize>,
}

impl Repository {
    /// One key for each role; version 1 of everything.
    pub(crate) fn new() -> Self {
        Self::owned_by(&[FREE], 1, &[FREE])
    }

    /// The same, with these owners of root 1.
    pub(crate) fn owned_by(keys: &[usize], threshold: u64, signers: &[usize]) -> Self {
        let alone = |number| Holders { keys: vec![number], threshold: 1, signers: vec![number] };
        let empty = |role: &str| {
            let mut says = json!({
                "_type": if role == "plans" { "targets" } else { role },
                "spec_version": "1.0.0",
                "version": 0,
                "expires": "2028-01-01T00:00:00Z",
            });
            match role {
                "root" => says["consistent_snapshot"] = json!(true),
                "targets" | "plans" => says["targets"] = json!({}),
                _ => {}
            }
            says
        };
        let mut new = Self {
            files: Files::default(),
            keys: (0..FREE + ROLES.len()).map(|number| key(&format!("key-{number}"))).collect(),
            holders: ROLES.iter().enumerate().map(|(at, role)| (*role, alone(FREE + at))).collect(),
            says: ROLES.iter().map(|role| (*role, empty(role))).collect(),
            digests: true,
            now: "2027-03-01T12:00:00Z".parse().unwrap(),
        };
        new.give("root", keys, threshold, signers);
        new.publish(&ALL);
        new
    }

    /// Gives a role other keys. (A root is signed by whom `signers` names, and must be signed by the owners of before.)
    pub(crate) fn give(&mut self, role: &'static str, keys: &[usize], threshold: u64, signers: &[usize]) {
        let holders = Holders { keys: keys.to_vec(), threshold, signers: signers.to_vec() };
        self.holders.insert(role, holders);
    }

    /// The same, a root being signed by its first owner, too.
    pub(crate) fn hand_over(
        &mut self,
        role: &'static str,
        keys: &[usize],
        threshold: u64,
        signers: &[usize],
    ) {
        let before = (role == "root").then_some(FREE);
        let signers: Vec<usize> = before.into_iter().chain(signers.iter().copied()).collect();
        self.give(role, keys, threshold, &signers);
    }

    /// The next version of each of these, in this order.
    pub(crate) fn publish(&mut self, roles: &[&'static str]) {
        self.publish_with(roles, |_, _| ());
    }

    /// The same; `change` has the last word on what each says before it is signed.
    pub(crate) fn publish_with(&mut self, roles: &[&'static str], change: impl Fn(&str, &mut Value)) {
        for &role in roles {
            let mut says = self.says[role].clone();
            says["version"] = json!(self.version(role) + 1);
            match role {
                "root" => {
                    let named = ["root", "timestamp", "snapshot", "targets"];
                    says["keys"] = self.keys_of(&named);
                    says["roles"] =
                        named.iter().map(|named| ((*named).to_owned(), self.role(named))).collect();
                }
                "targets" => {
                    let mut plans = self.role("plans");
                    plans["name"] = json!("plans");
                    plans["paths"] = json!(["plans/*"]);
                    plans["terminating"] = json!(true);
                    says["delegations"] = json!({"keys": self.keys_of(&["plans"]), "roles": [plans]});
                }
                "snapshot" => {
                    says["meta"] =
                        json!({"targets.json": self.named("targets"), "plans.json": self.named("plans")});
                }
                "timestamp" => says["meta"] = json!({"snapshot.json": self.named("snapshot")}),
                _ => {}
            }
            self.says.insert(role, says.clone());
            change(role, &mut says);
            let signers: Vec<&Signer> =
                self.holders[role].signers.iter().map(|&number| &self.keys[number]).collect();
            self.files.put(&self.name(role), document(&says, &signers));
        }
    }

    /// Lists a plan and offers it; the list is to be published.
    pub(crate) fn plan(&mut self, name: PlanName, bytes: &[u8]) -> PlanTarget {
        let plan = PlanTarget::of(name, bytes).unwrap();
        self.files.put(&plan.file(), bytes);
        let listed = json!({"length": bytes.len(), "hashes": {"sha256": hex(&plan.sha256)}});
        self.says.get_mut("plans").unwrap()["targets"][name.to_string()] = listed;
        plan
    }

    /// A host that trusts root 1, and its directory.
    pub(crate) fn host(&self) -> (TempDir, Trusted) {
        let directory = tempfile::tempdir().unwrap();
        let root = self.files.get("1.root.json");
        let trusted = Trusted::pin(directory.path(), &root, Arc::new(self.files.clone())).unwrap();
        (directory, trusted)
    }

    /// A host that has seen everything as it is.
    pub(crate) fn updated(&self) -> (TempDir, Trusted) {
        let (directory, mut host) = self.host();
        host.update(self.now).unwrap();
        (directory, host)
    }

    pub(crate) fn version(&self, role: &str) -> u64 {
        self.says[role]["version"].as_u64().unwrap()
    }

    pub(crate) fn set_version(&mut self, role: &str, version: u64) {
        self.says.get_mut(role).unwrap()["version"] = json!(version);
    }

    /// The file of a document.
    pub(crate) fn name(&self, role: &str) -> String {
        let consistent = self.says["root"]["consistent_snapshot"] == json!(true);
        match role {
            "timestamp" => "timestamp.json".to_owned(),
            role if consistent || role == "root" => format!("{}.{role}.json", self.version(role)),
            role => format!("{role}.json"),
        }
    }

    /// Changes a document's file as it lies there, signatures and all.
    pub(crate) fn rewrite(&self, role: &str, change: impl FnOnce(&mut Value)) {
        let mut file = self.files.json(&self.name(role));
        change(&mut file);
        self.files.put(&self.name(role), serde_json::to_vec(&file).unwrap());
    }

    pub(crate) fn id(&self, number: usize) -> String {
        self.keys[number].public().id().to_string()
    }

    /// A key as TUF describes it.
    pub(crate) fn described(&self, number: usize) -> Value {
        let public = hex(self.keys[number].public().bytes());
        json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})
    }

    fn keys_of(&self, roles: &[&str]) -> Value {
        let numbers = roles.iter().flat_map(|role| &self.holders[*role].keys);
        let keys: Map<String, Value> =
            numbers.map(|&number| (self.id(number), self.described(number))).collect();
        Value::Object(keys)
    }

    fn role(&self, role: &str) -> Value {
        let Holders { keys, threshold, .. } = &self.holders[role];
        let ids: Vec<String> = keys.iter().map(|&number| self.id(number)).collect();
        json!({"keyids": ids, "threshold": threshold})
    }

    fn named(&self, role: &str) -> Value {
        let version = self.version(role);
        if !self.digests {
            return json!({"version": version});
        }
        let bytes = self.files.get(&self.name(role));
        json!({"version": version, "length": bytes.len(), "hashes": {"sha256": hex(&Sha256::digest(&bytes))}})
    }
}

pub(crate) fn plan_name() -> PlanName {
    PlanName(Uuid::now_v7())
}

/// What a host remembers of a document, byte by byte.
pub(crate) fn remembered(directory: &Path, role: &str) -> Option<String> {
    let memory = std::fs::read(directory.join("trusted.json")).unwrap();
    let memory: Value = serde_json::from_slice(&memory).unwrap();
    memory[role].as_str().map(str::to_owned)
}

/// The versions of root, timestamp and snapshot that a host remembers.
pub(crate) fn seen(directory: &Path) -> [u64; 3] {
    ["root", "timestamp", "snapshot"].map(|role| {
        let text = remembered(directory, role).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        document["signed"]["version"].as_u64().unwrap()
    })
}
