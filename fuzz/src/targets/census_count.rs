//! The counter: whatever is in a log, and wherever a read ends, the counts are the same bytes; so are those of parts that
//! are united.

use std::sync::LazyLock;
use traffic::census::{Census, Counting, Key, Limits, Zone};
use traffic::format::{Lines, State};
use traffic::rules::Rules;

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::compile(traffic::rules::own()).0);
static KEY: LazyLock<Key> = LazyLock::new(|| Key::new([7; 32]));

// One byte chooses zone and limits, two where the log is cut; the rest is the log.
pub fn run(bytes: &[u8]) {
    let [choice, cut, other_cut, log @ ..] = bytes else { return };
    let zone = if choice & 1 == 0 { Zone::Utc } else { Zone::AsLogged };
    let limits = match choice >> 1 & 3 {
        0 => Limits { sources_max: 1, cells_max: 2 },
        1 => Limits { sources_max: 4, cells_max: 64 },
        _ => Limits::default(),
    };
    let counting = || Counting::new(&RULES, "rules", &zone, &KEY, limits);
    let whole = counting();
    whole.counter().count(State::default(), log);
    let whole = whole.finish();
    let bytes = whole.to_bytes();

    let starts: Vec<usize> = Lines::new(log).map(|line| line.at).collect();
    let place = |cut: u8| starts.get(usize::from(cut) % starts.len().max(1)).copied().unwrap_or(0);
    let (first, last) = (place(*cut).min(place(*other_cut)), place(*cut).max(place(*other_cut)));
    let mut state = State::default();
    let mut parts = Vec::new();
    for part in [&log[..first], &log[first..last], &log[last..]] {
        parts.push((state.clone(), part));
        state.advance(part);
    }
    // By three threads in another order, all of one count.
    let split = counting();
    for (state, part) in parts.iter().rev() {
        split.counter().count(state.clone(), part);
    }
    assert!(split.finish().to_bytes() == bytes, "a cut changes the counts");
    // On three hosts.
    let apart = parts.iter().map(|(state, part)| {
        let one = counting();
        one.counter().count(state.clone(), part);
        let census = Census::from_bytes("part", &one.finish().to_bytes()).expect("it was written just now");
        ("part".to_owned(), census)
    });
    let united = Census::unite(apart.collect(), limits).expect("they are alike");
    assert!(united.to_bytes() == bytes, "parts do not unite to the whole");
}
