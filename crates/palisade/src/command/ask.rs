//! The commands that ask a server: one function each, API in, table or JSON out.

use super::session::{Session, pairs, print};
use crate::cli::fleet::{Advisory, Asking, Feed, Finding, Findings, Host, Login, Token, User};
use crate::client::{Access, Client, Problem, access_path, escaped};
use crate::output::listing::Column;
use crate::output::proof;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use std::io::Read;
use std::process::ExitCode;

/// Bytes of a secret that is read from standard input.
const SECRET_BYTES_MAX: u64 = 4_096;
/// Jobs of a host that are shown.
const PROOFS_MAX: usize = 20;

const HOST_COLUMNS: [Column; 7] = [
    ("name", "/name"),
    ("state", "/state"),
    ("group", "/group"),
    ("release", "/release"),
    ("last seen", "/seen_at"),
    ("labels", "/labels"),
    ("reason", "/reason"),
];
const FINDING_COLUMNS: [Column; 8] = [
    ("host", "/host/name"),
    ("attempts", "/attacked/attempts"),
    ("last attempt", "/attacked/last"),
    ("advisory", "/advisory"),
    ("package", "/package"),
    ("verdict", "/verdict"),
    ("since", "/from"),
    ("evidence", "/evidence"),
];

pub(crate) fn host(command: &Host, asking: &Asking) -> Result<ExitCode> {
    let session = Session::open(asking)?;
    let client = &session.client;
    match command {
        Host::List { select, most } => {
            let query: Vec<_> = select.iter().map(|select| ("selector", select.as_str())).collect();
            let hosts = client.list("/hosts", &query, *most)?;
            session.list(&hosts, &HOST_COLUMNS, "no host fits; \"palisade token enroll\" tells how one joins")
        }
        Host::Show { host, proof: true } => {
            let id = session.host(host)?;
            let jobs = client.list(&format!("/hosts/{}/evidence", escaped(&id)), &[], PROOFS_MAX)?;
            if session.json {
                return session.card(&Value::Array(jobs), &[]);
            }
            print(&proof::told(&jobs))
        }
        Host::Show { host, proof: false } => {
            let id = session.host(host)?;
            let mut shown = client.get(&format!("/hosts/{}", escaped(&id)), &[])?;
            let findings = client.list(&format!("/hosts/{}/findings", escaped(&id)), &[], 1_000)?;
            if session.json {
                shown["open_findings"] = Value::Array(findings);
                return session.card(&shown, &[]);
            }
            let rows: Vec<Column> = [("id", "/id")]
                .into_iter()
                .chain(HOST_COLUMNS)
                .chain([
                    ("address", "/address"),
                    ("agent", "/agent"),
                    ("clock ahead, s", "/clock_ahead_seconds"),
                ])
                .collect();
            session.card(&shown, &rows)?;
            println!();
            session.findings(findings, &FINDING_COLUMNS[1..], "nothing is open on it")
        }
        Host::Label { host, labels, group } => {
            let id = session.host(host)?;
            let path = format!("/hosts/{}", escaped(&id));
            let mut body = Map::new();
            if !labels.is_empty() {
                let mut kept = client.get(&path, &[])?["labels"].take();
                for (name, value) in pairs(labels)? {
                    if value.is_empty() {
                        kept.as_object_mut().map(|kept| kept.remove(&name));
                    } else {
                        kept[name] = value.into();
                    }
                }
                body.insert("labels".to_owned(), kept);
            }
            if let Some(group) = group {
                body.insert("group".to_owned(), group.as_str().into());
            }
            session.card(&client.patch(&path, &body.into())?, &HOST_COLUMNS)
        }
        Host::Inventory { host, at, hindsight } => {
            let id = session.host(host)?;
            let mut query: Vec<_> = at.iter().map(|at| ("at", at.as_str())).collect();
            if *hindsight {
                query.push(("hindsight", "true"));
            }
            let inventory = client.get(&format!("/hosts/{}/inventory", escaped(&id)), &query)?;
            if session.json {
                return session.card(&inventory, &[]);
            }
            let packages = inventory.pointer("/inventory/packages").and_then(Value::as_array);
            let columns = [
                ("package", "/name"),
                ("version", "/version"),
                ("architecture", "/arch"),
                ("source", "/source"),
                ("source version", "/source_version"),
                ("held", "/held"),
            ];
            session.list(packages.map_or(&[], Vec::as_slice), &columns, "it has reported no packages")
        }
        Host::History { host, most } => {
            let id = session.host(host)?;
            let history = client.list(&format!("/hosts/{}/inventory/history", escaped(&id)), &[], *most)?;
            let columns =
                [("from", "/from"), ("until", "/until"), ("observed", "/observed"), ("hash", "/hash")];
            session.list(&history, &columns, "it has reported no inventory")
        }
        Host::Revoke { host, reason } => {
            let path = format!("/hosts/{}/revoke", escaped(&session.host(host)?));
            session.card(&client.post(&path, &json!({ "reason": reason }))?, &HOST_COLUMNS)
        }
        Host::Release { host, reason } => {
            let path = format!("/hosts/{}/release", escaped(&session.host(host)?));
            session.card(&client.post(&path, &json!({ "reason": reason }))?, &HOST_COLUMNS)
        }
        Host::Remove { host, reason } => {
            client.delete(&format!("/hosts/{}", escaped(&session.host(host)?)), &[("reason", reason)])?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub(crate) fn finding(command: &Finding, asking: &Asking) -> Result<ExitCode> {
    let session = Session::open(asking)?;
    match command {
        Finding::List(wanted) => {
            let Findings { select, host, advisory, package, verdict, attacked, at, most } = wanted;
            let verdict = verdict.as_ref().map(word);
            let mut query = Vec::new();
            for (name, value) in [
                ("selector", select),
                (advisory_or_cve(advisory.as_deref()), advisory),
                ("package", package),
                ("verdict", &verdict),
                ("at", at),
            ] {
                query.extend(value.as_deref().map(|value| (name, value)));
            }
            if *attacked {
                query.push(("attacked", "true"));
            }
            let path = match host {
                Some(host) => format!("/hosts/{}/findings", escaped(&session.host(host)?)),
                None => "/findings".to_owned(),
            };
            let findings = session.client.list(&path, &query, *most)?;
            session.findings(findings, &FINDING_COLUMNS, "no finding fits")
        }
        Finding::Summary { select, package, at } => {
            let query: Vec<_> = [("selector", select), ("package", package), ("at", at)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_deref()?)))
                .collect();
            let counts = session.client.list("/findings/summary", &query, 1_000)?;
            let columns = [
                ("advisory", "/advisory"),
                ("affected", "/affected"),
                ("still running", "/fixed_still_running"),
                ("undetermined", "/undetermined"),
                ("since", "/since"),
                ("CVEs", "/cves"),
                ("summary", "/summary"),
            ];
            session.list(&counts, &columns, "nothing is open")
        }
    }
}

pub(crate) fn advisory(command: &Advisory, asking: &Asking) -> Result<ExitCode> {
    let session = Session::open(asking)?;
    match command {
        Advisory::List { cve, feed, most } => {
            let query: Vec<_> = [("cve", cve), ("feed", feed)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_deref()?)))
                .collect();
            let advisories = session.client.list("/advisories", &query, *most)?;
            let columns = [
                ("advisory", "/id"),
                ("kind", "/kind"),
                ("published", "/published"),
                ("CVEs", "/cves"),
                ("summary", "/summary"),
            ];
            session.list(&advisories, &columns, "no advisory fits; \"palisade feed list\" shows what is read")
        }
        Advisory::Show { id } => {
            let advisory = session.client.get(&format!("/advisories/{}", escaped(id)), &[])?;
            let rows = [
                ("advisory", "/id"),
                ("feed", "/documents/0/feed"),
                ("kind", "/documents/0/advisory/kind"),
                ("published", "/documents/0/advisory/published"),
                ("modified", "/documents/0/advisory/modified"),
                ("withdrawn", "/documents/0/advisory/withdrawn"),
                ("summary", "/documents/0/advisory/summary"),
                ("known since", "/documents/0/from"),
                ("hosts with open findings", "/hosts_open"),
                ("hosts affected", "/hosts_affected"),
            ];
            session.card(&advisory, &rows)?;
            if session.json {
                return Ok(ExitCode::SUCCESS);
            }
            println!();
            let findings = session.client.list("/findings", &[("advisory", id)], 1_000)?;
            session.findings(findings, &FINDING_COLUMNS, "it affects no host")
        }
    }
}

