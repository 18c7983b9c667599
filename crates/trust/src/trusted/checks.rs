//! What is looked at beside `tough`: expiry by the time that is given, the specification that a document follows, keys that
//! could count twice, and that the list of plans is what plans are fetched by.

use super::Error;
use crate::metadata::{self, from_tough};
use crate::plan::{PLAN_BYTES_MAX, PLANS, PlanTarget};
use crate::standing::{self, listed, tuf_name, tuf_target};
use crate::transport::ROOT_BYTES_MAX;
use jiff::Timestamp;
use std::num::NonZeroU64;
use tough::Repository;
use tough::schema::{Role, Root, Signed, Targets};

/// The plans, after everything about the role that lists them was looked at.
pub(super) fn checked_plans(repository: &Repository) -> Result<Vec<PlanTarget>, Error> {
    let (delegations, role) = metadata::plans_role(&repository.targets().signed)
        .ok_or(Error::Standing(standing::Error::NoPlansRole))?;
    metadata::check_plans_role(delegations, role)?;
    let plans = plans_of(repository)?;
    if plans.signed.delegations.is_some() {
        return Err(Error::Malformed("the list of plans delegates to others; nobody may".to_owned()));
    }
    let found = listed(&plans.signed);
    for plan in &found {
        if plan.length > PLAN_BYTES_MAX {
            return Err(Error::Endless(plan.name.to_string(), PLAN_BYTES_MAX));
        }
        // What would be fetched must be what this role lists, and not a target of that name elsewhere.
        let name = tuf_name(plan.name);
        let fetched = repository.targets().signed.find_target(&name, false);
        let listed = plans.signed.targets.get(&name);
        if !fetched.is_ok_and(|fetched| Some(fetched) == listed && *fetched == with_extras(plan, fetched)) {
            return Err(Error::Malformed(format!("{} is listed by two roles", plan.name)));
        }
    }
    Ok(found)
}

/// `plan` as a target, with whatever else `target` says.
fn with_extras(plan: &PlanTarget, target: &tough::schema::Target) -> tough::schema::Target {
    let mut same = tuf_target(plan);
    same.custom.clone_from(&target.custom);
    same._extra.clone_from(&target._extra);
    same.hashes._extra.clone_from(&target.hashes._extra);
    same
}

pub(super) fn plans_of(repository: &Repository) -> Result<&Signed<Targets>, Error> {
    metadata::plans_role(&repository.targets().signed)
        .and_then(|(_, role)| role.targets.as_ref())
        .ok_or_else(|| Error::Mismatch(format!("the snapshot does not name the list of {PLANS}")))
}

/// Every document is one of the specification that we read, and none has expired.
pub(super) fn check_documents(repository: &Repository, now: Timestamp) -> Result<(), Error> {
    let [root, timestamp] =
        [&repository.root().signed.spec_version, &repository.timestamp().signed.spec_version];
    let [snapshot, targets] =
        [&repository.snapshot().signed.spec_version, &repository.targets().signed.spec_version];
    let plans = &plans_of(repository)?.signed;
    good("root", root, &repository.root().signed, now)?;
    good("timestamp", timestamp, &repository.timestamp().signed, now)?;
    good("snapshot", snapshot, &repository.snapshot().signed, now)?;
    good("targets", targets, &repository.targets().signed, now)?;
    good(PLANS, &plans.spec_version, plans, now)
}

/// `document` follows a specification that we read, and has not expired.
pub(super) fn good<T: Role>(
    what: &'static str,
    specification: &str,
    document: &T,
    now: Timestamp,
) -> Result<(), Error> {
    readable(what, specification)?;
    unexpired(what, document, now)
}

/// A later major version may mean something else by the same words; `tough` reads them all alike.
pub(super) fn readable(what: &'static str, specification: &str) -> Result<(), Error> {
    let numbers: Option<Vec<u32>> = specification.split('.').map(|number| number.parse().ok()).collect();
    if numbers.is_some_and(|numbers| numbers.len() == 3 && numbers.first() == Some(&1)) {
        return Ok(());
    }
    let said = metadata::printable(&specification);
    Err(Error::Malformed(format!(
        "{what} follows version {said} of TUF's specification; only 1.x.y is read here"
    )))
}

pub(super) fn unexpired<T: Role>(what: &'static str, document: &T, now: Timestamp) -> Result<(), Error> {
    let at = from_tough(document.expires());
    if now < at { Ok(()) } else { Err(Error::Expired { what, at }) }
}

/// The root that was given, signed by its own keys.
pub(super) fn self_signed(text: &str) -> Result<Signed<Root>, Error> {
    if text.len() > usize::try_from(ROOT_BYTES_MAX).unwrap_or(usize::MAX) {
        return Err(Error::BadRoot(format!("it has more than {ROOT_BYTES_MAX} bytes")));
    }
    let root: Signed<Root> =
        serde_json::from_str(text).map_err(|problem| Error::BadRoot(metadata::printable(&problem)))?;
    metadata::check_root(&root.signed).map_err(|problem| Error::BadRoot(metadata::printable(&problem)))?;
    root.signed.verify_role(&root).map_err(|problem| Error::BadRoot(metadata::printable(&problem)))?;
    readable("root", &root.signed.spec_version).map_err(|problem| Error::BadRoot(problem.to_string()))?;
    if root.signed.version == NonZeroU64::MAX {
        return Err(Error::BadRoot("its version leaves no number for the next".to_owned()));
    }
    Ok(root)
}
