//! `/proc/<pid>/net/{tcp,tcp6,udp,udp6,raw,raw6,unix,netlink}`: the sockets of a process' network
//! namespace, by inode.
//!
//! Source: proc_pid_net(5), `get_tcp4_sock` in net/ipv4/tcp_ipv4.c, `udp4_format_sock`, `tcp6_sock_seq_show`,
//! `unix_seq_show` in net/unix/af_unix.c, `netlink_native_seq_show`. Addresses of IPv4 and each of the four
//! words of one of IPv6 are printed as numbers in the machine's byte order, ports in hexadecimal.
//! A busy server has hundreds of thousands of lines here: what is read is bounded, and what lies
//! beyond is not found.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Of each table: some fifty thousand TCP sockets.
const MOST_BYTES: u64 = 8 << 20;

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    Inet {
        /// `tcp`, `udp` or `raw`.
        protocol: &'static str,
        local: SocketAddr,
        remote: SocketAddr,
        state: InetState,
    },
    Unix {
        /// `stream`, `datagram` or `seqpacket`.
        style: &'static str,
        listening: bool,
        /// As bound; with `@` in front when it lies in no file system. Most have none.
        path: Option<Vec<u8>>,
    },
    Netlink,
}

/// As far as it says what is waited for. include/net/tcp_states.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InetState {
    Established,
    Connecting,
    Listening,
    Other,
}

/// The tables of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    by_inode: HashMap<u64, Socket>,
    listening: HashSet<SocketAddr>,
}

impl Sockets {
    pub fn get(&self, inode: u64) -> Option<&Socket> {
        self.by_inode.get(&inode)
    }

    /// Whether somebody listens where this socket is: then it was accepted, not connected.
    pub fn is_served_at(&self, local: SocketAddr) -> bool {
        let any = |ip: IpAddr| self.listening.contains(&SocketAddr::new(ip, local.port()));
        any(local.ip()) || any(Ipv4Addr::UNSPECIFIED.into()) || any(Ipv6Addr::UNSPECIFIED.into())
    }
}

/// Reads the tables in the `net` folder of a process or a thread. A table that this kernel lacks has no sockets.
pub fn read(net: &Path) -> io::Result<Sockets> {
    let mut sockets = Sockets::default();
    let mut any = false;
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "unix", "netlink"] {
        let mut text = Vec::new();
        match File::open(net.join(table)) {
            Ok(file) => file.take(MOST_BYTES).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        any = true;
        parse(table, &text, &mut sockets);
    }
    if any {
        Ok(sockets)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Adds the sockets of one table.
pub fn parse(table: &str, text: &[u8], sockets: &mut Sockets) {
    for line in text.split(|byte| *byte == b'\n').skip(1) {
        let parsed = match table {
            "unix" => unix(line),
            "netlink" => netlink(line),
            _ => inet(table, line),
        };
        if let Some((inode, socket)) = parsed
            && inode != 0
        {
            if let Socket::Inet {
                state: InetState::Listening,
                local,
                ..
            } = socket
            {
                sockets.listening.insert(local);
            }
            sockets.by_inode.insert(inode, socket);
        }
    }
}

fn words(line: &[u8]) -> impl Iterator<Item = &str> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| std::str::from_utf8(word).unwrap_or(""))
}

/// `sl local remote st tx:rx tr:when retrnsmt uid timeout inode …`
fn inet(table: &str, line: &[u8]) -> Option<(u64, Socket)> {
    let mut words = words(line).skip(1);
    let local = address(words.next()?)?;
    let remote = address(words.next()?)?;
    let protocol = match table.trim_end_matches('6') {
        "tcp" => "tcp",
        "udp" => "udp",
        _ => "raw",
    };
    let state = match (protocol, words.next()?) {
        (_, "01") => InetState::Established,
        ("tcp", "02") => InetState::Connecting,
        ("tcp", "0A") => InetState::Listening,
        _ => InetState::Other,
    };
    let inode = words.nth(5)?.parse().ok()?;
    Some((
        inode,
        Socket::Inet {
            protocol,
            local,
            remote,
            state,
        },
    ))
}

