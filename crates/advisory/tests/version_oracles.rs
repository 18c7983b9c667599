//! Version orders against the programs that define them.
//!
//! These tests need `dpkg` and `rpm`; where one is missing they print "SKIPPED: needs dpkg" and prove nothing.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // The oracles are programs.
#![allow(clippy::unwrap_used)] // In a test's own functions, too.

mod pieces;

use advisory::Order;
use pieces::PIECES;
use std::cmp::Ordering;
use std::process::{Command, Stdio};

/// A small deterministic generator (SplitMix64): the same pairs on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.below(among.len())]
    }

    /// A version of up to eight `pieces`, and another that often differs from it in one piece only.
    fn pair(&mut self, pieces: &[&str]) -> (String, String) {
        let a: Vec<&str> = (0..=self.below(8)).map(|_| self.pick(pieces)).collect();
        let mut b = a.clone();
        match self.below(5) {
            0 => b = (0..=self.below(8)).map(|_| self.pick(pieces)).collect(),
            1 => b.push(self.pick(pieces)),
            2 => drop(b.remove(self.below(a.len()))),
            3 => b.insert(self.below(a.len()), self.pick(pieces)),
            _ => b[self.below(a.len())] = self.pick(pieces),
        }
        (a.concat(), b.concat())
    }
}

fn missing(tool: &str) -> bool {
    let missing =
        Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err();
    if missing {
        eprintln!("SKIPPED: needs {tool}");
    }
    missing
}

/// The exit code of `dpkg --compare-versions`: 0 true, 1 false, 2 not a version.
fn dpkg_says(a: &str, relation: &str, b: &str) -> i32 {
    // A leading blank is trimmed by dpkg; without it "-1" would be an option.
    let status = Command::new("dpkg")
        .args(["--compare-versions", &format!(" {a}"), relation, &format!(" {b}")])
        .stderr(Stdio::null())
        .status();
    status.expect("dpkg runs").code().expect("dpkg ends by itself")
}

/// 4,000 pairs in two threads; every one is one run of dpkg, about 2 ms. Needs dpkg.
#[test]
fn dpkg_itself_agrees_on_thousands_of_random_pairs() {
    if missing("dpkg") {
        return;
    }
    let check = |seed: u64| {
        let mut random = Random(seed);
        let (mut compared, mut refused) = (0, 0);
        for _ in 0..2_000 {
            let (a, b) = random.pair(&PIECES);
            match Order::Dpkg.compare(&a, &b) {
                Ok(ordering) => {
                    let relation = match ordering {
                        Ordering::Less => "lt",
                        Ordering::Equal => "eq",
                        Ordering::Greater => "gt",
                    };
                    assert_eq!(dpkg_says(&a, relation, &b), 0, "{a:?} {relation} {b:?}");
                    compared += 1;
                }
                Err(error) => {
                    assert_eq!(dpkg_says(&a, "eq", &b), 2, "{error}");
                    refused += 1;
                }
            }
        }
        (compared, refused)
    };
    let counts = std::thread::scope(|scope| {
        let threads = [1, 2].map(|seed| scope.spawn(move || check(seed)));
        threads.map(|thread| thread.join().expect("no disagreement"))
    });
    for (compared, refused) in counts {
        assert!(compared > 800 && refused > 100, "too one-sided: {compared} compared, {refused} refused");
    }
}

/// 20,000 pairs in one run of rpm's Lua: whole labels, and single parts with `rpm.vercmp`. Needs rpm.
#[test]
fn rpm_itself_agrees_on_thousands_of_random_pairs() {
    if missing("rpm") {
        return;
    }
    let mut random = Random(3);
    let mut pairs = Vec::new();
    while pairs.len() < 20_000 {
        let (a, b) = random.pair(&PIECES);
        if let Ok(ordering) = Order::Rpm.compare(&a, &b) {
            pairs.push((a, b, ordering));
        }
    }
    let directory = env!("CARGO_TARGET_TMPDIR");
    let (input, script) = (format!("{directory}/rpm-pairs.txt"), format!("{directory}/rpm-pairs.lua"));
    let lines: Vec<String> = pairs.iter().map(|(a, b, _)| format!("{a}\t{b}")).collect();
    std::fs::write(&input, lines.join("\n")).unwrap();
    let program = format!(
        r#"for line in io.lines("{input}") do
             local a, b = line:match("^(.*)\t(.*)$")
             local va, vb = rpm.ver(a), rpm.ver(b)
             local label = va < vb and -1 or (va == vb and 0 or 1)
             local part = (a .. b):find("[-:]") and label or rpm.vercmp(a, b)
             print(label .. " " .. part .. "\n")
           end"#
    );
    std::fs::write(&script, program).unwrap();
    let output =
        Command::new("rpm").args(["--eval", &format!(r#"%{{lua:dofile("{script}")}}"#)]).output().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<&str> = answers.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(answers.len(), pairs.len(), "{}", String::from_utf8_lossy(&output.stderr));
    for ((a, b, ordering), answer) in pairs.iter().zip(answers) {
        let ours = *ordering as i8;
        assert_eq!(answer, format!("{ours} {ours}"), "{a:?} and {b:?}");
    }
}
