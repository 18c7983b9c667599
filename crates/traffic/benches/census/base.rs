//! The lines that a made log repeats: real ones where they are at hand, else our own.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use traffic::format::{Scratch, Seen, State};
use traffic::rules::{RuleId, Rules, builtin, read};

/// Real logs, and the weight of each: a quiet site has more of the traffic than one that is scanned.
const REAL: [(&str, u64); 3] = [
    ("nginx_combined_2020-11_siteA.log", 1),
    ("apache_combined_2016-09_siteC_tz+0200.log", 2),
    ("benign_apache_combined_2015-05.log", 3),
];
/// How many quiet lines are made where there are no real ones.
const MADE_LINES: u32 = 20_000;
/// What stands where a log has its time: `19/Jul/2001:00:05:46 +0000`.
const TIME_BYTES: usize = 26;

/// A line, and where something else is put in.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) address: u32,
    /// From the end of the address to the beginning of the time.
    pub(crate) before_time: Vec<u8>,
    /// From the end of the time to the end of the target of a GET; everything, for other lines.
    pub(crate) target: Vec<u8>,
    /// After the target of a GET: nothing, for other lines.
    pub(crate) after_target: Vec<u8>,
}

impl Piece {
    fn of(line: &[u8]) -> Option<Self> {
        let space = memchr::memchr(b' ', line)?;
        let address: Ipv4Addr = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
        let time = memchr::memchr(b'[', line)? + 1;
        let rest = line.get(time + TIME_BYTES..)?;
        let target_ends = memchr::memmem::find(rest, b"\"GET /")
            .and_then(|get| Some(get + memchr::memmem::find(&rest[get..], b" HTTP/1")?));
        let (target, after_target) = rest.split_at(target_ends.unwrap_or(rest.len()));
        Some(Self {
            address: address.into(),
            before_time: line[space..time].to_vec(),
            target: target.to_vec(),
            after_target: after_target.to_vec(),
        })
    }
}

/// The lines that a made log repeats.
#[derive(Debug)]
pub(crate) struct Base {
    /// Lines without an attempt, by log, with its weight.
    pub(crate) quiet: Vec<(u64, Vec<Piece>)>,
    /// By signature.
    pub(crate) attempts: Vec<Vec<Piece>>,
    pub(crate) code_red: Vec<Piece>,
    /// How many lines there are in all.
    pub(crate) lines: u64,
    /// What it is made of.
    pub(crate) told: String,
}

impl Base {
    /// Of the real logs in a directory; of our own lines where there are none.
    pub(crate) fn new(rules: &Rules, real: Option<&Path>) -> io::Result<Self> {
        let examples: Vec<(String, String)> = builtin()
            .iter()
            .flat_map(|(name, text)| read(name, text).0)
            .flat_map(|rule| {
                let id = rule.signature.id;
                rule.examples.recognised.into_iter().map(move |example| (id.clone(), example.logged()))
            })
            .collect();
        let of_examples = |wanted: &dyn Fn(&str) -> bool| -> Vec<Piece> {
            let lines = examples.iter().filter(|(id, _)| wanted(id));
            lines.filter_map(|(_, line)| Piece::of(line.trim_end().as_bytes())).collect()
        };
        let code_red = of_examples(&|id| id.starts_with("codered"));
        let mut sorted = Sorted::new(rules);
        let told = if let Some(directory) = real {
            for (name, weight) in REAL {
                sorted.log(&std::fs::read(directory.join(name))?, weight);
            }
            "made of real lines (siteA 1, siteC 2, benign 3)".to_owned()
        } else {
            sorted.log(made().as_bytes(), 1);
            let mut attempts: Vec<Vec<Piece>> = Vec::new();
            for id in rules.signatures().iter().map(|signature| &signature.id) {
                attempts.push(of_examples(&|own| own == id));
            }
            for (number, piece) in (1_u32..).zip(attempts.iter_mut().flatten()) {
                // Each example of its own network.
                piece.address = 0x3200_0000 + number.wrapping_mul(0x9e37_79b9) % 0x8000_0000;
            }
            sorted.attempts = (0..).zip(attempts).filter(|(_, pieces)| !pieces.is_empty()).collect();
            "SKIPPED real lines, as they are not here: made of our own".to_owned()
        };
        let attempts: Vec<Vec<Piece>> = sorted.attempts.into_values().collect();
        let count = |pieces: &Vec<Piece>| pieces.len() as u64;
        let lines = sorted.quiet.iter().map(|(_, pieces)| count(pieces)).sum::<u64>()
            + attempts.iter().map(count).sum::<u64>();
        Ok(Self { quiet: sorted.quiet, attempts, code_red, lines, told })
    }
}

/// Lines, told apart by what rules recognise in them.
struct Sorted<'r> {
    rules: &'r Rules,
    quiet: Vec<(u64, Vec<Piece>)>,
    attempts: BTreeMap<u16, Vec<Piece>>,
}

impl<'r> Sorted<'r> {
    fn new(rules: &'r Rules) -> Self {
        Self { rules, quiet: Vec::new(), attempts: BTreeMap::new() }
    }

    fn log(&mut self, text: &[u8], weight: u64) {
        let mut quiet = Vec::new();
        let (mut state, mut scratch) = (State::default(), Scratch::default());
        let (mut judging, mut hits) = (traffic::rules::Scratch::default(), Vec::new());
        for line in text.split(|&byte| byte == b'\n') {
            let (Seen::Request(_), Some(piece)) = (state.brief(line), Piece::of(line)) else { continue };
            hits.clear();
            state.read(line, &mut scratch, |request| self.rules.judge(request, &mut judging, &mut hits));
            match hits.first() {
                Some(RuleId(rule)) => self.attempts.entry(*rule).or_default().push(piece),
                None => quiet.push(piece),
            }
        }
        self.quiet.push((weight, quiet));
    }
}

/// Lines of our own that are no attempts.
fn made() -> String {
    let paths = ["/articles", "/images", "/static/css", "/blog/2021", "/products", "/api/v2/items"];
    let agents = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/91.0.4472.124 \
         Safari/537.36",
        "Mozilla/5.0 (compatible; ExampleBot/2.1; +http://www.example.com/bot.html)",
        "Mozilla/5.0 (X11; Linux x86_64; rv:89.0) Gecko/20100101 Firefox/89.0",
        "ExampleFeed/1.0",
    ];
    let line = |number: u32| {
        let spread = number.wrapping_mul(0x9e37_79b9);
        let address = Ipv4Addr::from(0x3200_0000 + (spread >> 3) % 3_000 * 40_009);
        let (path, agent) = (paths[(spread >> 9) as usize % 6], agents[(spread >> 13) as usize % 4]);
        let (status, bytes) = (if spread.is_multiple_of(9) { 404 } else { 200 }, spread % 50_000);
        let method = if spread.is_multiple_of(31) { "POST" } else { "GET" };
        let referer =
            if spread.is_multiple_of(3) { "-" } else { "https://www.example.com/search?q=palisade" };
        format!(
            "{address} - - [19/Jul/2001:00:05:46 +0000] \"{method} {path}/{number}.html HTTP/1.1\" {status} {bytes} \
             \"{referer}\" \"{agent}\"\n"
        )
    };
    (0..MADE_LINES).map(line).collect()
}
