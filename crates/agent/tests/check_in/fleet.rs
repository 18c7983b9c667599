//! The rest of a fleet, as one host sees it: people who sign plans, and a centre that gives orders.

use crate::centre::{Centre, HOST};
use crate::{Host, Running, pace, wait};
use agent::settings::{HandKind, Settings};
use jiff::{SignedDuration, Timestamp};
use rollout::order::{self, Direction, Order, Report, Stage};
use rollout::plan::{
    Asked, Change as Move, Cohort, Digest, File, GateTerms, HostClass, HostId, Plan, PlanId, Probe, Reboot,
    Rollback, Timing, Track, Wave,
};
use rollout::word::{Says, Word};
use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use trust::keys::{FileKey, Signer};
use trust::proposal::Proposal;
use trust::publisher::{Publisher, Store};
use trust::standing::{Change, Founding, Quorum, Standing};
use trust::statement::NotHalted;
use trust::{PlanName, PlanTarget};
use uuid::Uuid;
use wire::v1::{CHECK_IN_PATH, Told};

/// What the publisher writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Store for Files {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

/// Two approvers, both of whom must sign, and the server's own key.
pub(crate) struct People {
    signers: Vec<Signer>,
    pub(crate) publisher: Arc<Mutex<Publisher<Files>>>,
    pub(crate) files: Files,
    pub(crate) now: Timestamp,
}

fn key(name: &str) -> Signer {
    Signer::File(FileKey::generate(name).unwrap())
}

fn sign(proposal: &mut Proposal, standing: Option<&Standing>, signers: &[Signer]) {
    for signer in signers {
        for countersigned in proposal.sign(standing, signer).unwrap() {
            proposal.add(standing, countersigned).unwrap();
        }
    }
}

impl People {
    /// Who founded the repository at `now`.
    pub(crate) fn found(now: Timestamp) -> Self {
        let (signers, online) = (vec![key("ada"), key("ben")], key("server"));
        let keys: Vec<_> = signers.iter().map(|signer| signer.public().clone()).collect();
        let quorum = Quorum::new(keys, 2).unwrap();
        let (owners, approvers) = (quorum.clone(), quorum);
        let founding = Founding { owners, approvers, online: online.public().clone(), one_key: false };
        let mut proposal = founding.propose(now).unwrap();
        sign(&mut proposal, None, &signers);
        let files = Files::default();
        let publisher = Publisher::found(files.clone(), vec![online], &proposal, now).unwrap();
        Self { signers, publisher: Arc::new(Mutex::new(publisher)), files, now }
    }

    /// Signs and publishes these bytes under this name.
    pub(crate) fn approve(&self, name: Uuid, bytes: &[u8]) -> PlanTarget {
        let mut publisher = self.publisher.lock().unwrap();
        let target = publisher.stage(PlanName(name), bytes).unwrap();
        self.publish(&mut publisher, Change::Plan(target.clone()));
        target
    }

    pub(crate) fn withdraw(&self, name: Uuid) {
        self.publish(&mut self.publisher.lock().unwrap(), Change::Withdraw(PlanName(name)));
    }

    fn publish(&self, publisher: &mut Publisher<Files>, change: Change) {
        let mut proposal = publisher.standing().propose(&[change], self.now).unwrap();
        sign(&mut proposal, Some(publisher.standing()), &self.signers);
        publisher.publish(&proposal, self.now).unwrap();
    }

    /// What the centre offers, by path.
    pub(crate) fn offered(&self) -> BTreeMap<String, Vec<u8>> {
        let files = self.files.0.lock().unwrap();
        let path = |name: &String| {
            if name.contains('/') { format!("targets/{name}") } else { format!("metadata/{name}") }
        };
        files.iter().map(|(name, bytes)| (path(name), bytes.clone())).collect()
    }

