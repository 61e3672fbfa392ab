//! The shared buffer as admission counters over one memory: priority groups at ingress for lossless priorities, queue limits for lossy ones.
//!
//! A priority group has either a static threshold, exact to the byte, or a dynamic one: it fills its reserve, then a pool that all such
//! groups share, up to alpha times what is left of the pool, and then its headroom (SAI's buffer model, as SONiC switches configure it).

use super::group::{Group, GroupConfig};
use crate::event::Cause;
use crate::frame::{Priority, PRIORITIES};

/// What a frame's arrival or departure asks of PFC.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Demand {
    None,
    Xoff,
    Xon,
}

/// A memory of so many bytes, and how it is shared.
#[derive(Copy, Clone, Debug)]
pub struct BufferConfig {
    pub total_bytes: u64,
    pub lossy_queue_bytes: u64,
    /// Frames take whole cells.
    pub cell_bytes: u64,
    /// What groups with a dynamic threshold share.
    pub pool_bytes: u64,
    /// What all groups together may hold as headroom; 0 = each has its own.
    pub headroom_pool_bytes: u64,
}

impl BufferConfig {
    /// A memory that is counted in bytes and has no pools.
    pub fn plain(total_bytes: u64, lossy_queue_bytes: u64) -> BufferConfig {
        BufferConfig { total_bytes, lossy_queue_bytes, cell_bytes: 1, pool_bytes: 0, headroom_pool_bytes: 0 }
    }
}

/// What is left of something shared.
#[derive(Copy, Clone, Debug)]
pub struct Pool {
    size: u64,
    used: u64,
    used_max: u64,
}

impl Pool {
    fn new(size: u64) -> Pool {
        Pool { size, used: 0, used_max: 0 }
    }

    pub fn free(&self) -> u64 {
        self.size - self.used
    }

    pub fn take(&mut self, bytes: u64) {
        self.used += bytes;
        self.used_max = self.used_max.max(self.used);
    }

    pub fn give(&mut self, bytes: u64) {
        debug_assert!(self.used >= bytes, "gave back more than was taken");
        self.used -= bytes;
    }
}

/// Admission counters over one memory.
#[derive(Debug)]
pub struct Buffer {
    config: BufferConfig,
    memory: Pool,
    /// What lossy frames may hold together: all that the priority groups could not claim.
    lossy: Pool,
    shared: Pool,
    headroom: Option<Pool>,
    groups: Vec<Option<Group>>,
}

impl Buffer {
    pub fn new(ports: usize, config: BufferConfig) -> Buffer {
        let headroom = (config.headroom_pool_bytes > 0).then(|| Pool::new(config.headroom_pool_bytes));
        let claimed = config.pool_bytes + config.headroom_pool_bytes;
        Buffer {
            config,
            memory: Pool::new(config.total_bytes),
            lossy: Pool::new(config.total_bytes.saturating_sub(claimed)),
            shared: Pool::new(config.pool_bytes),
            headroom,
            groups: (0..ports * PRIORITIES).map(|_| None).collect(),
        }
    }

    /// Make `priority` lossless at ingress `port`.
    pub fn add_group(&mut self, port: u16, priority: Priority, config: GroupConfig) {
        let own_headroom = if self.headroom.is_some() { 0 } else { config.headroom_bytes };
        self.lossy.size = self.lossy.size.saturating_sub(config.own_bytes() + own_headroom);
        self.groups[slot(port, priority)] = Some(Group::new(config));
    }

    /// What a frame takes of the memory.
    #[inline]
    fn cells(&self, bytes: u64) -> u64 {
        match self.config.cell_bytes {
            1 => bytes,
            cell => bytes.div_ceil(cell) * cell,
        }
    }

    /// Charge a frame of `bytes` that came in by `port` and would wait behind `queued` bytes; refuse it with the cause.
    #[inline]
    pub fn admit(&mut self, port: u16, priority: Priority, bytes: u64, queued: u64) -> Result<Demand, Cause> {
        let bytes = self.cells(bytes);
        if bytes > self.memory.free() {
            return Err(Cause::Buffer);
        }
        let demand = match &mut self.groups[slot(port, priority)] {
            Some(group) => group.admit(bytes, &mut self.shared, self.headroom.as_mut()).ok_or(Cause::Headroom)?,
            None if queued + bytes > self.config.lossy_queue_bytes || bytes > self.lossy.free() => {
                return Err(Cause::Buffer);
            }
            None => {
                self.lossy.take(bytes);
                Demand::None
            }
        };
        self.memory.take(bytes);
        Ok(demand)
    }

    /// Give back what `admit` charged, when the frame starts to leave.
    #[inline]
    pub fn release(&mut self, port: u16, priority: Priority, bytes: u64) -> Demand {
        let bytes = self.cells(bytes);
        self.memory.give(bytes);
        match &mut self.groups[slot(port, priority)] {
            Some(group) => group.release(bytes, &mut self.shared, self.headroom.as_mut()),
            None => {
                self.lossy.give(bytes);
                Demand::None
            }
        }
    }

    /// Bytes the whole buffer holds, and the most it ever held.
    pub fn used(&self) -> (u64, u64) {
        (self.memory.used, self.memory.used_max)
    }

    /// The most that ever stood in the headroom of a group.
    pub fn headroom_max(&self, port: u16, priority: Priority) -> u64 {
        self.groups[slot(port, priority)].as_ref().map_or(0, Group::headroom_max)
    }

