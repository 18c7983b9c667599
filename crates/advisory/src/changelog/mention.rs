//! CVE ids in running text, and what the text says about them. In doubt an id is listed as closed: one too many costs a
//! look, one too few hides a hole.

use super::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Fewest and most digits of a CVE id's number. CVE's own rule is "four or more"; nineteen is its schema's limit.
const DIGITS: std::ops::RangeInclusive<usize> = 4..=19;

/// Longest item that is judged as a whole, bytes; a longer one is judged in pieces, so that memory stays bounded.
const ITEM_BYTES_MAX: usize = 16 << 10;

/// What a sentence says about the ids it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sense {
    /// This version never had the hole.
    NotAffected,
    /// The fix is taken back.
    Reverted,
    /// What an earlier fix broke is repaired.
    Repaired,
    /// Closed; also where the text does not say.
    Closed,
}

/// The mentions of one entry, collected line by line.
#[derive(Default)]
pub(super) struct Mentions {
    item: String,
    /// By id: the strongest sense it was named in.
    ids: BTreeMap<String, Sense>,
    regression: bool,
}

impl Mentions {
    /// One line of the body, without its indent.
    pub(super) fn line(&mut self, text: &str) {
        if text.starts_with(['*', '-', '+', '[']) || self.item.len() + text.len() > ITEM_BYTES_MAX {
            self.end_item();
        }
        self.item.push_str(text);
        self.item.push(' ');
    }

    /// The item that the lines so far make up is complete.
    pub(super) fn end_item(&mut self) {
        let item = std::mem::take(&mut self.item);
        // Most items name neither; looking for both is far cheaper than judging all.
        let lower = item.to_ascii_lowercase();
        let reverting = is_reverting(&lower);
        for sentence in lower.split_inclusive(". ") {
            let regression = is_regression_repair(sentence);
            self.regression |= regression;
            let sense = if denies(sentence) {
                Sense::NotAffected
            } else if reverting {
                Sense::Reverted
            } else if regression {
                Sense::Repaired
            } else {
                Sense::Closed
            };
            for id in cves(sentence) {
                let known = self.ids.entry(id).or_insert(sense);
                *known = sense.max(*known);
            }
        }
    }

    /// Writes what was found into the entry.
    pub(super) fn tell(mut self, entry: &mut Entry) {
        self.end_item();
        entry.regression = self.regression;
        for (id, sense) in self.ids {
            match sense {
                Sense::NotAffected => {}
                Sense::Reverted => entry.reverted.push(id),
                Sense::Repaired => {
                    entry.repaired.push(id.clone());
                    entry.cves.push(id);
                }
                Sense::Closed => entry.cves.push(id),
            }
        }
    }
}

/// The CVE ids in a text, in capitals, each once. `CVE-2024-1234` and, as real changelogs have it, `CVE 2024-1234`.
fn cves(text: &str) -> BTreeSet<String> {
    let bytes = text.as_bytes();
    let mut found = BTreeSet::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("cve").map(|at| from + at) {
        from = at + 3;
        let begins_word = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        let Some((year, rest)) =
            text[from..].strip_prefix(['-', ' ']).and_then(|rest| rest.split_at_checked(4))
        else {
            continue;
        };
        let Some(number) = rest.strip_prefix('-') else { continue };
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        // CVE ids begin with 1999; a year beyond 2099 is a slip.
        let good_year = year.starts_with("199") || year.starts_with("20");
        if begins_word && good_year && year.bytes().all(|b| b.is_ascii_digit()) && DIGITS.contains(&digits) {
            found.insert(format!("CVE-{year}-{}", &number[..digits]));
        }
    }
    found
}

/// "Not affected by CVE-…", in so many words.
fn denies(sentence: &str) -> bool {
    const DENIALS: [&str; 6] = [
        "not affected",
        "not vulnerable",
        "unaffected by",
        "does not affect",
        "doesn't affect",
        "do not affect",
    ];
    DENIALS.iter().any(|denial| sentence.contains(denial))
}

/// "Revert the fix for CVE-…". Not if the item goes on about another fix in its place.
fn is_reverting(item: &str) -> bool {
    const INSTEAD: [&str; 9] =
        ["instead", "replac", "proper", "better", "complet", "upstream", "regression", "in favo", "new "];
    let text = item.trim_start_matches(['*', '-', '+', ' ']);
    text.starts_with("revert") && text.contains("cve") && !INSTEAD.iter().any(|word| text.contains(word))
}

/// Says that a regression is repaired; not that tests for one were added, or that none was found.
fn is_regression_repair(sentence: &str) -> bool {
    const REPAIRS: [&str; 6] = ["fix", "repair", "address", "resolve", "revert", "introduced"];
    const OTHERWISE: [&str; 5] =
        ["regression test", "autopkgtest", "no regression", "non-regression", "avoid"];
    sentence.contains("regression")
        && REPAIRS.iter().any(|word| sentence.contains(word))
        && !OTHERWISE.iter().any(|word| sentence.contains(word))
}
