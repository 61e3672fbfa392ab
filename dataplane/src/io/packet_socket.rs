//! One raw socket on one interface: opened, filtered, bound, counted, closed.

use std::ffi::CString;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{open_in, IoError};

/// Where 802.1Qbb and 802.3x send their PAUSE frames: a link-local group address that no bridge forwards.
const PAUSE_ADDRESS: [u8; 6] = [0x01, 0x80, 0xC2, 0x00, 0x00, 0x01];

const ON: libc::c_int = 1;

/// Threads that close sockets side by side; each close waits for an RCU grace period of some 13 ms.
const CLOSERS_MAX: usize = 64;

/// SO_PRIORITY of a host's emulated NIC: the handle of the shaper at the host's interface, past which such frames go unshaped
/// (its classes are for the kernel's own traffic).
pub const UNSHAPED_PRIORITY: u32 = 0x0001_0000;

/// Which arriving frames reach the socket. The rest never leave the kernel and are counted nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every frame, as a switch port needs.
    All,
    /// Frames to this address, PAUSE and credit frames, as a NIC that shares its interface with the kernel's stack needs.
    Station([u8; 6]),
}

/// How a socket is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of kernel memory, bookkeeping included, that received frames may hold until they are read.
    pub receive_buffer_bytes: u32,
    /// Bytes of kernel memory, bookkeeping included, that sent frames may hold until they leave the interface.
    pub send_buffer_bytes: u32,
    /// Go straight to the driver, past the queueing discipline and past every capture on the interface, which then
    /// shows no frame of ours. Wrong where a netem sits; over veth no cheaper. Without it, `wait_until_up` first.
    pub bypass_qdisc: bool,
    /// The kernel's priority of sent frames (SO_PRIORITY), by which a queueing discipline may class them; 0 = none.
    pub priority: u32,
    pub filter: Filter,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            receive_buffer_bytes: 16 << 20,
            send_buffer_bytes: 4 << 20,
            bypass_qdisc: false,
            priority: 0,
            filter: Filter::All,
        }
    }
}

/// What a socket has seen since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStatistics {
    /// Frames that passed the filter, dropped ones included.
    pub packets: u64,
    /// Frames lost because the receive buffer was full.
    pub drops: u64,
}

/// A non-blocking AF_PACKET socket bound to one interface.
///
/// It receives every frame that arrives at the interface and passes the filter, never the interface's own outgoing
/// frames; frames carry no FCS. It stays bound when the interface goes down and up again. `&PacketSocket` may be
/// shared between threads: each call is one system call.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    subject: String,
    packets: AtomicU64,
    drops: AtomicU64,
}

impl PacketSocket {
    /// Open a socket on `interface` of the namespace at `netns`; takes CAP_NET_RAW and CAP_NET_ADMIN there.
    pub fn open(netns: &Path, interface: &str, options: Options) -> Result<Self, IoError> {
        let subject = format!("{interface} in {}", netns.display());
        open_in(netns, || Self::open_here(interface, subject, options))
    }

    fn open_here(interface: &str, subject: String, options: Options) -> Result<Self, IoError> {
        let index = interface_index(interface, &subject)?;
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // Protocol 0 hears nothing: the socket is deaf until bind, when the filter is in place.
        // SAFETY: no pointers; a descriptor or -1 comes back.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(IoError::last("socket(AF_PACKET)", subject));
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Self { fd, subject, packets: AtomicU64::new(0), drops: AtomicU64::new(0) };
        socket.configure(&options)?;
        socket.bind(index)?;
        Ok(socket)
    }

    fn configure(&self, options: &Options) -> Result<(), IoError> {
        // The kernel doubles both sizes for its bookkeeping, and caps them before it does.
        let receive = libc::c_int::try_from(options.receive_buffer_bytes / 2).unwrap_or(libc::c_int::MAX);
        let send = libc::c_int::try_from(options.send_buffer_bytes / 2).unwrap_or(libc::c_int::MAX);
        self.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &ON, "PACKET_IGNORE_OUTGOING")?;
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &receive, "SO_RCVBUFFORCE")?;
        self.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &send, "SO_SNDBUFFORCE")?;
        if options.bypass_qdisc {
            self.set(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &ON, "PACKET_QDISC_BYPASS")?;
        }
        if options.priority != 0 {
            let priority = options.priority.cast_signed();
            self.set(libc::SOL_SOCKET, libc::SO_PRIORITY, &priority, "SO_PRIORITY")?;
        }
        if let Filter::Station(mac) = options.filter {
            let mut program = station_program(mac);
            let attached = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
            self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &attached, "SO_ATTACH_FILTER")?;
        }
        Ok(())
    }

    fn set<T>(&self, level: libc::c_int, name: libc::c_int, value: &T, operation: &'static str) -> Result<(), IoError> {
        let length = size_of_val(value) as libc::socklen_t;
        // SAFETY: the kernel reads `length` bytes of `value` during the call and keeps no pointer to it; a filter
        // program that `value` points to lives in the caller's frame.
        let answer = unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, (value as *const T).cast(), length) };
        if answer != 0 {
            return Err(IoError::last(operation, &*self.subject));
        }
        Ok(())
    }

    fn bind(&self, index: libc::c_int) -> Result<(), IoError> {
        // SAFETY: sockaddr_ll is plain integers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is valid for `length` bytes and copied during the call.
        if unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) } != 0 {
            return Err(IoError::last("bind", &*self.subject));
        }
        Ok(())
    }

    /// Read the kernel's counters, which it clears on reading, and return their sums since the socket was opened.
    pub fn statistics(&self) -> Result<SocketStatistics, IoError> {
        let mut fresh = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of_val(&fresh) as libc::socklen_t;
        let fd = self.fd.as_raw_fd();
        // SAFETY: the kernel writes at most `length` bytes into `fresh` during the call.
        let answer = unsafe {
            libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, (&raw mut fresh).cast(), &mut length)
        };
        if answer != 0 {
            return Err(IoError::last("PACKET_STATISTICS", &*self.subject));
        }
        let (packets, drops) = (u64::from(fresh.tp_packets), u64::from(fresh.tp_drops));
        Ok(SocketStatistics {
            packets: self.packets.fetch_add(packets, Ordering::Relaxed) + packets,
            drops: self.drops.fetch_add(drops, Ordering::Relaxed) + drops,
        })
    }

    /// The interface and the namespace the socket was opened on, for messages.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl std::os::fd::AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Close sockets side by side: each close waits for the kernel's readers, so that one by one 400 take seconds.
