//! Looks at the trust's documents from outside, as a host would, and says what is not well. Changes nothing.

use super::keys::Safe;
use super::{Error, expiry, read_standing};
use crate::store::{self, Doing, Store, plans, trust_files};
use crate::task::off_thread;
use jiff::Timestamp;
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use trust::keys::PublicKey;
use trust::publisher::STANDING;
use trust::standing::{Custody, Standing};
use trust::{Fetch, Trusted};

/// The repository's files, for a client that reads them.
struct Files(BTreeMap<String, Vec<u8>>);

impl Fetch for Files {
    fn fetch(&self, name: &str, _: u64, _: Duration) -> io::Result<Box<dyn Read + Send>> {
        let file = self.0.get(name).cloned().ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(file)))
    }
}

/// What was seen, in a few words, and what is wrong.
pub async fn doctor(
    store: &Store,
    key_file: &Path,
    now: Timestamp,
) -> Result<(String, Vec<String>), store::Error> {
    let files: BTreeMap<String, Vec<u8>> = trust_files::all(store).await?.into_iter().collect();
    let mut problems = rollouts_without_plans(store).await?;
    let Some(body) = files.get(STANDING) else { return Ok(("not founded".to_owned(), problems)) };
    let standing = match read_standing(body) {
        Ok(standing) => standing,
        Err(problem) => return Ok(("damaged".to_owned(), vec![problem.to_string()])),
    };
    let seen = match standing.custody() {
        Custody::Server => "one-key mode: the server approves by itself".to_owned(),
        Custody::People { threshold, keys } => format!("{threshold} of {keys} keys approve"),
    };
    problems.extend(expiry::warnings(&standing, now).into_iter().map(|warning| warning.text));
    problems.extend(off_thread(move || as_a_host(files, now)).await);
    for target in standing.plans() {
        if plans::file(store, &target.file()).await?.is_none() {
            problems.push(format!(
                "{} is in force and its bytes are not in the store; restore a backup",
                target.name
            ));
        }
    }
    match own_key(store, key_file, &standing).await {
        Ok(true) => {}
        Ok(false) => problems.push(
            "the server's key that the root names is not here; restore the authority's key file, or have owners rotate it"
                .to_owned(),
        ),
        Err(Error::Store(problem)) => return Err(problem),
        Err(problem) => problems.push(problem.to_string()),
    }
    Ok((seen, problems))
}

/// What a host that was enrolled at the very beginning would say.
fn as_a_host(files: BTreeMap<String, Vec<u8>>, now: Timestamp) -> Option<String> {
    let Some(root) = files.get("1.root.json").cloned() else {
        return Some(
            "the first root is missing: hosts cannot follow the chain of roots; restore a backup".to_owned(),
        );
    };
    let update = || -> Result<(), String> {
        let directory = tempfile::tempdir().map_err(|problem| problem.to_string())?;
        let mut host = Trusted::pin(directory.path(), &root, Arc::new(Files(files)))
            .map_err(|problem| problem.to_string())?;
        host.update(now).map(|_| ()).map_err(|problem| problem.to_string())
    };
    update().err().map(|problem| format!("a host would refuse it: {problem}"))
}

/// Whether the key that the root names can be used. A file that is not there is not made.
async fn own_key(store: &Store, key_file: &Path, standing: &Standing) -> Result<bool, Error> {
    if !key_file.exists() {
        return Ok(false);
    }
    let held = Safe::open(key_file)?.keys(store).await?;
    let named: Vec<PublicKey> = standing.online();
    Ok(held.iter().any(|held| named.contains(&held.public)))
}

/// Plans in force without a rollout, and rollouts under way whose plan is not in force.
async fn rollouts_without_plans(store: &Store) -> Result<Vec<String>, store::Error> {
    let rows = sqlx::query(
        "SELECT p.id, p.title, p.state, r.word FROM plans p LEFT JOIN rollouts r ON r.plan = p.id \
         WHERE p.state = 'in-force' OR r.plan IS NOT NULL ORDER BY p.id",
    )
    .fetch_all(store.reader())
    .await
    .doing("compare plans with rollouts")?;
    let over = BTreeSet::from(["complete", "rolled-back", "aborted", "superseded", "retracted"]);
    let problem = |row: &sqlx::any::AnyRow| {
        let (id, title, state): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        match row.get::<Option<String>, _>(3) {
            None => Some(format!(
                "plan {id} ({title}) is in force and has no rollout; withdraw it, and ask for another"
            )),
            Some(word) if state != "in-force" && !over.contains(word.as_str()) => Some(format!(
                "rollout {id} ({title}) is {word} and its plan is {state}: hosts will not believe it; abort it"
            )),
            Some(_) => None,
        }
    };
    Ok(rows.iter().filter_map(problem).collect())
}
