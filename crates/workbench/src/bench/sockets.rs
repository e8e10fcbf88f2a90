//! Whether a program listens on a port, without a connection that it would have to deal with.

use std::{fs, io};

/// Whether a TCP or UDP socket waits for peers on this port, in the network namespace of the calling thread (proc(5),
/// `/proc/net/tcp`).
pub(super) fn listens(port: u16) -> io::Result<bool> {
    for (table, state) in [("tcp", LISTEN), ("tcp6", LISTEN), ("udp", BOUND), ("udp6", BOUND)] {
        // Without IPv6 its tables are missing.
        match fs::read_to_string(format!("/proc/thread-self/net/{table}")) {
            Ok(text) if has(&text, port, state) => return Ok(true),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(false)
}

/// The kernel's states `TCP_LISTEN`, and `TCP_CLOSE` of a UDP socket without a peer of its own.
const LISTEN: &str = "0A";
const BOUND: &str = "07";

fn has(table: &str, port: u16, state: &str) -> bool {
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next().and_then(|address| address.rsplit_once(':'));
        let port_of = local.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        port_of == Some(port) && fields.nth(1) == Some(state)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn listeners_are_told_from_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        assert!(listens(at.port()).unwrap());
        let _accepted = TcpStream::connect(at).unwrap();
        drop(listener);
        assert!(!listens(at.port()).unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(listens(socket.local_addr().unwrap().port()).unwrap());
    }

    #[test]
    fn the_kernels_table_is_read_as_it_writes_it() {
        let table = "  sl  local_address rem_address   st tx_queue\n   \
            0: 00000000:20FB 00000000:0000 0A 00000000:00000000 00:00000000\n   \
            1: 0100007F:20FC 0100007F:9C40 01 00000000:00000000 00:00000000\n";
        assert!(has(table, 8443, LISTEN) && !has(table, 8444, LISTEN) && !has(table, 1, LISTEN));
        assert!(!has(table, 8443, BOUND) && !has("", 8443, LISTEN));
    }
}