    /// Approvers say that hosts of this plan go back.
    pub(crate) fn word_back(&self, plan: &Plan) -> Uuid {
        let id = Uuid::now_v7();
        let word = Word {
            format: rollout::word::FORMAT,
            id,
            plan: plan.id,
            digest: plan.digest(),
            says: Says::Back,
            created: self.now,
            reason: "it is worse".to_owned(),
        };
        self.approve(id, &word.bytes());
        id
    }
}

/// A plan that brings oil from 1-1 to 1-2 on our host, a canary; `port` must accept connections.
pub(crate) fn plan(port: u16) -> Plan {
    let ago = |hours| Timestamp::now().saturating_sub(SignedDuration::from_hours(hours)).unwrap();
    let file = |text: &str| File { sha256: Digest::of(text.as_bytes()), size_bytes: 1000 };
    let wave = |name: &str, canary, host: &str| Wave {
        name: name.to_owned(),
        cohorts: vec![Cohort {
            class: "debian-12".to_owned(),
            groups: Vec::new(),
            canary,
            hosts: vec![HostId(host.parse().unwrap())],
        }],
        hosts_at_once_max: 1,
        gate: GateTerms {
            proven_percent_min: 100,
            bad_max: 0,
            skipped_max: 0,
            soak_seconds: 300,
            samples_min: 1,
            control: None,
        },
        late: None,
    };
    Plan {
        format: rollout::plan::FORMAT,
        id: PlanId(Uuid::now_v7()),
        title: "oil the lamp".to_owned(),
        created: ago(1),
        not_before: ago(1),
        expires: Timestamp::now().saturating_add(SignedDuration::from_hours(24)).unwrap(),
        decision: None,
        bulletins: vec!["DSA-1-1".to_owned()],
        environment: "default".to_owned(),
        track: Track::Emergency,
        supersedes: None,
        classes: vec![HostClass {
            name: "debian-12".to_owned(),
            release: "debian:12".to_owned(),
            arch: "amd64".to_owned(),
            changes: vec![Move {
                name: "oil".to_owned(),
                arch: "amd64".to_owned(),
                source: "oil".to_owned(),
                from: Some("1-1".to_owned()),
                to: "1-2".to_owned(),
                archive: "Debian-Security:12/oldstable-security".to_owned(),
                file: file("new"),
                back: Some(file("old")),
            }],
        }],
        waves: vec![
            wave("canaries", true, HOST),
            wave("wave 1", false, "0192c4f8-7d1e-7c3a-9f60-000000000002"),
        ],
        windows: Vec::new(),
        blackouts: Vec::new(),
        groups: Vec::new(),
        probes: vec![Probe { group: None, what: Asked::TcpPort(port), timeout_seconds: 1 }],
        replays: Vec::new(),
        reboot: Reboot::IfNeeded { reboots_max: 1 },
        rollback: Rollback::OnFailure,
        overrides: Vec::new(),
        timing: Timing {
            lease_seconds: 60,
            clearance_seconds: 10,
            deadline_seconds: 3600,
            silence_seconds: 60,
            expected_seconds: 1,
            verify_seconds: 1,
            host_soak_seconds: 0,
        },
    }
}

/// A host with a plan, an order for it, and a service that the plan probes.
pub(crate) struct Scene {
    pub(crate) centre: Centre,
    pub(crate) host: Host,
    pub(crate) people: People,
    pub(crate) plan: Plan,
    pub(crate) service: TcpListener,
}

impl Scene {
    /// Signed by all, offered by the centre, and not ordered yet.
    pub(crate) fn new() -> Self {
        Self::at(Timestamp::now(), |_| {})
    }

    pub(crate) fn at(now: Timestamp, change: impl FnOnce(&mut Plan)) -> Self {
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut plan = plan(service.local_addr().unwrap().port());
        change(&mut plan);
        let people = People::found(now);
        people.approve(plan.id.0, &plan.bytes());
        let (centre, host) = (Centre::start(), Host::new());
        {
            let mut memory = centre.memory.lock().unwrap();
            let root = people.publisher.lock().unwrap().root();
            memory.root = Some(String::from_utf8(root).unwrap());
            memory.files = people.offered();
        }
        host.enrol(&centre);
        Self { centre, host, people, plan, service }
    }

