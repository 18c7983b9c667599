//! Who may tell hosts what to install, from the server's side: takes what people sign; gives the TUF repository that hosts
//! read, and what follows from it for rollouts.
//!
//! Every server knows what is in force from memory ([`Signing`]) and follows events; whoever publishes or refreshes holds the
//! role `publisher` for as long as that takes. One publishing is one transaction: its files, the proposal's end, the new
//! rollout, and the other open proposals made again on the new standing.

mod change;
mod differences;
mod doctor;
mod draft;
mod expiry;
mod keys;
mod propose;
mod publish;
mod settle;

pub use change::{Change, Lines, Listed};
pub use doctor::doctor;
pub use expiry::{Warning, warnings};
pub use publish::SignedBy;
pub(crate) use publish::{names_in, signed_by};
pub use settle::run;

use crate::identity;
use crate::seal::Seal;
use crate::store::events::{Event, Kind};
use crate::store::leases::{self, Lease};
use crate::store::{self, Store, plans, trust_files, words};
use jiff::{SignedDuration, Timestamp};
use keys::{Held, Safe, Use};
use rollout::plan::{Digest, PlanId};
use rollout::word::Word;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use trust::keys::{PublicKey, Signer};
use trust::publisher::STANDING;
use trust::standing::{Custody, Standing};
use trust::statement::{Heard, NotHalted};
use trust::{proposal, publisher, standing};
use uuid::Uuid;

/// The publisher's role.
const ROLE: &str = "publisher";
/// It is held for as long as one publishing takes, and at most so long.
const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// How often it is asked for while another server has it, and with what rests.
const LEASE_TRIES: u32 = 20;
const LEASE_REST: Duration = Duration::from_millis(250);
/// Bytes of plans kept in memory for hosts that fetch them: a few of the largest.
const PLANS_BYTES_MAX: usize = 64 << 20;

