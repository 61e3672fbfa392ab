//! Whether an interface is ready to send: up, its peer up, and its queueing discipline at work.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use super::packet_socket::interface_index;
use super::{open_in, Attachment, IoError};

const POLL: Duration = Duration::from_millis(1);

/// Room for any answer about one link; with statistics and per-family data they come to some 2 kB.
const ANSWER_BYTES: usize = 32 << 10;

/// Byte ranges of rtnetlink's messages (linux/netlink.h, linux/rtnetlink.h).
mod field {
    use std::ops::Range;

    pub const LENGTH: Range<usize> = 0..4;
    pub const TYPE: Range<usize> = 4..6;
    pub const FLAGS: Range<usize> = 6..8;
    pub const LINK_INDEX: Range<usize> = 20..24;
    pub const LINK_BYTES: usize = 32;
    pub const ERROR: Range<usize> = 16..20;
    pub const ATTRIBUTE_HEADER_BYTES: usize = 4;
}

/// Wait until every interface of `ends` is operationally up, both ends of its veth pair included.
///
/// The kernel attaches an interface's queueing discipline a moment after the peer came up. A frame sent before is
/// discarded and reported as sent, so that nothing may be sent sooner. Fails with ETIMEDOUT, naming the first interface
/// that is not up, after `timeout`.
pub fn wait_until_up(ends: &[Attachment], timeout: Duration) -> Result<(), IoError> {
    let deadline = Instant::now() + timeout;
    ends.iter().try_for_each(|end| {
        let subject = format!("{} in {}", end.interface, end.netns.display());
        open_in(&end.netns, || {
            let index = interface_index(&end.interface, &subject)?;
            let mut kernel = rtnetlink().map_err(|error| IoError::new("socket(AF_NETLINK)", &*subject, error))?;
            loop {
                let state = operational_state(&mut kernel, index);
                match state.map_err(|error| IoError::new("RTM_GETLINK", &*subject, error))? {
                    Some(state) if state == libc::IF_OPER_UP as u8 => return Ok(()),
                    _ if Instant::now() >= deadline => {
                        let late = io::Error::from_raw_os_error(libc::ETIMEDOUT);
                        return Err(IoError::new("wait for link up", &*subject, late));
                    }
                    _ => thread::sleep(POLL),
                }
            }
        })
    })
}

pub(super) fn rtnetlink() -> io::Result<File> {
    // SAFETY: no pointers; a descriptor or -1 comes back.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Ask for RFC 2863's operational state. Asked under the kernel's RTNL lock, which is held from the change of state
/// until the queueing discipline is in place, so that "up" means both; flags read by ioctl or sysfs do not.
fn operational_state(kernel: &mut File, index: libc::c_int) -> io::Result<Option<u8>> {
    let mut request = [0u8; field::LINK_BYTES];
    request[field::LENGTH].copy_from_slice(&(field::LINK_BYTES as u32).to_ne_bytes());
    request[field::TYPE].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    request[field::FLAGS].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request[field::LINK_INDEX].copy_from_slice(&index.to_ne_bytes());
    kernel.write_all(&request)?;
    let mut answer = vec![0u8; ANSWER_BYTES];
    let length = kernel.read(&mut answer)?;
    parse(&answer[..length])
}

fn parse(answer: &[u8]) -> io::Result<Option<u8>> {
    if answer.len() < field::ERROR.end {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if i32::from(u16::from_ne_bytes([answer[4], answer[5]])) == libc::NLMSG_ERROR {
        let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        return Err(io::Error::from_raw_os_error(-error));
    }
    let mut rest = answer.get(field::LINK_BYTES..).unwrap_or_default();
    while let [low, high, kind_low, kind_high, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        if length < field::ATTRIBUTE_HEADER_BYTES || length > rest.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if u16::from_ne_bytes([kind_low, kind_high]) == libc::IFLA_OPERSTATE {
            return Ok(rest[field::ATTRIBUTE_HEADER_BYTES..length].first().copied());
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer about a link with an attribute of three bytes, padded, before the operational state.
    fn answer() -> Vec<u8> {
        let mut answer = vec![0u8; field::LINK_BYTES];
        answer[field::TYPE].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
        for (kind, value) in [(libc::IFLA_IFNAME, &b"p0\0"[..]), (libc::IFLA_OPERSTATE, &[6][..])] {
            answer.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
            answer.extend_from_slice(&kind.to_ne_bytes());
            answer.extend_from_slice(value);
            answer.resize(answer.len().next_multiple_of(4), 0);
        }
        answer
    }

    #[test]
    fn the_state_is_found_behind_other_attributes() {
        assert_eq!(parse(&answer()).unwrap(), Some(6));
    }

    #[test]
    fn an_error_is_the_kernels_errno() {
        let mut answer = answer();
        answer[field::TYPE].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        answer[field::ERROR].copy_from_slice(&(-libc::ENODEV).to_ne_bytes());
        assert_eq!(parse(&answer).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn no_cut_and_no_false_length_makes_it_panic_or_invent_a_state() {
        let whole = answer();
        for length in 0..whole.len() {
            if let Ok(Some(state)) = parse(&whole[..length]) {
                assert!(length > whole.len() - 4 && state == 6, "state {state} out of {length} bytes");
            }
        }
        let mut endless = whole;
        endless[field::LINK_BYTES] = 0;
        assert!(parse(&endless).is_err(), "an attribute of length 0 would be read for ever");
    }
}
