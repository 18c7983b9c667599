//! Any bytes in the place of one file that a host fetches, or as a statement: no panic, no plan, nothing believed, and the
//! refusal can be printed. The first byte says which.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use trust::keys::{FileKey, Signer};
use trust::publisher::{Publisher, Store};
use trust::standing::{Founding, Quorum};
use trust::{Fetch, Trusted};

const FILES: [&str; 5] =
    ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.plans.json"];
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[derive(Clone, Default)]
struct Files(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

static HOST: LazyLock<(Files, Mutex<Trusted>, TempDir)> = LazyLock::new(|| {
    let key = |name| FileKey::generate(name).expect("chance is there");
    let (person, online) = (key("person"), key("server"));
    let quorum = Quorum::new([person.public().clone()], 1).expect("one of one");
    let founding = Founding {
        owners: quorum.clone(),
        approvers: quorum,
        online: online.public().clone(),
        one_key: false,
    };
    let mut proposal = founding.propose(NOW).expect("it is a good founding");
    for signed in proposal.sign(None, &Signer::File(person)).expect("the person is asked") {
        proposal.add(None, signed).expect("it counts");
    }
    let files = Files::default();
    let publisher = Publisher::found(files.clone(), vec![Signer::File(online)], &proposal, NOW)
        .expect("everything is signed");
    let directory = tempfile::tempdir().expect("a directory");
    let host =
        Trusted::pin(directory.path(), &publisher.root(), Arc::new(files.clone())).expect("it is a root");
    (files, Mutex::new(host), directory)
});

pub fn run(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let (files, host, _directory) = &*HOST;
    let mut host = host.lock().expect("nothing has panicked");
    let Some(name) = FILES.get(usize::from(*which)) else {
        assert!(host.not_halted(bytes, NOW).is_err());
        return;
    };
    let good = files.0.lock().expect("no panic").insert((*name).to_owned(), bytes.to_vec());
    let now = NOW + SignedDuration::from_hours(1);
    let problem = host.update(now).expect_err("nobody has signed this").to_string();
    assert!(!problem.chars().any(char::is_control), "{problem:?}");
    let mut all = files.0.lock().expect("no panic");
    match good {
        Some(good) => all.insert((*name).to_owned(), good),
        None => all.remove(*name),
    };
}

impl Store for Files {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().expect("no panic").get(name).cloned())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().expect("no panic").insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

impl Fetch for Files {
    fn fetch(&self, name: &str, _: u64, _: Duration) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.get(name)?.ok_or(ErrorKind::NotFound)?)))
    }
}
