//! What a tester writes at the end of a frame's payload, so that whoever receives the frame knows its flow and when it was sent.

use super::{split, Field, WireError};

/// The bytes of a stamp, before the FCS.
pub const STAMP_BYTES: usize = 14;
/// "OTGs": it tells a stamp from other payload.
const MAGIC: [u8; 4] = *b"OTGs";

mod field {
    use super::Field;
    pub const MAGIC: Field<0, 4> = Field;
    pub const FLOW: Field<4, 2> = Field;
    pub const SENT_PS: Field<6, 8> = Field;
}

/// The flow that a frame is of, and the nominal time at which it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub flow: u16,
    pub sent_ps: u64,
}

impl Stamp {
    /// Write it over the end of a frame.
    ///
    /// # Errors
    /// `Truncated` if the frame is shorter.
    pub fn write(self, frame: &mut [u8]) -> Result<(), WireError> {
        let have = frame.len();
        let place = frame.last_chunk_mut::<STAMP_BYTES>();
        let place = place.ok_or(WireError::Truncated { what: "frame with a stamp", need: STAMP_BYTES, have })?;
        field::MAGIC.set(place, MAGIC);
        field::FLOW.set(place, self.flow.to_be_bytes());
        field::SENT_PS.set(place, self.sent_ps.to_be_bytes());
        Ok(())
    }

    /// Read it from the end of a frame without FCS; `None` where there is none.
    pub fn read(frame: &[u8]) -> Option<Stamp> {
        let (stamp, _) = split::<STAMP_BYTES>(frame.last_chunk::<STAMP_BYTES>()?, "stamp").ok()?;
        let sent_ps = u64::from_be_bytes(field::SENT_PS.get(stamp));
        (field::MAGIC.get(stamp) == MAGIC).then(|| Stamp { flow: field::FLOW.u16(stamp), sent_ps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let mut frame = [7; 60];
        let stamp = Stamp { flow: 513, sent_ps: 123_456_789_012 };
        assert!(stamp.write(&mut frame).is_ok());
        assert_eq!(Stamp::read(&frame), Some(stamp));
        assert_eq!(frame[..46], [7; 46]);
    }

    #[test]
    fn frames_without_a_stamp_or_without_room_have_none() {
        assert_eq!(Stamp::read(&[0; 60]), None);
        assert_eq!(Stamp::read(b"OTGs"), None);
        assert!(Stamp { flow: 0, sent_ps: 0 }.write(&mut [0; 13]).is_err());
    }
}
