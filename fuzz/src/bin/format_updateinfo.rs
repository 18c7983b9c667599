//! updateinfo.xml.
#![no_main]

use advisory::format::updateinfo;
use advisory::{Family, Release};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let release = Release::new(Family::AlmaLinux, "9");
    let _ = updateinfo::read("feed", bytes, &release, &mut |one| assert!(!one.id.is_empty()));
});
