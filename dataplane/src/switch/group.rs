//! A priority group: what one ingress port holds of one lossless priority.

use super::buffer::{Demand, Pool};

/// When a group says stop and go.
#[derive(Copy, Clone, Debug)]
pub enum Threshold {
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
    /// What nobody else can take of the memory, headroom aside.
    pub fn own_bytes(&self) -> u64 {
        match self.threshold {
            Threshold::Static { xoff_bytes, .. } => xoff_bytes,
            Threshold::Dynamic { reserve_bytes, .. } => reserve_bytes,
        }
    }
}

#[derive(Debug)]
pub struct Group {
    config: GroupConfig,
    /// Parts of what the group holds. With a static threshold all of it counts as reserved.
    reserved: u64,
    shared: u64,
    headroom: u64,
    used_max: u64,
    headroom_max: u64,
}

impl Group {
    pub fn new(config: GroupConfig) -> Group {
        Group { config, reserved: 0, shared: 0, headroom: 0, used_max: 0, headroom_max: 0 }
    }

    /// Take a frame, or `None` if the headroom is used up.
    #[inline]
    pub fn admit(&mut self, bytes: u64, pool: &mut Pool, headrooms: Option<&mut Pool>) -> Option<Demand> {
        let demand = match self.config.threshold {
            Threshold::Static { xoff_bytes, .. } => self.admit_static(bytes, xoff_bytes)?,
            Threshold::Dynamic { reserve_bytes, alpha_log2, .. } => {
                if self.reserved + bytes <= reserve_bytes {
                    self.reserved += bytes;
                    Demand::None
                } else if self.shared + bytes <= scaled(pool.free(), alpha_log2).min(self.shared + pool.free()) {
                    self.shared += bytes;
                    pool.take(bytes);
                    Demand::None
                } else {
                    self.admit_headroom(bytes, headrooms)?
                }
            }
        };
        self.used_max = self.used_max.max(self.reserved + self.shared + self.headroom);
        self.headroom_max = self.headroom_max.max(self.headroom);
        Some(demand)
    }

    fn admit_static(&mut self, bytes: u64, xoff_bytes: u64) -> Option<Demand> {
        let used = self.reserved + self.headroom + bytes;
        if used > xoff_bytes + self.config.headroom_bytes {
            return None;
        }
        self.reserved = used.min(xoff_bytes);
        self.headroom = used - self.reserved;
        Some(if used > xoff_bytes { Demand::Xoff } else { Demand::None })
    }

    fn admit_headroom(&mut self, bytes: u64, headrooms: Option<&mut Pool>) -> Option<Demand> {
        if self.headroom + bytes > self.config.headroom_bytes {
            return None;
        }
        if let Some(pool) = headrooms {
            if bytes > pool.free() {
                return None;
            }
            pool.take(bytes);
        }
        self.headroom += bytes;
        Some(Demand::Xoff)
    }

    /// Give back a frame: headroom empties first, then the shared part, the reserve last.
    #[inline]
    pub fn release(&mut self, bytes: u64, pool: &mut Pool, headrooms: Option<&mut Pool>) -> Demand {
        debug_assert!(self.reserved + self.shared + self.headroom >= bytes, "released more than the group held");
        let of_headroom = bytes.min(self.headroom);
        self.headroom -= of_headroom;
        let of_shared = (bytes - of_headroom).min(self.shared);
        self.shared -= of_shared;
        self.reserved -= bytes - of_headroom - of_shared;
        pool.give(of_shared);
        let goes_on = match self.config.threshold {
            Threshold::Static { xon_bytes, .. } => self.reserved + self.headroom <= xon_bytes,
            Threshold::Dynamic { alpha_log2, xon_offset_bytes, .. } => {
                if let Some(headrooms) = headrooms {
                    headrooms.give(of_headroom);
                }
                let threshold = scaled(pool.free(), alpha_log2);
                self.headroom == 0 && self.shared <= threshold.saturating_sub(xon_offset_bytes)
            }
        };
        if goes_on {
            Demand::Xon
        } else {
            Demand::None
        }
    }

    pub fn used_max(&self) -> u64 {
        self.used_max
    }

    pub fn headroom_max(&self) -> u64 {
        self.headroom_max
    }
}

/// `bytes` times 2^`log2`.
fn scaled(bytes: u64, log2: i8) -> u64 {
    let shift = u32::from(log2.unsigned_abs());
    if log2 < 0 {
        bytes.checked_shr(shift).unwrap_or(0)
    } else {
        bytes.saturating_mul(1u64.checked_shl(shift).unwrap_or(u64::MAX))
    }
}
