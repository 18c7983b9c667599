//! What is remembered at home of each server's fleet: its root, in `~/.config/palisade/known`. The first time it is believed
//! as it is shown, with its fingerprint for people to compare; from then on it must follow.

use crate::client::{Client, access_path, escaped};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use trust::Remembered;
use trust::proposal::Proposal;
use trust::standing::Standing;

/// Roots that are followed in one go: with one a week, five years.
const ROOTS_MAX: u64 = 256;

/// What is remembered of one server's fleet.
#[derive(Debug)]
pub(crate) struct Memory {
    path: PathBuf,
    kept: Option<Remembered>,
}

/// How what was shown fits what was remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquaintance {
    /// Never seen before.
    First,
    /// As remembered.
    Known,
    /// So many roots were followed.
    Followed(u64),
}

impl Memory {
    /// Of the fleet behind `client`.
    pub(crate) fn open(client: &Client) -> Result<Self> {
        let own = access_path(None)?;
        let name = format!("{}.json", escaped(&client.authority().replace(':', "_")));
        let path = own.with_file_name("known").join(name);
        let doing = || format!("read what is remembered of this fleet in {}", path.display());
        let kept = match fs::read(&path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "{}: it is damaged; compare the fleet's fingerprint with others, then remove it",
                    doing()
                )
            })?),
            Err(problem) if problem.kind() == ErrorKind::NotFound => None,
            Err(problem) => return Err(problem).with_context(doing),
        };
        Ok(Self { path, kept })
    }

    /// Believes what stands, if it follows from what is remembered; remembers it.
    pub(crate) fn believe(&mut self, client: &Client, standing: &Standing) -> Result<Acquaintance> {
        let Some(mut kept) = self.kept.clone() else {
            self.keep(Remembered::first(standing))?;
            return Ok(Acquaintance::First);
        };
        let (from, to) = (kept.root_version(), standing.versions()[0]);
        let mut known = Acquaintance::Known;
        if to > from {
            if to - from > ROOTS_MAX {
                bail!("follow the roots: {} are missing, at most {ROOTS_MAX} are followed", to - from);
            }
            for version in from + 1..to {
                let root = client.bytes("/trust/root", &[("version", &version.to_string())])?;
                kept.follow(&root).with_context(|| self.refused())?;
            }
            kept.follow(&standing.root_bytes()).with_context(|| self.refused())?;
            known = Acquaintance::Followed(to - from);
        }
        kept.see(standing).with_context(|| self.refused())?;
        if self.kept.as_ref() != Some(&kept) {
            self.keep(kept)?;
        }
        Ok(known)
    }

    /// Refused when a fleet is remembered already: it must not be founded anew under our hands.
    pub(crate) fn expect_nothing(&self) -> Result<()> {
        match &self.kept {
            Some(kept) if kept.is_in_force() => bail!(
                "the server asks to found a fleet, but one is remembered (root version {}, fingerprint {}) in {}; if it \
                 was really given up, remove that file",
                kept.root_version(),
                kept.fingerprint(),
                self.path.display()
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers the root that a founding proposes, because it was read and is signed now.
    pub(crate) fn founding(&mut self, proposal: &Proposal) -> Result<()> {
        match Remembered::founding(proposal) {
            Some(kept) => self.keep(kept),
            None => Ok(()),
        }
    }

    fn refused(&self) -> String {
        format!(
            "refused: what the server shows does not follow from what is remembered in {}; ask the other approvers what \
             their \"palisade key list\" shows before you do anything else",
            self.path.display()
        )
    }

    fn keep(&mut self, kept: Remembered) -> Result<()> {
        let doing = || format!("remember this fleet in {}", self.path.display());
        let directory = self.path.parent().context("the path has a directory")?;
        fs::create_dir_all(directory).with_context(doing)?;
        let new = self.path.with_extension("new");
        let mut file = File::create(&new).with_context(doing)?;
        file.write_all(&serde_json::to_vec(&kept)?).and_then(|()| file.sync_all()).with_context(doing)?;
        fs::rename(&new, &self.path).with_context(doing)?;
        self.kept = Some(kept);
        Ok(())
    }
}
