//! Sources: our own among them, and drafts for those whose networks they are of.

use super::{attempt, census, data_tools, json, python, told};
use base64::Engine;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

const REPORT: [&str; 7] =
    ["report", "--to", "drafts", "--org", "Example Ltd", "--contact", "abuse@example.net"];

fn draft(directory: &Path, name: &str) -> serde_json::Value {
    let path = directory.join("drafts").join(name);
    serde_json::from_slice(&fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap()
}

#[test]
fn an_own_host_among_the_sources_is_said_first_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let log = [attempt("198.51.100.7", 19), attempt("203.0.113.1", 19), attempt("2001:db8::7", 20)].concat();
    fs::write(path.join("own"), "# ours\n203.0.113.0/28  # the office\n2001:db8::7\n192.0.2.1\n").unwrap();
    let table = census(path, &["-", "--own", "own", "--html", "page.html"], &log);
    assert_eq!(table.status.code(), Some(1), "{}", told(&table));
    let first: Vec<&str> = std::str::from_utf8(&table.stdout).unwrap().lines().take(2).collect();
    assert!(first[0].starts_with("INCIDENT: 203.0.113.1, one of your own, sent 1 attempt"), "{first:?}");
    assert!(first[1].starts_with("INCIDENT: 2001:db8::7"), "{first:?}");
    let page = fs::read_to_string(path.join("page.html")).unwrap();
    assert!(page.find("Incident").unwrap() < page.find("<h2>").unwrap());
    let output = census(path, &["-", "--own", "own", "--json"], &log);
    let report = json(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report["own"][0]["source"], "203.0.113.1");
    assert!(
        !String::from_utf8_lossy(&output.stdout).contains("198.51.100.7"),
        "somebody else's address was told"
    );

    // In counts that travelled as pseudonyms ours are found by their own pseudonyms, and only under the same key.
    let part = census(path, &["-", "--partial", "part"], &log);
    assert_eq!(part.status.code(), Some(0), "{}", told(&part));
    let merged = census(path, &["merge", "part", "--own", "own", "--json"], "");
    assert_eq!(merged.status.code(), Some(1), "{}", told(&merged));
    assert_eq!(json(&merged)["own"].as_array().unwrap().len(), 2);
    assert!(told(&merged).contains("2001:db8::7"), "{}", told(&merged));
    fs::write(path.join("other.key"), [5; 32]).unwrap();
    let other = census(path, &["merge", "part", "--own", "own", "--key", "other.key", "--json"], "");
    assert_eq!(other.status.code(), Some(2), "what cannot be told is not none: {}", told(&other));

    fs::write(path.join("own"), "203.0.113.1/28\n").unwrap();
    let wrong = census(path, &["-", "--own", "own"], &log);
    assert_eq!(wrong.status.code(), Some(70));
    assert!(told(&wrong).contains("line 1"), "{}", told(&wrong));
    let missing = census(path, &["-", "--own", "nowhere"], &log);
    assert_eq!(missing.status.code(), Some(70), "a list that is not there is no empty list");
}

#[test]
fn each_network_gets_one_draft_with_its_contact_and_a_few_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let log: String = [
        ("198.51.100.7", 9),
        ("198.51.100.8", 2),
        ("203.0.113.1", 1),
        ("10.0.0.1", 3),
        ("2001:db8:1:2::3", 1),
    ]
    .iter()
    .flat_map(|(host, many)| (0..*many).map(move |day| attempt(host, 1 + day)))
    .collect();
    fs::write(
        path.join("contacts"),
        "198.51.0.0/16 wide@example.org\n198.51.100.0/24 noc@example.org # nearer\n",
    )
    .unwrap();
    fs::write(path.join("log"), log).unwrap();
    let words = [&REPORT[..], &["log", "--contacts", "contacts", "--json"]].concat();
    let output = census(path, &words, "");
    assert!(output.status.success(), "{}", told(&output));
    let answer = json(&output);
    assert_eq!(answer["private"], 1);
    assert_eq!(answer["drafts"].as_array().unwrap().len(), 3);
    let several = draft(path, "198.51.100.0_24.json");
    assert_eq!(several["source_identifier"], "198.51.100.0/24");
    assert_eq!(several["total_requests"], 11);
    assert_eq!(several["_internal"]["contact"], "noc@example.org");
    assert_eq!(
        (&several["first_seen"], &several["last_seen"]),
        (&"2001-07-01T12:00:00Z".into(), &"2001-07-09T12:00:00Z".into())
    );
    let payload = several["evidence"][0]["payload"].as_str().unwrap();
    let lines = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    assert!((1..=3).contains(&lines.lines().count()), "{lines}");
    assert!(lines.lines().all(|line| line.starts_with("198.51.100.7 ") && line.contains("+0000")), "{lines}");
    assert_eq!(draft(path, "203.0.113.0_24.json")["source_identifier"], "203.0.113.1");
    assert_eq!(draft(path, "2001_db8_1___48.json")["_internal"]["contact"], serde_json::Value::Null);

    // What an abuse desk's own validator says.
    let Some(tools) = data_tools() else { return };
    let script = "import json, sys, xarf\nfor name in sys.argv[1:]:\n    found = xarf.parse(json.load(open(name)))\n    assert not found.errors, (name, found.errors)\n    print(found.report.type)";
    let files: Vec<String> = fs::read_dir(path.join("drafts"))
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    assert_eq!(python(&tools, script, &files), "vulnerability_scan\n".repeat(3));
}

