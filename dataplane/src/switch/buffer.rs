//! The shared buffer as admission counters over one memory: a frame is charged to the priority group of the port it came in by and to
//! the queue of the port it leaves by, and must pass both. Lossless groups are limited at ingress, lossy queues at egress.
//!
//! A priority group has either a static threshold, exact to the byte, or a dynamic one: it fills its reserve, then a pool that all such
//! groups share, up to alpha times what is left of the pool, and then its headroom (SAI's buffer model, as SONiC switches configure it).
//! A lossy queue has a reserve and a pool likewise, and drops where a group would ask for a pause. The egress queues of lossless
//! priorities have no limit of their own: the ports count them.

use super::group::{Demand, Group, GroupConfig, GroupPools};
use super::pool::Pool;
use super::queue::{Limit, LossyConfig, Queue};
use crate::event::Cause;
use crate::frame::Frame;
use crate::priority::{Priority, PRIORITIES};
use crate::steady::Visitor;

/// A memory of so many bytes, and how it is shared.
#[derive(Copy, Clone, Debug)]
pub struct BufferConfig {
    pub total_bytes: u64,
    /// Frames take whole cells.
    pub cell_bytes: u64,
    /// What groups with a dynamic threshold share.
    pub pool_bytes: u64,
    /// What all groups together may hold as headroom; 0 = each has its own.
    pub headroom_pool_bytes: u64,
    /// If it names a pool, and groups share one, lossy frames are charged to both; else they have what groups could not claim.
    pub lossy: LossyConfig,
}

impl BufferConfig {
    /// A memory that is counted in bytes and has no pools.
    pub fn plain(total_bytes: u64, lossy_queue_bytes: u64) -> BufferConfig {
        let limit = Limit::Static { bytes: lossy_queue_bytes };
        let lossy = LossyConfig { limit, reserve_bytes: 0, pool_bytes: 0 };
        BufferConfig { total_bytes, cell_bytes: 1, pool_bytes: 0, headroom_pool_bytes: 0, lossy }
    }

    /// Whether lossy frames take from the pool of the priority groups too.
    fn lossy_shares(&self) -> bool {
        self.lossy.pool_bytes > 0 && self.pool_bytes > 0
    }
}

/// Where a frame stands: in the group of its ingress port, in the queue of its egress port.
#[derive(Copy, Clone, Debug)]
pub struct Place {
    pub ingress: u16,
    pub egress: u16,
    pub group: Priority,
    pub queue: Priority,
}

impl Place {
    /// Where a frame stands that leaves by a port.
    #[inline]
    pub fn of(frame: &Frame, egress: u16) -> Place {
        Place { ingress: frame.ingress, egress, group: frame.group, queue: frame.priority }
    }
}

/// How much of a switch's memory was in use at most, and of what.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Watermarks {
    pub buffer_bytes_max: u64,
    /// Below the thresholds of priority groups; lossy frames too where they are charged to the same pool.
    pub shared_bytes_max: u64,
    pub headroom_bytes_max: u64,
    pub lossy_bytes_max: u64,
}

impl Watermarks {
    /// Of two spans together.
    pub fn with(&self, other: &Watermarks) -> Watermarks {
        Watermarks {
            buffer_bytes_max: self.buffer_bytes_max.max(other.buffer_bytes_max),
            shared_bytes_max: self.shared_bytes_max.max(other.shared_bytes_max),
            headroom_bytes_max: self.headroom_bytes_max.max(other.headroom_bytes_max),
            lossy_bytes_max: self.lossy_bytes_max.max(other.lossy_bytes_max),
        }
    }
}

/// Admission counters over one memory.
#[derive(Debug)]
pub struct Buffer {
    config: BufferConfig,
    memory: Pool,
    /// What neither pools, priority groups nor reserves of lossy queues can claim.
    unclaimed: u64,
    pools: GroupPools,
    groups: Vec<Group>,
    /// What lossy frames share at egress, and what they hold altogether.
    lossy: Pool,
    lossy_held: Pool,
    queues: Vec<Queue>,
}

impl Buffer {
    pub fn new(ports: usize, config: BufferConfig) -> Buffer {
        let slots = ports * PRIORITIES;
        let claimed = [config.pool_bytes, config.headroom_pool_bytes, config.lossy.reserve_bytes * slots as u64];
        let headroom = if config.headroom_pool_bytes > 0 { config.headroom_pool_bytes } else { u64::MAX };
        let mut buffer = Buffer {
            config,
            memory: Pool::new(config.total_bytes),
            unclaimed: claimed.iter().fold(config.total_bytes, |left, claim| left.saturating_sub(*claim)),
            pools: GroupPools {
                shared: Pool::new(config.pool_bytes),
                fixed: Pool::unlimited(),
                headroom: Pool::new(headroom),
            },
            groups: (0..slots).map(|_| Group::new(GroupConfig::OPEN)).collect(),
            lossy: Pool::new(0),
            lossy_held: Pool::unlimited(),
            queues: (0..slots).map(|_| Queue::default()).collect(),
        };
        buffer.lossy = Pool::new(buffer.lossy_bytes());
        buffer
    }

