//! `palisade key`: keys of one's own, and proposals about who owns and who approves.

use super::session::{Session, print};
use super::signing::hand::{self, is_named, listed, own_key, told};
use super::signing::home;
use super::signing::memory::{Acquaintance, Memory};
use super::signing::purpose::{Meant, Purpose};
use super::signing::{offer, sign};
use crate::answers::{self, Proposal, Trust};
use crate::cli::fleet::Asking;
use crate::cli::key::{Hand, Key, People};
use crate::output::keys;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trust::keys::{FileKey, PublicKey};
use trust::standing::{Quorum, Standing};
use uuid::Uuid;

pub(crate) fn run(command: &Key, asking: &Asking) -> Result<ExitCode> {
    // Makes a key without a server.
    if let Key::New { file, name, passphrase_file, no_passphrase } = command {
        return new(
            file.as_deref(),
            name.as_deref(),
            passphrase_file.as_deref(),
            *no_passphrase,
            asking.json,
        );
    }
    let session = Session::open(asking)?;
    let client = &session.client;
    let propose = |body: &Value, hand: &Hand| {
        offer(&session, &client.post("/trust/changes", body)?, Purpose::Keys, hand)
    };
    match command {
        Key::New { .. } => Ok(ExitCode::SUCCESS),
        Key::List => list(&session),
        Key::Found { owners, approvers, owner, approver, hand } => {
            let approver = if approver.is_empty() { owner } else { approver };
            let body =
                json!({ "owners": quorum(owner, *owners)?, "approvers": quorum(approver, *approvers)? });
            offer(&session, &client.post("/trust/founding", &body)?, Purpose::Keys, hand)
        }
        Key::Approvers(People { threshold, public, hand }) => {
            propose(&json!({ "approvers": quorum(public, *threshold)? }), hand)
        }
        Key::Owners(People { threshold, public, hand }) => {
            propose(&json!({ "owners": quorum(public, *threshold)? }), hand)
        }
        Key::Rotate { old, new, hand } => {
            let standing = standing(&session)?;
            let online = standing.online();
            let key = if old == "server" { online.first().cloned() } else { None };
            let key = key.map_or_else(|| named(&standing, old), Ok)?;
            if online.contains(&key) {
                if new.is_some() {
                    bail!("rotate the server's key: it makes its own new one; leave NEWPUB out");
                }
                return propose(&json!({ "online": true }), hand);
            }
            let new =
                new.as_deref().with_context(|| format!("rotate key {}: give the new one", told(&key)))?;
            let new = hand::public(new)?;
            if new == key {
                bail!(
                    "rotate key {}: the new one is the same; make one with \"palisade key new\"",
                    told(&key)
                );
            }
            propose(&json!({ "rotate": { "old": key.id().as_str(), "new": new.to_string() } }), hand)
        }
        Key::Revoke { old, hand } => {
            let key = named(&standing(&session)?, old)?;
            propose(&json!({ "revoke": key.id().as_str() }), hand)
        }
        Key::Renew { hand } => propose(&json!({ "renew": true }), hand),
        Key::Sign { proposal, hand } => {
            sign(&session, about_keys(&session, proposal.as_deref())?, Meant::Exactly(Purpose::Keys), hand)
        }
    }
}

/// Makes a key; needs no server.
fn new(
    file: Option<&Path>,
    name: Option<&str>,
    passphrase_file: Option<&Path>,
    no_passphrase: bool,
    json: bool,
) -> Result<ExitCode> {
    let file = file.map_or_else(own_key, |file| Ok(PathBuf::from(file)))?;
    if file.exists() {
        bail!("make a key: {} is there already; name another file", file.display());
    }
    let name = name.map_or_else(whose, str::to_owned);
    let key = FileKey::generate(&name)?;
    let passphrase = if no_passphrase { None } else { Some(hand::new_passphrase(passphrase_file)?) };
    if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    key.write(&file, passphrase.as_ref().map(|passphrase| passphrase.as_str()))?;
    let public = key.public();
    if json {
        let made = json!({ "file": file, "id": public.id().as_str(), "name": public.name(), "line": public.to_string() });
        return print(&(serde_json::to_string_pretty(&made)? + "\n"));
    }
    print(&format!(
        "{public}\n\nkey   {id}\nfile  {file}{unlocked}\n\nGive the first line (it is in {file}.pub) to whoever sets the fleet up, and \
         compare the key's id\nover another channel. Keep a copy of the file: if it is lost, the other owners must \
         rotate it.\n",
        id = public.id(),
        file = file.display(),
        unlocked = if no_passphrase { ", NOT ENCRYPTED" } else { "" },
    ))
}

