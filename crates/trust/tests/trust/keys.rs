//! Keys of people: in files, in an ssh-agent.

use crate::world::{World, key, quorum, sign};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use trust::keys::{Error, FileKey, PublicKey, Signer, agent_keys};
use trust::standing::Change;

#[test]
fn a_key_is_written_for_its_owner_only_and_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.key");
    let key = FileKey::generate("alice@laptop").unwrap();
    key.write(&path, None).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let again = FileKey::read(&path, None).unwrap();
    assert_eq!((again.public(), again.public().name()), (key.public(), "alice@laptop"));
    // Nothing is written over.
    assert!(matches!(key.write(&path, None), Err(Error::File { .. })));
    // A key that others may read is not used.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(FileKey::read(&path, None), Err(Error::Loose { mode: 0o640, .. })));
    // Nor does it show in a log.
    assert!(!format!("{key:?}").contains("secret:"));
}

#[test]
fn a_passphrase_is_needed_where_one_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let key = FileKey::generate("alice").unwrap();
    key.write(&path, Some("correct horse")).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    assert!(matches!(FileKey::read(&path, None), Err(Error::Locked)));
    assert!(matches!(FileKey::read(&path, Some("battery staple")), Err(Error::Passphrase)));
    assert_eq!(FileKey::read(&path, Some("correct horse")).unwrap().public(), key.public());
}

#[test]
fn files_that_are_no_keys_are_errors() {
    let rsa = "-----BEGIN PRIVATE KEY-----\nMAAwAA==\n-----END PRIVATE KEY-----\n";
    let cut = &FileKey::generate("a").unwrap().to_pem(None).unwrap()[..80];
    for pem in [
        "",
        "key",
        rsa,
        cut,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    ] {
        assert!(FileKey::from_pem(pem, Some("x"), "a").is_err(), "{pem:?}");
    }
    assert!(FileKey::generate("two\nlines").is_err());
    assert!(FileKey::generate(&"long".repeat(200)).is_err());
}

#[test]
fn openssl_reads_what_we_write() {
    let Ok(found) = Command::new("openssl").arg("version").output() else {
        return eprintln!("SKIPPED: openssl is not installed");
    };
    assert!(found.status.success());
    let directory = tempfile::tempdir().unwrap();
    for passphrase in [None, Some("secret")] {
        let path = directory.path().join(format!("key-{}", passphrase.is_some()));
        FileKey::generate("a").unwrap().write(&path, passphrase).unwrap();
        let read = Command::new("openssl")
            .args(["pkey", "-noout", "-text", "-passin", "pass:secret", "-in"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        assert!(String::from_utf8_lossy(&read.stdout).starts_with("ED25519 Private-Key"));
    }
}

#[test]
fn a_public_key_is_a_line_of_openssh() {
    let key = key("alice@laptop");
    let line = key.public().to_string();
    assert!(line.starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI") && line.ends_with(" alice@laptop"));
    let again: PublicKey = format!("  {line}\n").parse().unwrap();
    assert_eq!((&again, again.name(), again.id()), (key.public(), "alice@laptop", key.public().id()));
    let blob = line.split(' ').nth(1).unwrap();
    for bad in [
        "",
        blob,
        "ssh-ed25519",
        &format!("ssh-rsa {blob} x"),
        &format!("ssh-ed25519 {} x", &blob[..40]),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA weak",
        &format!("ssh-ed25519 {blob} {}", "long".repeat(200)),
    ] {
        assert!(bad.parse::<PublicKey>().is_err(), "{bad:?}");
    }
}

/// A real ssh-agent, ended with the test.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(directory: &Path) -> Option<Self> {
        let socket = directory.join("agent");
        let mut process =
            Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::piped()).spawn().ok()?;
        // It prints where it listens once it does.
        let mut line = String::new();
        BufReader::new(process.stdout.take()?).read_line(&mut line).ok()?;
        Some(Self { process, socket })
    }

    fn add(&self, kind: &str, name: &str) {
        let path = self.socket.with_file_name(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-C", name, "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        let added =
            Command::new("ssh-add").arg("-q").arg(&path).env("SSH_AUTH_SOCK", &self.socket).status().unwrap();
        assert!(added.success());
        // The agent alone has it from here on.
        std::fs::remove_file(&path).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn an_ssh_agent_signs_plans() {
    let directory = tempfile::tempdir().unwrap();
    let Some(agent) = Agent::start(directory.path()) else {
        return eprintln!("SKIPPED: ssh-agent is not installed");
    };
    agent.add("ed25519", "alice");
    agent.add("ecdsa", "other-kind");
    agent.add("ed25519", "bob");
    let keys = agent_keys(&agent.socket).unwrap();
    assert_eq!(keys.iter().map(|key| key.public().name()).collect::<Vec<_>>(), ["alice", "bob"]);
    // The line beside the key is the same key.
    let line = std::fs::read_to_string(directory.path().join("alice.pub")).unwrap();
    assert_eq!(&line.parse::<PublicKey>().unwrap(), keys[0].public());
    let people: Vec<Signer> = keys.into_iter().map(Signer::Agent).collect();
    // They take over a repository, and sign a plan that a host believes.
    let mut world = World::new(1, 1);
    let changes = [Change::Owners(quorum(&people, 2)), Change::Approvers(quorum(&people, 2))];
    let mut proposal = world.standing().propose(&changes, world.now).unwrap();
    for signer in world.people.iter().chain(&people) {
        sign(&mut proposal, Some(world.publisher.standing()), signer);
    }
    world.publisher.publish(&proposal, world.now).unwrap();
    world.people = people;
    let plan = world.plan(b"plan", &[0, 1]);
    let (_directory, mut host) = world.host();
    assert_eq!(host.update(world.now).unwrap(), [plan]);
    // Once the agent has forgotten the key, it says so.
    let gone =
        Command::new("ssh-add").args(["-q", "-D"]).env("SSH_AUTH_SOCK", &agent.socket).status().unwrap();
    assert!(gone.success());
    assert!(matches!(world.people[0].sign(b"bytes"), Err(Error::Agent { .. })));
    drop(agent);
    assert!(matches!(agent_keys(&directory.path().join("agent")), Err(Error::Agent { .. })));
}
