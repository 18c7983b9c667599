//! A small fleet: people with keys, a server, files that anybody may change.

use jiff::{SignedDuration, Timestamp};
use olpc_cjson::CanonicalFormatter;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use trust::keys::{FileKey, PublicKey, Signer};
use trust::proposal::Proposal;
use trust::publisher::{Publisher, Store};
use trust::standing::{Change, Founding, Quorum, Standing};
use trust::trusted::Error;
use trust::{Fetch, PlanName, PlanTarget, Trusted};
use uuid::Uuid;

/// The files of the repository: the server's store, and what hosts fetch from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    pub(crate) all: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

pub(crate) struct World {
    pub(crate) files: Files,
    pub(crate) people: Vec<Signer>,
    pub(crate) online: Signer,
    pub(crate) publisher: Publisher<Files>,
    /// The root that hosts are given.
    pub(crate) root: Vec<u8>,
    pub(crate) now: Timestamp,
}

impl Files {
    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        self.all.lock().unwrap().get(name).unwrap_or_else(|| panic!("no file {name}")).clone()
    }

    pub(crate) fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.all.lock().unwrap().insert(name.to_owned(), bytes.into());
    }

    pub(crate) fn remove(&self, name: &str) {
        self.all.lock().unwrap().remove(name).unwrap_or_else(|| panic!("no file {name}"));
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.get(name)).unwrap()
    }

    /// Everything as it is now, to be offered again later.
    pub(crate) fn copy(&self) -> BTreeMap<String, Vec<u8>> {
        self.all.lock().unwrap().clone()
    }
}

impl Store for Files {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.all.lock().unwrap().get(name).cloned())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.put(name, bytes);
        Ok(())
    }
}

impl Fetch for Files {
    fn fetch(&self, name: &str, _: u64, _: Duration) -> io::Result<Box<dyn Read + Send>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let file = self.all.lock().unwrap().get(name).cloned();
        Ok(Box::new(Cursor::new(file.ok_or(ErrorKind::NotFound)?)))
    }
}

impl World {
    /// `n` people who own and approve, `k` of whom must sign.
    pub(crate) fn new(n: usize, k: u32) -> Self {
        let now = "2027-03-01T12:00:00Z".parse().unwrap();
        let people: Vec<Signer> = (0..n).map(|i| key(&format!("person-{i}"))).collect();
        let (online, servers) = twins("server");
        let quorum = quorum(&people, k);
        let founding = Founding {
            owners: quorum.clone(),
            approvers: quorum,
            online: online.public().clone(),
            one_key: false,
        };
        let mut proposal = founding.propose(now).unwrap();
        for person in people.iter().take(k as usize) {
            sign(&mut proposal, None, person);
        }
        let files = Files::default();
        let publisher = Publisher::found(files.clone(), vec![servers], &proposal, now).unwrap();
        let root = publisher.root();
        Self { files, people, online, publisher, root, now }
    }

    /// A host that was just enrolled, and its directory.
    pub(crate) fn host(&self) -> (TempDir, Trusted) {
        let directory = tempfile::tempdir().unwrap();
        let trusted = Trusted::pin(directory.path(), &self.root, Arc::new(self.files.clone())).unwrap();
        (directory, trusted)
    }

    /// The same host after a restart.
    pub(crate) fn again(&self, directory: &Path) -> Trusted {
        Trusted::open(directory, Arc::new(self.files.clone())).unwrap()
    }

    pub(crate) fn standing(&self) -> &Standing {
        self.publisher.standing()
    }

    pub(crate) fn passes(&mut self, hours: i64) {
        self.now = self.now.saturating_add(SignedDuration::from_hours(hours)).unwrap();
    }

    /// These people sign, and the server publishes.
    pub(crate) fn publish(&mut self, mut proposal: Proposal, signers: &[usize]) {
        for &person in signers {
            sign(&mut proposal, Some(self.publisher.standing()), &self.people[person]);
        }
        self.publisher.publish(&proposal, self.now).unwrap();
    }

    /// A plan that these people have signed for.
    pub(crate) fn plan(&mut self, bytes: &[u8], signers: &[usize]) -> PlanTarget {
        let name = PlanName(Uuid::now_v7());
        let plan = self.publisher.stage(name, bytes).unwrap();
        let proposal = self.standing().propose(&[Change::Plan(plan.clone())], self.now).unwrap();
        self.publish(proposal, signers);
        plan
    }

