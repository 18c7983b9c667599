//! A fleet's trust behind a server: a real publisher, people with keys in files, and the command line as each of them runs it.

use crate::server::{Answer, Request, serve};
use rollout::plan::Plan;
use rollout::word::Word;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use trust::keys::{FileKey, PublicKey, Signer};
use trust::proposal::{Countersigned, Proposal};
use trust::publisher::{Directory, Publisher, Store};
use trust::standing::{Change, Founding, Quorum, Standing};
use trust::{PlanName, PlanTarget};
use uuid::Uuid;

/// What the server holds.
pub(crate) struct Centre {
    store: Directory,
    pub(crate) publisher: Option<Publisher<Directory>>,
    online: Option<Signer>,
    /// What is to be signed: id, kind, object, documents.
    pub(crate) open: Option<(Uuid, &'static str, String, Proposal)>,
    /// Bytes by plan's or word's id.
    pub(crate) bytes: BTreeMap<Uuid, Vec<u8>>,
    /// What it shows instead of what stands.
    pub(crate) shows: Option<Vec<u8>>,
    /// A root that it shows by its version instead of its own.
    pub(crate) roots: BTreeMap<u64, Vec<u8>>,
    /// Where it says that every rollout stands.
    pub(crate) rollout: &'static str,
    /// Signers that were sent.
    pub(crate) sent: usize,
}

/// The fleet.
pub(crate) struct Fleet {
    directory: TempDir,
    pub(crate) centre: Arc<Mutex<Centre>>,
    pub(crate) people: Vec<PublicKey>,
}

pub(crate) fn plan() -> Plan {
    serde_json::from_str(include_str!("../golden/plan.json")).unwrap()
}

/// The same key again: a signer is not cloned.
fn twin(key: &FileKey) -> FileKey {
    FileKey::from_pem(&key.to_pem(None).unwrap(), None, key.public().name()).unwrap()
}

impl Fleet {
    /// Three people with keys in files, and a server that nobody has founded.
    pub(crate) fn new() -> Self {
        Self::with(None)
    }

