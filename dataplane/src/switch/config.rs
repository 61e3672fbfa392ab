//! What a switch is made with.

use super::buffer::Buffer;
use super::defects::Defects;
use super::ecn::Marker;
use super::forward::Table;
use super::queue_map::QueueMap;
use super::watchdog::WatchdogConfig;
use crate::port::PortConfig;
use crate::priority::{Priority, PrioritySet, CLASS_SELECTORS, DSCPS};
use crate::units::Time;

#[derive(Debug)]
pub struct SwitchConfig {
    pub ports: Vec<PortConfig>,
    pub buffer: Buffer,
    pub table: Table,
    /// It asks its peers to pause.
    pub pfc: bool,
    pub dscp_to_priority: [Priority; DSCPS],
    /// The queues of lossless priorities. What hosts' kernels send is kept out of these: it goes where DSCP 0 does, or else where there is room for lossy frames.
    pub lossless: PrioritySet,
    /// Pauses of other queues than these are counted only.
    pub heeded: PrioritySet,
    /// Which queue and which group frames of a priority stand in, if not those of its number.
    pub queue_map: Option<QueueMap>,
    /// Marks frames that leave long queues.
    pub marker: Option<Marker>,
    pub watchdog: Option<WatchdogConfig>,
    /// The pauses asked of peers that lasted at least so long are remembered.
    pub long_pauses: Option<Time>,
    /// What it does wrong on purpose.
    pub defects: Defects,
}

impl SwitchConfig {
    /// Return a switch with PFC that takes the upper bits of a DSCP for the priority, and has none of the other functions.
    pub fn new(ports: Vec<PortConfig>, buffer: Buffer, table: Table) -> SwitchConfig {
        SwitchConfig {
            ports,
            buffer,
            table,
            pfc: true,
            dscp_to_priority: CLASS_SELECTORS,
            lossless: PrioritySet::NONE,
            heeded: PrioritySet::ALL,
            queue_map: None,
            marker: None,
            watchdog: None,
            long_pauses: None,
            defects: Defects::default(),
        }
    }
}
