//! A priority group: what one ingress port holds of one priority.

use super::pool::{scaled, Pool};
use crate::steady::{Reason, Visitor};

/// What a frame's arrival or departure asks of PFC.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Demand {
    None,
    Xoff,
    Xon,
}

/// When a group sends XOFF and XON.
#[derive(Copy, Clone, Debug)]
pub enum Threshold {
    /// Never: the priority is lossy, counted here and limited at egress.
    Open,
    /// XOFF when the group holds more than `xoff_bytes`, XON when it holds `xon_bytes` or less again. A frame may stand in both parts.
    Static { xoff_bytes: u64, xon_bytes: u64 },
    /// XOFF when a frame fits neither the reserve nor alpha = 2^`alpha_log2` times what is left of the shared pool; it goes into the
    /// headroom whole. XON when the headroom is empty and the shared part is below the threshold by `xon_offset_bytes`.
    Dynamic { reserve_bytes: u64, alpha_log2: i8, xon_offset_bytes: u64 },
}

/// A group as the plan states it, in bytes of frames with FCS.
#[derive(Copy, Clone, Debug)]
pub struct GroupConfig {
    pub threshold: Threshold,
    /// What the group may hold beyond its threshold before it drops.
    pub headroom_bytes: u64,
}

impl GroupConfig {
    /// The group of a lossy priority.
    pub const OPEN: GroupConfig = GroupConfig { threshold: Threshold::Open, headroom_bytes: 0 };

    /// What nobody else can take of the memory, headroom aside.
    pub fn own_bytes(&self) -> u64 {
        match self.threshold {
            Threshold::Open => 0,
            Threshold::Static { xoff_bytes, .. } => xoff_bytes,
            Threshold::Dynamic { reserve_bytes, .. } => reserve_bytes,
        }
    }
}

/// What the groups of a switch take from.
#[derive(Debug)]
pub struct GroupPools {
    /// What groups with a dynamic threshold share.
    pub shared: Pool,
    /// What groups with a static threshold hold below it: each its own, so this only counts.
    pub fixed: Pool,
    /// What groups hold beyond their thresholds; unlimited where each group has its own headroom.
    pub headroom: Pool,
}

/// What each frame needs fits a cache line: all but the mark of the headroom.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Group {
    threshold: Threshold,
    /// Parts of what the group holds.
    reserved: u64,
    shared: u64,
    headroom: u64,
    used_max: u64,
    /// Of the shared part, with a dynamic threshold.
    shared_max: u64,
    headroom_max: u64,
    /// What the headroom may hold.
    headroom_bytes: u64,
}

impl Group {
    pub fn new(config: GroupConfig) -> Group {
        let GroupConfig { threshold, headroom_bytes } = config;
        Group {
            threshold,
            reserved: 0,
            shared: 0,
            headroom: 0,
            used_max: 0,
            shared_max: 0,
            headroom_max: 0,
            headroom_bytes,
        }
    }

    #[inline]
    pub fn is_lossy(&self) -> bool {
        matches!(self.threshold, Threshold::Open)
    }

    /// Take a frame, or `None` if the headroom is used up.
    #[inline]
    pub fn admit(&mut self, bytes: u64, pools: &mut GroupPools) -> Option<Demand> {
        let demand = match self.threshold {
            Threshold::Open => {
                self.shared += bytes;
                Demand::None
            }
            Threshold::Static { xoff_bytes, .. } => self.admit_static(bytes, xoff_bytes, pools)?,
            Threshold::Dynamic { reserve_bytes, alpha_log2, .. } => {
                if self.reserved + bytes <= reserve_bytes {
                    self.reserved += bytes;
                    Demand::None
                } else if self.fits_shared(bytes, alpha_log2, pools) {
                    self.shared += bytes;
                    self.shared_max = self.shared_max.max(self.shared);
                    pools.shared.reserve(bytes);
                    Demand::None
                } else {
                    self.reserve_headroom(bytes, &mut pools.headroom)?
                }
            }
        };
        self.used_max = self.used_max.max(self.reserved + self.shared + self.headroom);
        Some(demand)
    }

