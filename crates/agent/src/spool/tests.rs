use super::*;
use wire::v1::Pieces;

fn directory() -> (tempfile::TempDir, State) {
    let directory = tempfile::tempdir().unwrap();
    let state = State::create(&directory.path().join("state")).unwrap();
    (directory, state)
}

/// A look at a host whose only part says `text`.
fn look(text: &str) -> Report {
    let body = format!("{text:?}");
    let digest = sha256(body.as_bytes());
    let pieces = Pieces { parts: [("root".into(), digest.clone())].into(), bodies: [(digest, body)].into() };
    Report { observed_at: 1, parts: pieces.parts, bodies: pieces.bodies }
}

fn told(report: &Report) -> &str {
    report.bodies.values().next().unwrap()
}

#[test]
fn reports_survive_a_restart_in_their_order_and_the_newest_stays() {
    let (_directory, state) = directory();
    let (mut spool, _) = Spool::open(&state);
    for text in ["a", "b", "c"] {
        assert_eq!(spool.push(&state, look(text)), []);
    }
    let (mut spool, problems) = Spool::open(&state);
    assert_eq!((problems.as_slice(), spool.waiting()), (&[][..], 3));
    let mut sent = Vec::new();
    while let Some(kept) = spool.next().cloned() {
        let report = spool.read(&state, &kept).unwrap();
        sent.push(told(&report).to_owned());
        spool.was_stored(&state, kept.number, report.parts).unwrap();
    }
    assert_eq!(sent, ["\"a\"", "\"b\"", "\"c\""]);
    let (mut spool, _) = Spool::open(&state);
    assert_eq!((spool.waiting(), spool.newest()), (0, hash(&look("c").parts).as_str()));
    let newest = spool.read_newest(&state).unwrap().unwrap();
    assert!(spool.without_known(newest).bodies.is_empty());
    // The next one is numbered after those that are gone.
    spool.push(&state, look("d"));
    assert_eq!(spool.next().unwrap().number, 4);
}

#[test]
fn the_oldest_is_dropped_and_that_is_said() {
    let (_directory, state) = directory();
    let (mut spool, _) = Spool::open(&state);
    for number in 0..REPORTS_MAX {
        assert_eq!(spool.push(&state, look(&number.to_string())), []);
    }
    let problems = spool.push(&state, look("more"));
    assert!(problems[0].reason.starts_with("1 dropped unsent, 1 since"), "{problems:?}");
    assert_eq!((spool.waiting(), spool.dropped()), (REPORTS_MAX, 1));
    let kept = spool.next().cloned().unwrap();
    assert_eq!(told(&spool.read(&state, &kept).unwrap()), "\"1\"");
}

#[test]
fn a_damaged_report_is_set_aside_and_spoils_no_other() {
    let (_directory, state) = directory();
    let (mut spool, _) = Spool::open(&state);
    for text in ["cut", "swapped", "good"] {
        spool.push(&state, look(text));
    }
    let names: Vec<_> = spool.kept.iter().map(|kept| state.path(kept.name())).collect();
    let bytes = std::fs::read(&names[0]).unwrap();
    std::fs::write(&names[0], &bytes[..bytes.len() / 2]).unwrap();
    std::fs::copy(&names[2], &names[1]).unwrap();
    let (mut spool, _) = Spool::open(&state);
    for wanted in ["set aside as", "another report than its name says"] {
        let kept = spool.next().cloned().unwrap();
        let problem = spool.read(&state, &kept).unwrap_err();
        assert!(problem.reason.contains(wanted), "{problem}");
    }
    assert_eq!(spool.waiting(), 1);
    let kept = spool.next().cloned().unwrap();
    assert_eq!(told(&spool.read(&state, &kept).unwrap()), "\"good\"");
    assert_eq!(Spool::open(&state).0.waiting(), 1);
}

#[test]
fn a_disk_that_takes_nothing_costs_history_not_the_present() {
    let (_directory, state) = directory();
    // A file where the folder should be: nothing can be written, even by root.
    std::fs::write(state.path(FOLDER), "").unwrap();
    let (mut spool, _) = Spool::open(&state);
    assert!(spool.push(&state, look("a"))[0].reason.contains("kept in memory"));
    spool.push(&state, look("b"));
    assert_eq!((spool.waiting(), spool.dropped()), (1, 1));
    let kept = spool.next().cloned().unwrap();
    let report = spool.read(&state, &kept).unwrap();
    assert_eq!(told(&report), "\"b\"");
    assert!(spool.was_stored(&state, kept.number, report.parts).is_err());
    assert_eq!((spool.waiting(), spool.newest()), (0, kept.hash.as_str()));
    assert!(spool.read_newest(&state).unwrap().is_ok());
}
