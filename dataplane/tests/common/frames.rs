//! Times, rates and frames, short enough to read in an assertion.

use _dataplane::frame::{Body, Frame, Station};
use _dataplane::port::PortConfig;
use _dataplane::priority::{Priority, PrioritySet};
use _dataplane::units::{Rate, Time};
use _dataplane::wire::pfc::Pfc;

pub fn gbps(gbps: u64) -> Rate {
    Rate::from_bps(gbps * 1_000_000_000).expect("a rate above zero")
}

pub fn ps(ps: u64) -> Time {
    Time::from_ps(ps)
}

pub fn ns(ns: u64) -> Time {
    Time::from_ns(ns)
}

/// A port with strict priorities that obeys a PAUSE frame at once.
pub fn strict(rate: Rate) -> PortConfig {
    PortConfig { rate, response: Time::ZERO, weights: [0; 8] }
}

/// A frame from station to station that fills `buffer_bytes` of a buffer; its DSCP names its priority.
pub fn frame(src: u32, dst: u32, priority: Priority, buffer_bytes: u16) -> Frame {
    assert!(buffer_bytes >= 64, "the shortest frame");
    Frame {
        bytes: None,
        dst: Station(dst),
        src: Station(src),
        len: buffer_bytes - 4,
        entropy: 0,
        ingress: 0,
        payload_at: 0,
        priority,
        group: priority,
        dscp: priority.number() << 3,
        ecn: 0,
        of_kernel: false,
        detoured: false,
        unpadded: false,
        body: Body::Opaque,
    }
}

/// A request to pause these priorities for so many quanta each.
pub fn pfc(times: &[(Priority, u16)]) -> Pfc {
    let mut pfc = Pfc { class_enable: PrioritySet::NONE, quanta: [0; 8] };
    for &(priority, quanta) in times {
        pfc.class_enable.insert(priority);
        pfc.quanta[priority] = quanta;
    }
    pfc
}

/// The request as a frame.
pub fn pause(times: &[(Priority, u16)]) -> Frame {
    Frame {
        src: Station::UNKNOWN,
        dst: Station::UNKNOWN,
        body: Body::Pause(pfc(times)),
        ..frame(0, 0, Priority::P7, 64)
    }
}

/// What a PAUSE frame asks of `priority`; `None` if it is another frame or does not speak of it.
pub fn quanta_for(frame: &Frame, priority: Priority) -> Option<u16> {
    match &frame.body {
        Body::Pause(pfc) if pfc.class_enable.contains(priority) => Some(pfc.quanta[priority]),
        _ => None,
    }
}