    /// The most that a group ever held, headroom included.
    pub fn group_max(&self, port: u16, priority: Priority) -> u64 {
        self.groups[slot(port, priority)].as_ref().map_or(0, Group::used_max)
    }
}

fn slot(port: u16, priority: Priority) -> usize {
    usize::from(port) * PRIORITIES + usize::from(priority & 7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::group::Threshold;

    fn fixed(xoff_bytes: u64, xon_bytes: u64, headroom_bytes: u64) -> GroupConfig {
        GroupConfig { threshold: Threshold::Static { xoff_bytes, xon_bytes }, headroom_bytes }
    }

    fn buffer() -> Buffer {
        let mut buffer = Buffer::new(2, BufferConfig::plain(10_000, 500));
        buffer.add_group(0, 3, fixed(200, 100, 150));
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
        let mut buffer = Buffer::new(1, BufferConfig::plain(1_000, 10_000));
        buffer.add_group(0, 3, fixed(400, 0, 200));
        assert_eq!(buffer.admit(0, 0, 401, 0), Err(Cause::Buffer));
        assert_eq!(buffer.admit(0, 0, 400, 0), Ok(Demand::None));
        assert_eq!(buffer.admit(0, 3, 600, 0), Ok(Demand::Xoff));
        assert_eq!(buffer.release(0, 0, 400), Demand::None);
        assert_eq!(buffer.admit(0, 0, 400, 0), Ok(Demand::None));
    }

    #[test]
    fn the_memory_is_finite() {
        let mut buffer = Buffer::new(1, BufferConfig::plain(1_000, 10_000));
        assert_eq!(buffer.admit(0, 0, 1_000, 0), Ok(Demand::None));
        assert_eq!(buffer.admit(0, 0, 1, 0), Err(Cause::Buffer));
    }

    fn sharing(groups: u16, cell_bytes: u64, headroom_pool_bytes: u64) -> Buffer {
        let config = BufferConfig {
            cell_bytes,
            pool_bytes: 18_000_000,
            headroom_pool_bytes,
            ..BufferConfig::plain(100_000_000, 1_000_000)
        };
        let mut buffer = Buffer::new(usize::from(groups), config);
        for port in 0..groups {
            let threshold = Threshold::Dynamic { reserve_bytes: 0, alpha_log2: -3, xon_offset_bytes: 2_496 };
            buffer.add_group(port, 3, GroupConfig { threshold, headroom_bytes: 96_928 });
        }
        buffer
    }

    /// n equally loaded groups settle at alpha·B/(1 + n·alpha): 2.000, 1.125 and 0.450 MB for 18 MB and alpha 1/8.
    #[test]
    fn equally_loaded_groups_settle_where_the_closed_form_says() {
        const FRAME: u64 = 1_000;
        for (groups, settled) in [(1, 2_000_000u64), (8, 1_125_000), (32, 450_000)] {
            let mut buffer = sharing(groups, 1, 0);
            let mut held = vec![0; usize::from(groups)];
            let mut open = true;
            while open {
                open = false;
                for port in 0..groups {
                    if buffer.admit(port, 3, FRAME, 0) == Ok(Demand::None) {
                        held[usize::from(port)] += FRAME;
                        open = true;
                    } else {
                        buffer.release(port, 3, FRAME);
                    }
                }
            }
            for held in held {
                assert!(settled.abs_diff(held) <= 2 * FRAME, "{groups} groups: {held} of {settled}");
            }
        }
    }

    #[test]
    fn headroom_comes_after_the_threshold_and_xon_after_headroom_and_offset() {
        let mut buffer = sharing(1, 1, 0);
        assert_eq!(buffer.admit(0, 3, 2_000_000, 0), Ok(Demand::None));
        assert_eq!(buffer.admit(0, 3, 96_928, 0), Ok(Demand::Xoff));
        assert_eq!(buffer.admit(0, 3, 1, 0), Err(Cause::Headroom));
        assert_eq!(buffer.headroom_max(0, 3), 96_928);
        // Headroom empties first; then the shared part must fall below the threshold by the offset.
        assert_eq!(buffer.release(0, 3, 96_928), Demand::None);
        assert_eq!(buffer.release(0, 3, 2_218), Demand::None);
        assert_eq!(buffer.release(0, 3, 1), Demand::Xon);
    }

    #[test]
    fn a_headroom_pool_is_one_for_all() {
        let mut buffer = sharing(2, 1, 100_000);
        for port in 0..2 {
            while buffer.admit(port, 3, 1_000, 0) == Ok(Demand::None) {}
        }
        let mut held = 2_000;
        while buffer.admit(0, 3, 1_000, 0).is_ok() || buffer.admit(1, 3, 1_000, 0).is_ok() {
            held += 1_000;
        }
        assert_eq!(held, 100_000, "oversubscribed: two caps of 96,928 and one pool of 100,000");
    }

    #[test]
    fn frames_take_whole_cells() {
        let mut buffer = sharing(1, 208, 0);
        assert_eq!(buffer.admit(0, 3, 209, 0), Ok(Demand::None));
        assert_eq!(buffer.used().0, 416);
        buffer.release(0, 3, 209);
        assert_eq!(buffer.used(), (0, 416));
    }
}