    /// Make a group lossless at ingress `port`, before any frame comes.
    pub fn add_group(&mut self, port: u16, group: Priority, config: GroupConfig) {
        let own_headroom = if self.config.headroom_pool_bytes > 0 { 0 } else { config.headroom_bytes };
        // With it a queue is a lossless one now and needs no reserve.
        let left = self.unclaimed + self.config.lossy.reserve_bytes;
        self.unclaimed = left.saturating_sub(config.own_bytes() + own_headroom);
        self.lossy = Pool::new(self.lossy_bytes());
        self.groups[group.slot(port)] = Group::new(config);
    }

    /// What lossy frames may share.
    fn lossy_bytes(&self) -> u64 {
        match self.config.lossy.pool_bytes {
            0 => self.unclaimed,
            bytes if self.config.lossy_shares() => bytes,
            bytes => bytes.min(self.unclaimed),
        }
    }

    /// What a frame takes of the memory.
    #[inline]
    fn cells(&self, bytes: u64) -> u64 {
        match self.config.cell_bytes {
            1 => bytes,
            cell => bytes.div_ceil(cell) * cell,
        }
    }

    /// Charge a frame of `bytes`; refuse it with the cause.
    #[inline]
    pub fn admit(&mut self, place: Place, bytes: u64) -> Result<Demand, Cause> {
        let bytes = self.cells(bytes);
        if bytes > self.memory.free() {
            return Err(Cause::Buffer);
        }
        let group = &mut self.groups[place.group.slot(place.ingress)];
        if group.is_lossy() && !self.admit_lossy(place, bytes) {
            return Err(Cause::Buffer);
        }
        let group = &mut self.groups[place.group.slot(place.ingress)];
        let demand = group.admit(bytes, &mut self.pools).ok_or(Cause::Headroom)?;
        self.memory.reserve(bytes);
        Ok(demand)
    }

    fn admit_lossy(&mut self, place: Place, bytes: u64) -> bool {
        let shares = self.config.lossy_shares();
        if shares && bytes > self.pools.shared.free() {
            return false;
        }
        let queue = &mut self.queues[place.queue.slot(place.egress)];
        if !queue.admit(bytes, &self.config.lossy, &mut self.lossy) {
            return false;
        }
        if shares {
            self.pools.shared.reserve(bytes);
        }
        self.lossy_held.reserve(bytes);
        true
    }

    /// Give back what `admit` charged, when the frame starts to leave.
    #[inline]
    pub fn release(&mut self, place: Place, bytes: u64) -> Demand {
        let bytes = self.cells(bytes);
        self.memory.give(bytes);
        let group = &mut self.groups[place.group.slot(place.ingress)];
        let demand = group.release(bytes, &mut self.pools);
        if group.is_lossy() {
            self.release_lossy(place, bytes);
        }
        demand
    }

    fn release_lossy(&mut self, place: Place, bytes: u64) {
        self.queues[place.queue.slot(place.egress)].release(bytes, &mut self.lossy);
        if self.config.lossy_shares() {
            self.pools.shared.give(bytes);
        }
        self.lossy_held.give(bytes);
    }

    /// Bytes the whole buffer holds, and the most it ever held.
    pub fn used(&self) -> (u64, u64) {
        (self.memory.used(), self.memory.used_max())
    }

    pub fn watermarks(&self) -> Watermarks {
        Watermarks {
            buffer_bytes_max: self.memory.used_max(),
            shared_bytes_max: self.pools.shared.used_max() + self.pools.fixed.used_max(),
            headroom_bytes_max: self.pools.headroom.used_max(),
            lossy_bytes_max: self.lossy_held.used_max(),
        }
    }

    /// From here on count anew what is held at most.
    pub fn restart_marks(&mut self) {
        let GroupPools { shared, fixed, headroom } = &mut self.pools;
        let pools = [shared, fixed, headroom, &mut self.memory, &mut self.lossy, &mut self.lossy_held];
        pools.into_iter().for_each(Pool::restart_marks);
        self.groups.iter_mut().for_each(Group::restart_marks);
        self.queues.iter_mut().for_each(Queue::restart_marks);
    }

    pub fn visit(&mut self, visitor: &mut impl Visitor) {
        let Buffer { config: _, memory, unclaimed: _, pools, groups, lossy, lossy_held, queues } = self;
        let GroupPools { shared, fixed, headroom } = pools;
        [memory, shared, fixed, headroom, lossy, lossy_held].into_iter().for_each(|pool| pool.visit(visitor));
        groups.iter_mut().for_each(|group| group.visit(visitor));
        queues.iter_mut().for_each(|queue| queue.visit(visitor));
    }

    /// A group of an ingress port, by its number.
    pub fn group(&self, port: u16, group: Priority) -> &Group {
        &self.groups[group.slot(port)]
    }

