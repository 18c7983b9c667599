//! Finds many short patterns at once, each a row of sets of bytes: one table, one step for each byte.
//!
//! Made by the subset construction. A step waits for the one before it; four places walked at once hide that.

use std::collections::HashMap;

/// How many places [`Automaton::find_all`] walks at once.
const LANES: usize = 4;
/// Texts shorter than this are walked at one place: 4 KiB.
const LANES_BYTES_MIN: usize = 4 << 10;

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Bytes([u64; 4]);

/// Bytes in a row, each one of a set.
pub(super) type Pattern = Vec<Bytes>;

impl Bytes {
    pub(super) fn of(bytes: &[u8]) -> Bytes {
        let mut set = [0; 4];
        for &byte in bytes {
            set[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
        Bytes(set)
    }

    /// The letter in both cases; any other byte alone.
    pub(super) fn any_case(byte: u8) -> Bytes {
        Bytes::of(&[byte.to_ascii_lowercase(), byte.to_ascii_uppercase()])
    }

    /// Everything but letters, digits and the hyphen.
    pub(super) fn no_letters() -> Bytes {
        Bytes::all(|byte| !byte.is_ascii_alphanumeric() && byte != b'-')
    }

    /// Every other byte.
    pub(super) fn but(bytes: &[u8]) -> Bytes {
        Bytes::all(|byte| !bytes.contains(&byte))
    }

    fn all(wanted: impl Fn(u8) -> bool) -> Bytes {
        Bytes::of(&(0..=u8::MAX).filter(|&byte| wanted(byte)).collect::<Vec<_>>())
    }

    fn has(self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }
}

/// Where a walk is: the row of its state in the table.
type State = u32;

/// The table.
#[derive(Debug)]
pub(super) struct Automaton {
    /// Bytes that no pattern tells apart are one class.
    classes: [u8; 256],
    /// `next[state + class]`: states are multiples of the number of classes.
    next: Vec<State>,
    /// States from here on have found a pattern.
    found_from: State,
    /// Where a walk begins: at the beginning of a line.
    start: State,
    /// The longest pattern, in bytes.
    longest: usize,
}

impl Automaton {
    pub(super) fn new(patterns: &[Pattern]) -> Automaton {
        let (classes, samples) = classes(patterns);
        let stride = samples.len();
        let fresh: Vec<(Vec<Begun>, bool)> = samples.iter().map(|&byte| begin(patterns, byte)).collect();
        let mut known: HashMap<Vec<Begun>, usize> = HashMap::from([(Vec::new(), 0)]);
        let mut rows: Vec<Vec<usize>> = Vec::new();
        let mut founds = vec![false];
        let mut waiting = vec![Vec::new()];
        // A state is the set of patterns that have begun, each with how far it has come.
        let mut at = 0;
        while at < waiting.len() {
            let begun = std::mem::take(&mut waiting[at]);
            let mut row = Vec::with_capacity(stride);
            for (&byte, fresh) in samples.iter().zip(&fresh) {
                let (on, found) = step(patterns, &begun, byte, fresh);
                // That a pattern was found is of this step alone, so it is part of the state.
                let key = if found { [on.as_slice(), &[FOUND]].concat() } else { on.clone() };
                let state = *known.entry(key).or_insert_with(|| {
                    waiting.push(on);
                    founds.push(found);
                    waiting.len() - 1
                });
                row.push(state);
            }
            rows.push(row);
            at += 1;
        }
        // States that have found something go last, so that one comparison tells them.
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&state| founds[state]);
        let mut place = vec![0; rows.len()];
        for (new, &old) in order.iter().enumerate() {
            place[old] = new;
        }
        let row_of =
            |state: usize| State::try_from(place[state] * stride).expect("states are few: needles are short");
        let next: Vec<State> =
            order.iter().flat_map(|&state| rows[state].iter().map(|&to| row_of(to))).collect();
        let first_found = founds.iter().filter(|found| !**found).count();
        let start = next[usize::from(classes[usize::from(b'\n')])];
        Automaton {
            classes,
            next,
            found_from: State::try_from(first_found * stride).expect("states are few"),
            start,
            longest: patterns.iter().map(Vec::len).max().unwrap_or(0),
        }
    }

    fn on(&self, state: State, byte: u8) -> State {
        self.next[state as usize + usize::from(self.classes[usize::from(byte)])]
    }

    /// Where the first pattern at or after `from` ends.
    pub(super) fn find(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut state = self.start;
        text.get(from..)?.iter().enumerate().find_map(|(at, &byte)| {
            state = self.on(state, byte);
            (state >= self.found_from).then_some(from + at)
        })
    }

    /// Where each pattern ends.
    pub(super) fn find_all(&self, text: &[u8], ends: &mut Vec<usize>) {
        if text.len() < LANES_BYTES_MIN {
            self.find_each(text, 0, self.start, ends);
            return;
        }
        let lane = text.len() / LANES;
        let (parts, tail) = text.split_at(lane * LANES);
        let mut lanes = parts.chunks_exact(lane);
        let [Some(a), Some(b), Some(c), Some(d)] = [lanes.next(), lanes.next(), lanes.next(), lanes.next()]
        else {
            return;
        };
        let mut states = [self.start; LANES];
        // What begins before a place and ends after it is found because the walk to it begins a little earlier.
        for (number, state) in states.iter_mut().enumerate().skip(1) {
            let before = &text[(number * lane).saturating_sub(self.longest)..number * lane];
            *state = before.iter().fold(self.start, |state, &byte| self.on(state, byte));
        }
        let mut found: [Vec<usize>; LANES] = Default::default();
        for (at, (((&a, &b), &c), &d)) in a.iter().zip(b).zip(c).zip(d).enumerate() {
            states =
                [self.on(states[0], a), self.on(states[1], b), self.on(states[2], c), self.on(states[3], d)];
            if states[0].max(states[1]).max(states[2].max(states[3])) >= self.found_from {
                for (number, ends) in found.iter_mut().enumerate() {
                    if states[number] >= self.found_from {
                        ends.push(number * lane + at);
                    }
                }
            }
        }
        ends.extend(found.iter().flatten());
        self.find_each(tail, lane * LANES, states[LANES - 1], ends);
    }

    fn find_each(&self, text: &[u8], offset: usize, mut state: State, ends: &mut Vec<usize>) {
        for (at, &byte) in text.iter().enumerate() {
            state = self.on(state, byte);
            if state >= self.found_from {
                ends.push(offset + at);
            }
        }
    }
}

/// A pattern by its number, and how many of its bytes have come.
type Begun = (u32, u32);
/// Stands in a state's key for "a pattern has ended here".
const FOUND: Begun = (u32::MAX, 0);

/// The patterns that this byte begins, and whether one ends with it.
fn begin(patterns: &[Pattern], byte: u8) -> (Vec<Begun>, bool) {
    let mut begun: Vec<Begun> =
        (0..u32::try_from(patterns.len()).expect("patterns are few")).map(|number| (number, 0)).collect();
    let mut found = false;
    begun.retain_mut(|begun| go_on(patterns, begun, byte, &mut found));
    (begun, found)
}

/// What has begun after one more byte, and whether a pattern has ended with it.
fn step(patterns: &[Pattern], begun: &[Begun], byte: u8, fresh: &(Vec<Begun>, bool)) -> (Vec<Begun>, bool) {
    let mut found = fresh.1;
    let mut on = begun.to_vec();
    on.retain_mut(|begun| go_on(patterns, begun, byte, &mut found));
    on.extend_from_slice(&fresh.0);
    on.sort_unstable();
    on.dedup();
    (on, found)
}

/// Whether the pattern goes on after this byte.
fn go_on(patterns: &[Pattern], begun: &mut Begun, byte: u8, found: &mut bool) -> bool {
    let pattern = &patterns[begun.0 as usize];
    if !pattern[begun.1 as usize].has(byte) {
        return false;
    }
    begun.1 += 1;
    let ended = begun.1 as usize == pattern.len();
    *found |= ended;
    !ended
}

/// The class of each byte, and a byte of each class.
fn classes(patterns: &[Pattern]) -> ([u8; 256], Vec<u8>) {
    let mut sets: Vec<Bytes> = patterns.iter().flatten().copied().collect();
    sets.sort();
    sets.dedup();
    let mut known: HashMap<Vec<bool>, u8> = HashMap::new();
    let mut classes = [0; 256];
    let mut samples = Vec::new();
    for byte in 0..=u8::MAX {
        let member: Vec<bool> = sets.iter().map(|set| set.has(byte)).collect();
        let class = *known.entry(member).or_insert_with(|| {
            samples.push(byte);
            u8::try_from(samples.len() - 1).expect("there are 256 bytes")
        });
        classes[usize::from(byte)] = class;
    }
    (classes, samples)
}
