//! One function per hostile format and version order; each takes any bytes and must not panic.

mod apk_printed;
mod apt_packages;
mod apt_release;
mod apt_simulation;
mod census_count;
mod census_formats;
mod census_partial;
mod census_unpack;
mod changelog;
mod format_cvss;
mod format_epss;
mod format_kev;
mod format_lifecycle;
mod format_osv;
mod format_osv_zip;
mod format_updateinfo;
mod host_apk_installed;
mod host_dpkg_log;
mod host_dpkg_status;
mod host_maps;
mod host_os_release;
mod host_proc_net;
mod judge;
mod pacman_local;
mod pacman_printed;
mod pacman_sync;
mod request;
mod rules;
mod rules_imports;
mod selector;
mod trust_host;
mod trust_key;
mod trust_proposal;
mod wire_pieces;
mod zypper_primary;
mod zypper_summary;

use advisory::Order;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// Every target by its name.
pub const TARGETS: [(&str, fn(&[u8])); 42] = [
    ("apk_printed", apk_printed::run),
    ("apt_packages", apt_packages::run),
    ("apt_release", apt_release::run),
    ("apt_simulation", apt_simulation::run),
    ("census_count", census_count::run),
    ("census_formats", census_formats::run),
    ("census_partial", census_partial::run),
    ("census_unpack", census_unpack::run),
    ("changelog", changelog::run),
    ("format_cvss", format_cvss::run),
    ("format_epss", format_epss::run),
    ("format_kev", format_kev::run),
    ("format_lifecycle", format_lifecycle::run),
    ("format_osv", format_osv::run),
    ("format_osv_zip", format_osv_zip::run),
    ("format_updateinfo", format_updateinfo::run),
    ("host_apk_installed", host_apk_installed::run),
    ("host_dpkg_log", host_dpkg_log::run),
    ("host_dpkg_status", host_dpkg_status::run),
    ("host_maps", host_maps::run),
    ("host_os_release", host_os_release::run),
    ("host_proc_net", host_proc_net::run),
    ("judge", judge::run),
    ("order_apk", |bytes| order(Order::Apk, bytes)),
    ("order_dpkg", |bytes| order(Order::Dpkg, bytes)),
    ("order_npm", |bytes| order(Order::Npm, bytes)),
    ("order_pep440", |bytes| order(Order::Pep440, bytes)),
    ("order_rpm", |bytes| order(Order::Rpm, bytes)),
    ("order_semver", |bytes| order(Order::Semver, bytes)),
    ("pacman_local", pacman_local::run),
    ("pacman_printed", pacman_printed::run),
    ("pacman_sync", pacman_sync::run),
    ("request", request::run),
    ("rules", rules::run),
    ("rules_imports", rules_imports::run),
    ("selector", selector::run),
    ("trust_host", trust_host::run),
    ("trust_key", trust_key::run),
    ("trust_proposal", trust_proposal::run),
    ("wire_pieces", wire_pieces::run),
    ("zypper_primary", zypper_primary::run),
    ("zypper_summary", zypper_summary::run),
];

/// A text as XML takes it, in an attribute or between tags.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' | '<' | '>' | '"' | '\'' | '\t' | '\n' | '\r' => _ = write!(out, "&#{};", u32::from(letter)),
            letter => out.push(letter),
        }
    }
    out
}

fn order(order: Order, bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        check_order(order, text);
    }
}

/// Reads the first three lines as versions: no panic, refusals can be printed, and whatever parses is totally ordered,
/// with equal keys exactly where versions compare equal.
fn check_order(order: Order, text: &str) {
    let mut keys = Vec::new();
    for line in text.split('\n').take(3) {
        match order.parse(line) {
            Ok(key) => keys.push((line, key)),
            Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error:?}"),
        }
    }
    for (a, key_a) in &keys {
        assert_eq!(order.compare(a, a), Ok(Ordering::Equal));
        // Twice the text plus what frames it: no order may blow a version up.
        assert!(key_a.size_bytes() <= 3 * a.len() + 16, "{a:?} takes {} bytes", key_a.size_bytes());
        for (b, key_b) in &keys {
            assert_eq!(order.compare(a, b), Ok(key_a.cmp(key_b)));
            assert_eq!(key_a.cmp(key_b), key_b.cmp(key_a).reverse());
            for (_, key_c) in &keys {
                assert!(key_a > key_b || key_b > key_c || key_a <= key_c);
            }
        }
    }
}