    /// The same, and perhaps somebody with a key elsewhere.
    pub(crate) fn with(elsewhere: Option<PublicKey>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let in_files = ["ada", "bob", "eve"].map(|name| {
            let key = FileKey::generate(name).unwrap();
            key.write(&directory.path().join(format!("{name}.key")), None).unwrap();
            key.public().clone()
        });
        let people = in_files.into_iter().chain(elsewhere);
        let store = Directory(directory.path().join("store"));
        fs::create_dir(&store.0).unwrap();
        let centre = Arc::new(Mutex::new(Centre {
            store,
            publisher: None,
            online: None,
            open: None,
            bytes: BTreeMap::new(),
            shows: None,
            roots: BTreeMap::new(),
            rollout: "wave",
            sent: 0,
        }));
        let served = centre.clone();
        let (port, authority) = serve(move |request| served.lock().unwrap().answer(request));
        let access = format!(
            "server = \"https://127.0.0.1:{port}\"\ntoken = \"t\"\nauthority = '''\n{authority}'''\n"
        );
        let fleet = Self { directory, centre, people: people.collect() };
        fs::write(fleet.path("access.toml"), access).unwrap();
        fs::set_permissions(fleet.path("access.toml"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        fleet
    }

    /// The same, founded: two of three own and approve.
    pub(crate) fn founded() -> Self {
        Self::new().found()
    }

    /// Two of its people found it.
    pub(crate) fn found(self) -> Self {
        let fleet = self;
        let proposal = fleet.founding();
        let people = [0, 1].map(|person| fleet.signer(person));
        fleet.centre.lock().unwrap().found(proposal, &people);
        fleet
    }

    /// A founding by the three; each has another server's key.
    pub(crate) fn founding(&self) -> Proposal {
        let quorum = Quorum::new(self.people.clone(), 2).unwrap();
        let online = FileKey::generate("server").unwrap();
        let founding = Founding {
            owners: quorum.clone(),
            approvers: quorum,
            online: online.public().clone(),
            one_key: false,
        };
        self.centre.lock().unwrap().online = Some(Signer::File(online));
        founding.propose("2027-03-01T12:00:00Z".parse().unwrap()).unwrap()
    }

    pub(crate) fn signer(&self, person: usize) -> Signer {
        let key = FileKey::read(&self.path(&format!("{}.key", self.people[person].name())), None).unwrap();
        Signer::File(twin(&key))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Proposes changes; gives the proposal's id.
    pub(crate) fn propose(&self, kind: &'static str, object: &str, changes: &[Change]) -> Uuid {
        let mut centre = self.centre.lock().unwrap();
        let now = "2027-03-01T12:00:00Z".parse().unwrap();
        let proposal = centre.standing().propose(changes, now).unwrap();
        let id = Uuid::now_v7();
        centre.open = Some((id, kind, object.to_owned(), proposal));
        id
    }

    /// A plan at the server, as it would come into the list.
    pub(crate) fn stage(&self, plan: &Plan) -> Change {
        let target = PlanTarget::of(PlanName(plan.id.0), &plan.bytes()).unwrap();
        let mut centre = self.centre.lock().unwrap();
        centre.bytes.insert(plan.id.0, plan.bytes());
        centre.store.put(&target.file(), &plan.bytes()).unwrap();
        Change::Plan(target)
    }

    /// The same for a word.
    pub(crate) fn stage_word(&self, word: &Word) -> Change {
        let target = PlanTarget::of(PlanName(word.id), &word.bytes()).unwrap();
        let mut centre = self.centre.lock().unwrap();
        centre.bytes.insert(word.id, word.bytes());
        centre.store.put(&target.file(), &word.bytes()).unwrap();
        Change::Plan(target)
    }

    /// Runs `palisade` as one of the people, each with a home of their own; exit code, standard output and error.
    pub(crate) fn palisade(&self, person: usize, arguments: &[&str]) -> (i32, String, String) {
        self.with_agent(person, arguments, "")
    }

    /// The same with an ssh-agent.
    pub(crate) fn with_agent(
        &self,
        person: usize,
        arguments: &[&str],
        socket: &str,
    ) -> (i32, String, String) {
        let home = self.path(&format!("home-{person}"));
        let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(arguments)
            .env("XDG_CONFIG_HOME", home)
            .env("PALISADE_ACCESS", self.path("access.toml"))
            .env("SSH_AUTH_SOCK", socket)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Signs as one of the people, without being asked.
    pub(crate) fn sign(&self, person: usize, what: &str) -> (i32, String, String) {
        let key = self.path(&format!("{}.key", self.people[person].name()));
        self.palisade(person, &["plan", "sign", what, "--yes", "--key", key.to_str().unwrap()])
    }
}

impl Centre {
    pub(crate) fn standing(&self) -> &Standing {
        self.publisher.as_ref().unwrap().standing()
    }

    /// Founds, or founds anew, behind everybody's back.
    pub(crate) fn found(&mut self, mut proposal: Proposal, people: &[Signer]) {
        for person in people {
            for countersigned in proposal.sign(None, person).unwrap() {
                proposal.add(None, countersigned).unwrap();
            }
        }
        self.begin(&proposal);
    }

    fn begin(&mut self, proposal: &Proposal) {
        let _ = fs::remove_file(self.store.0.join("standing.json"));
        let online = vec![self.online.take().unwrap()];
        let now = "2027-03-01T12:00:00Z".parse().unwrap();
        self.publisher = Some(Publisher::found(self.store.clone(), online, proposal, now).unwrap());
    }

    /// Has people sign what is open, elsewhere than here, and publishes it.
    pub(crate) fn publish(&mut self, people: &[Signer]) {
        let (_, _, _, mut proposal) = self.open.take().unwrap();
        let standing = self.standing().clone();
        for person in people {
            for countersigned in proposal.sign(Some(&standing), person).unwrap() {
                proposal.add(Some(&standing), countersigned).unwrap();
            }
        }
        let now = "2027-03-01T12:00:00Z".parse().unwrap();
        self.publisher.as_mut().unwrap().publish(&proposal, now).unwrap();
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let json = |value: Value| (200, value.to_string().into_bytes());
        let absent = || (404, json!({"status": 404, "title": "absent"}).to_string().into_bytes());
        let open = self.open.as_ref().map(|open| open.0.to_string());
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["trust"]) => json(json!({ "founded": self.publisher.is_some() })),
            ("GET", ["trust", "standing"]) => {
                let bytes = self.shows.clone();
                (200, bytes.unwrap_or_else(|| serde_json::to_vec(self.standing()).unwrap()))
            }
            ("GET", ["trust", "root"]) => {
                let version: u64 = query.trim_start_matches("version=").parse().unwrap();
                let own = || self.store.get(&format!("{version}.root.json")).unwrap();
                self.roots.get(&version).cloned().or_else(own).map_or_else(absent, |bytes| (200, bytes))
            }
            ("GET", ["proposals"]) => {
                let open: Vec<Value> = self.open.is_some().then(|| self.shown(false)).into_iter().collect();
                json(json!({ "items": open }))
            }
            ("GET", ["proposals", id]) if open.as_deref() == Some(id) => json(self.shown(true)),
            ("POST", ["proposals", id, "signatures"]) if open.as_deref() == Some(id) => {
                json(self.add(&request.body))
            }
            ("GET", ["plans"]) => {
                let items = self.bytes.keys().map(|id| json!({ "id": id, "title": plan().title }));
                json(json!({ "items": items.collect::<Vec<_>>() }))
            }
            ("GET", ["plans", id, "bytes"]) => {
                self.bytes.get(&id.parse().unwrap()).cloned().map_or_else(absent, |bytes| (200, bytes))
            }
            ("GET", ["rollouts", _]) => json(json!({ "state": self.rollout })),
            ("GET", ["plans", id]) if self.bytes.contains_key(&id.parse().unwrap()) => {
                json(json!({ "id": id, "state": "ready" }))
            }
            _ => absent(),
        }
    }

    fn add(&mut self, body: &[u8]) -> Value {
        let standing = self.publisher.as_ref().map(|publisher| publisher.standing().clone());
        let signed: Vec<Countersigned> = serde_json::from_slice(body).unwrap();
        self.sent += signed.len();
        let (_, _, _, proposal) = self.open.as_mut().unwrap();
        for countersigned in signed {
            proposal.add(standing.as_ref(), countersigned).unwrap();
        }
        let shown = self.shown(false);
        let (_, _, _, proposal) = self.open.as_ref().unwrap();
        if !proposal.is_complete(standing.as_ref()) {
            return shown;
        }
        let (id, kind, object, proposal) = self.open.take().unwrap();
        let now = "2027-03-01T12:00:00Z".parse().unwrap();
        match &mut self.publisher {
            Some(publisher) => publisher.publish(&proposal, now).unwrap(),
            None => self.begin(&proposal),
        }
        json!({ "id": id, "kind": kind, "object": object, "title": "it", "state": "published", "digest": "" })
    }

    fn shown(&self, body: bool) -> Value {
        let (id, kind, object, proposal) = self.open.as_ref().unwrap();
        let standing = self.publisher.as_ref().map(Publisher::standing);
        let missing: Vec<Value> = proposal
            .missing(standing)
            .unwrap()
            .iter()
            .map(|missing| {
                let may_sign: Vec<Value> = missing
                    .may_sign
                    .iter()
                    .map(|key| json!({ "id": key.id().as_str(), "name": key.name() }))
                    .collect();
                json!({ "document": missing.document, "count": missing.count, "may_sign": may_sign })
            })
            .collect();
        let body = if body { serde_json::from_slice(&proposal.to_bytes()).unwrap() } else { Value::Null };
        json!({
            "id": id, "kind": kind, "object": object, "title": "it", "state": "open", "digest": proposal.digest(),
            "missing": missing, "body": body,
        })
    }
}