    pub(crate) fn order(&self, fence: u64, direction: Direction, nonce: u64) -> Order {
        let host = HostId(HOST.parse().unwrap());
        Order { host, plan: self.plan.id, digest: self.plan.digest(), direction, fence, nonce }
    }

    /// The centre gives this order, and clears whoever is ready, unless `change` has it say something else.
    pub(crate) fn orders(
        &self,
        fence: u64,
        direction: Direction,
        word: Option<Uuid>,
        mut change: impl FnMut(&order::CheckIn, &mut Told, &mut NotHalted) + Send + 'static,
    ) {
        let (order, publisher) = (self.order(fence, direction, 0), self.people.publisher.clone());
        self.centre.memory.lock().unwrap().desk = Some(Box::new(move |said| {
            let mut told =
                Told { order: Some(Order { nonce: said.nonce, ..order }), word, ..Told::default() };
            let mut cleared = NotHalted {
                fence,
                host: order.host.0,
                issued_at: Timestamp::now(),
                nonce: said.nonce,
                plan: order.plan.0,
            };
            let is_ready =
                said.report.is_some_and(|report| report.stage == Stage::Fetched && report.fence == fence);
            told.clearance = is_ready.then(String::new);
            change(said, &mut told, &mut cleared);
            if told.clearance.as_deref() == Some("") {
                let bytes = publisher.lock().unwrap().not_halted(&cleared).unwrap();
                told.clearance = Some(String::from_utf8(bytes).unwrap());
            }
            told
        }));
    }

    /// The agent with the dry hand, which fails like this.
    pub(crate) fn start_dry(&self, faults: &serde_json::Value) -> Running {
        self.write_faults(faults);
        self.host.start_with(&pace(), dry())
    }

    pub(crate) fn write_faults(&self, faults: &serde_json::Value) {
        std::fs::write(self.host.state().join("dry-faults.json"), faults.to_string()).unwrap();
    }

    /// What the dry hand has begun.
    pub(crate) fn begun(&self) -> Vec<String> {
        let bytes = std::fs::read(self.host.state().join("dry.json")).unwrap();
        let pretence: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let begun = pretence["begun"].as_array().unwrap();
        begun.iter().map(|one| one[1].as_str().unwrap().to_owned()).collect()
    }

    /// Every job that was said, in order.
    pub(crate) fn said(&self) -> Vec<order::CheckIn> {
        let heard = self.centre.heard(CHECK_IN_PATH);
        heard.into_iter().filter_map(|heard| serde_json::from_value(heard.body["job"].clone()).ok()).collect()
    }

    /// Every report, as it was first heard.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let mut reports: Vec<Report> = self.said().into_iter().filter_map(|said| said.report).collect();
        reports.dedup();
        reports
    }

    pub(crate) fn stages(&self) -> Vec<Stage> {
        let mut stages: Vec<Stage> = self.reports().iter().map(|report| report.stage).collect();
        stages.dedup();
        stages
    }

    pub(crate) fn wait_for(&self, stage: Stage) {
        wait(&format!("{stage} is reported"), || self.stages().last() == Some(&stage));
    }

    pub(crate) fn status(&self) -> Option<agent::JobStatus> {
        let state = agent::state::State::open(&self.host.state()).unwrap();
        agent::status(&state)?.job
    }
}

pub(crate) fn dry() -> Settings {
    let mut settings = Settings::default();
    settings.agent.hand = HandKind::Dry;
    settings
}

/// One report for each (grant, number), whatever was sent again, and numbers that only grow.
pub(crate) fn check_reports(reports: &[Report]) {
    for two in reports.windows(2) {
        let key = |report: &Report| (report.fence, report.seq);
        assert!(key(&two[0]) < key(&two[1]), "{two:?}");
    }
}
