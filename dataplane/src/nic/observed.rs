//! What a host tells of itself to whoever records it.

use super::congestion::Algorithm;
use super::Host;
use crate::credit_waits::CreditWaits;
use crate::frame::Station;
use crate::port::Port;
use crate::priority::PrioritySet;
use crate::units::Time;

impl Host {
    /// The priorities of a port of which something may have changed since they were last taken.
    pub fn take_touched(&mut self, port: u16, now: Time) -> PrioritySet {
        self.ports[usize::from(port)].take_touched(now)
    }

    /// Whether the rate of a queue pair may have changed since this was last asked.
    pub fn take_rates_changed(&mut self) -> bool {
        std::mem::take(&mut self.rates_changed)
    }

    /// The rate that congestion control gives each queue pair, by number and end, in bit/s.
    pub fn rates(&self) -> impl Iterator<Item = ((u32, u8), u64)> + '_ {
        self.qps.iter().filter_map(|qp| {
            let rate = qp.control.as_ref()?.rate()?;
            Some(((qp.config.qpn, qp.config.end), rate.bps()))
        })
    }

    /// Packets of a connection that its erasure code rebuilt at this `end` of it; `None` where it has no code.
    pub fn recovered(&self, qpn: u32, end: u8) -> Option<u64> {
        let qp = self.qps.iter().find(|qp| (qp.config.qpn, qp.config.end) == (qpn, end))?;
        qp.responder.blocks().map(|blocks| blocks.recovered)
    }

    /// Whether the data of a packet has come, which names a QP number at a port; never where packets count by whole chunks.
    pub fn has_come(&self, port: u16, (qpn, peer): (u32, Station), psn: u32) -> bool {
        let Some(index) = self.find(usize::from(port), qpn, peer) else { return false };
        let responder = &self.qps[index].responder;
        !responder.is_chunked() && responder.arrived().has(responder.number(psn))
    }

    /// How many packets of what such packets belong to were rebuilt from parity.
    pub fn rebuilt(&self, port: u16, (qpn, peer): (u32, Station)) -> u64 {
        let qp = self.find(usize::from(port), qpn, peer).map(|index| &self.qps[index]);
        qp.and_then(|qp| qp.responder.blocks()).map_or(0, |blocks| blocks.recovered)
    }

    /// How many ops of its work each rank has finished.
    pub fn steps(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.ranks.iter().map(|rank| rank.schedule.finished()).enumerate()
    }

    /// The waits for credit of its ports that need any.
    pub fn credit_waits_mut(&mut self) -> impl Iterator<Item = &mut CreditWaits> {
        self.ports.iter_mut().filter_map(Port::credit_waits_mut)
    }
}