    /// Changes what a file says, and has these keys sign it.
    pub(crate) fn forge(&self, name: &str, change: impl FnOnce(&mut Value), signers: &[&Signer]) {
        let mut signed = self.files.json(name)["signed"].take();
        change(&mut signed);
        self.files.put(name, document(&signed, signers));
    }

    /// What a captured server can do: names the files that are there, whatever they are, in a new snapshot and a new
    /// timestamp. `change` has the last word on each: snapshot, then timestamp.
    pub(crate) fn capture(&self, versions: [u64; 3], change: impl Fn(&str, &mut Value)) {
        let [targets, plans, snapshot] = versions;
        let named = |name: &str, version: u64| {
            let bytes = self.files.get(name);
            json!({"length": bytes.len(), "hashes": {"sha256": hex(&Sha256::digest(&bytes))}, "version": version})
        };
        let old = format!(
            "{}.snapshot.json",
            self.files.json("timestamp.json")["signed"]["meta"]["snapshot.json"]["version"]
        );
        let mut signed = self.files.json(&old)["signed"].take();
        signed["version"] = json!(snapshot);
        signed["meta"] = json!({
            "targets.json": named(&format!("{targets}.targets.json"), targets),
            "plans.json": named(&format!("{plans}.plans.json"), plans),
        });
        change("snapshot", &mut signed);
        let name = format!("{}.snapshot.json", signed["version"]);
        self.files.put(&name, document(&signed, &[&self.online]));
        let mut timestamp = self.files.json("timestamp.json")["signed"].take();
        timestamp["version"] = json!(timestamp["version"].as_u64().unwrap().saturating_add(1));
        timestamp["meta"] = json!({"snapshot.json": named(&name, signed["version"].as_u64().unwrap())});
        change("timestamp", &mut timestamp);
        self.files.put("timestamp.json", document(&timestamp, &[&self.online]));
    }
}

/// A document signed by these keys, as a file.
pub(crate) fn document(signed: &Value, signers: &[&Signer]) -> Vec<u8> {
    let bytes = canonical(signed);
    let signatures: Vec<Value> = signers
        .iter()
        .map(|signer| {
            json!({"keyid": signer.public().id().as_str(), "sig": hex(&signer.sign(&bytes).unwrap())})
        })
        .collect();
    serde_json::to_vec(&json!({"signed": signed, "signatures": signatures})).unwrap()
}

pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new()))
        .unwrap();
    bytes
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Another id of the same key: a field more in its description makes another digest.
pub(crate) fn alias(signer: &Signer) -> (String, Value) {
    let key = json!({
        "keytype": "ed25519", "scheme": "ed25519", "note": "another",
        "keyval": {"public": hex(signer.public().bytes())},
    });
    (hex(&Sha256::digest(canonical(&key))), key)
}

pub(crate) fn key(name: &str) -> Signer {
    Signer::File(FileKey::generate(name).unwrap())
}

/// The same key twice: one for its owner, one for the thief.
pub(crate) fn twins(name: &str) -> (Signer, Signer) {
    let key = FileKey::generate(name).unwrap();
    let twin = FileKey::from_pem(&key.to_pem(None).unwrap(), None, name).unwrap();
    (Signer::File(key), Signer::File(twin))
}

pub(crate) fn quorum(people: &[Signer], k: u32) -> Quorum {
    let keys: Vec<PublicKey> = people.iter().map(|person| person.public().clone()).collect();
    Quorum::new(keys, k).unwrap()
}

/// Signs and adds the signatures, as an approver and the server do between them.
pub(crate) fn sign(proposal: &mut Proposal, standing: Option<&Standing>, signer: &Signer) {
    for countersigned in proposal.sign(standing, signer).unwrap() {
        proposal.add(standing, countersigned).unwrap();
    }
}

/// The reason, or a panic that says what was believed instead.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> Error {
    match result {
        Err(problem) => problem,
        Ok(believed) => panic!("believed: {believed:?}"),
    }
}

/// The update or plan was refused, and for this reason.
#[macro_export]
macro_rules! assert_refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {{
        let problem = $crate::world::refused($result);
        assert!(matches!(&problem, $pattern $(if $guard)?), "refused for another reason: {problem:?}");
    }};
}
