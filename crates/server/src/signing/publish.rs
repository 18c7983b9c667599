//! Signers are added; a proposal that lacks none is published, in one transaction, by whoever holds the role.

use super::draft::{Draft, Written};
use super::keys::{self, Use};
use super::{Change, Error, Lines, Signing};
use crate::rollouts;
use crate::store::audit::{self, Actor};
use crate::store::events::{self, Kind};
use crate::store::leases::{self, Lease};
use crate::store::plans::State;
use crate::store::proposals::{self, Proposal};
use crate::store::{self, Writing, commit, plans, trust_files};
use crate::task::off_thread;
use jiff::Timestamp;
use rollout::plan::Plan;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trust::keys::{PublicKey, Signer};
use trust::proposal::{Countersigned, Difference, Document};
use trust::publisher::{self, Publisher};
use trust::standing::{Custody, Standing};
use trust::{PlanTarget, proposal};

/// Two people who sign at once; each looks again so often.
const TRIES_MAX: usize = 5;

/// Who has signed a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBy {
    /// Which document.
    pub document: Document,
    /// Ids of the keys, and whose they are.
    pub keys: Vec<(String, String)>,
}

impl Signing {
    /// Adds signers to an open proposal, and publishes it if it lacks none then; whether it did.
    pub async fn sign(
        &self,
        id: &str,
        signed: &[Countersigned],
        actor: &Actor,
        now: Timestamp,
    ) -> Result<bool, Error> {
        for _ in 0..TRIES_MAX {
            let row = self.open_proposal(id).await?;
            let standing = self.current(now, &row).await?;
            let mut proposal = proposal::Proposal::read(&row.body)?;
            for signed in signed {
                proposal.add(standing.as_ref(), signed.clone())?;
            }
            let mut writing = self.store.begin().await?;
            if !proposals::sign(&mut writing, id, row.revision, &proposal.to_bytes()).await? {
                continue;
            }
            let keys: Vec<String> =
                signed.iter().map(|one| format!("{} {}", one.document, one.key())).collect();
            let detail = json!({ "title": row.title, "digest": row.digest, "signed": keys });
            audit::record(&mut writing, now, actor, "proposal.sign", id, detail).await?;
            events::tell(&mut writing, now, Kind::Plan, id, &json!({ "proposal": "signed" })).await?;
            commit(writing, "add a signer to a proposal").await?;
            self.told.notify_waiters();
            if !proposal.is_complete(standing.as_ref()) {
                return Ok(false);
            }
            self.publish(id, actor, now).await?;
            return Ok(true);
        }
        Err(Error::Busy)
    }

    /// Signs as the server: only where the server approves.
    pub async fn sign_alone(&self, id: &str, actor: &Actor, now: Timestamp) -> Result<bool, Error> {
        if self.custody() != Some(Custody::Server) {
            return Err(Error::PeopleApprove);
        }
        let row = self.open_proposal(id).await?;
        let standing = self.current(now, &row).await?;
        let given = self.signed_alone(&proposal::Proposal::read(&row.body)?, standing.as_ref()).await?;
        self.sign(id, &given, actor, now).await
    }

    /// Founds the repository with a key of the server as owner and approver.
    pub(super) async fn found_alone(&self, now: Timestamp) -> Result<(), Error> {
        let online = self.own_key(now).await?;
        let own = self.safe.ensure(&self.store, now, Use::Approvals, &[]).await?.public;
        let alone = Lines { threshold: 1, keys: vec![own.to_string()] };
        let change = Change::Found {
            owners: alone.clone(),
            approvers: alone,
            online: online.to_string(),
            one_key: true,
        };
        let title = "One-key mode: the server owns and approves";
        let founding = self.propose(&change, title, &Actor::Server, now).await?;
        let given = self.signed_alone(&proposal::Proposal::read(&founding.body)?, None).await?;
        match self.sign(&founding.id, &given, &Actor::Server, now).await {
            // Another server that starts at the same time was first.
            Err(Error::Remade(_) | Error::Ended { .. } | Error::Founded) => self.reload().await,
            signed => signed.map(|_| ()),
        }
    }

