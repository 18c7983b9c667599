//! `palisade backup` and `palisade restore`: a backup alone does not have the authority, and a restore asks for its key.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::Timestamp;
use server::Config;
use server::identity::Authority;
use server::store::Store;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Settings with a data directory of their own; the settings' file.
fn settings(directory: &Path, name: &str) -> PathBuf {
    let data = directory.join(name);
    fs::create_dir(&data).unwrap();
    let file = directory.join(format!("{name}.toml"));
    fs::write(&file, format!("[server]\ndata = \"{}\"\n", data.display())).unwrap();
    file
}

/// Exit code and standard error.
fn palisade(arguments: &[&str], settings: &Path, file: &Path) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    let output = command.args(arguments).arg("--config").arg(settings).arg(file).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

async fn fingerprint(settings: &Path) -> String {
    let config = Config::read(settings).unwrap();
    let store = Store::open(&config.store_url().unwrap()).await.unwrap();
    let key_file = config.authority_key();
    let authority = Authority::open_sealed(&store, Timestamp::now(), &key_file).await.unwrap();
    store.close().await;
    authority.fingerprint()
}

#[tokio::test]
async fn a_restore_asks_for_the_key_or_starts_over() {
    let directory = tempfile::tempdir().unwrap();
    let here = settings(directory.path(), "here");
    let first = fingerprint(&here).await;
    let backup = directory.path().join("palisade.backup");
    let (code, told) = palisade(&["backup"], &here, &backup);
    assert!(code == 0 && told.contains("here/authority.key is needed too"), "{code} {told}");

    let there = settings(directory.path(), "there");
    let (code, told) = palisade(&["restore"], &there, &backup);
    assert!(code != 0 && told.contains("there/authority.key: it is not there"), "{code} {told}");
    assert!(told.contains("--new-authority"), "{told}");

    let with_key = settings(directory.path(), "with-key");
    let key = directory.path().join("here/authority.key");
    fs::copy(key, directory.path().join("with-key/authority.key")).unwrap();
    let (code, told) = palisade(&["restore"], &with_key, &backup);
    assert_eq!(code, 0, "{told}");
    assert_eq!(fingerprint(&with_key).await, first);

    let anew = settings(directory.path(), "anew");
    let (code, told) = palisade(&["restore", "--new-authority"], &anew, &backup);
    assert!(code == 0 && told.contains("every host has to be enrolled anew"), "{code} {told}");
    assert_ne!(fingerprint(&anew).await, first);
}