#[test]
fn an_own_host_is_an_incident_and_gets_no_draft() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("own"), "203.0.113.1\n").unwrap();
    let log = [attempt("203.0.113.1", 19), attempt("203.0.113.2", 19)].concat();
    let output = census(path, &[&REPORT[..], &["-", "--own", "own"]].concat(), &log);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(
        String::from_utf8_lossy(&output.stdout).starts_with("INCIDENT: 203.0.113.1"),
        "{}",
        told(&output)
    );
    let draft = draft(path, "203.0.113.0_24.json").to_string();
    assert!(!draft.contains("203.0.113.1\""), "our own host stands in a report to others: {draft}");
}

/// The first line of what is asked.
fn question(stream: &mut impl Read) -> String {
    let mut question = Vec::new();
    let mut byte = [0];
    while !question.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        question.push(byte[0]);
    }
    String::from_utf8_lossy(&question).lines().next().unwrap_or_default().to_owned()
}

/// A stand-in for the centre, with its authority: it gives one answer, then nobody answers.
fn centre(answer: Vec<u8>) -> (String, String, thread::JoinHandle<String>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        let asked = question(&mut stream);
        stream.write_all(&answer).unwrap();
        stream.conn.send_close_notify();
        let _ = stream.flush();
        asked
    });
    (address, made.cert.pem(), asked)
}

/// A registry that gives one answer to each question; what it was asked for is printed by the thread.
fn registry(answers: Vec<Vec<u8>>) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            asked.push(question(&mut stream));
            // Who has had enough hangs up.
            let _ = stream.write_all(&answer);
        }
        asked
    });
    (address, asked)
}

fn answered(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn registries_are_asked_once_for_a_network_and_what_they_say_is_read_with_care() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let log: String = ["198.51.100.7", "198.51.101.7", "203.0.113.1", "192.0.2.9", "192.0.3.9"]
        .map(|host| attempt(host, 19))
        .concat();
    let known = br#"{"startAddress": "198.51.100.0", "endAddress": "198.51.101.255", "entities": [{"roles": ["registrant"],
        "entities": [{"roles": ["abuse"], "vcardArray": ["vcard", [["fn", {}, "text", "Desk"], ["email", {}, "text", "desk@example.org"]]]}]}]}"#;
    let elsewhere = br#"{"startAddress": "10.0.0.0", "endAddress": "10.0.0.255", "entities": []}"#;
    // It would be an answer, if anybody read on for so long.
    let late = br#"{"startAddress": "192.0.2.0", "endAddress": "192.0.2.127", "entities": []}"#;
    let endless = [&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &vec![b' '; 4 << 20], late].concat();
    let injected =
        br#"{"cidr0_cidrs": [{"v4prefix": "203.0.113.0", "length": 24}], "entities": [{"roles": ["abuse"],
        "vcardArray": ["vcard", [["email", {}, "text", "a@b.example\r\nBcc: all@b.example"]]]}]}"#;
    // In the order of addresses.
    let (server, asked) = registry(vec![endless, answered(elsewhere), answered(known), answered(injected)]);
    let output = census(path, &[&REPORT[..], &["-", "--rdap", &server, "--json"]].concat(), &log);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    let asked = asked.join().unwrap();
    let paths: Vec<&str> = asked.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(paths, ["/ip/192.0.2.9", "/ip/192.0.3.9", "/ip/198.51.100.7", "/ip/203.0.113.1"]);
    let drafts = json(&output)["drafts"].clone();
    let contacts: Vec<(&str, Option<&str>)> = drafts
        .as_array()
        .unwrap()
        .iter()
        .map(|draft| (draft["network"].as_str().unwrap(), draft["contact"].as_str()))
        .collect();
    let wanted = [
        ("192.0.2.0/24", None),
        ("192.0.3.0/24", None),
        ("198.51.100.0/23", Some("desk@example.org")),
        ("203.0.113.0/24", None),
    ];
    assert_eq!(contacts, wanted);
}

#[test]
fn nothing_is_drafted_for_somebody_without_a_name_or_an_address() {
    let directory = tempfile::tempdir().unwrap();
    for (org, contact) in
        [("", "abuse@example.net"), ("Example", "abuse"), ("Example", "a@b.example\nBcc: c@d.example")]
    {
        let words = ["report", "-", "--to", "drafts", "--org", org, "--contact", contact];
        let output = census(directory.path(), &words, &attempt("203.0.113.1", 19));
        assert_eq!(output.status.code(), Some(64), "{}", told(&output));
        assert!(!directory.path().join("drafts").exists());
    }
}

#[test]
fn hosts_of_the_fleet_are_our_own_and_a_centre_that_is_silent_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let hosts = br#"{"items": [{"name": "web-1", "address": "203.0.113.1"}, {"name": "web-2", "address": ""}], "next": null}"#;
    let (server, authority, asked) = centre(answered(hosts));
    fs::create_dir(path.join("palisade")).unwrap();
    let access = path.join("palisade/access.toml");
    fs::write(
        &access,
        format!("server = \"{server}\"\nauthority = \'\'\'{authority}\'\'\'\ntoken = \"t\"\n"),
    )
    .unwrap();
    fs::set_permissions(&access, fs::Permissions::from_mode(0o600)).unwrap();
    let log = [attempt("203.0.113.1", 19), attempt("203.0.113.2", 19)].concat();
    let output = census(path, &["-", "--json"], &log);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let own: Vec<String> =
        json(&output)["own"].as_array().unwrap().iter().map(|row| row["source"].to_string()).collect();
    assert_eq!(own, ["\"203.0.113.1\""]);
    assert_eq!(asked.join().unwrap(), "GET /api/v1/hosts?limit=1000 HTTP/1.1");
    let silent = census(path, &["-", "--json"], &log);
    assert_eq!(silent.status.code(), Some(2), "{}", told(&silent));
    assert!(told(&silent).contains("the centre"), "{}", told(&silent));
}
