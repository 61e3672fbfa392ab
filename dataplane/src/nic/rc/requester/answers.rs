//! What the sending end concludes from acknowledgements and NAKs.

use super::super::qp::{rnr_delay, Failure, Recovery, PSN_HALF, PSN_MASK, RNR_FOR_EVER};
use super::Requester;
use crate::units::Time;

impl Requester {
    /// Take an acknowledgement of all packets up to `psn`, or of the unit of a chunk that ends with it. Returns the numbers of the
    /// messages that finished with it.
    pub fn acknowledge(&mut self, psn: u32, now: Time) -> std::ops::Range<u64> {
        self.counters.acks_rx += 1;
        let Some(psn) = self.unwrap(psn) else { return self.finished..self.finished };
        let Some(mut chunks) = self.chunks.take() else { return self.advance(psn + 1, now) };
        let unit = chunks.unit(psn, &self.messages[self.message_of(psn)].packets());
        self.resend.forget(unit.clone());
        let finished = self.advance(chunks.arrive(unit, self.unacknowledged), now);
        self.deadline = chunks.deadline(self.unacknowledged);
        self.chunks = Some(chunks);
        finished
    }

    /// Take a NAK for a sequence error. Go-back-N: all before `psn` arrived, `psn` did not. Selective repeat: `psn` is missing.
    pub fn negative(&mut self, psn: u32, now: Time) -> std::ops::Range<u64> {
        self.counters.naks_rx += 1;
        // What is still to come of before the peer was not ready, it has forgotten.
        let psn = self.unwrap(psn).filter(|_| !self.waiting);
        let Some(psn) = psn else { return self.finished..self.finished };
        match self.transport.recovery {
            Recovery::GoBackN => {
                let finished = self.advance(psn, now);
                self.go_back();
                finished
            }
            // Nobody asks for packets of chunks.
            Recovery::Timer { .. } => self.finished..self.finished,
            Recovery::SelectiveRepeat | Recovery::Erasure(_) => {
                self.count_block(psn);
                self.missing.entry(psn).or_insert(0);
                self.resend.push(psn);
                self.repeat_first(psn + 1);
                self.finished..self.finished
            }
        }
    }

    /// Take an RNR NAK: all before `psn` arrived, `psn` found no receive, and all behind it was forgotten. It is sent again, whatever
    /// the recovery, when the time that the peer asks for is over.
    pub fn not_ready(&mut self, psn: u32, timer: u8, now: Time) -> std::ops::Range<u64> {
        self.counters.rnr_naks_rx += 1;
        let (psn, rnr) = (self.unwrap(psn).filter(|_| !self.waiting), self.transport.rnr);
        let (Some(psn), Some(rnr)) = (psn, rnr) else { return self.finished..self.finished };
        let finished = self.advance(psn, now);
        if self.rnr_retries_left == 0 && rnr.retries != RNR_FOR_EVER {
            self.failure = Some(Failure::RnrRetryExceeded);
            self.deadline = Time::NEVER;
            return finished;
        }
        self.rnr_retries_left = self.rnr_retries_left.saturating_sub(1);
        self.resend.clear();
        self.missing.clear();
        self.go_back();
        self.waiting = true;
        self.deadline = now + rnr_delay(timer);
        finished
    }

    /// Count the block of a packet that is missing, if it is the first of its block to be asked for.
    fn count_block(&mut self, psn: u64) {
        let Recovery::Erasure(code) = self.transport.recovery else { return };
        let message = &self.messages[self.message_of(psn)];
        let first = psn - (psn - message.first) % u64::from(code.data);
        let end = (first + u64::from(code.data)).min(message.end);
        self.counters.blocks_asked += u64::from(self.missing.range(first..end).next().is_none());
    }

    /// The peer answered to something that left when `next` was `heard` or later. Paths keep order, so if the first of the
    /// missing packets was sent again before that, and still is not acknowledged, it was lost again, or the NAK of one before it
    /// was. That one lies where the next acknowledgement would have been asked for. (Others may have arrived: what is behind the
    /// first draws no acknowledgement.)
    ///
    /// Under erasure only: selective repeat's responder asks for such packets itself, and draws wrong conclusions from what comes
    /// without having been asked for.
    fn repeat_first(&mut self, heard: u64) {
        if !matches!(self.transport.recovery, Recovery::Erasure(_)) {
            return;
        }
        if let Some((&psn, &behind)) = self.missing.first_key_value() {
            if behind > 0 && behind < heard {
                let unheard = self.unacknowledged..psn.min(self.unacknowledged + self.transport.ack_every);
                unheard.chain([psn]).for_each(|psn| self.resend.push(psn));
            }
        }
    }

    /// The full number of a 24-bit PSN of an outstanding packet; `None` for a stale or foolish one.
    fn unwrap(&self, psn: u32) -> Option<u64> {
        let ahead = u64::from(psn).wrapping_sub(self.unacknowledged) & PSN_MASK;
        let full = self.unacknowledged + ahead;
        (ahead < PSN_HALF && full < self.high).then_some(full)
    }

    pub(super) fn advance(&mut self, unacknowledged: u64, now: Time) -> std::ops::Range<u64> {
        let before = self.finished;
        if unacknowledged > self.unacknowledged {
            self.unacknowledged = unacknowledged;
            self.retries_left = self.transport.retries;
            self.rnr_retries_left = self.transport.rnr.map_or(0, |rnr| rnr.retries);
            let outstanding = self.next > unacknowledged;
            if !self.waiting {
                self.deadline = if outstanding { now + self.transport.timeout } else { Time::NEVER };
            }
        }
        if !self.missing.is_empty() {
            let later = self.missing.split_off(&self.unacknowledged);
            let repaired = std::mem::replace(&mut self.missing, later);
            self.resend.forget_before(self.unacknowledged);
            self.repeat_first(repaired.into_values().max().unwrap_or(0));
        }
        // Parity of what has arrived is of no use.
        self.parity = self.parity.filter(|block| block.first + u64::from(block.data) > self.unacknowledged);
        while self.messages.front().is_some_and(|message| message.end <= self.unacknowledged) {
            self.messages.pop_front();
            self.finished += 1;
            self.current = self.current.saturating_sub(1);
        }
        if self.next < self.unacknowledged {
            self.next = self.unacknowledged;
            self.current = 0;
            self.parity = None;
            if !self.waiting {
                self.deadline = Time::NEVER;
            }
        }
        before..self.finished
    }

    /// Send again from the oldest packet not acknowledged. The timer starts when that one leaves: a paused port spends no retries.
    pub(super) fn go_back(&mut self) {
        self.next = self.unacknowledged;
        self.current = 0;
        self.parity = None;
        self.deadline = Time::NEVER;
    }
}
