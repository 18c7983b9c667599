//! Finds many short patterns at once, each a row of sets of bytes: one table, one step for each byte.
//!
//! Made by the subset construction. A step waits for the one before it; four places walked at once hide that. What the
//! walk keeps fits into a processor's registers: measure before adding to it.

use std::collections::HashMap;

/// How many places [`Automaton::find_all`] walks at once.
const LANES: usize = 8;
/// Texts shorter than this are walked at one place: 4 KiB.
const LANES_BYTES_MIN: usize = 4 << 10;

/// Room of a place for what is found there, at first: what logs full of attacks need for 32 KiB.
const FOUND_ROOM: usize = 512;

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

    /// As a regular expression over bytes finds it: `s`, `[Ss]`, `\x2f`.
    pub(super) fn to_regex(self) -> String {
        let written = |byte: u8| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        };
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for byte in (0..=u8::MAX).filter(|&byte| self.has(byte)) {
            match ranges.last_mut() {
                Some((_, end)) if *end + 1 == byte => *end = byte,
                _ => ranges.push((byte, byte)),
            }
        }
        match ranges[..] {
            [(one, end)] if one == end => written(one),
            _ => {
                let range = |(start, end): &(u8, u8)| match end - start {
                    0 => written(*start),
                    _ => format!("{}-{}", written(*start), written(*end)),
                };
                format!("[{}]", ranges.iter().map(range).collect::<String>())
            }
        }
    }

    pub(super) fn has(self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }
}

/// Something that was found in a line: the line may hold an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// An offset inside the line: of the last byte of what was found.
    pub at: usize,
    /// The place in [`Automaton::ended`] of the patterns that end there.
    pub(super) what: u32,
}

/// Where a walk is: a row of the table.
type State = u16;

/// Rows of the table: as many as there are names for states, so that no step asks whether there is one. Those that no state
/// has are never touched, and take no memory.
const ROWS: usize = 1 << 16;

/// The table.
#[derive(Debug)]
pub(super) struct Automaton {
    /// By state and byte.
    next: Box<[[State; 256]; ROWS]>,
    /// States from here on have found a pattern. A power of two: some of several states has found one if these, with
    /// their bits put together, are not below it.
    found_from: State,
    /// Where a walk begins: at the beginning of a line.
    start: State,
    /// The longest pattern, in bytes.
    longest: usize,
    /// By state that has found something, the patterns that end with it.
    ended: Vec<Vec<u32>>,
}

impl Automaton {
    /// Of patterns; nothing where they make more states than there may be.
    pub(super) fn new(patterns: &[Pattern]) -> Option<Automaton> {
        let Subsets { classes, rows, states, trie } = Subsets::new(patterns)?;
        let ended: Vec<Vec<u32>> = states.iter().map(|state| trie.ended(state)).collect();
        // States that have found something go last, so that one comparison tells them.
        let (plain, found): (Vec<usize>, Vec<usize>) =
            (0..rows.len()).partition(|&state| ended[state].is_empty());
        let found_from = plain.len().next_power_of_two();
        if found_from + found.len() > ROWS {
            return None;
        }
        let places = || (0..).zip(&plain).chain((found_from..).zip(&found));
        let mut place_of: Vec<State> = vec![0; rows.len()];
        for (place, &state) in places() {
            place_of[state] = State::try_from(place).ok()?;
        }
        // Written out, the zeros alone would take longer than everything else here.
        let mut next: Box<[[State; 256]; ROWS]> = bytemuck::zeroed_box();
        for (place, &state) in places() {
            for (to, class) in next[place].iter_mut().zip(&classes) {
                *to = place_of[rows[state][usize::from(*class)]];
            }
        }
        Some(Automaton {
            start: next[usize::from(place_of[0])][usize::from(b'\n')],
            next,
            found_from: State::try_from(found_from).ok()?,
            longest: patterns.iter().map(Vec::len).max().unwrap_or(0),
            ended: found.iter().map(|&state| ended[state].clone()).collect(),
        })
    }

    /// The patterns that end with each state that has found something, by their numbers.
    pub(super) fn ended(&self) -> &[Vec<u32>] {
        &self.ended
    }

    fn found(&self, at: usize, state: State) -> Found {
        Found { at, what: u32::from(state - self.found_from) }
    }

    #[inline]
    fn on(&self, state: State, byte: u8) -> State {
        self.next[usize::from(state)][usize::from(byte)]
    }

    /// Where the first pattern at or after `from` ends, and which.
    pub(super) fn find(&self, text: &[u8], from: usize) -> Option<Found> {
        let mut state = self.start;
        text.get(from..)?.iter().enumerate().find_map(|(at, &byte)| {
            state = self.on(state, byte);
            (state >= self.found_from).then(|| self.found(from + at, state))
        })
    }