/// `USER@HOST`, as ssh-keygen names keys.
fn whose() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
    let host = rustix::system::uname();
    format!("{user}@{}", host.nodename().to_string_lossy())
}

fn list(session: &Session) -> Result<ExitCode> {
    let client = &session.client;
    let mut shown = client.get("/trust", &[])?;
    let trust: Trust = answers::read("the trust", shown.clone())?;
    let open: Vec<Proposal> = client
        .list("/proposals", &[("state", "open")], 1_000)?
        .into_iter()
        .map(|item| answers::read("a proposal", item))
        .collect::<Result<_>>()?;
    let open: Vec<Proposal> = open.into_iter().filter(is_about_keys).collect();
    if !trust.founded {
        if session.json {
            return print(&(serde_json::to_string_pretty(&shown)? + "\n"));
        }
        return print(&keys::not_founded(&open));
    }
    let (standing, acquaintance) = home::standing(client, &mut Memory::open(client)?)?;
    if session.json {
        shown["fingerprint"] = standing.fingerprint().into();
        shown["remembered"] = (acquaintance != Acquaintance::First).into();
        return print(&(serde_json::to_string_pretty(&shown)? + "\n"));
    }
    print(&keys::listed(&standing, acquaintance, &open, jiff::Timestamp::now()))
}

/// What stands, verified at home.
fn standing(session: &Session) -> Result<Standing> {
    Ok(home::standing(&session.client, &mut Memory::open(&session.client)?)?.0)
}

/// The one key in force that a person means.
fn named(standing: &Standing, text: &str) -> Result<PublicKey> {
    let mut known: Vec<PublicKey> = Vec::new();
    let all = [standing.owners().keys(), standing.approvers().keys(), &standing.online()].concat();
    for key in all {
        if !known.contains(&key) {
            known.push(key);
        }
    }
    let fitting: Vec<PublicKey> = known.iter().filter(|key| is_named(key, text)).cloned().collect();
    match fitting.as_slice() {
        [key] => Ok(key.clone()),
        [] => bail!("find key \"{text}\": it is in no role; there are {}", listed(&known)),
        several => bail!("find key \"{text}\": it may be {}; use an id", listed(several)),
    }
}

/// A quorum as it is asked for; a threshold that cannot be reached is found out here.
fn quorum(keys: &[String], threshold: u32) -> Result<Value> {
    let keys = keys.iter().map(|key| hand::public(key)).collect::<Result<Vec<_>>>()?;
    let quorum = Quorum::new(keys, threshold)?;
    let lines: Vec<String> = quorum.keys().iter().map(ToString::to_string).collect();
    Ok(json!({ "threshold": threshold, "keys": lines }))
}

fn is_about_keys(proposal: &Proposal) -> bool {
    matches!(proposal.kind.as_str(), "keys" | "founding")
}

/// The proposal that is named, or the only open one about keys.
fn about_keys(session: &Session, named: Option<&str>) -> Result<Uuid> {
    if let Some(named) = named {
        return Uuid::try_parse(named).with_context(|| {
            format!("sign \"{named}\": name a proposal by its id, as \"palisade key list\" does")
        });
    }
    let open = session.client.list("/proposals", &[("state", "open")], 1_000)?;
    let open: Vec<Proposal> =
        open.into_iter().map(|item| answers::read("a proposal", item)).collect::<Result<_>>()?;
    let open: Vec<&Proposal> = open.iter().filter(|proposal| is_about_keys(proposal)).collect();
    match open.as_slice() {
        [one] => Ok(one.id),
        [] => bail!("nothing is proposed about keys; plans are signed with \"palisade plan sign\""),
        several => {
            let ids: Vec<String> = several.iter().map(|proposal| proposal.id.to_string()).collect();
            bail!("several things are proposed about keys; name one: {}", ids.join(", "))
        }
    }
}
