//! Release dates and support lists, and questions about them.

use advisory::format::lifecycle::{Lifecycle, List, read_list, read_releases};
use advisory::{Family, Release};

pub fn run(bytes: &[u8]) {
    let release = Release::new(Family::Debian, "12");
    let mut lifecycle = Lifecycle::default();
    let _ = read_releases("debian.csv", &mut &bytes[..], &mut lifecycle);
    for list in [List::Ended, List::Limited] {
        let _ = read_list("list", list, &mut &bytes[..], Some(&release), &mut lifecycle);
    }
    let name = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
    let _ = lifecycle.support(&release, &name, jiff::civil::date(2026, 1, 1));
}
