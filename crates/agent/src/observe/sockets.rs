//! Who listens: the text of `/proc/net/{tcp,tcp6,udp,udp6}`.

use exposure::inventory::{Protocol, Socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `TCP_LISTEN` of `include/net/tcp_states.h`.
const LISTEN: &[u8] = b"0A";
/// `TCP_CLOSE`, which for UDP means: bound, and connected to nobody.
const UNCONNECTED: &[u8] = b"07";

/// The tables of one network namespace, with what they list.
pub const TABLES: [(&str, Protocol); 4] =
    [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)];

/// A listening socket, and the inode by which its owners hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// Where it listens.
    pub socket: Socket,
    /// The socket's inode, unique on the machine; 0 if nobody holds it.
    pub inode: u64,
}

/// The sockets of one table that accept what strangers send, and how many lines could not be read.
///
/// Lines are `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode …` (proc_pid_net(5)).
pub fn parse_table(bytes: &[u8], protocol: Protocol) -> (Vec<Listener>, usize) {
    let (mut listeners, mut unreadable) = (Vec::new(), 0);
    // The first line names the columns.
    for line in bytes.split(|byte| *byte == b'\n').skip(1).filter(|line| !line.is_empty()) {
        match parse_line(line, protocol) {
            Some(Some(listener)) => listeners.push(listener),
            Some(None) => {}
            None => unreadable += 1,
        }
    }
    (listeners, unreadable)
}

/// `None` for a line that is none, `Some(None)` for a socket that doesn't listen.
fn parse_line(line: &[u8], protocol: Protocol) -> Option<Option<Listener>> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let (_slot, local, remote, state) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let inode = std::str::from_utf8(fields.nth(5)?).ok()?.parse().ok()?;
    let ((address, port), (_, port_remote)) = (end(local)?, end(remote)?);
    let listens = match protocol {
        Protocol::Tcp => state == LISTEN,
        Protocol::Udp => state == UNCONNECTED && port_remote == 0,
    };
    Some(listens.then_some(Listener { socket: Socket { protocol, address, port }, inode }))
}

/// One end of a socket. The kernel prints the address as 32-bit words of its own byte order, each holding four bytes
/// in network order; the port as a number.
fn end(text: &[u8]) -> Option<(IpAddr, u16)> {
    let (address, port) = std::str::from_utf8(text).ok()?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (index, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some((address, port))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn told(rows: &str, protocol: Protocol) -> (Vec<(String, u64)>, usize) {
        let (listeners, unreadable) = parse_table(format!("{HEAD}{rows}").as_bytes(), protocol);
        (listeners.iter().map(|listener| (listener.socket.to_string(), listener.inode)).collect(), unreadable)
    }

    #[test]
    fn listening_tcp_sockets_are_told_from_connections() {
        let rows = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0\n\
             1: 0500000A:C350 0100000A:01BB 01 00000000:00000000 00:00000000 00000000     0        0 778 1 0\n";
        assert_eq!(told(rows, Protocol::Tcp), (vec![("tcp/127.0.0.1:8080".to_owned(), 777)], 0));
        let rows = "   0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 9 1\n\
             1: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 10 1\n\
             2: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 11 1\n";
        let expected = [("tcp/[::1]:22", 9), ("tcp/[::ffff:127.0.0.1]:80", 10), ("tcp/[2001:db8::1]:80", 11)];
        let expected = expected.map(|(socket, inode)| (socket.to_owned(), inode)).to_vec();
        assert_eq!(told(rows, Protocol::Tcp), (expected, 0));
    }

    #[test]
    fn bound_udp_sockets_are_told_from_connected_ones_and_noise_is_counted() {
        let rows = " 10: 00000000:0044 00000000:0000 07 0:0 0:0 0 0 0 5 2\n\
             11: 0100007F:0045 0100007F:0035 01 0:0 0:0 0 0 0 6 2\n\
             12: 0100007:0045 0100007F:0035 07 0:0 0:0 0 0 0 6 2\nnoise\n 13: 00000000:0044 0:0 07";
        assert_eq!(told(rows, Protocol::Udp), (vec![("udp/0.0.0.0:68".to_owned(), 5)], 3));
    }
}
