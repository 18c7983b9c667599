//! Tells systemd how this process is (sd_notify(3)), where systemd asked for that.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// It has begun its work.
pub(crate) const READY: &str = "READY=1";
/// It goes on with it. Whoever is silent for the unit's `WatchdogSec` is ended, and started again.
pub(crate) const ALIVE: &str = "WATCHDOG=1";

/// Tells it. Where that fails systemd draws its own conclusions; where nobody listens nothing happens.
pub(crate) fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let bytes = socket.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&socket),
    };
    let sent = UnixDatagram::unbound().and_then(|from| from.send_to_addr(state.as_bytes(), &address?));
    // No retry here: the next sign of life is the retry.
    let _ = sent;
}