const FEED_COLUMNS: [Column; 6] = [
    ("feed", "/name"),
    ("records", "/records"),
    ("read", "/read_at"),
    ("asked", "/asked_at"),
    ("alarm", "/alarm"),
    ("from", "/location"),
];

pub(crate) fn feed(command: &Feed, asking: &Asking) -> Result<ExitCode> {
    let session = Session::open(asking)?;
    match command {
        Feed::List => {
            let feeds = session.client.list("/feeds", &[], 10_000)?;
            session.list(
                &feeds,
                &FEED_COLUMNS,
                "no feed is configured; findings come from the hosts' own package managers",
            )
        }
        Feed::Refresh { name, accept } => {
            let path = format!("/feeds/{}/refresh?accept={accept}", escaped(name));
            session.client.post(&path, &json!({}))?;
            eprintln!("palisade: it is being read; \"palisade feed list\" tells what came of it");
            Ok(ExitCode::SUCCESS)
        }
    }
}

const USER_COLUMNS: [Column; 4] =
    [("name", "/name"), ("role", "/role"), ("disabled", "/disabled"), ("created", "/created_at")];

pub(crate) fn user(command: &User, asking: &Asking) -> Result<ExitCode> {
    let session = Session::open(asking)?;
    match command {
        User::List => {
            session.list(&session.client.list("/users", &[], 10_000)?, &USER_COLUMNS, "there are no accounts")
        }
        User::Create { name, role, password_stdin } => {
            let mut body = json!({ "name": name, "role": word(role) });
            if *password_stdin {
                body["password"] = secret("password")?.into();
            }
            session.card(&session.client.post("/users", &body)?, &USER_COLUMNS)
        }
        User::Set { name, role, password_stdin, disable, enable } => {
            let users = session.client.list("/users", &[("name", name)], 1)?;
            let Some(id) = users.first().and_then(|user| user["id"].as_str()) else {
                bail!("no account is named \"{name}\"; see \"palisade user list\"")
            };
            let mut body = Map::new();
            if let Some(role) = role {
                body.insert("role".to_owned(), word(role).into());
            }
            if *password_stdin {
                body.insert("password".to_owned(), secret("password")?.into());
            }
            if *disable || *enable {
                body.insert("disabled".to_owned(), (*disable).into());
            }
            if body.is_empty() {
                bail!("say what to change: --role, --password-stdin, --disable or --enable");
            }
            session
                .card(&session.client.patch(&format!("/users/{}", escaped(id)), &body.into())?, &USER_COLUMNS)
        }
    }
}

