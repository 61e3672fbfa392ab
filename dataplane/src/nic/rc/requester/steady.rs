//! What a period does to the sending end of a connection.

use super::super::qp::RequesterCounters;
use super::{Message, Requester};
use crate::steady::{Head, Reason, Sender, Visitor};

impl Requester {
    /// Where the sender is. The last packet of a message is not like those before it, and starts something new when it arrives.
    pub fn head(&self, sender: Sender) -> Head {
        let room = self.messages.get(self.current).map_or(0, |message| (message.end - 1).saturating_sub(self.next));
        Head { sender, next: self.next, room }
    }

    /// How many acknowledgements have come.
    pub fn acknowledgements(&self) -> u64 {
        self.counters.acks_rx
    }

    pub fn visit(&mut self, visitor: &mut impl Visitor, sender: Sender) {
        let Requester {
            transport,
            dst_qp: _,
            messages,
            finished,
            current,
            posted,
            next,
            unacknowledged,
            high,
            resend,
            missing,
            parity,
            window,
            round_trips,
            chunks,
            deadline,
            retries_left,
            waiting,
            rnr_retries_left,
            failure,
            counters,
        } = self;
        if parity.is_some() || chunks.is_some() {
            visitor.refuse(Reason::Coding);
        }
        if round_trips.is_some() {
            visitor.refuse(Reason::Congestion);
        }
        visitor.fixed(*window, Reason::Congestion);
        if !resend.is_empty() || !missing.is_empty() || *waiting {
            visitor.refuse(Reason::Losses);
        }
        for value in [*finished, messages.len() as u64, *current as u64, *posted, u64::from(failure.is_some())] {
            visitor.fixed(value, Reason::Messages);
        }
        visitor.same(u64::from(*retries_left) << 32 | u64::from(*rnr_retries_left));
        // Acknowledgements are asked for at whole multiples.
        visitor.same(*next % transport.ack_every.max(1));
        if let Some(message) = messages.get_mut(*current) {
            message.visit(visitor, *next);
        }
        // Those before it have been sent, and are acknowledged in the end.
        messages.iter().take(*current).for_each(|message| visitor.same(message.end - *unacknowledged));
        [next, unacknowledged, high].into_iter().for_each(|number| visitor.number(sender, number));
        visitor.instant(deadline);
        counters.visit(visitor);
    }
}

impl Message {
    /// Its first packet is not like those behind it.
    fn visit(&self, visitor: &mut impl Visitor, next: u64) {
        let Message { first, end: _, offset: _, remote: _, bytes: _ } = self;
        visitor.same(u64::from(next > *first));
    }
}

impl RequesterCounters {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        let RequesterCounters {
            packets_tx,
            retransmitted,
            acks_rx,
            naks_rx,
            rnr_naks_rx,
            timeouts,
            blocks,
            parity_tx,
            blocks_asked,
        } = self;
        visitor.fixed(*retransmitted + *naks_rx + *rnr_naks_rx + *timeouts, Reason::Losses);
        visitor.fixed(*blocks + *parity_tx + *blocks_asked, Reason::Coding);
        visitor.count(packets_tx);
        visitor.count(acks_rx);
    }
}
