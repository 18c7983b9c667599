//! The language as its users meet it.

use super::{Comparison, Expression, Facts, Field, Key, Package, Pattern, Selector, Values, parse};
use advisory::{Family, Release};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};

/// A host called web-01 on Debian 12 with openssl 3.0.14-1, affected by DSA-1 and CVE-2026-1.
fn is_meant(text: &str) -> bool {
    let labels =
        BTreeMap::from([("role".to_owned(), "web".to_owned()), ("name".to_owned(), "x y".to_owned())]);
    let release = Release::new(Family::Debian, "12");
    Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).matches(&Facts {
        name: "web-01",
        id: "0198",
        group: "eu",
        labels: &labels,
        release: &release.to_string(),
        state: "silent",
        has_package: &|package| package.name.matches("openssl") && package.takes(&release, "3.0.14-1"),
        affected_by: &|id| ["DSA-1", "CVE-2026-1"].contains(&id),
    })
}

#[test]
fn hosts_are_meant_by_what_is_known_of_them() {
    for text in [
        "all",
        "role=web",
        "role == web AND group=eu",
        "name=web-*",
        "name=we?-0?",
        "release=debian:12",
        "release=debian:*",
        "state in (silent, revoked)",
        "package=openssl",
        "package=open*",
        "package=openssl<3.0.15-1",
        "package=openssl>=3.0.14-1",
        "package in (curl, openssl!=1:1)",
        "affected=CVE-2026-1 and affected=DSA-1",
        "role!=db",
        "team!=blue",
        "team not in (blue, red)",
        "has role and not has team",
        "\"name\"=\"x y\"",
        "role=db or (role=web and not group=us)",
    ] {
        assert!(is_meant(text), "{text}");
    }
    for text in [
        "not all",
        "role=\"w*\"",
        "name=web",
        "release=ubuntu:12",
        "package=openssl>3.0.14-1",
        "package=openssl<3.0.9-1",
        "package!=openssl",
        "affected=CVE-2026-2",
        "state=active",
        "team=blue",
        "role=db or role=web and group=us",
    ] {
        assert!(!is_meant(text), "{text}");
    }
}

#[test]
fn families_have_the_names_of_os_release_too() {
    for (release, text) in [
        (Release::new(Family::RockyLinux, "9"), "release=rocky:9 and release=rocky-linux:9"),
        (Release::new(Family::RedHat, "9"), "release=rhel:9"),
        (Release::new(Family::OpenSuse, "15.6"), "release=opensuse-leap:15.6"),
    ] {
        let facts = Facts {
            name: "",
            id: "",
            group: "",
            labels: &BTreeMap::new(),
            release: &release.to_string(),
            state: "active",
            has_package: &|_| false,
            affected_by: &|_| false,
        };
        assert!(Selector::parse(text).unwrap().matches(&facts), "{text}");
    }
}

#[test]
fn errors_tell_where_why_and_what_to_write() {
    let known = BTreeSet::from(["role".to_owned()]);
    for (text, at, told) in [
        ("", 1, "write \"all\""),
        ("role", 5, "has KEY"),
        ("role=", 6, "a value is missing"),
        ("role=web role=db", 10, "join tests"),
        ("(role=web", 1, "not closed"),
        ("rool=web", 1, "did you mean \"role\"?"),
        ("relase=debian:12", 1, "did you mean \"release\"?"),
        ("state=silnt", 7, "did you mean \"silent\"?"),
        ("role<3", 5, "compares versions only"),
        ("role=a=b", 7, "in quotes"),
        ("and=x", 1, "in quotes it is a label"),
        ("has group", 5, "every host has"),
        ("role in ()", 10, "a value is missing"),
        ("ä!x", 2, "write \"not\""),
        ("role=\"web", 6, "close them"),
    ] {
        let error = Selector::parse_knowing(text, &known).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.to_string().contains(told), "{text}: {error}");
    }
}

#[test]
fn neither_size_nor_depth_can_hurt() {
    let deep = format!("{}role=web{}", "(".repeat(1000), ")".repeat(1000));
    assert!(Selector::parse(&deep).unwrap_err().reason.contains("inside each other"));
    assert!(Selector::parse(&"not ".repeat(1000)).unwrap_err().reason.contains("inside each other"));
    assert!(Selector::parse(&"role=web or ".repeat(1000)).unwrap_err().reason.contains("bytes"));
    let star = Pattern { text: "*a".repeat(500), is_glob: true };
    assert!(!star.matches(&format!("{}b", "a".repeat(4000))));
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["web", "and", "IN", "name", "", "a b", "x*", "\"", "\\", "ä", "1:2~3+b1", "(", "="])
            .prop_map(str::to_owned),
        ".{0,6}",
    ]
}

fn patterns() -> impl Strategy<Value = Pattern> {
    (texts(), any::<bool>()).prop_map(|(text, is_glob)| {
        let is_glob = is_glob && parse::is_word(&text) && parse::is_glob(&text);
        Pattern { text, is_glob }
    })
}

fn tests() -> impl Strategy<Value = Expression> {
    let comparisons = select(vec![
        Comparison::Equal,
        Comparison::Unequal,
        Comparison::Less,
        Comparison::AtMost,
        Comparison::Greater,
        Comparison::AtLeast,
    ]);
    let packages = (patterns(), option::of((comparisons, texts())))
        .prop_map(|(name, version)| Package { name, version });
    let labels = || texts().prop_filter("a key is not empty", |text| !text.is_empty());
    let fields = select(vec![Field::Name, Field::Id, Field::Group, Field::Release]).prop_map(Key::Field);
    let keys = prop_oneof![labels().prop_map(Key::Label), fields];
    prop_oneof![
        Just(Expression::All),
        labels().prop_map(Expression::Has),
        (keys, any::<bool>(), vec(patterns(), 1..4)).prop_map(|(key, differs, values)| {
            Expression::Test { key, differs, values: Values::Texts(values) }
        }),
        (any::<bool>(), vec(packages, 1..3)).prop_map(|(differs, packages)| Expression::Test {
            key: Key::Field(Field::Package),
            differs,
            values: Values::Packages(packages),
        }),
    ]
}

/// Joins as the parser does: none inside another of its kind.
fn joined(parts: Vec<Expression>, every: bool) -> Expression {
    let mut flat = Vec::new();
    for part in parts {
        if let (Expression::Every(inner), true) | (Expression::Any(inner), false) = (&part, every) {
            flat.extend(inner.iter().cloned());
        } else {
            flat.push(part);
        }
    }
    if every { Expression::Every(flat) } else { Expression::Any(flat) }
}

fn selectors() -> impl Strategy<Value = Selector> {
    tests()
        .prop_recursive(4, 12, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|inner| Expression::Not(Box::new(inner))),
                (vec(inner, 2..4), any::<bool>()).prop_map(|(parts, every)| joined(parts, every)),
            ]
        })
        .prop_map(Selector)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(selector in selectors()) {
        let text = selector.to_string();
        prop_assert_eq!(Selector::parse(&text).map_err(|error| format!("{text}: {error}")), Ok(selector));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(role|=|!=|<|in|not|and|or|has|\\(|\\)|,| |\"|\\*|x|package){0,20}|.{0,40}") {
        if let Ok(selector) = Selector::parse(&text) {
            let canonical = selector.to_string();
            prop_assert_eq!(Selector::parse(&canonical), Ok(selector));
        }
    }
}