    async fn signed_alone(
        &self,
        proposal: &proposal::Proposal,
        standing: Option<&Standing>,
    ) -> Result<Vec<Countersigned>, Error> {
        let mut given = Vec::new();
        for signer in self.signers(Use::Approvals).await? {
            match proposal.sign(standing, &signer) {
                Ok(signed) => given.extend(signed),
                Err(proposal::Error::NotAsked(_)) => {}
                Err(problem) => return Err(problem.into()),
            }
        }
        if given.is_empty() {
            let reason = "sign as the server: none of its keys is asked for here; the new owners or approvers must sign";
            return Err(Error::Refused(reason.to_owned()));
        }
        Ok(given)
    }

    /// The open proposal of that id with its documents.
    async fn open_proposal(&self, id: &str) -> Result<Proposal, Error> {
        let row = proposals::get(&self.store, id).await?.ok_or_else(|| Error::NotFound(id.to_owned()))?;
        if row.state != "open" {
            return Err(Error::Ended { id: id.to_owned(), state: row.state });
        }
        Ok(row)
    }

    /// What stands, if the proposal follows it; a proposal that was overtaken is made again, and has to be looked at anew.
    async fn current(&self, now: Timestamp, row: &Proposal) -> Result<Option<Standing>, Error> {
        let follows = |standing: Option<&Standing>| -> Result<bool, Error> {
            let missing = proposal::Proposal::read(&row.body)?.missing(standing);
            Ok(!matches!(missing, Err(proposal::Error::Outdated { .. })))
        };
        let standing = self.standing();
        if follows(standing.as_ref())? {
            return Ok(standing);
        }
        // Another server may have published a moment ago.
        self.reload().await?;
        let standing = self.standing();
        if follows(standing.as_ref())? {
            return Ok(standing);
        }
        let mut writing = self.store.begin().await?;
        let why = "another proposal was published first";
        self.remake(&mut writing, row, standing.as_ref(), why, now).await?;
        commit(writing, "make a proposal again").await?;
        self.told.notify_waiters();
        Err(Error::Remade(row.id.clone()))
    }

    /// Publishes a proposal that lacks no signer. What follows from it for rollouts is [`Signing::settle`]'s.
    pub(super) async fn publish(&self, id: &str, actor: &Actor, now: Timestamp) -> Result<(), Error> {
        let _alone = self.publishing.lock().await;
        let lease = self.role(now).await?;
        let published = self.publish_under(&lease, id, actor, now).await;
        leases::release(&self.store, &lease).await?;
        if published.is_ok() {
            self.reload().await?;
            self.told.notify_waiters();
        }
        published
    }