/// Why something of the trust was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The file whose key seals ours.
    #[error(transparent)]
    KeyFile(#[from] identity::Error),
    /// A key cannot be sealed.
    #[error("seal a key of the server: {0}")]
    Seal(String),
    /// The documents.
    #[error(transparent)]
    Publisher(#[from] publisher::Error),
    /// A proposal.
    #[error(transparent)]
    Proposal(#[from] proposal::Error),
    /// What is to stand.
    #[error(transparent)]
    Standing(#[from] standing::Error),
    /// A key.
    #[error(transparent)]
    Key(#[from] trust::keys::Error),
    /// Nobody has founded the repository.
    #[error("use the trust: it is not founded; have an admin found it (POST /api/v1/trust/founding)")]
    NotFounded,
    /// Somebody has.
    #[error("found the trust: it is founded already; change its keys instead (POST /api/v1/trust/changes)")]
    Founded,
    /// No key of that id, or several.
    #[error(
        "find key {id}: {found} keys in force begin so; give at least eight digits of one that is in force"
    )]
    NoSuchKey {
        /// What was asked for.
        id: String,
        /// How many keys begin so.
        found: usize,
    },
    /// No such proposal.
    #[error("find proposal {0}: there is none of that id; list them to see which there are")]
    NotFound(String),
    /// The proposal has ended.
    #[error("use proposal {id}: it is {state}; propose the same again if it is still wanted")]
    Ended {
        /// Which.
        id: String,
        /// `published`, `withdrawn`.
        state: String,
    },
    /// It was made again meanwhile.
    #[error("sign proposal {0}: it was made again on what stands now; get it, look at it, and sign anew")]
    Remade(String),
    /// Something else is in the way.
    #[error("{0}")]
    Refused(String),
    /// Not in one-key mode.
    #[error("sign as the server: people approve here; sign with your own key (palisade key sign)")]
    PeopleApprove,
    /// Another server publishes, or somebody else changed the same.
    #[error("publish: another server is at it; come back in some seconds")]
    Busy,
}

/// What is in force, and the keys with which this server keeps it fresh. Shared; locks by itself.
#[derive(Debug)]
pub struct Signing {
    store: Store,
    told: Arc<Notify>,
    safe: Safe,
    /// This process, in the lease.
    holder: String,
    /// One publishing at a time in this process.
    publishing: Mutex<()>,
    known: RwLock<Arc<Known>>,
    /// Plans' bytes by their file's name.
    plans: RwLock<BTreeMap<String, Arc<[u8]>>>,
}

/// What is in force.
#[derive(Debug, Default)]
struct Known {
    standing: Option<Standing>,
    /// Everything but plans, by name.
    files: BTreeMap<String, Arc<[u8]>>,
    /// The names of plans' files.
    plans: Vec<String>,
    /// Words in force.
    words: Vec<Word>,
    /// The key that the root names, if it is here.
    signer: Option<Signer>,
}

impl Signing {
    /// What else of the server's lies sealed in the store is sealed with this.
    pub(crate) fn seal(&self) -> &Seal {
        &self.safe.0
    }

    /// Reads what is in force. Makes the server's key where there is none, and in one-key mode founds the repository, if nobody
    /// has. `key_file`: the authority's.
    pub async fn open(
        store: &Store,
        told: Arc<Notify>,
        key_file: &Path,
        one_key: bool,
        now: Timestamp,
    ) -> Result<Arc<Self>, Error> {
        let signing = Self {
            store: store.clone(),
            told,
            safe: Safe::open(key_file)?,
            holder: Uuid::now_v7().to_string(),
            publishing: Mutex::default(),
            known: RwLock::default(),
            plans: RwLock::default(),
        };
        signing.safe.ensure(store, now, Use::Online, &[]).await?;
        signing.reload().await?;
        if one_key && !signing.is_founded() {
            signing.found_alone(now).await?;
        }
        let custody = signing.custody();
        if custody == Some(Custody::Server) {
            tracing::warn!(
                "ONE-KEY MODE: this server approves plans by itself; whoever captures it can install what they like. The \
                 way out: name approvers (POST /api/v1/trust/changes)"
            );
            if !one_key {
                tracing::warn!("trust.one_key is false, but the root in force says that the server approves");
            }
        } else if one_key && custody.is_some() {
            tracing::warn!("trust.one_key has no effect: people approve here, and the root says so");
        }
        Ok(Arc::new(signing))
    }

    /// Follows what this server or another one published.
    pub async fn follow(&self, event: &Event) -> Result<(), Error> {
        if event.kind == Kind::Plan && event.detail["trust"] == true {
            self.reload().await?;
        }
        Ok(())
    }

    /// A file of the repository, by its path below [`wire::v1::TRUST_PATH`]: `metadata/timestamp.json`,
    /// `targets/plans/SHA256.UUID.json`. What is not there is known without the store.
    pub async fn file(&self, path: &str) -> Result<Option<Arc<[u8]>>, store::Error> {
        let known = self.known();
        let Some(name) = path.strip_prefix("targets/") else {
            let name = path.strip_prefix("metadata/").filter(|name| *name != STANDING);
            return Ok(name.and_then(|name| known.files.get(name).cloned()));
        };
        if !known.plans.iter().any(|plan| plan == name) {
            return Ok(None);
        }
        let kept = self.plans.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if kept.is_some() {
            return Ok(kept);
        }
        let Some(bytes) = plans::file(&self.store, name).await? else {
            tracing::error!(
                "read plan {name}: it is in force and its bytes are not in the store; restore a backup"
            );
            return Ok(None);
        };
        let bytes: Arc<[u8]> = bytes.into();
        let mut kept = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|name, _| known.plans.contains(name));
        if kept.values().map(|bytes| bytes.len()).sum::<usize>() + bytes.len() > PLANS_BYTES_MAX {
            kept.clear();
        }
        kept.insert(name.to_owned(), Arc::clone(&bytes));
        Ok(Some(bytes))
    }

    /// Says that a rollout is not halted. Touches nothing but memory.
    pub fn not_halted(&self, said: &NotHalted) -> Result<Vec<u8>, Error> {
        let known = self.known();
        let signer = known.signer.as_ref().ok_or_else(|| no_key(known.standing.as_ref()))?;
        Ok(said.sign(signer)?)
    }

    /// Says that a host was heard. Touches nothing but memory.
    pub fn heard(&self, said: &Heard) -> Result<Vec<u8>, Error> {
        let known = self.known();
        let signer = known.signer.as_ref().ok_or_else(|| no_key(known.standing.as_ref()))?;
        Ok(said.sign(signer)?)
    }

    /// The root in force, to be given to a host that enrols.
    pub fn root(&self) -> Option<Vec<u8>> {
        self.known().standing.as_ref().map(Standing::root_bytes)
    }

    /// The approvers' word that hosts of this plan go back, if there is one.
    pub fn word_in_force(&self, plan: PlanId, digest: Digest) -> Option<Uuid> {
        self.known().words.iter().find(|word| word.allows_back(plan, digest)).map(|word| word.id)
    }

    /// Whether a plan of this content is in force.
    pub fn is_in_force(&self, plan: PlanId, digest: Digest) -> bool {
        let file = trust::PlanName(plan.0).file(&digest.0);
        self.known().plans.contains(&file)
    }

    /// Who must be captured before a host installs what nobody approved; `None`: nothing is founded.
    pub fn custody(&self) -> Option<Custody> {
        self.known().standing.as_ref().map(Standing::custody)
    }

    /// What is in force.
    pub fn standing(&self) -> Option<Standing> {
        self.known().standing.clone()
    }

    /// Whether there is a repository.
    pub fn is_founded(&self) -> bool {
        self.known().standing.is_some()
    }

    /// Whether the key that the root names is here; true also where nothing is founded.
    pub fn has_key(&self) -> bool {
        let known = self.known();
        known.standing.is_none() || known.signer.is_some()
    }

    /// The server's key that a founding names.
    pub async fn own_key(&self, now: Timestamp) -> Result<PublicKey, Error> {
        Ok(self.safe.ensure(&self.store, now, Use::Online, &[]).await?.public)
    }

    /// A key of the server that the root does not name.
    pub async fn other_key(&self, now: Timestamp) -> Result<PublicKey, Error> {
        let named = self.standing().ok_or(Error::NotFounded)?.online();
        Ok(self.safe.ensure(&self.store, now, Use::Online, &named).await?.public)
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what is in force anew.
    async fn reload(&self) -> Result<(), Error> {
        let mut files = BTreeMap::new();
        let mut standing: Option<Standing> = None;
        for (name, body) in trust_files::all(&self.store).await? {
            if name == STANDING {
                standing = Some(read_standing(&body)?);
            } else {
                files.insert(name, Arc::from(body));
            }
        }
        let targets = standing.as_ref().map(Standing::plans).unwrap_or_default();
        let ids: Vec<String> = targets.iter().map(|target| target.name.0.to_string()).collect();
        let words = words::among(&self.store, &ids).await?;
        let named = standing.as_ref().map(Standing::online).unwrap_or_default();
        let held = self.safe.keys(&self.store).await?;
        let signer = held.iter().find(|held| named.contains(&held.public)).map(Held::signer).transpose()?;
        let plans = targets.iter().map(trust::PlanTarget::file).collect();
        let known = Known { standing, files, plans, words, signer };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        Ok(())
    }

    /// All keys of one use, to sign with.
    async fn signers(&self, used: Use) -> Result<Vec<Signer>, Error> {
        let held = self.safe.keys(&self.store).await?;
        held.iter().filter(|held| held.used == used).map(Held::signer).collect()
    }

    /// Takes the publisher's role; waits a little while another server has it.
    async fn role(&self, now: Timestamp) -> Result<Lease, Error> {
        for _ in 0..LEASE_TRIES {
            if let Some(lease) = leases::acquire(&self.store, now, ROLE, &self.holder, LEASE).await? {
                return Ok(lease);
            }
            tokio::time::sleep(LEASE_REST).await;
        }
        Err(Error::Busy)
    }
}

/// Reads [`STANDING`], which verifies what stands in it.
pub(crate) fn read_standing(body: &[u8]) -> Result<Standing, Error> {
    serde_json::from_slice(body)
        .map_err(|problem| publisher::Error::Damaged { name: STANDING, problem: problem.to_string() }.into())
}

fn no_key(standing: Option<&Standing>) -> Error {
    let Some(standing) = standing else { return Error::NotFounded };
    let ids: Vec<String> = standing.online().iter().map(|key| key.id().to_string()).collect();
    publisher::Error::NoOnlineKey(ids.join(" or ")).into()
}
