//! A repository's metadata, as pacman caches it: any bytes as an archive of any packing; and descriptions in a whole archive, each
//! of which is read or told, and none of which is read from an archive that is cut off.

use agent::observe::pacman::{Offered, fields, read_sync};
use std::collections::BTreeSet;

const NAMES: [&str; 3] = ["lamp", "wick", "a"];

// The first byte chooses: the bytes as they are, or descriptions between `\0`, packed or not, whole or cut.
pub fn run(bytes: &[u8]) {
    let [choice, bytes @ ..] = bytes else { return };
    if *choice < 64 {
        if let Ok((offered, _)) = ask(bytes.to_vec()) {
            whole(&offered);
        }
        return;
    }
    let descriptions: Vec<&[u8]> = bytes.split(|byte| *byte == 0).take(8).collect();
    let plain = archive(&descriptions);
    let packed = if choice & 1 == 0 {
        plain.clone()
    } else {
        zstd::encode_all(&plain[..], 1).expect("a vector takes every byte")
    };
    let (offered, damaged) = ask(packed.clone()).expect("it is whole");
    whole(&offered);
    let name = |text: &&&[u8]| fields(text).get("NAME").and_then(|values| values.first()).cloned();
    let is_named = |text: &&&[u8]| name(text).is_some() && fields(text).contains_key("VERSION");
    let wanted = descriptions.iter().filter(is_named);
    let wanted = wanted.filter(|text| name(text).is_some_and(|name| NAMES.contains(&name.as_str()))).count();
    assert_eq!(offered.len(), wanted);
    assert_eq!(damaged.len(), descriptions.iter().filter(|text| !is_named(text)).count());
    // The second of the two empty blocks at the end is all that may be missing a part.
    let end = if choice & 1 == 0 { plain.len() - 512 } else { packed.len() - 1 };
    let cut = end * usize::from(choice >> 1 & 31) / 31;
    assert!(ask(packed[..cut].to_vec()).is_err(), "cut at {cut} of {}", packed.len());
}

fn ask(bytes: Vec<u8>) -> std::io::Result<(Vec<Offered>, Vec<String>)> {
    read_sync(bytes, "bed", &BTreeSet::from(NAMES))
}

fn whole(offered: &[Offered]) {
    for it in offered {
        assert!(NAMES.contains(&it.name.as_str()) && !it.version.is_empty() && !it.source.is_empty());
    }
}

fn archive(descriptions: &[&[u8]]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (number, text) in descriptions.iter().enumerate() {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        let path = format!("package-1-{number}/desc");
        builder.append_data(&mut header, path, *text).expect("a vector takes every byte");
    }
    builder.into_inner().expect("a vector takes every byte")
}