    async fn publish_under(
        &self,
        lease: &Lease,
        id: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.reload().await?;
        let row = match self.open_proposal(id).await {
            // Whoever added another signer at the same time was first.
            Err(Error::Ended { state, .. }) if state == "published" => return Ok(()),
            row => row?,
        };
        let before = self.current(now, &row).await?;
        let signers = self.signers(Use::Online).await?;
        let proposal = proposal::Proposal::read(&row.body)?;
        let (written, next) =
            drafted(Draft::new(self.store.clone()), signers, proposal.clone(), before.is_none(), now).await?;
        let names = names_in(&proposal, before.as_ref());
        let signed = signed_by(&proposal, before.as_ref(), &names)?;
        let mut writing = self.store.begin().await?;
        if !leases::hold(&mut writing, lease).await? {
            return Err(Error::Busy);
        }
        write(&mut writing, &written).await?;
        // Whatever is not about a plan has nothing to act on.
        let acted = !matches!(row.kind.as_str(), "plan" | "word" | "withdraw");
        let text = serde_json::to_string(&signed).expect("texts are JSON");
        if !proposals::publish(&mut writing, now, id, row.revision, &text, acted).await? {
            return Err(Error::Busy);
        }
        self.change_plans(&mut writing, before.as_ref(), &next, now).await?;
        self.remake_others(&mut writing, &next, id, now).await?;
        let rotated = before.as_ref().is_some_and(|before| before.online() != next.online());
        keys::retain(&mut writing, &keys_of(&next), rotated).await?;
        let [root, targets, list] = next.versions();
        let detail = json!({
            "kind": row.kind, "title": row.title, "object": row.object, "digest": row.digest, "signed": signed,
            "versions": { "root": root, "targets": targets, "plans": list },
        });
        audit::record(&mut writing, now, actor, "proposal.publish", id, detail).await?;
        let told = json!({ "proposal": "published", "trust": true, "object": row.object });
        events::tell(&mut writing, now, Kind::Plan, id, &told).await?;
        commit(writing, "publish a proposal").await?;
        Ok(())
    }

    /// Plans come into force and are withdrawn as the list says.
    async fn change_plans(
        &self,
        writing: &mut Writing,
        before: Option<&Standing>,
        next: &Standing,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (old, new) = (before.map(Standing::plans).unwrap_or_default(), next.plans());
        let threshold = usize::try_from(next.approvers().threshold()).unwrap_or(usize::MAX);
        for target in new.iter().filter(|target| !old.contains(target)) {
            let Some(plan) = self.plan_of(target).await? else { continue };
            let id = target.name.0.to_string();
            if plans::advance(writing, &id, &[State::Ready], State::InForce).await? {
                rollouts::create(writing, &plan, threshold, now).await?;
                events::tell(writing, now, Kind::Plan, &id, &json!({ "state": "in-force" })).await?;
            }
        }
        for target in old.iter().filter(|target| !new.iter().any(|other| other.name == target.name)) {
            let id = target.name.0.to_string();
            if plans::advance(writing, &id, &[State::InForce], State::Withdrawn).await? {
                events::tell(writing, now, Kind::Plan, &id, &json!({ "state": "withdrawn" })).await?;
            }
        }
        Ok(())
    }

    /// The plan of a target; `None`: it is a word.
    async fn plan_of(&self, target: &PlanTarget) -> Result<Option<Plan>, Error> {
        let id = target.name.0.to_string();
        let Some(bytes) = plans::body(&self.store, &id).await? else { return Ok(None) };
        let damaged = |reason: String| store::Error::Damaged { object: format!("plan {id}"), reason };
        if !target.is(&bytes) {
            return Err(damaged("its bytes are not those that were signed".to_owned()).into());
        }
        let plan = off_thread(move || Plan::read(&bytes)).await;
        Ok(Some(plan.map_err(|problem| damaged(problem.to_string()))?))
    }

    /// Signs anew what is about to expire of the server's own documents; whether something was.
    pub async fn refresh(&self, now: Timestamp) -> Result<bool, Error> {
        if !self.is_founded() {
            return Ok(false);
        }
        let _alone = self.publishing.lock().await;
        // Whoever has the role refreshes, or publishes, which does it as well.
        let Some(lease) = leases::acquire(&self.store, now, super::ROLE, &self.holder, super::LEASE).await?
        else {
            return Ok(false);
        };
        let refreshed = self.refresh_under(&lease, now).await;
        leases::release(&self.store, &lease).await?;
        if matches!(refreshed, Ok(true)) {
            self.reload().await?;
            self.told.notify_waiters();
        }
        refreshed
    }

