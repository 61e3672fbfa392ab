//! What a period does to a port.

use super::{Port, PriorityCounters};
use crate::priority::Priority;
use crate::steady::{Reason, Visitor};
use crate::units::Time;

impl Port {
    /// Visit all that the port holds at `now`.
    pub fn visit(&mut self, visitor: &mut impl Visitor, now: Time) {
        let Port {
            busy_until,
            rate: _,
            credits,
            control,
            occupied,
            pausable: _,
            // For series, which are not recorded here.
            touched: _,
            deaf,
            saving,
            held,
            pfc,
            turn,
            queues,
            counters,
            pauses,
            deficits,
            response: _,
            weights: _,
        } = self;
        if !control.is_empty() || pauses.iter().any(|pause| now < pause.until) {
            visitor.refuse(Reason::Pauses);
        }
        if credits.is_some() {
            visitor.refuse(Reason::Credits);
        }
        visitor.instant(busy_until);
        let flags = u64::from(*pfc) << 1 | u64::from(*held);
        visitor.fixed(u64::from(deaf.bits()) << 8 | flags, Reason::Pauses);
        visitor.same(u64::from(occupied.bits()) << 8 | u64::from(turn.number()));
        for priority in Priority::ALL {
            counters[priority].visit(visitor);
            visitor.same(if saving.contains(priority) { deficits[priority] as u64 } else { 0 });
            queues[priority].visit(visitor);
        }
    }
}

impl PriorityCounters {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        let PriorityCounters {
            frames_tx,
            bytes_tx,
            data_frames_tx,
            frames_rx,
            bytes_rx,
            ecn_marked,
            drops,
            pause_tx,
            pause_rx,
            credit_tx,
            credit_rx,
            demoted,
        } = self;
        visitor.fixed(*pause_tx + *pause_rx, Reason::Pauses);
        visitor.fixed(*credit_tx + *credit_rx, Reason::Credits);
        visitor.fixed(*ecn_marked, Reason::Congestion);
        visitor.fixed(drops.iter().sum::<u64>() + *demoted, Reason::Losses);
        let is_used = *frames_tx + *frames_rx > 0;
        visitor.same(u64::from(is_used));
        if is_used {
            [frames_tx, frames_rx, bytes_tx, bytes_rx, data_frames_tx]
                .into_iter()
                .for_each(|count| visitor.count(count));
        }
    }
}
