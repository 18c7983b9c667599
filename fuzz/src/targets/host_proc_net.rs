//! /proc/net/tcp and its kin.

use agent::observe::sockets::{TABLES, parse_table};

pub fn run(data: &[u8]) {
    for (_, protocol) in TABLES {
        let (listeners, unreadable) = parse_table(data, protocol);
        assert!(listeners.len() + unreadable <= data.len());
    }
}