    async fn refresh_under(&self, lease: &Lease, now: Timestamp) -> Result<bool, Error> {
        let signers = self.signers(Use::Online).await?;
        let draft = Draft::new(self.store.clone());
        let written = off_thread(move || -> Result<Written, publisher::Error> {
            let mut publisher = Publisher::load(draft.clone(), signers)?;
            let done = publisher.refresh(now)?;
            Ok(if done.timestamp || done.snapshot { draft.written() } else { Written::new() })
        })
        .await?;
        if written.is_empty() {
            return Ok(false);
        }
        let mut writing = self.store.begin().await?;
        if !leases::hold(&mut writing, lease).await? {
            return Ok(false);
        }
        write(&mut writing, &written).await?;
        let told = json!({ "trust": true, "refreshed": true });
        events::tell(&mut writing, now, Kind::Plan, "trust", &told).await?;
        commit(writing, "sign the trust's documents anew").await?;
        Ok(true)
    }
}

/// What a publishing would write, and what stands then.
async fn drafted(
    draft: Draft,
    signers: Vec<Signer>,
    proposal: proposal::Proposal,
    is_founding: bool,
    now: Timestamp,
) -> Result<(Written, Standing), Error> {
    let work = move || -> Result<(Written, Standing), publisher::Error> {
        let standing = if is_founding {
            Publisher::found(draft.clone(), signers, &proposal, now)?.standing().clone()
        } else {
            let mut publisher = Publisher::load(draft.clone(), signers)?;
            publisher.publish(&proposal, now)?;
            publisher.standing().clone()
        };
        Ok((draft.written(), standing))
    };
    Ok(off_thread(work).await?)
}

/// Writes files, the last of each name, and removes what no host asks for any more.
async fn write(writing: &mut Writing, written: &Written) -> Result<(), Error> {
    for (at, (name, bytes)) in written.iter().enumerate() {
        if written[at + 1..].iter().any(|(later, _)| later == name) {
            continue;
        }
        trust_files::put(writing, name, bytes).await?;
        // A host in the middle of an update may still ask for the version before.
        let numbered =
            name.split_once('.').and_then(|(number, kind)| Some((number.parse::<u64>().ok()?, kind)));
        if let Some((number, kind)) = numbered
            && kind != "root.json"
            && let Some(old) = number.checked_sub(2)
        {
            trust_files::remove(writing, &format!("{old}.{kind}")).await?;
        }
    }
    Ok(())
}

/// Every key that stands for something.
fn keys_of(standing: &Standing) -> Vec<PublicKey> {
    let mut keys = standing.online();
    keys.extend(standing.owners().keys().iter().cloned());
    keys.extend(standing.approvers().keys().iter().cloned());
    keys
}

/// Whose keys they are: those that stand, and those that a proposal brings.
pub(crate) fn names_in(proposal: &proposal::Proposal, standing: Option<&Standing>) -> Vec<(String, String)> {
    let brought = proposal.differences(standing).unwrap_or_default().into_iter().filter_map(|difference| {
        if let Difference::KeyAdded(_, key) = difference { Some(key) } else { None }
    });
    standing
        .into_iter()
        .flat_map(|standing| [standing.owners(), standing.approvers()])
        .flat_map(|quorum| quorum.keys().to_vec())
        .chain(brought)
        .map(|key| (key.id().to_string(), key.name().to_owned()))
        .collect()
}

/// Who has signed each document of a proposal.
pub(crate) fn signed_by(
    proposal: &proposal::Proposal,
    standing: Option<&Standing>,
    names: &[(String, String)],
) -> Result<Vec<SignedBy>, Error> {
    let mut all = Vec::new();
    for document in [Document::Root, Document::Targets, Document::Plans] {
        let signers = proposal.signers(standing, document)?;
        let with_name = |id: String| {
            let name = names.iter().find(|(known, _)| *known == id).map(|(_, name)| name.clone());
            (id, name.unwrap_or_default())
        };
        let keys: Vec<(String, String)> = signers.iter().map(|id| with_name(id.to_string())).collect();
        if !keys.is_empty() {
            all.push(SignedBy { document, keys });
        }
    }
    Ok(all)
}
