//! Signing, on the person's own machine: look, ask, sign, send what was signed. The server never sees a key.

pub(crate) mod hand;
pub(crate) mod home;
pub(crate) mod memory;
pub(crate) mod purpose;

use super::session::{Session, look, print};
use crate::answers::{self, Proposal as Answer};
use crate::cli::key::Hand;
use crate::output::proposal;
use crate::terminal;
use anyhow::{Context, Result, bail};
use hand::{listed, told};
use home::Looked;
use purpose::{Meant, Purpose};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::process::ExitCode;
use trust::keys::{PublicKey, Signer};
use trust::standing::Custody;
use uuid::Uuid;

/// What somebody else has still to do.
pub(crate) const EXIT_OPEN: u8 = 1;

/// Looks at a proposal, signs it with the keys at hand, and tells what is missing. `meant`: what it must be for.
pub(crate) fn sign(session: &Session, proposal: Uuid, meant: Meant, hand: &Hand) -> Result<ExitCode> {
    let mut looked = home::look(&session.client, proposal, meant)?;
    if looked.answer.state != "open" {
        bail!(
            "sign proposal {proposal}: it is {}; \"palisade plan list\" shows those that are open",
            looked.answer.state
        );
    }
    if !session.json {
        print(&proposal::looked(&looked, jiff::Timestamp::now(), look()))?;
    }
    let asked_for = looked.may_sign()?;
    let signers = hand::signers(hand, &asked_for)?;
    if signers.is_empty() && is_the_servers(&looked, &asked_for) {
        return sign_by_server(session, &looked, hand);
    }
    if signers.is_empty() {
        bail!(
            "sign proposal {proposal}: no key that is asked for is at hand; asked are {}; name yours with --key FILE, or \
             load it with ssh-add",
            listed(&asked_for)
        );
    }
    let with = signers.iter().map(|signer| told(signer.public())).collect::<Vec<_>>().join(", ");
    if !hand.yes && !terminal::confirm(&format!("Sign this as {with}?"))? {
        bail!("nothing was signed");
    }
    let signed = signed(&looked, &signers)?;
    looked.signed()?;
    let answer = session.client.post(&format!("/proposals/{proposal}/signatures"), &signed)?;
    ended(session, &answer)
}

/// After a proposal was made: offers to sign it with a key at hand, or tells how to.
pub(crate) fn offer(session: &Session, made: &Value, purpose: Purpose, hand: &Hand) -> Result<ExitCode> {
    let answer: Answer = answers::read("the proposal", made.clone())?;
    let interactive = std::io::stdin().is_terminal() && !session.json;
    if answer.state != "open" || !(interactive || hand.yes) {
        return ended(session, made);
    }
    let meant = Meant::Exactly(purpose);
    let looked = home::look(&session.client, answer.id, meant)?;
    let asked_for = looked.may_sign()?;
    let named = !(hand.key.is_empty() && hand.agent.is_empty());
    // Opening a key may ask for its passphrase; so it is only looked here whether one is there.
    if named || is_the_servers(&looked, &asked_for) || hand::is_at_hand(&asked_for)? {
        return sign(session, answer.id, meant, hand);
    }
    ended(session, made)
}

/// Whether the server holds an approver's key that is asked for: one-key mode.
fn is_the_servers(looked: &Looked, asked_for: &[PublicKey]) -> bool {
    let alone = looked.standing.as_ref().filter(|standing| standing.custody() == Custody::Server);
    alone.is_some_and(|standing| standing.approvers().keys().iter().any(|key| asked_for.contains(key)))
}

/// What was signed, as it is sent.
fn signed(looked: &Looked, signers: &[Signer]) -> Result<Value> {
    let mut all = Vec::new();
    for signer in signers {
        let given = looked.proposal.sign(looked.standing.as_ref(), signer);
        all.extend(given.with_context(|| format!("sign as {}", told(signer.public())))?);
    }
    Ok(serde_json::to_value(all)?)
}

/// In one-key mode the server signs; that is said aloud, and asked for all the same.
fn sign_by_server(session: &Session, looked: &Looked, hand: &Hand) -> Result<ExitCode> {
    if !hand.yes && !terminal::confirm("Let the server sign this with its own key?")? {
        bail!("nothing was signed");
    }
    ended(session, &session.client.post(&format!("/proposals/{}/sign", looked.answer.id), &json!({}))?)
}

/// Tells how a proposal stands; the exit code says whether others must still sign.
fn ended(session: &Session, answer: &Value) -> Result<ExitCode> {
    let proposal: Answer = answers::read("the proposal", answer.clone())?;
    let open = proposal.state == "open";
    if session.json {
        print(&(serde_json::to_string_pretty(answer)? + "\n"))?;
    } else {
        print(&proposal::stands(&proposal))?;
    }
    Ok(if open { ExitCode::from(EXIT_OPEN) } else { ExitCode::SUCCESS })
}