pub(crate) fn token(command: &Token, asking: &Asking) -> Result<ExitCode> {
    let session = Session::open(asking)?;
    match command {
        Token::Enrol { group, label, hosts, hours, server, line } => {
            let labels: Map<_, _> =
                pairs(label)?.into_iter().map(|(name, value)| (name, value.into())).collect();
            let minutes = u64::from(*hours) * 60;
            let body = json!({ "group": group, "labels": labels, "hosts": hosts, "valid_minutes": minutes });
            let token = session.client.post("/enrolment-tokens", &body)?;
            if session.json {
                return session.card(&token, &[]);
            }
            let text = |name: &str| token[name].as_str().unwrap_or_default();
            let server = server.clone().unwrap_or_else(|| session.client.host());
            let command = format!(
                "palisade agent enroll --server https://{server}:{} --token {}.{}",
                token["agents_port"],
                text("secret"),
                text("authority")
            );
            if *line {
                return print(&format!("{command}\n"));
            }
            print(&format!(
                "Run this on the new host, as root, until {}:\n\n  {command}\n",
                token["token"]["expires_at"].as_str().unwrap_or_default()
            ))
        }
        Token::Create { name, role, days } => {
            let until = Timestamp::now().saturating_add(SignedDuration::from_hours(24 * i64::from(*days)));
            let until = until.context("tell until when the token is good: --days is too large")?;
            let body = json!({ "name": name, "role": word(role), "expires_at": until });
            let token = session.client.post("/api-tokens", &body)?;
            if session.json {
                return session.card(&token, &[]);
            }
            // Alone on standard output, so that it can be kept in a file.
            eprintln!("palisade: shown only now; it is good until {until:.0}:");
            print(&format!("{}\n", token["secret"].as_str().unwrap_or_default()))
        }
        Token::List => {
            let mut tokens = Vec::new();
            for (path, kind) in [("/enrolment-tokens", "enrolment"), ("/api-tokens", "api")] {
                for mut token in session.client.list(path, &[], 10_000)? {
                    token["kind"] = kind.into();
                    tokens.push(token);
                }
            }
            let columns = [
                ("id", "/id"),
                ("kind", "/kind"),
                ("name", "/name"),
                ("group", "/group"),
                ("role", "/role"),
                ("made by", "/created_by"),
                ("owner", "/owner_name"),
                ("until", "/expires_at"),
                ("used", "/used_at"),
                ("revoked", "/revoked_at"),
            ];
            session.list(&tokens, &columns, "there are no tokens")
        }
        Token::Revoke { id } => {
            let at = |path: &str| session.client.delete(&format!("{path}/{}", escaped(id)), &[]);
            match at("/enrolment-tokens") {
                // It may be the other kind.
                Err(problem) if is_missing(&problem) => at("/api-tokens")?,
                revoked => revoked?,
            };
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub(crate) fn status(asking: &Asking) -> Result<ExitCode> {
    let session = Session::open(asking)?;
    let status = session.client.get("/status", &[])?;
    let rows = [
        ("version", "/version"),
        ("store", "/store"),
        ("hosts", "/hosts"),
        ("silent hosts", "/silent"),
        ("open findings", "/findings"),
        ("of them attacked", "/findings_attacked"),
        ("alarms", "/alarms"),
    ];
    session.card(&status, &rows)
}

pub(crate) fn login(arguments: &Login) -> Result<ExitCode> {
    let authority = match &arguments.authority {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("read the server's authority from {}", path.display()))?,
        None => String::new(),
    };
    let access = Access { server: arguments.server.clone(), authority, token: secret("API token")? };
    let who = Client::new(&access)?.get("/session", &[])?;
    let path = access_path(arguments.asking.access.as_deref())?;
    access.write(&path)?;
    eprintln!(
        "palisade: you are {} ({}); kept in {}",
        who["name"].as_str().unwrap_or("?"),
        who["role"].as_str().unwrap_or("?"),
        path.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// The filter that a CVE, or another advisory's id, goes into.
fn advisory_or_cve(id: Option<&str>) -> &'static str {
    if id.is_some_and(|id| id.starts_with("CVE-")) { "cve" } else { "advisory" }
}

/// The first line of standard input.
fn secret(what: &str) -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(SECRET_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("read the {what} from standard input"))?;
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    if line.is_empty() {
        bail!("read the {what} from standard input: it is empty");
    }
    Ok(line)
}

/// Whether the server does not have what was asked for, or keeps it from us.
fn is_missing(problem: &anyhow::Error) -> bool {
    problem.downcast_ref::<Problem>().is_some_and(|problem| matches!(problem.status, 403 | 404))
}

/// The word of a closed set as the API has it.
fn word<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
