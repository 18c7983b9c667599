//! People with keys, and what they do with them through the API.

use crate::api_for_tests::{Answer, Centre};
use serde_json::{Value, json};
use server::people::roles::Role;
use server::signing::Signing;
use std::io::{self, Cursor, ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use trust::keys::{FileKey, Signer};
use trust::proposal::Proposal;
use trust::standing::Standing;
use trust::{Fetch, PlanTarget, Trusted};

/// A centre with somebody for each job.
pub struct Office {
    pub centre: Centre,
    pub admin: String,
    pub operator: String,
    pub approver: String,
    pub viewer: String,
    /// Three people's keys.
    pub keys: Vec<Signer>,
}

/// What a host fetches, through the server's own answers.
struct Door {
    signing: Arc<Signing>,
    runtime: Handle,
}

impl Fetch for Door {
    fn fetch(&self, name: &str, _: u64, _: Duration) -> io::Result<Box<dyn Read + Send>> {
        let path =
            if name.starts_with("plans/") { format!("targets/{name}") } else { format!("metadata/{name}") };
        let file = self.runtime.block_on(self.signing.file(&path)).map_err(io::Error::other)?;
        Ok(Box::new(Cursor::new(file.ok_or(ErrorKind::NotFound)?.to_vec())))
    }
}

pub fn key(name: &str) -> Signer {
    Signer::File(FileKey::generate(name).unwrap())
}

pub fn line(key: &Signer) -> String {
    key.public().to_string()
}

impl Office {
    pub async fn new(centre: Centre) -> Self {
        let keys = ["ada", "ben", "cleo"].map(key).into();
        let admin = centre.user(Role::Admin).await.1;
        let operator = centre.user(Role::Operator).await.1;
        let approver = centre.user(Role::Approver).await.1;
        let viewer = centre.user(Role::Viewer).await.1;
        Self { centre, admin, operator, approver, viewer, keys }
    }

    /// Founded: two of three own and approve.
    pub async fn founded(centre: Centre) -> Self {
        let office = Self::new(centre).await;
        let proposal = office.found().await;
        for signer in &office.keys[..2] {
            assert_eq!(office.sign(&proposal, signer).await.status, 200);
        }
        office
    }

    /// Proposes the founding; gives the proposal's id.
    pub async fn found(&self) -> String {
        let quorum = json!({ "threshold": 2, "keys": self.keys.iter().map(line).collect::<Vec<_>>() });
        let body = json!({ "owners": quorum, "approvers": quorum });
        let answer = self.centre.post(&self.admin, "/api/v1/trust/founding", &body).await;
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        id(&answer.json())
    }

    pub async fn proposal(&self, id: &str) -> Value {
        self.centre.get(&self.viewer, &format!("/api/v1/proposals/{id}")).await.json()
    }

    pub async fn plan(&self, id: &str) -> Value {
        self.centre.get(&self.viewer, &format!("/api/v1/plans/{id}")).await.json()
    }

    pub async fn rollout(&self, id: &str) -> Value {
        self.centre.get(&self.viewer, &format!("/api/v1/rollouts/{id}")).await.json()
    }

    pub async fn trust(&self) -> Value {
        self.centre.get(&self.viewer, "/api/v1/trust").await.json()
    }

    pub async fn standing(&self) -> Option<Standing> {
        let answer = self.centre.get(&self.viewer, "/api/v1/trust/standing").await;
        (answer.status == 200).then(|| serde_json::from_slice(&answer.body).unwrap())
    }

    /// What somebody signs at home: they read the proposal and what stands, and sign with their own key.
    pub async fn signed(&self, id: &str, signer: &Signer) -> Value {
        let body = serde_json::to_vec(&self.proposal(id).await["body"]).unwrap();
        let proposal = Proposal::read(&body).unwrap();
        json!(proposal.sign(self.standing().await.as_ref(), signer).unwrap())
    }

    pub async fn sign(&self, id: &str, signer: &Signer) -> Answer {
        let given = self.signed(id, signer).await;
        self.send(id, &given).await
    }

    pub async fn send(&self, id: &str, signed: &Value) -> Answer {
        self.centre.post(&self.approver, &format!("/api/v1/proposals/{id}/signatures"), signed).await
    }

    /// Two people sign.
    pub async fn approve(&self, id: &str) {
        for signer in &self.keys[..2] {
            let answer = self.sign(id, signer).await;
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        }
        assert_eq!(self.proposal(id).await["state"], "published");
    }

    pub async fn change(&self, change: &Value) -> Answer {
        self.centre.post(&self.admin, "/api/v1/trust/changes", change).await
    }

    /// A host that was enrolled when the root was that one.
    pub fn host(&self, root: &[u8]) -> Host {
        let directory = tempfile::tempdir().unwrap();
        let door = Door { signing: Arc::clone(&self.centre.signing), runtime: Handle::current() };
        let trusted = Trusted::pin(directory.path(), root, Arc::new(door)).unwrap();
        Host { trusted: Some(trusted), _directory: directory }
    }
}

/// A host's side of the trust.
pub struct Host {
    trusted: Option<Trusted>,
    _directory: tempfile::TempDir,
}

impl Host {
    /// Lets it do something that waits, off the threads that answer.
    pub async fn does<T: Send + 'static>(
        &mut self,
        what: impl FnOnce(&mut Trusted) -> T + Send + 'static,
    ) -> T {
        let mut trusted = self.trusted.take().unwrap();
        let (trusted, done) = tokio::task::spawn_blocking(move || {
            let done = what(&mut trusted);
            (trusted, done)
        })
        .await
        .unwrap();
        self.trusted = Some(trusted);
        done
    }

    pub async fn update(&mut self, now: jiff::Timestamp) -> Result<Vec<PlanTarget>, String> {
        self.does(move |trusted| trusted.update(now).map_err(|problem| problem.to_string())).await
    }

    /// The bytes of a plan or a word that is in force.
    pub async fn read(&mut self, id: &str, now: jiff::Timestamp) -> Vec<u8> {
        let name = trust::PlanName(id.parse().unwrap());
        self.does(move |trusted| trusted.plan(name, now).unwrap()).await
    }
}

pub fn id(of: &Value) -> String {
    of["id"].as_str().unwrap().to_owned()
}