    /// The queue of a lossy priority at an egress port.
    pub fn queue(&self, port: u16, priority: Priority) -> &Queue {
        &self.queues[priority.slot(port)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::group::Threshold;

    fn fixed(xoff_bytes: u64, xon_bytes: u64, headroom_bytes: u64) -> GroupConfig {
        GroupConfig { threshold: Threshold::Static { xoff_bytes, xon_bytes }, headroom_bytes }
    }

    /// Frames that came in by a port and leave by port 0.
    fn at(ingress: u16, priority: u8) -> Place {
        let priority = Priority::from_bits(priority);
        Place { ingress, egress: 0, group: priority, queue: priority }
    }

    fn buffer() -> Buffer {
        let mut buffer = Buffer::new(2, BufferConfig::plain(10_000, 500));
        buffer.add_group(0, Priority::P3, fixed(200, 100, 150));
        buffer
    }

    #[test]
    fn thresholds_are_exact_to_the_byte() {
        let mut buffer = buffer();
        assert_eq!(buffer.admit(at(0, 3), 200), Ok(Demand::None));
        assert_eq!(buffer.admit(at(0, 3), 1), Ok(Demand::Xoff));
        assert_eq!(buffer.admit(at(0, 3), 150), Err(Cause::Headroom));
        assert_eq!(buffer.admit(at(0, 3), 149), Ok(Demand::Xoff));
        assert_eq!(buffer.group(0, Priority::P3).headroom_max(), 150);
        assert_eq!(buffer.release(at(0, 3), 249), Demand::None);
        assert_eq!(buffer.release(at(0, 3), 1), Demand::Xon);
        assert_eq!(buffer.used(), (100, 350));
    }

    #[test]
    fn lossy_frames_drop_at_the_queue_limit_and_lossless_ones_do_not() {
        let mut buffer = buffer();
        assert_eq!(buffer.admit(at(0, 0), 401), Ok(Demand::None));
        assert_eq!(buffer.admit(at(1, 0), 100), Err(Cause::Buffer));
        assert_eq!(buffer.admit(at(1, 0), 99), Ok(Demand::None), "one queue, whatever port they came in by");
        assert_eq!(buffer.admit(at(0, 3), 300), Ok(Demand::Xoff));
        assert_eq!((buffer.group(0, Priority::P0).used_max(), buffer.group(1, Priority::P0).used_max()), (401, 99));
    }

    #[test]
    fn lossy_frames_cannot_take_what_priority_groups_may_claim() {
        let mut buffer = Buffer::new(1, BufferConfig::plain(1_000, 10_000));
        buffer.add_group(0, Priority::P3, fixed(400, 0, 200));
        assert_eq!(buffer.admit(at(0, 0), 401), Err(Cause::Buffer));
        assert_eq!(buffer.admit(at(0, 0), 400), Ok(Demand::None));
        assert_eq!(buffer.admit(at(0, 3), 600), Ok(Demand::Xoff));
        assert_eq!(buffer.release(at(0, 0), 400), Demand::None);
        assert_eq!(buffer.admit(at(0, 0), 400), Ok(Demand::None));
    }

    #[test]
    fn the_memory_is_finite() {
        let mut buffer = Buffer::new(1, BufferConfig::plain(1_000, 10_000));
        assert_eq!(buffer.admit(at(0, 0), 1_000), Ok(Demand::None));
        assert_eq!(buffer.admit(at(0, 0), 1), Err(Cause::Buffer));
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
            buffer.add_group(port, Priority::P3, GroupConfig { threshold, headroom_bytes: 96_928 });
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
                    if buffer.admit(at(port, 3), FRAME) == Ok(Demand::None) {
                        held[usize::from(port)] += FRAME;
                        open = true;
                    } else {
                        buffer.release(at(port, 3), FRAME);
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
        assert_eq!(buffer.admit(at(0, 3), 2_000_000), Ok(Demand::None));
        assert_eq!(buffer.admit(at(0, 3), 96_928), Ok(Demand::Xoff));
        assert_eq!(buffer.admit(at(0, 3), 1), Err(Cause::Headroom));
        assert_eq!(buffer.group(0, Priority::P3).headroom_max(), 96_928);
        // Headroom empties first; then the shared part must fall below the threshold by the offset.
        assert_eq!(buffer.release(at(0, 3), 96_928), Demand::None);
        assert_eq!(buffer.release(at(0, 3), 2_218), Demand::None);
        assert_eq!(buffer.release(at(0, 3), 1), Demand::Xon);
    }

    #[test]
    fn a_headroom_pool_is_one_for_all() {
        let mut buffer = sharing(2, 1, 100_000);
        for port in 0..2 {
            while buffer.admit(at(port, 3), 1_000) == Ok(Demand::None) {}
        }
        let mut held = 2_000;
        while buffer.admit(at(0, 3), 1_000).is_ok() || buffer.admit(at(1, 3), 1_000).is_ok() {
            held += 1_000;
        }
        assert_eq!(held, 100_000, "oversubscribed: two caps of 96,928 and one pool of 100,000");
    }

    #[test]
    fn frames_take_whole_cells() {
        let mut buffer = sharing(1, 208, 0);
        assert_eq!(buffer.admit(at(0, 3), 209), Ok(Demand::None));
        assert_eq!(buffer.used().0, 416);
        buffer.release(at(0, 3), 209);
        assert_eq!(buffer.used(), (0, 416));
    }
}
