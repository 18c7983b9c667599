//! /proc/PID/maps and /proc/PID/cgroup.

use agent::observe::maps::{is_packageable, parse_maps};

pub fn run(data: &[u8]) {
    let (mappings, _) = parse_maps(data);
    for mapping in &mappings {
        assert!(mapping.path.starts_with(b"/"));
        let _ = (mapping.deleted(), is_packageable(&mapping.path));
    }
    let _ = agent::observe::processes::unit(data);
}