    fn fits_shared(&self, bytes: u64, alpha_log2: i8, pools: &GroupPools) -> bool {
        let free = pools.shared.free();
        bytes <= free && self.shared + bytes <= scaled(free, alpha_log2)
    }

    /// Fill up to the threshold, then the headroom: it is empty unless the rest is full.
    #[inline]
    fn admit_static(&mut self, bytes: u64, xoff_bytes: u64, pools: &mut GroupPools) -> Option<Demand> {
        let below = bytes.min(xoff_bytes - self.shared);
        let demand =
            if below == bytes { Demand::None } else { self.reserve_headroom(bytes - below, &mut pools.headroom)? };
        self.shared += below;
        pools.fixed.reserve(below);
        Some(demand)
    }

    fn reserve_headroom(&mut self, bytes: u64, pool: &mut Pool) -> Option<Demand> {
        if self.headroom + bytes > self.headroom_bytes || bytes > pool.free() {
            return None;
        }
        pool.reserve(bytes);
        self.headroom += bytes;
        self.headroom_max = self.headroom_max.max(self.headroom);
        Some(Demand::Xoff)
    }

    /// Give back a frame: headroom empties first, then the shared part, the reserve last.
    #[inline]
    pub fn release(&mut self, bytes: u64, pools: &mut GroupPools) -> Demand {
        debug_assert!(self.reserved + self.shared + self.headroom >= bytes, "released more than the group held");
        let of_headroom = bytes.min(self.headroom);
        self.headroom -= of_headroom;
        let of_shared = (bytes - of_headroom).min(self.shared);
        self.shared -= of_shared;
        self.reserved -= bytes - of_headroom - of_shared;
        pools.headroom.give(of_headroom);
        let goes_on = match self.threshold {
            Threshold::Open => false,
            Threshold::Static { xon_bytes, .. } => {
                pools.fixed.give(of_shared);
                self.shared + self.headroom <= xon_bytes
            }
            Threshold::Dynamic { alpha_log2, xon_offset_bytes, .. } => {
                pools.shared.give(of_shared);
                let threshold = scaled(pools.shared.free(), alpha_log2);
                self.headroom == 0 && self.shared <= threshold.saturating_sub(xon_offset_bytes)
            }
        };
        if goes_on {
            Demand::Xon
        } else {
            Demand::None
        }
    }

    /// What stands in the shared part now; with a static threshold, below it.
    pub fn shared(&self) -> u64 {
        self.shared
    }

    /// What stands in the headroom now.
    pub fn headroom(&self) -> u64 {
        self.headroom
    }

    /// What the group holds now, headroom included.
    pub fn used(&self) -> u64 {
        self.reserved + self.shared + self.headroom
    }

    /// The most that the group ever held, headroom included.
    pub fn used_max(&self) -> u64 {
        self.used_max
    }

    /// The most that ever stood in the shared part; with a static threshold, below it.
    pub fn shared_max(&self) -> u64 {
        match self.threshold {
            Threshold::Dynamic { .. } => self.shared_max,
            _ => self.used_max - self.headroom_max,
        }
    }

    pub fn headroom_max(&self) -> u64 {
        self.headroom_max
    }

    /// From here on count anew what it holds at most.
    pub fn restart_marks(&mut self) {
        self.used_max = self.used();
        self.shared_max = self.shared;
        self.headroom_max = self.headroom;
    }

    /// In headroom something stands only while the peer is paused.
    pub fn visit(&mut self, visitor: &mut impl Visitor) {
        let Group {
            threshold: _,
            reserved,
            shared,
            headroom,
            used_max: _,
            shared_max: _,
            headroom_max: _,
            headroom_bytes: _,
        } = self;
        visitor.same(*reserved);
        visitor.same(*shared);
        if *headroom > 0 {
            visitor.refuse(Reason::Pauses);
        }
    }
}