pub fn close_all(sockets: Vec<PacketSocket>) {
    let share = sockets.len().div_ceil(CLOSERS_MAX).max(1);
    let mut sockets = sockets.into_iter();
    thread::scope(|scope| loop {
        let part: Vec<PacketSocket> = sockets.by_ref().take(share).collect();
        if part.is_empty() {
            break;
        }
        // A thread that cannot be started drops its part of the work, and with it the sockets: closed all the same.
        let closer = thread::Builder::new().name("socket-close".into());
        let _ = closer.spawn_scoped(scope, move || drop(part));
    });
}

pub(super) fn interface_index(interface: &str, subject: &str) -> Result<libc::c_int, IoError> {
    let invalid = || std::io::Error::from_raw_os_error(libc::EINVAL);
    let name = CString::new(interface).map_err(|_| IoError::new("if_nametoindex", subject, invalid()))?;
    // SAFETY: the name ends in a zero byte and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(IoError::last("if_nametoindex", subject));
    }
    libc::c_int::try_from(index).map_err(|_| IoError::new("if_nametoindex", subject, invalid()))
}

/// Classic BPF: accept the whole frame if its destination is `mac` or the PAUSE address.
fn station_program(mac: [u8; 6]) -> [libc::sock_filter; 10] {
    const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let head = |mac: [u8; 6]| u32::from(u16::from_be_bytes([mac[0], mac[1]]));
    let tail = |mac: [u8; 6]| u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]]);
    let op = |code: u32, k, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    // Jumps count from the next instruction. The four tail bytes differ most, so that they are asked first.
    [
        op(LOAD_WORD, 2, 0, 0),
        op(EQUAL, tail(mac), 0, 2),
        op(LOAD_HALF, 0, 0, 0),
        op(EQUAL, head(mac), 4, 0),
        op(LOAD_WORD, 2, 0, 0),
        op(EQUAL, tail(PAUSE_ADDRESS), 0, 3),
        op(LOAD_HALF, 0, 0, 0),
        op(EQUAL, head(PAUSE_ADDRESS), 0, 1),
        op(RETURN, u32::MAX, 0, 0),
        op(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The few instructions that `station_program` uses, interpreted.
    fn accepts(program: &[libc::sock_filter], frame: &[u8]) -> bool {
        let (mut accumulator, mut at) = (0u32, 0usize);
        loop {
            let op = &program[at];
            at += 1;
            let k = op.k as usize;
            match u32::from(op.code) {
                0x20 => accumulator = u32::from_be_bytes(frame[k..k + 4].try_into().unwrap()),
                0x28 => accumulator = u32::from(u16::from_be_bytes(frame[k..k + 2].try_into().unwrap())),
                0x15 => at += usize::from(if accumulator == op.k { op.jt } else { op.jf }),
                0x06 => return op.k != 0,
                other => panic!("instruction {other:#x} is not in the dialect"),
            }
        }
    }

    #[test]
    fn a_station_hears_its_own_address_and_pause_frames_only() {
        let mac = [0x02, 0, 0, 0, 0x0A, 0x01];
        // An address that shares its tail with the PAUSE address takes both branches.
        for station in [mac, [0x02, 0x11, 0xC2, 0x00, 0x00, 0x01]] {
            let program = station_program(station);
            assert!(accepts(&program, &station));
            assert!(accepts(&program, &PAUSE_ADDRESS));
            for byte in 0..6 {
                for bit in 0..8 {
                    for near in [station, PAUSE_ADDRESS] {
                        let mut other = near;
                        other[byte] ^= 1 << bit;
                        assert!(!accepts(&program, &other), "{other:02x?} passed the filter of {station:02x?}");
                    }
                }
            }
            assert!(!accepts(&program, &[0xFF; 6]));
        }
    }
}
