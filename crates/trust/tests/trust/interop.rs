//! What we publish is TUF as others read it: the reference client (python-tuf), where it is installed, agrees.

use crate::world::{key, quorum, sign, twins};
use jiff::Timestamp;
use std::process::Command;
use trust::PlanName;
use trust::publisher::{Directory, Publisher};
use trust::standing::{Change, Founding};
use uuid::Uuid;

/// Updates from a directory, from the root that is given, and prints one target.
const CLIENT: &str = r#"
import pathlib, sys
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

class Files(FetcherInterface):
    def _fetch(self, url):
        path = pathlib.Path(url.removeprefix("files://"))
        if not path.is_file():
            raise DownloadHTTPError("not there", 404)
        return iter([path.read_bytes()])

repository, memory, root, name = sys.argv[1:]
base = f"files://{repository}/"
bootstrap = pathlib.Path(root).read_bytes()
updater = Updater(memory, base, memory, base, fetcher=Files(), bootstrap=bootstrap)
updater.refresh()
target = updater.get_targetinfo(name)
sys.stdout.write(pathlib.Path(updater.download_target(target, f"{memory}/plan")).read_text())
"#;

#[test]
fn the_reference_client_reads_what_we_publish() {
    let python = std::env::var("PALISADE_TUF_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python).args(["-c", "import tuf.ngclient"]).output();
    if !there.is_ok_and(|there| there.status.success()) {
        return eprintln!(
            "SKIPPED: {python} has no python-tuf (pip install tuf); PALISADE_TUF_PYTHON names another"
        );
    }
    // It reads the wall clock.
    let now = Timestamp::now();
    let people = [key("a"), key("b"), key("c")];
    let (online, servers) = twins("server");
    let founding = Founding {
        owners: quorum(&people, 2),
        approvers: quorum(&people, 2),
        online: online.public().clone(),
        one_key: false,
    };
    let mut proposal = founding.propose(now).unwrap();
    sign(&mut proposal, None, &people[0]);
    sign(&mut proposal, None, &people[1]);
    let directory = tempfile::tempdir().unwrap();
    let store = Directory(directory.path().join("repository"));
    let mut publisher = Publisher::found(store.clone(), vec![servers], &proposal, now).unwrap();
    let root = directory.path().join("root.json");
    std::fs::write(&root, publisher.root()).unwrap();
    // A key goes, so that a second root is on the way; and a plan comes.
    let mut revoked = publisher.standing().revoke(&people[0].public().id(), now).unwrap();
    for person in &people[1..] {
        sign(&mut revoked, Some(publisher.standing()), person);
    }
    publisher.publish(&revoked, now).unwrap();
    let plan = publisher.stage(PlanName(Uuid::now_v7()), b"a plan").unwrap();
    let mut proposal = publisher.standing().propose(&[Change::Plan(plan.clone())], now).unwrap();
    for person in &people[1..] {
        sign(&mut proposal, Some(publisher.standing()), person);
    }
    publisher.publish(&proposal, now).unwrap();
    let memory = directory.path().join("memory");
    std::fs::create_dir(&memory).unwrap();
    let read = Command::new(&python)
        .args(["-c", CLIENT])
        .args([&store.0, &memory, &root])
        .arg(plan.name.to_string())
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_eq!(read.stdout, b"a plan");
}
