//! Version orders against our own tables and the reference pairs.
#![allow(clippy::unwrap_used)] // In a test's own functions, too.

mod pieces;

use advisory::{Order, Version};
use pieces::PIECES;
use proptest::prelude::*;
use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

const ORDERS: [Order; 6] = [Order::Dpkg, Order::Rpm, Order::Apk, Order::Semver, Order::Pep440, Order::Npm];

fn key(order: Order, text: &str) -> Version {
    order.parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// `chain` is "a < b = c < d": every pair of its versions is compared.
fn check_ascending(order: Order, chain: &str) {
    let mut versions = Vec::new();
    let mut rank = 0;
    for word in chain.split_whitespace() {
        match word {
            "<" => rank += 1,
            "=" => {}
            version => versions.push((rank, version)),
        }
    }
    for (rank_a, a) in &versions {
        for (rank_b, b) in &versions {
            assert_eq!(order.compare(a, b), Ok(rank_a.cmp(rank_b)), "{order}: {a} and {b}");
        }
    }
}

fn check_refused(order: Order, rows: &[(&str, &str)]) {
    for (text, reason) in rows {
        let error = order.parse(text).expect_err(text);
        assert!(error.reason.contains(reason), "{error}, expected: {reason}");
    }
}

#[test]
fn dpkg_versions_ascend_as_written() {
    check_ascending(
        Order::Dpkg,
        "
            ~~ < ~~1 = ~~01 < ~ < ~1 < 0~~ < 0~~a < 0~ < 0-~~ < 0-~
            < 0 = 00 = 0-0 = 0-00 = 0:0 = 00:0 = +0:0 < 0-1 < 0-.
        ",
    );
    check_ascending(
        Order::Dpkg,
        "
            1.0~~ < 1.0~~a < 1.0~ < 1.0~rc1-1 < 1.0~rc1-1+b1 < 1.0-0~1
            < 1.0 = 1.00 = 1.0-0 = 0:1.0 = 1. = 1.-000 < 1.0-0.1 < 1.0-1~bpo12+1
            < 1.0-1 = 1.0-01 < 1.0-1A < 1.0-1a < 1.0-1ab < 1.0-1é < 1.0-1+deb12u2
            < 1.0-1+deb12u10 < 1.0-1.1 < 1.0-2 < 1.0a-1 < 1.0+dfsg-1 < 1.0-1-1 < 1.0.1 < 1.2
            < 1.10 = 1.010 < 2_0 < 18446744073709551615 < 18446744073709551616
            < 99999999999999999999999999999999999999 < 100000000000000000000000000000000000000
            < a < 1:0 < 1:1:2 < 2147483647:0
        ",
    );
}

#[test]
fn what_dpkg_calls_an_error_is_refused() {
    check_refused(
        Order::Dpkg,
        &[
            ("", "empty"),
            (" \t", "empty"),
            ("1 2", "blank inside"),
            ("1 :2", "blank inside"),
            (":1", "epoch is empty"),
            ("-:1", "epoch is empty"),
            ("a:1", "epoch is not a number"),
            ("0x1:1", "epoch is not a number"),
            ("1-1:2", "epoch is not a number"),
            ("-1:1", "epoch is negative"),
            ("2147483648:1", "epoch is too big"),
            ("99999999999999999999999:1", "epoch is too big"),
            ("1:", "nothing after the colon"),
            ("1-", "revision is empty"),
            ("-1", "upstream version is empty"),
            ("1:-1", "upstream version is empty"),
            ("1\0", "NUL"),
        ],
    );
}

#[test]
fn rpm_versions_ascend_as_written() {
    check_ascending(
        Order::Rpm,
        "
            ~1 < 1~~ < 1~ < 1~rc1 < 1~rc1^git1 < 1 = 0:1 = :1 = 01 = 1. = 1.é < 1- = 1-. = 01-
            < 1-0 = 1-00 < 1-1~ < 1-1.el9_4 = 01-1.el9.4 < 1-1.el9_10 < 1-2 < 1^ < 1^a~ < 1^a
            < 1^1 < 1a < 1a1 = 1.a.1 < 1ab < 1.1 = 1_1 = 1..1 = 1+01 < 1.2 < 1.10
            < 18446744073709551616 < 100000000000000000000000000000000000000 < 1:0
            < 1:0-1 = 1:0-1. = 01:0-1 < 4294967296:0
        ",
    );
}

#[test]
fn what_rpmbuild_would_not_build_is_refused() {
    check_refused(
        Order::Rpm,
        &[
            ("", "empty"),
            ("1:", "version is empty"),
            ("-1", "version is empty"),
            ("(none):1.0-1", "contains '('"),
            ("< 1.2-3", "contains '<'"),
            ("1.2 1.3", "contains ' '"),
            ("1.2\n", "contains '\\n'"),
        ],
    );
}

#[test]
fn apk_versions_ascend_as_written() {
    check_ascending(
        Order::Apk,
        "
            0 < 0.0 < 0.00 < 0.01 < 0.1 < 1_alpha < 1_alpha-r0 < 1_alpha0 = 1_alpha00
            < 1_alpha1_pre1 < 1_alpha1 < 1_alpha10 < 1_beta < 1_pre < 1_rc1 < 1 = 01
            < 1-r0 = 01-r00 < 1-r9 < 1-r10 < 1~0a < 1~0a-r1 < 1~a < 1_cvs < 1_svn
            < 1_git20200101 < 1_hg < 1_p1 < 1_p1-r1 < 1_p10 < 1a < 1a_p1 < 1a0 = 1a00 < 1a1
            < 1a1b < 1a1.2 < 1a2 < 1b < 1.0015 < 1.002 < 1.2 < 1.10 < 18446744073709551616
        ",
    );
}

#[test]
fn what_apk_calls_invalid_is_refused() {
    check_refused(
        Order::Apk,
        &[
            ("", "empty"),
            ("a", "does not start with a digit"),
            (".1", "does not start with a digit"),
            ("1.", "dot without a number"),
            ("1..2", "dot without a number"),
            ("1ab", "'b' at byte 2"),
            ("1A", "'A'"),
            ("1é", "'é'"),
            ("1_foo1", "no suffix \"_foo\""),
            ("1_", "no suffix"),
            ("1-r", "-r without a number"),
            ("1-1", "'-'"),
            ("1-r1-r2", "'-'"),
            ("1~", "tilde without a hash"),
            ("1~ab~cd", "'~'"),
            ("1-r1_p1", "'_'"),
            (" 1", "does not start with a digit"),
            ("1 ", "' '"),
        ],
    );
}

#[test]
fn language_versions_ascend_as_written() {
    check_ascending(
        Order::Semver,
        "
            0.0.1 < 1.0.0-0 < 1.0.0-2 < 1.0.0-10 < 1.0.0-18446744073709551616 < 1.0.0--
            < 1.0.0-alpha = 1.0.0-alpha+build < 1.0.0-alpha.1 < 1.0.0-alpha.beta < 1.0.0-alpha1
            < 1.0.0-beta < 1.0.0 = 1.0.0+1 = 1.0.0+2 < 1.2.0 < 1.10.0 < 240.0.0
            < 18446744073709551615.0.0
        ",
    );
    check_ascending(
        Order::Npm,
        "
            0.0.1 < 1.0.0-2 < 1.0.0-10 < 1.0.0-alpha < 1.0.0-alpha.1 < 1.0.0-alpha.beta
            < 1.0.0 = v1.0.0 = 1.0.0+2 < 1.2.0 < 1.10.0
        ",
    );
    check_ascending(
        Order::Pep440,
        "
            1.dev1 = 1.0.DEV1 < 1a1.dev1 < 1a1 = 1.0alpha1 = v1-a-1 < 1a1.post1.dev2 < 1a1.post1
            < 1a10 < 1b1 < 1rc1 = 1c1 < 1 = 1.0 = 1.0.0 = 01 = 0!1 < 1+a < 1+a.1 < 1+b < 1+1
            < 1+1.1 < 1.post0.dev1 < 1.post0 = 1-0 = 1.post < 1.post1 < 1.0.1 < 1.9 < 1.10
            < 2025.1 < 1!0
        ",
    );
    check_refused(Order::Semver, &[("1.0", "end of input"), ("v1.0.0", "'v'"), ("1.0.0-", "empty")]);
    check_refused(Order::Npm, &[("1.x", "no semantic version"), ("latest", "no semantic version")]);
    check_refused(Order::Pep440, &[("1.0-foo", ""), ("1.*", "wildcard"), ("\u{1b}[2J", "")]);
}

#[test]
fn an_endless_version_is_refused_and_not_repeated() {
    let text = "9".repeat(advisory::version::VERSION_BYTES_MAX + 1);
    for order in ORDERS {
        let error = order.parse(&text).unwrap_err();
        assert_eq!(error.reason, "1025 bytes long, 1024 at most are read");
        assert_eq!(error.version, format!("{}…", "9".repeat(80)));
    }
    for order in [Order::Dpkg, Order::Rpm, Order::Apk] {
        assert_eq!(order.compare(&text[1..], &text[2..]).unwrap(), Ordering::Greater);
    }
}

#[test]
fn a_refusal_names_order_version_and_reason_and_cannot_touch_the_terminal() {
    let error = Order::Dpkg.parse("1\u{1b}[2J\n\u{202e} \"x").unwrap_err();
    assert_eq!(
        error.to_string(),
        r#""1\u{1b}[2J\n\u{202e} "x" is not a version to dpkg: has a blank inside"#
    );
    for order in ORDERS {
        for text in ["\u{1b}", "1.0.0-\u{1b}", "1+\u{1b}\u{202e}", "1.\u{7}"] {
            if let Err(error) = order.parse(text) {
                assert!(error.to_string().chars().all(|character| !character.is_control()), "{error:?}");
            }
        }
    }
}

// ---- Reference pairs ---------------------------------------------------------------------------------------------

/// Rows `a < b`, `a = b`, `a > b` of a file of reference pairs.
fn reference(file: &str) -> Vec<(String, Ordering, String)> {
    let Some(root) = option_env!("PALISADE_REFERENCE") else { panic!("the build found no reference data") };
    let path = format!("{root}/bulletins/version-compare/{file}");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let [a, relation, b] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{path}: {line}") };
            let ordering = match relation {
                "<" => Ordering::Less,
                "=" => Ordering::Equal,
                ">" => Ordering::Greater,
                _ => panic!("{path}: {line}"),
            };
            (a.to_owned(), ordering, b.to_owned())
        })
        .collect()
}

