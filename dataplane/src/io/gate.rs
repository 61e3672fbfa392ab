//! Gates at a host's end of a link, which hold back what its kernel sends in one priority: opened and closed by rtnetlink.
//!
//! Python builds them (testbed/system/gates.py): for each priority a tbf at the bottom of the host's shaper. To close one is to have
//! it count every frame as longer than its bucket, so that none passes; to open it, to give it a rate beyond any line.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::carrier::rtnetlink;
use super::packet_socket::interface_index;
use super::{open_in, Attachment, IoError};
use crate::priority::Priority;

/// Major number of the handle of priority 0's gate, as in testbed/system/gates.py.
const GATE_MAJOR: u32 = 0x20;

const KIND: &[u8] = b"tbf\0";
const WAITING_BYTES: u32 = 256 << 20;
const OPEN: Setting = Setting { rate: 125_000_000_000, mpu: 0, ticks: 64 };
/// Frames count as 65,535 bytes, of which 65,000 find room: at 1 byte/us, in ticks of 64 ns. It looks again every 0.54 ms.
const CLOSED: Setting = Setting { rate: 1_000_000, mpu: u16::MAX, ticks: 65_000 * 1_000 / 64 };

const ANSWER_BYTES: usize = 4096;
/// Byte ranges of the kernel's answer (linux/netlink.h).
const ANSWER_TYPE: Range<usize> = 4..6;
const ANSWER_ERROR: Range<usize> = 16..20;

/// linux/pkt_sched.h.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const LINKLAYER_ETHERNET: u8 = 1;

/// What a gate does to frames: bytes/s, what each counts at least, and the bucket as the time that it takes to fill.
struct Setting {
    rate: u64,
    mpu: u16,
    ticks: u32,
}

/// The gates of one interface.
#[derive(Debug)]
pub struct Gates {
    kernel: File,
    index: libc::c_int,
    subject: String,
    /// How long the slowest change has taken.
    longest: Duration,
}

impl Gates {
    /// Find the gates of an interface.
    pub fn open(end: &Attachment) -> Result<Gates, IoError> {
        let subject = format!("{} in {}", end.interface, end.netns.display());
        open_in(&end.netns, || {
            let index = interface_index(&end.interface, &subject)?;
            let kernel = rtnetlink().map_err(|error| IoError::new("socket(AF_NETLINK)", &*subject, error))?;
            Ok(Gates { kernel, index, subject: subject.clone(), longest: Duration::ZERO })
        })
    }

    /// Let frames of a priority pass, or hold them. Fails with ENOENT where there is no gate.
    pub fn set(&mut self, priority: Priority, closed: bool) -> Result<(), IoError> {
        let began = Instant::now();
        let message = message(self.index, priority, if closed { &CLOSED } else { &OPEN });
        self.apply(&message).map_err(|error| IoError::new("RTM_NEWQDISC(tbf)", &*self.subject, error))?;
        self.longest = self.longest.max(began.elapsed());
        Ok(())
    }

    fn apply(&mut self, message: &[u8]) -> io::Result<()> {
        self.kernel.write_all(message)?;
        let mut answer = [0u8; ANSWER_BYTES];
        let length = self.kernel.read(&mut answer)?;
        let (kind, error) = (answer.get(ANSWER_TYPE), answer[..length].get(ANSWER_ERROR));
        match (kind.and_then(|kind| kind.try_into().ok()), error.and_then(|error| error.try_into().ok())) {
            (Some(kind), Some(error)) if i32::from(u16::from_ne_bytes(kind)) == libc::NLMSG_ERROR => {
                match i32::from_ne_bytes(error) {
                    0 => Ok(()),
                    errno => Err(io::Error::from_raw_os_error(-errno)),
                }
            }
            _ => Err(io::Error::from_raw_os_error(libc::EPROTO)),
        }
    }

    /// How long the slowest change has taken: so much longer than it takes to say so frames may pass.
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

/// Ask for another setting of a tbf that is there.
fn message(index: libc::c_int, priority: Priority, setting: &Setting) -> Vec<u8> {
    let handle = (GATE_MAJOR + priority.index() as u32) << 16;
    let mut body = vec![0u8; 4]; // struct tcmsg: family and padding
    body.extend(index.to_ne_bytes());
    body.extend(handle.to_ne_bytes());
    body.extend([0; 8]); // parent, info
    attribute(&mut body, TCA_KIND, KIND);
    let mut options = Vec::new();
    let mut parameters = rate_spec(setting);
    parameters.extend([0; 12]); // no peak rate
    parameters.extend([WAITING_BYTES, setting.ticks, 0].into_iter().flat_map(u32::to_ne_bytes));
    attribute(&mut options, TCA_TBF_PARMS, &parameters);
    attribute(&mut options, TCA_TBF_RATE64, &setting.rate.to_ne_bytes());
    attribute(&mut body, TCA_OPTIONS, &options);
    let mut whole = (16 + body.len() as u32).to_ne_bytes().to_vec();
    whole.extend(libc::RTM_NEWQDISC.to_ne_bytes());
    whole.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    whole.extend([0; 8]); // sequence, port
    whole.extend(body);
    whole
}

/// struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, bytes/s.
fn rate_spec(setting: &Setting) -> Vec<u8> {
    let mut spec = vec![0, LINKLAYER_ETHERNET, 0, 0, 0, 0];
    spec.extend(setting.mpu.to_ne_bytes());
    spec.extend(u32::try_from(setting.rate).unwrap_or(u32::MAX).to_ne_bytes());
    spec
}

fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend((4 + value.len() as u16).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}
