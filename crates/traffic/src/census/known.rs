//! What was said of requests that came before: who attacks sends the same ones again and again.

use crate::request::Fields;
use crate::rules::RuleId;
use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

/// Requests that are remembered, each in the place of its hash; a power of two.
const PLACES: usize = 1 << 12;
/// Longer ones are judged each time: with this, the memory of one thread is 4 MiB at most.
const TOLD_BYTES_MAX: usize = 1 << 10;

/// What a line tells of a request, and what rules say of it.
#[derive(Debug, Clone, Default)]
struct Judged {
    told: Vec<u8>,
    fields: Fields,
    status: Option<u16>,
    hits: Vec<RuleId>,
}

/// The requests that are remembered. The same in, the same out: what is forgotten is judged again.
#[derive(Debug, Default)]
pub(super) struct Known {
    hasher: DefaultHashBuilder,
    places: Vec<Judged>,
}

impl Known {
    /// Fields and status of a request, and what recognises it into `hits`; from `judge` if it was not known. `None`: it could not
    /// be read.
    pub(super) fn judged(
        &mut self,
        told: &[u8],
        hits: &mut Vec<RuleId>,
        judge: impl FnOnce(&mut Vec<RuleId>) -> Option<(Fields, Option<u16>)>,
    ) -> Option<(Fields, Option<u16>)> {
        if told.len() > TOLD_BYTES_MAX {
            return judge(hits);
        }
        if self.places.is_empty() {
            self.places.resize(PLACES, Judged::default());
        }
        let place = usize::try_from(self.hasher.hash_one(told) % PLACES as u64).unwrap_or(0);
        let known = &mut self.places[place];
        if known.told == told && !told.is_empty() {
            hits.extend_from_slice(&known.hits);
            return Some((known.fields, known.status));
        }
        let (fields, status) = judge(hits)?;
        known.told.clear();
        known.told.extend_from_slice(told);
        known.hits.clone_from(hits);
        (known.fields, known.status) = (fields, status);
        Some((fields, status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_was_said_of_that_very_request() {
        let mut known = Known::default();
        let mut judged = 0;
        let mut ask = |known: &mut Known, number: u16, length: usize| {
            let told = format!("{number:0>length$}");
            let mut hits = Vec::new();
            let said = known.judged(told.as_bytes(), &mut hits, |hits| {
                judged += 1;
                hits.push(RuleId(number));
                Some((Fields::default(), Some(number)))
            });
            assert_eq!((said.unwrap().1, hits), (Some(number), vec![RuleId(number)]));
        };
        // Far more than there are places, so that many push others out.
        for round in 0..3 {
            for number in 0..10_000 {
                ask(&mut known, number, 5);
                ask(&mut known, number, 5);
                ask(&mut known, round, TOLD_BYTES_MAX + 1);
            }
        }
        // Of those that are asked twice in a row the first one at most, and all that are too long.
        assert!((50_000..=60_000).contains(&judged), "{judged}");
        let mut hits = Vec::new();
        let unread = |_: &mut Vec<RuleId>| None;
        assert_eq!(known.judged(b"unread", &mut hits, unread), None);
        assert_eq!(known.judged(b"", &mut hits, unread), None, "nothing is known of nothing");
    }
}