    /// Where each pattern ends, in order.
    pub(super) fn find_all(&self, text: &[u8], ends: &mut Vec<Found>) {
        if text.len() < LANES_BYTES_MIN {
            self.find_each(text, 0, self.start, ends);
            return;
        }
        let lane = text.len() / LANES;
        let (parts, tail) = text.split_at(lane * LANES);
        let place = |number: usize| &parts[number * lane..(number + 1) * lane];
        let two = |number: usize| place(number).iter().zip(place(number + 1));
        let all = two(0).zip(two(2)).zip(two(4).zip(two(6)));
        // What begins before a place and ends after it is found because the walk to it begins a little earlier.
        let mut states: [State; LANES] = std::array::from_fn(|number| {
            let before = &text[(number * lane).saturating_sub(self.longest)..number * lane];
            before.iter().fold(self.start, |state, &byte| self.on(state, byte))
        });
        let mut found: [Vec<Found>; LANES] = std::array::from_fn(|_| Vec::with_capacity(FOUND_ROOM));
        let next = &*self.next;
        for (at, (((a, b), (c, d)), ((e, f), (g, h)))) in all.enumerate() {
            let bytes = [*a, *b, *c, *d, *e, *f, *g, *h];
            states =
                std::array::from_fn(|number| next[usize::from(states[number])][usize::from(bytes[number])]);
            if states.iter().fold(0, |all, state| all | state) >= self.found_from {
                self.note(states, at, lane, &mut found);
            }
        }
        ends.extend(found.iter().flatten());
        self.find_each(tail, lane * LANES, states[LANES - 1], ends);
    }

    /// Notes what some of the lanes have found. Not a part of the walk, for its registers' sake.
    #[cold]
    #[inline(never)]
    fn note(&self, states: [State; LANES], at: usize, lane: usize, found: &mut [Vec<Found>; LANES]) {
        for (number, (state, ends)) in states.into_iter().zip(found).enumerate() {
            if state >= self.found_from {
                ends.push(self.found(number * lane + at, state));
            }
        }
    }

    fn find_each(&self, text: &[u8], offset: usize, mut state: State, ends: &mut Vec<Found>) {
        for (at, &byte) in text.iter().enumerate() {
            state = self.on(state, byte);
            if state >= self.found_from {
                ends.push(self.found(offset + at, state));
            }
        }
    }
}

/// Patterns as a tree: those that begin alike share their beginning.
#[derive(Default)]
struct Trie {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    on: Vec<(Bytes, u32)>,
    /// The pattern that ends here.
    ends: Option<u32>,
}

impl Trie {
    fn new(patterns: &[Pattern]) -> Trie {
        let mut trie = Trie { nodes: vec![Node::default()] };
        for (number, pattern) in (0..).zip(patterns) {
            let mut at = 0;
            for bytes in pattern {
                let known = trie.nodes[at].on.iter().find(|(own, _)| own == bytes).map(|(_, to)| *to);
                let to = known.unwrap_or_else(|| {
                    let fresh = u32::try_from(trie.nodes.len()).expect("patterns are few and short");
                    trie.nodes[at].on.push((*bytes, fresh));
                    trie.nodes.push(Node::default());
                    fresh
                });
                at = to as usize;
            }
            trie.nodes[at].ends = Some(number);
        }
        trie
    }

    /// Adds where a byte leads from a node.
    fn step(&self, from: u32, byte: u8, into: &mut Vec<u32>) {
        let on = self.nodes[from as usize].on.iter();
        into.extend(on.filter(|(bytes, _)| bytes.has(byte)).map(|(_, to)| *to));
    }

    fn ended(&self, nodes: &[u32]) -> Vec<u32> {
        nodes.iter().filter_map(|&node| self.nodes[node as usize].ends).collect()
    }
}

/// Every state that a walk may be in: the nodes of the tree that it has come to, in order.
struct Subsets {
    /// Bytes that no pattern tells apart are one class.
    classes: [u8; 256],
    /// By state and class, the next state.
    rows: Vec<Vec<usize>>,
    states: Vec<Vec<u32>>,
    trie: Trie,
}

impl Subsets {
    fn new(patterns: &[Pattern]) -> Option<Subsets> {
        let (classes, samples) = classes(patterns);
        let trie = Trie::new(patterns);
        let mut known: HashMap<Vec<u32>, usize> = HashMap::from([(Vec::new(), 0)]);
        let mut states: Vec<Vec<u32>> = vec![Vec::new()];
        let mut state_of = |nodes: Vec<u32>, states: &mut Vec<Vec<u32>>| {
            *known.entry(nodes).or_insert_with_key(|nodes| {
                states.push(nodes.clone());
                states.len() - 1
            })
        };
        // What each byte leads to where nothing has begun.
        let fresh: Vec<(usize, Vec<u32>)> = samples
            .iter()
            .map(|&byte| {
                let mut nodes = Vec::new();
                trie.step(0, byte, &mut nodes);
                nodes.sort_unstable();
                (state_of(nodes.clone(), &mut states), nodes)
            })
            .collect();
        let mut rows: Vec<Vec<usize>> = Vec::new();
        let mut nodes = Vec::new();
        while let Some(state) = states.get(rows.len()).cloned() {
            let row = samples.iter().zip(&fresh).map(|(&byte, (alone, begun))| {
                nodes.clear();
                for &node in &state {
                    trie.step(node, byte, &mut nodes);
                }
                if nodes.is_empty() {
                    return *alone;
                }
                nodes.extend_from_slice(begun);
                nodes.sort_unstable();
                nodes.dedup();
                state_of(nodes.clone(), &mut states)
            });
            let row = row.collect();
            rows.push(row);
            if states.len() > ROWS {
                return None;
            }
        }
        Some(Subsets { classes, rows, states, trie })
    }
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
