//! The shared buffer as admission counters: priority groups at ingress for lossless priorities, queue limits for lossy ones.

use crate::event::Cause;
use crate::frame::{Priority, PRIORITIES};

/// Thresholds of one priority group, in bytes of frames with FCS.
#[derive(Copy, Clone, Debug, Default)]
pub struct GroupConfig {
    /// XOFF is sent when the group holds more than this.
    pub xoff_bytes: u64,
    /// XON is sent when the group holds this or less again.
    pub xon_bytes: u64,
    /// What the group may hold beyond `xoff_bytes` before it drops.
    pub headroom_bytes: u64,
}

/// A priority group: what one ingress port holds of one lossless priority.
#[derive(Debug, Default)]
struct Group {
    config: GroupConfig,
    used: u64,
    used_max: u64,
}

/// What a frame's arrival or departure asks of PFC.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Demand {
    None,
    Xoff,
    Xon,
}

/// Admission counters over one memory of `total` bytes.
#[derive(Debug)]
pub struct Buffer {
    total: u64,
    used: u64,
    used_max: u64,
    /// What lossy frames may hold together: all that the priority groups could not claim.
    lossy_total: u64,
    lossy_used: u64,
    lossy_queue_bytes: u64,
    groups: Vec<Option<Group>>,
}

impl Buffer {
    pub fn new(ports: usize, total: u64, lossy_queue_bytes: u64) -> Buffer {
        let groups = (0..ports * PRIORITIES).map(|_| None).collect();
        Buffer { total, used: 0, used_max: 0, lossy_total: total, lossy_used: 0, lossy_queue_bytes, groups }
    }

    /// Make `priority` lossless at ingress `port`.
    pub fn add_group(&mut self, port: u16, priority: Priority, config: GroupConfig) {
        self.lossy_total = self.lossy_total.saturating_sub(config.xoff_bytes + config.headroom_bytes);
        self.groups[slot(port, priority)] = Some(Group { config, ..Group::default() });
    }

    /// Charge a frame of `bytes` that came in by `port` and would wait behind `queued` bytes; refuse it with the cause.
    #[inline]
    pub fn admit(&mut self, port: u16, priority: Priority, bytes: u64, queued: u64) -> Result<Demand, Cause> {
        if self.used + bytes > self.total {
            return Err(Cause::Buffer);
        }
        let demand = match &mut self.groups[slot(port, priority)] {
            Some(group) => {
                let used = group.used + bytes;
                if used > group.config.xoff_bytes + group.config.headroom_bytes {
                    return Err(Cause::Headroom);
                }
                group.used = used;
                group.used_max = group.used_max.max(used);
                if used > group.config.xoff_bytes {
                    Demand::Xoff
                } else {
                    Demand::None
                }
            }
            None if queued + bytes > self.lossy_queue_bytes => return Err(Cause::Buffer),
            None if self.lossy_used + bytes > self.lossy_total => return Err(Cause::Buffer),
            None => {
                self.lossy_used += bytes;
                Demand::None
            }
        };
        self.used += bytes;
        self.used_max = self.used_max.max(self.used);
        Ok(demand)
    }

    /// Give back what `admit` charged, when the frame starts to leave.
    #[inline]
    pub fn release(&mut self, port: u16, priority: Priority, bytes: u64) -> Demand {
        debug_assert!(self.used >= bytes, "released more than was admitted");
        self.used -= bytes;
        let Some(group) = &mut self.groups[slot(port, priority)] else {
            self.lossy_used -= bytes;
            return Demand::None;
        };
        debug_assert!(group.used >= bytes, "released more than the group held");
        group.used -= bytes;
        if group.used <= group.config.xon_bytes {
            Demand::Xon
        } else {
            Demand::None
        }
    }

    /// Bytes the whole buffer holds, and the most it ever held.
    pub fn used(&self) -> (u64, u64) {
        (self.used, self.used_max)
    }

    /// The most that ever stood in the headroom of a group.
    pub fn headroom_max(&self, port: u16, priority: Priority) -> u64 {
        let group = self.groups[slot(port, priority)].as_ref();
        group.map_or(0, |group| group.used_max.saturating_sub(group.config.xoff_bytes))
    }

    /// The most that a group ever held, headroom included.
    pub fn group_max(&self, port: u16, priority: Priority) -> u64 {
        self.groups[slot(port, priority)].as_ref().map_or(0, |group| group.used_max)
    }
}

fn slot(port: u16, priority: Priority) -> usize {
    usize::from(port) * PRIORITIES + usize::from(priority & 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer() -> Buffer {
        let mut buffer = Buffer::new(2, 10_000, 500);
        buffer.add_group(0, 3, GroupConfig { xoff_bytes: 200, xon_bytes: 100, headroom_bytes: 150 });
        buffer
    }

    #[test]
    fn thresholds_are_exact_to_the_byte() {
        let mut buffer = buffer();
        assert_eq!(buffer.admit(0, 3, 200, 0), Ok(Demand::None));
        assert_eq!(buffer.admit(0, 3, 1, 0), Ok(Demand::Xoff));
        assert_eq!(buffer.admit(0, 3, 150, 0), Err(Cause::Headroom));
        assert_eq!(buffer.admit(0, 3, 149, 0), Ok(Demand::Xoff));
        assert_eq!(buffer.headroom_max(0, 3), 150);
        assert_eq!(buffer.release(0, 3, 249), Demand::None);
        assert_eq!(buffer.release(0, 3, 1), Demand::Xon);
        assert_eq!(buffer.used(), (100, 350));
    }

    #[test]
    fn lossy_frames_drop_at_the_queue_limit_and_lossless_ones_do_not() {
        let mut buffer = buffer();
        assert_eq!(buffer.admit(0, 0, 100, 401), Err(Cause::Buffer));
        assert_eq!(buffer.admit(0, 0, 100, 400), Ok(Demand::None));
        assert_eq!(buffer.admit(0, 3, 100, 9_000), Ok(Demand::None));
    }

    #[test]
    fn lossy_frames_cannot_take_what_priority_groups_may_claim() {
        let mut buffer = Buffer::new(1, 1_000, 10_000);
        buffer.add_group(0, 3, GroupConfig { xoff_bytes: 400, xon_bytes: 0, headroom_bytes: 200 });
        assert_eq!(buffer.admit(0, 0, 401, 0), Err(Cause::Buffer));
        assert_eq!(buffer.admit(0, 0, 400, 0), Ok(Demand::None));
        assert_eq!(buffer.admit(0, 3, 600, 0), Ok(Demand::Xoff));
        assert_eq!(buffer.release(0, 0, 400), Demand::None);
        assert_eq!(buffer.admit(0, 0, 400, 0), Ok(Demand::None));
    }

    #[test]
    fn the_memory_is_finite() {
        let mut buffer = Buffer::new(1, 1_000, 10_000);
        assert_eq!(buffer.admit(0, 0, 1_000, 0), Ok(Demand::None));
        assert_eq!(buffer.admit(0, 0, 1, 0), Err(Cause::Buffer));
    }
}
