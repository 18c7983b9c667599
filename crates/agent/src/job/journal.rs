//! The journal on the disk: one file, replaced in one step, and there for good before what it says is begun.
//!
//! A damaged one is never begun anew. What it said may be that this host is past the point of no return, and whoever
//! forgets that begins a second time.

use crate::settings::HandKind;
use crate::state::{Durable, JOURNAL, State};
use advisory::Problem;
use rollout::converge::Journal;
use serde::{Deserialize, Serialize};
use std::io;

/// Bytes of the file; with 256 plans remembered as denied it has 11 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Entries that one version may have written in a trial, where it cannot be read how many.
const SEQ_UNKNOWN: u64 = 1_000;

/// What is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    /// The hand that did what the journal says: no other may go on from there.
    hand: HandKind,
    journal: Journal,
}

/// Reads the journal; a new one where there is none.
pub(super) fn read(state: &State, hand: HandKind) -> Result<Journal, Problem> {
    let path = state.path(JOURNAL).display().to_string();
    let refused = |reason: String| {
        Problem::new("read the journal", path.clone(), reason).remedy(
            "nothing is begun on this host; look at its packages, restore the file, or remove it when you have",
        )
    };
    let bytes = state.read(JOURNAL, FILE_BYTES_MAX).map_err(|problem| refused(problem.to_string()))?;
    let Some(bytes) = bytes else { return Ok(Journal::default()) };
    let page: Page = serde_json::from_slice(&bytes).map_err(|problem| refused(problem.to_string()))?;
    let is_over = page.journal.work.is_none() || page.journal.stage.is_final();
    if page.hand == hand {
        return Ok(page.journal);
    }
    if !is_over {
        let reason = format!("a job is under way in the hand \"{}\", and this is \"{hand}\"", page.hand);
        return Err(Problem::new("read the journal", path, reason)
            .remedy("set [agent] hand back until the job is over"));
    }
    // What was only pretended to fail is no reason not to do it.
    let denied = if page.hand == HandKind::Dry { Vec::new() } else { page.journal.denied };
    Ok(Journal { denied, ..page.journal })
}

/// Writes it: on the disk when this returns.
pub(super) fn write(state: &State, hand: HandKind, journal: &Journal) -> io::Result<()> {
    let bytes = serde_json::to_vec(&Page { hand, journal: journal.clone() })?;
    state.keep(JOURNAL, &bytes, Durable::Yes)
}

/// Puts back the page that this version wrote last (`kept`), where what lies there now cannot be read by it: a newer one wrote it, and
/// is gone. Gives whether that was done.
pub(crate) fn mend(state: &State, kept: &[u8]) -> io::Result<bool> {
    let there = state.read(JOURNAL, FILE_BYTES_MAX)?.unwrap_or_default();
    if serde_json::from_slice::<Page>(&there).is_ok() {
        return Ok(false);
    }
    let mut page: Page = serde_json::from_slice(kept)?;
    // The centre has heard later entries: whoever counts on from the old ones would not be listened to.
    let newer: serde_json::Value = serde_json::from_slice(&there).unwrap_or_default();
    let heard = newer["journal"]["seq"].as_u64().unwrap_or(page.journal.seq.saturating_add(SEQ_UNKNOWN));
    page.journal.seq = page.journal.seq.max(heard);
    state.keep(JOURNAL, &serde_json::to_vec(&page)?, Durable::Yes)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::converge::Work;
    use rollout::order::{Direction, Stage};
    use rollout::plan::{Digest, PlanId};

    #[test]
    fn a_damaged_journal_or_another_hands_is_never_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::create(&directory.path().join("state")).unwrap();
        assert_eq!(read(&state, HandKind::Dry).unwrap(), Journal::default());
        let work = Work {
            plan: PlanId(uuid::Uuid::from_u128(7)),
            digest: Digest::of(b"plan"),
            fence: 3,
            direction: Direction::Forward,
        };
        let mut journal = Journal { work: Some(work), stage: Stage::Applying, seq: 4, ..Journal::default() };
        write(&state, HandKind::Dry, &journal).unwrap();
        assert_eq!(read(&state, HandKind::Dry).unwrap(), journal);
        let other = read(&state, HandKind::Eyes).unwrap_err().to_string();
        assert!(other.contains("under way"), "{other}");
        journal.stage = Stage::Proven;
        write(&state, HandKind::Dry, &journal).unwrap();
        assert_eq!(read(&state, HandKind::Eyes).unwrap(), journal);
        let path = state.path(JOURNAL);
        let whole = std::fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"", b"{}"] {
            std::fs::write(&path, damaged).unwrap();
            let told = read(&state, HandKind::Dry).unwrap_err().to_string();
            assert!(told.contains("nothing is begun"), "{told}");
        }
    }

    #[test]
    fn what_a_newer_agent_wrote_is_refused_and_the_previous_page_goes_on_from_its_count() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::create(&directory.path().join("state")).unwrap();
        let work = Work {
            plan: PlanId(uuid::Uuid::from_u128(7)),
            digest: Digest::of(b"plan"),
            fence: 3,
            direction: Direction::Forward,
        };
        let journal = Journal { work: Some(work), stage: Stage::Applying, seq: 4, ..Journal::default() };
        write(&state, HandKind::Apt, &journal).unwrap();
        let path = state.path(JOURNAL);
        let kept = std::fs::read(&path).unwrap();
        assert!(!mend(&state, &kept).unwrap(), "it can be read");
        let text = String::from_utf8(kept.clone()).unwrap().replace("\"seq\":4", "\"seq\":9");
        for newer in [
            text.replace("\"applying\"", "\"draining\""),
            text.replace("\"tries\"", "\"drained\":true,\"tries\""),
            text.replace("\"fence\"", "\"lane\":1,\"fence\""),
        ] {
            assert_ne!(newer, text);
            std::fs::write(&path, &newer).unwrap();
            let told = read(&state, HandKind::Apt).unwrap_err().to_string();
            assert!(told.contains("nothing is begun"), "{told}");
            assert!(mend(&state, &kept).unwrap());
            assert_eq!(read(&state, HandKind::Apt).unwrap(), Journal { seq: 9, ..journal.clone() });
        }
        std::fs::write(&path, "torn").unwrap();
        assert!(mend(&state, &kept).unwrap());
        assert_eq!(read(&state, HandKind::Apt).unwrap().seq, 1_004);
    }
}
