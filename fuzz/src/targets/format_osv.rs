//! One OSV record, and files of them.

use advisory::format::osv;
use advisory::material::{Change, change, content_hash};

pub fn run(bytes: &[u8]) {
    if let Ok((advisory, _)) = osv::record("feed", "entry", bytes) {
        let mut turned = advisory.clone();
        turned.claims.reverse();
        turned.edges.reverse();
        assert_eq!(content_hash(&advisory), content_hash(&turned));
        assert_eq!(change(&advisory, &turned), Change::None);
    }
    let _ = osv::documents("feed", bytes, &mut |_| ());
}