/// Compares every row; every version that does not parse must be one of `refused`, and every one of those must occur.
fn check_reference(order: Order, file: &str, rows_min: usize, refused: &[&str]) {
    let rows = reference(file);
    assert!(rows.len() >= rows_min, "{file}: only {} rows", rows.len());
    let mut seen = Vec::new();
    let mut wrong = String::new();
    for (a, expected, b) in &rows {
        for text in [a, b] {
            if let Err(error) = order.parse(text) {
                if !refused.contains(&text.as_str()) {
                    writeln!(wrong, "{error}").unwrap();
                }
                seen.push(text.as_str());
            }
        }
        match order.compare(a, b) {
            Ok(ordering) if ordering != *expected => {
                writeln!(wrong, "{a} {ordering:?} {b}, not {expected:?}").unwrap();
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{file}:\n{wrong}");
    for text in refused {
        assert!(seen.contains(text), "{file}: {text:?} parses or does not occur: take it off the list");
    }
}

#[test]
#[cfg_attr(not(reference_data), ignore = "needs the reference data")]
fn debian_reference_pairs_compare_as_published() {
    check_reference(Order::Dpkg, "debian-versions.txt", 30, &[]);
    check_reference(Order::Dpkg, "debian-versions-generated.txt", 14_000, &[]);
}

#[test]
#[cfg_attr(not(reference_data), ignore = "needs the reference data")]
fn red_hat_reference_pairs_compare_as_published() {
    check_reference(Order::Rpm, "redhat-versions.txt", 150, &[]);
}

/// The refused ones are those that `apk version --check` calls invalid. The reference orders them all the same, by what
/// is left once apk stops understanding; the reasons stand in `what_apk_calls_invalid_is_refused`.
#[test]
#[cfg_attr(not(reference_data), ignore = "needs the reference data")]
fn alpine_reference_pairs_compare_as_published() {
    let refused = [
        ("-r without a number", "1-r 1-r-0 1-r-1 1-r-2 1-ruff 1-ruff1 1-ruff2"),
        ("something after -r and its number", "1-r0-1 1-r0-2 1-r0-ruff1 1-r0-ruff2"),
        ("a hyphen without r", "1--ruff1"),
        ("a dot without a number", "0..8 0...8 0..1..0 0..1..1 0...1...0 0...1...1 0...1...0r1 0...1...0r2"),
        (".r where -r was meant", "0.r1 0...1...0.r1 0...1...0.r2 0.8.21.r1 0.8.21.r2 10.2.22.r0 10.2.24.r0"),
        ("a capital", "1.2.0A 1.2.0D"),
        ("two letters", "1.0bc"),
        ("an unknown suffix", "1.2_blah 1.2_csv2 23_foo"),
        ("no number at the start", ".1 .2 a b c"),
    ];
    let refused: Vec<&str> = refused.iter().flat_map(|(_, versions)| versions.split(' ')).collect();
    check_reference(Order::Apk, "alpine-versions.txt", 700, &refused);
}

// ---- Properties --------------------------------------------------------------------------------------------------

fn hash(version: &Version) -> u64 {
    let mut hasher = DefaultHasher::new();
    version.hash(&mut hasher);
    hasher.finish()
}

/// Text that comes near a version: pieces of versions, sometimes anything.
fn near_version() -> impl Strategy<Value = String> {
    let pieces =
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..8).prop_map(|pieces| pieces.concat());
    prop_oneof![4 => pieces, 1 => ".*", 2 => "[0-3](\\.[0-3]){0,3}(-?(a|b|rc|alpha|dev|post)[.]?[0-3]?)?(\\+[a1.]{1,3})?"]
}

fn semver_like() -> impl Strategy<Value = String> {
    "(0|1|12|9007199254740)\\.[0-2]\\.[0-2](-(0|1|10|a|a1|-|rc)(\\.(0|1|10|a|a1|-|rc)){0,2})?(\\+[a1]{1,2})?"
}

fn pep440_like() -> impl Strategy<Value = String> {
    "(1!)?[01](\\.[01]){0,3}((a|b|rc)[01])?(\\.post[01])?(\\.dev[01])?(\\+[01a]{1,2}(\\.[01ab]){0,2})?"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_order_is_total_and_equal_keys_hash_alike(a in near_version(), b in near_version(), c in near_version()) {
        for order in ORDERS {
            let (Ok(ka), Ok(kb), Ok(kc)) = (order.parse(&a), order.parse(&b), order.parse(&c)) else { continue };
            prop_assert_eq!(ka.cmp(&kb), kb.cmp(&ka).reverse());
            prop_assert_eq!(ka == kb, ka.cmp(&kb) == Ordering::Equal);
            prop_assert_eq!(order.compare(&a, &b).unwrap(), ka.cmp(&kb));
            if ka == kb {
                prop_assert_eq!(hash(&ka), hash(&kb));
            }
            if ka <= kb && kb <= kc {
                prop_assert!(ka <= kc);
            }
        }
    }

    #[test]
    fn semver_keys_compare_as_the_semver_crate_does(a in semver_like(), b in semver_like()) {
        let parsed = |text: &str| semver::Version::parse(text).unwrap();
        prop_assert_eq!(Order::Semver.compare(&a, &b).unwrap(), parsed(&a).cmp_precedence(&parsed(&b)));
    }

    #[test]
    fn npm_keys_compare_as_the_npm_crate_does(a in semver_like(), b in semver_like()) {
        let parsed = |text: &str| nodejs_semver::Version::parse(text).unwrap();
        prop_assert_eq!(Order::Npm.compare(&a, &b).unwrap(), parsed(&a).cmp(&parsed(&b)));
    }

    #[test]
    fn pep440_keys_compare_as_the_pep440_crate_does(a in pep440_like(), b in pep440_like()) {
        let parsed = |text: &str| pep440_rs::Version::from_str(text).unwrap();
        prop_assert_eq!(key(Order::Pep440, &a).cmp(&key(Order::Pep440, &b)), parsed(&a).cmp(&parsed(&b)));
    }
}
