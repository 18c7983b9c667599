//! apk's installed database.

use agent::observe::apk::{parse_installed, take_files};
use agent::observe::owners::Owners;

pub fn run(data: &[u8]) {
    let installed = parse_installed(data);
    assert!(installed.packages.iter().all(|package| !package.name.is_empty() && !package.version.is_empty()));
    let blank = data.iter().all(|byte| *byte == b'\n');
    assert!(blank || !installed.packages.is_empty() || !installed.lost.is_empty());
    let mut owners = Owners::wanted([b"/usr/lib/a".to_vec()]);
    take_files(data, &mut owners);
}
