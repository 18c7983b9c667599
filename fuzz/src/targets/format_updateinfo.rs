//! updateinfo.xml.

use advisory::format::updateinfo;
use advisory::{Family, Release};

pub fn run(bytes: &[u8]) {
    let release = Release::new(Family::AlmaLinux, "9");
    let _ = updateinfo::read("feed", bytes, &release, &mut |one| assert!(!one.id.is_empty()));
}
