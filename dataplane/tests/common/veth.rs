//! Pairs of namespaces for tests of sockets. Needs root.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use _dataplane::io::{open_in, wait_until_up, Attachment, IoError, Options, PacketSocket};

const WITHIN: Duration = Duration::from_secs(10);

/// Two namespaces joined by veth pairs, `p0` at one end to `p0` at the other and so on; gone when dropped.
pub struct Pair {
    pub names: [String; 2],
}

impl Pair {
    pub fn new(pairs: usize, mtu: u32) -> Self {
        // SAFETY: no arguments, no memory.
        let uid = unsafe { libc::geteuid() };
        assert_eq!(uid, 0, "the live tests make network namespaces, which takes root; run them as root");
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("tbsock-{}-{number}{side}", std::process::id());
        let pair = Self { names: [name('a'), name('b')] };
        let [a, b] = &pair.names;
        for name in &pair.names {
            ip(&["netns", "add", name]);
            // Without IPv6 the kernel has nothing of its own to say on a link.
            write_sysctl(name, "/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        }
        for index in 0..pairs {
            let (port, mtu) = (format!("p{index}"), mtu.to_string());
            ip(&["-n", a, "link", "add", "name", &port, "type", "veth", "peer", "name", &port, "netns", b]);
            for name in &pair.names {
                ip(&["-n", name, "link", "set", "dev", &port, "mtu", &mtu, "up"]);
            }
            wait_until_up(&[pair.at(0, index), pair.at(1, index)], WITHIN).unwrap();
        }
        pair
    }

    pub fn at(&self, side: usize, port: usize) -> Attachment {
        let netns = PathBuf::from("/run/netns").join(&self.names[side]);
        Attachment { netns, interface: format!("p{port}") }
    }

    /// Open both ends of pair 0 with default options.
    pub fn open(&self) -> (PacketSocket, PacketSocket) {
        (self.at(0, 0).open(Options::default()).unwrap(), self.at(1, 0).open(Options::default()).unwrap())
    }

    pub fn set_link(&self, side: usize, state: &str) {
        ip(&["-n", &self.names[side], "link", "set", "dev", "p0", state]);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in &self.names {
            // A constructor that failed midway leaves nothing to delete; the test has failed then already.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("the ip command (package iproute2)");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn write_sysctl(namespace: &str, path: &str, value: &str) {
    let netns = PathBuf::from("/run/netns").join(namespace);
    open_in(&netns, || match std::fs::write(path, value) {
        // A kernel without IPv6 is silent anyway.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(IoError::new("write", path, error)),
        _ => Ok(()),
    })
    .unwrap();
}
