//! Partial censuses that somebody forged: refused, or as good as one that was counted.

use std::sync::LazyLock;
use traffic::census::report::{Asked, report};
use traffic::census::{Census, Counting, Key, Limits, Zone};
use traffic::format::State;
use traffic::rules::{Rules, read};

const RULE: &str = "name: a\ndescription: a\nrules:\n  - {zones: [URI], match: {type: contains, value: /a}}\n\
    signature: {visit: {name: v, seconds: 60}}\n";

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::compile(read("a.yaml", RULE).0).0);

/// Where the census of a partial begins, behind the eight bytes that say what it is.
const HEAD: usize = 8;

// The bytes are a census without its head and sum, or, where the first one says so, changes to a sound one.
pub fn run(bytes: &[u8]) {
    let [choice, bytes @ ..] = bytes else { return };
    let mut forged = sound();
    forged.truncate(forged.len() - 4);
    if choice & 1 == 0 {
        forged.truncate(HEAD);
        forged.extend_from_slice(bytes);
    } else {
        for change in bytes.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % (forged.len() - HEAD);
            forged[HEAD + at] = change[2];
        }
    }
    let sum = crc32fast::hash(&forged);
    forged.extend_from_slice(&sum.to_le_bytes());
    let Ok(census) = Census::from_bytes("forged", &forged) else { return };
    let written = census.to_bytes();
    let again = Census::from_bytes("again", &written).expect("what was written can be read");
    assert!(again == census && again.to_bytes() == written, "writing and reading changes it");
    let _ = report(&census, &RULES, Asked { exposure: None, sources_max: 20 });
    let _ = census.clone().with_pseudonyms(&Key::new([1; 32]));
    let two = vec![("one".to_owned(), census.clone()), ("other".to_owned(), census)];
    let united = Census::unite(two, Limits { sources_max: 8, cells_max: 16 }).expect("they are alike");
    assert!(Census::from_bytes("united", &united.to_bytes()).is_ok(), "what is united cannot be read");
}

fn sound() -> Vec<u8> {
    let key = Key::new([7; 32]);
    let counting = Counting::new(&RULES, "rules", &Zone::Utc, &key, Limits { sources_max: 2, cells_max: 8 });
    let mut log = String::new();
    for second in 0..6 {
        log += &format!(
            "192.0.2.{second} - - [19/Jul/2001:00:0{second}:46 +0000] \"GET /a HTTP/1.0\" 404 297\n"
        );
    }
    counting.counter().count(State::default(), log.as_bytes());
    counting.finish().to_bytes()
}
