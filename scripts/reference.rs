//! Tells the tests whether the reference data (real advisories, logs, hosts; not part of the project) is beside the
//! checkout, so that tests that read it show as ignored where it is not.

#![allow(clippy::disallowed_methods, reason = "a build script is no part of the pure crate")]

fn main() {
    println!("cargo::rustc-check-cfg=cfg(reference_data)");
    println!("cargo::rerun-if-env-changed=PALISADE_REFERENCE");
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = std::env::var("PALISADE_REFERENCE").unwrap_or_else(|_| default.to_owned());
    if std::path::Path::new(&data).is_dir() {
        println!("cargo::rustc-cfg=reference_data");
        println!("cargo::rustc-env=PALISADE_REFERENCE={data}");
    }
}
