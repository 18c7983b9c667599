//! Any bytes as a Release file: no panic, and a class for every family.

use advisory::Family;
use agent::apt::release::{class_of, parse};

pub fn run(bytes: &[u8]) {
    let release = parse(bytes);
    for family in [Family::Debian, Family::Ubuntu, Family::Other("x".into())] {
        let _ = class_of(&release, &family);
    }
}
