//! What hosts said when they were asked what a plan would do to them, and what stands in its way.

use super::lines::{aligned, bytes, count, some};
use super::table::clean;
use crate::answers::Made;
use std::fmt::Write as _;

/// Restarted units that are named of each class.
const RESTARTS_SHOWN: usize = 6;

/// Rehearsals, blocks, and what comes next.
pub(crate) fn told(made: &Made) -> String {
    let mut out = String::new();
    if !made.rehearsals.is_empty() {
        out.push_str("\nrehearsals\n");
        let rows: Vec<[String; 4]> = made
            .rehearsals
            .iter()
            .map(|rehearsal| {
                let host = if rehearsal.host.name.is_empty() {
                    rehearsal.host.id.to_string()
                } else {
                    clean(&rehearsal.host.name)
                };
                let mut said = match rehearsal.state.as_str() {
                    "answered" if rehearsal.blocks.is_empty() => format!(
                        "{}, {} to fetch",
                        count(rehearsal.changes, "package"),
                        bytes(rehearsal.download_bytes)
                    ),
                    state => clean(state),
                };
                if !rehearsal.restarts.is_empty() {
                    let _ = write!(said, "; restarts {}", some(&rehearsal.restarts, RESTARTS_SHOWN));
                }
                if let Some(why) = &rehearsal.reboot {
                    let _ = write!(said, "; must reboot: {}", clean(why));
                }
                for block in &rehearsal.blocks {
                    let _ = write!(said, "; {}", clean(block));
                }
                [clean(&rehearsal.class), count(rehearsal.hosts, "host"), format!("on {host}"), said]
            })
            .collect();
        out.push_str(&aligned(&rows, 2));
    }
    if !made.left_out.is_empty() {
        out.push_str("\nleft out\n");
        for left in &made.left_out {
            let _ = writeln!(out, "  {}: {}", count(left.hosts, "host"), clean(&left.why));
        }
    }
    if !made.blocks.is_empty() {
        out.push_str("\nblocked\n");
        for block in &made.blocks {
            let _ = writeln!(out, "  {}", clean(block));
        }
    }
    let _ = writeln!(out, "\nstate    {}", clean(&made.state));
    if let Some(proposal) = made.proposal {
        let _ = writeln!(out, "proposal {proposal}");
    }
    out
}
