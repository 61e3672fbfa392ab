//! Golden frames of MAC control and of credits: read, understood, and written again to the same bytes.

mod common;

use _dataplane::priority::{Priority, PrioritySet};
use _dataplane::wire::credit::{self, Credit};
use _dataplane::wire::ethernet;
use _dataplane::wire::pfc::{self, MacControl, Pfc};
use _dataplane::wire::WireError;
use common::goldens::golden;

const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 2];

#[test]
fn pfc_frame_is_written_byte_for_byte_and_read_back() {
    let request = Pfc { class_enable: PrioritySet::only(Priority::P3), quanta: [0, 0, 0, 0xffff, 0, 0, 0, 0] };
    let bytes = golden("pfc_xoff_priority_3");
    assert_eq!(request.build(SENDER)[..], bytes);
    assert_eq!(ethernet::fcs(&bytes), [0xb0, 0xb2, 0x29, 0xc3]);
    assert_eq!(pfc::parse(&bytes), Ok(Some(MacControl::Pfc(request))));
}

#[test]
fn pfc_ignores_source_padding_and_the_upper_byte_of_the_vector() {
    let request = Pfc { class_enable: PrioritySet::from_bits(0b1000_0001), quanta: [1, 2, 3, 4, 5, 6, 7, 0x8000] };
    let mut bytes = request.build([0; 6]);
    bytes[16] = 0xff;
    let expected = Ok(Some(MacControl::Pfc(request)));
    assert_eq!(pfc::parse(&bytes), expected);
    assert_eq!(pfc::parse(&bytes[..34]), expected);
    let short = pfc::parse(&bytes[..33]);
    assert!(matches!(short, Err(WireError::Truncated { .. })));
}

#[test]
fn credit_frame_is_written_byte_for_byte_and_read_back() {
    let update = Credit { priority: Priority::P3, request: true, sent: 66, limit: 2048 };
    let bytes = golden("credit_priority_3");
    assert_eq!(update.build(SENDER)[..], bytes);
    assert_eq!(credit::parse(&bytes), Ok(Some(update)));
    assert_eq!(credit::parse(&bytes[..27]), Ok(Some(update)), "padding is no matter");
    assert!(matches!(credit::parse(&bytes[..26]), Err(WireError::Truncated { .. })));
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        credit::parse(&bytes)
    };
    assert_eq!(with(17, 0xfe), Ok(Some(Credit { request: false, ..update })), "unknown flags are ignored");
    assert_eq!(with(18, 8), Err(WireError::TooLarge { what: "priority", found: 8, max: 7 }));
    for (at, other) in [(0, 0x03), (13, 0xb6), (14, b'X'), (16, 2)] {
        assert_eq!(with(at, other), Ok(None), "another address, EtherType, protocol or version: byte {at}");
    }
    for other in ["pfc_xoff_priority_3", "roce_ack"] {
        assert_eq!(credit::parse(&golden(other)), Ok(None));
    }
}

#[test]
fn other_mac_control_is_distinguished() {
    let pause = pfc::parse(&golden("global_pause"));
    assert_eq!(pause, Ok(Some(MacControl::GlobalPause { quanta: 255 })));
    let mut unicast = golden("pfc_xoff_priority_3");
    unicast[..6].copy_from_slice(&RECEIVER);
    let other = MacControl::Other { opcode: 0x0101 };
    assert_eq!(pfc::parse(&unicast), Ok(Some(other)));
    assert_eq!(pfc::parse(&golden("roce_ack")), Ok(None));
}
