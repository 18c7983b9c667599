//! By what leases are measured, and what tells machines and boots apart.

use crate::state::{self, State};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Time since boot, suspension included, milliseconds. Nobody can set it.
pub(crate) fn uptime_ms() -> u64 {
    let at = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(at.tv_sec), u64::try_from(at.tv_nsec));
    seconds.unwrap_or(0) * 1_000 + nanos.unwrap_or(0) / 1_000_000
}

/// This boot: eight bytes of the hash of the kernel's id for it.
pub(crate) fn boot(proc: &Path) -> u64 {
    let id = std::fs::read_to_string(proc.join("sys/kernel/random/boot_id")).unwrap_or_default();
    number(id.trim().as_bytes())
}

/// This machine: of what the firmware says it is, which a copied disk does not bring along; where it says nothing (or
/// only root may read it), of the machine's id.
pub(crate) fn machine(root: &Path, state: &State) -> Result<u64, state::Error> {
    let firmware = std::fs::read_to_string(root.join("sys/class/dmi/id/product_uuid")).unwrap_or_default();
    match firmware.trim() {
        "" => Ok(number(crate::enrol::machine(root, state)?.as_bytes())),
        uuid => Ok(number(uuid.as_bytes())),
    }
}

/// The first eight bytes of the SHA-256.
pub(super) fn number(bytes: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}