/// `0100007F:1538`, or 32 digits before the colon.
fn address(word: &str) -> Option<SocketAddr> {
    let (address, port) = word.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if !address.is_ascii() {
        return None;
    }
    let part = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok();
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(part(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&part(at)?.to_ne_bytes());
            }
            let six = Ipv6Addr::from(bytes);
            // A client of IPv4 at a socket of IPv6 is shown as what it is.
            six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// `Num: RefCount Protocol Flags Type St Inode Path`; the path is raw and may hold blanks.
fn unix(line: &[u8]) -> Option<(u64, Socket)> {
    let mut rest = line;
    let mut word = || {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        std::str::from_utf8(word).ok().filter(|word| !word.is_empty())
    };
    let (_number, _references, _protocol) = (word()?, word()?, word()?);
    let flags = u32::from_str_radix(word()?, 16).ok()?;
    let style = match word()? {
        "0001" => "stream",
        "0002" => "datagram",
        "0005" => "seqpacket",
        _ => return None,
    };
    let _state = word()?;
    let inode = word()?.parse().ok()?;
    let path = rest.strip_prefix(b" ").filter(|path| !path.is_empty());
    Some((
        inode,
        Socket::Unix {
            style,
            // `__SO_ACCEPTCON`.
            listening: flags & 0x1_0000 != 0,
            path: path.map(<[u8]>::to_vec),
        },
    ))
}

/// The inode comes last.
fn netlink(line: &[u8]) -> Option<(u64, Socket)> {
    Some((words(line).nth(9)?.parse().ok()?, Socket::Netlink))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    const TCP: &[u8] = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   1: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 24583 1 000000 100 0 0 10 0\n   2: 0100007F:1538 0100007F:9CB0 01 00000000:00000000 00:00000000 00000000     0        0 24585 1 0000 20 0 0 10 -1\n   4: 020200C0:9A2E 507100CB:0050 06 00000000:00000000 03:00000933 00000000     0        0 0 3 00000000fcda8908\n";

    fn table(name: &str, text: &[u8]) -> Sockets {
        let mut sockets = Sockets::default();
        parse(name, text, &mut sockets);
        sockets
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_connection_has_both_its_ends_and_one_without_inode_is_nobodys() {
        let sockets = table("tcp", TCP);
        assert_eq!(sockets.by_inode.len(), 2);
        let accepted = sockets.get(24585).unwrap();
        let (local, remote) = ("127.0.0.1:5432".parse().unwrap(), "127.0.0.1:40112".parse().unwrap());
        assert_eq!(
            *accepted,
            Socket::Inet {
                protocol: "tcp",
                local,
                remote,
                state: InetState::Established
            }
        );
        assert!(sockets.is_served_at(local) && !sockets.is_served_at(remote));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn ipv6_is_four_words_and_a_mapped_ipv4_is_shown_as_such() {
        let line = |address: &str| {
            format!("sl\n 0: {address}:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 1000 0 77 1 0\n")
        };
        let local = |address: &str| match table("tcp6", line(address).as_bytes()).get(77) {
            Some(Socket::Inet { local, .. }) => local.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(local("00000000000000000000000001000000"), "[::1]:80");
        assert_eq!(local("0000000000000000FFFF00000100007F"), "127.0.0.1:80");
    }

    #[test]
    fn a_unix_socket_may_have_any_bytes_for_a_name_or_none() {
        let text = b"Num       RefCount Protocol Flags    Type St Inode Path\n0: 00000003 00000000 00000000 0001 03 24579\n0: 00000002 00000000 00010000 0001 01 24577 @abs\n0: 00000002 00000000 00000000 0002 01   9 /run/a b\xff\n";
        let sockets = table("unix", text);
        let unix = |inode| sockets.get(inode).unwrap().clone();
        let socket = |style, listening, path: Option<&[u8]>| Socket::Unix {
            style,
            listening,
            path: path.map(<[u8]>::to_vec),
        };
        assert_eq!(unix(24579), socket("stream", false, None));
        assert_eq!(unix(24577), socket("stream", true, Some(b"@abs")));
        assert_eq!(unix(9), socket("datagram", false, Some(b"/run/a b\xff")));
    }

    #[test]
    fn our_own_sockets_are_in_the_tables() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let door = UnixListener::bind(&path).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let inode = |fd: i32| {
            let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
            match crate::kernel::open_file::parse_link(link.to_str().unwrap().as_bytes()) {
                crate::kernel::open_file::Link::Socket(inode) => inode,
                other => panic!("{other:?}"),
            }
        };
        let sockets = read(Path::new("/proc/self/net")).unwrap();
        assert!(matches!(sockets.get(inode(listener.as_raw_fd())),
            Some(Socket::Inet { state: InetState::Listening, local, .. }) if *local == listener.local_addr().unwrap()));
        assert!(matches!(sockets.get(inode(client.as_raw_fd())),
            Some(Socket::Inet { state: InetState::Established, remote, .. }) if *remote == listener.local_addr().unwrap()));
        let expected = path.to_str().unwrap().as_bytes().to_vec();
        assert!(matches!(sockets.get(inode(door.as_raw_fd())),
            Some(Socket::Unix { listening: true, path: Some(path), .. }) if *path == expected));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, line in "[ :0-9A-F@/é]{0,120}") {
            for name in ["tcp", "tcp6", "udp", "unix", "netlink"] {
                table(name, &bytes);
                table(name, format!("head\n{line}\n").as_bytes());
            }
        }
    }
}
