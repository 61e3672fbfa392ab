//! Credit-based flow control of one end of a link, as InfiniBand's (IBTA volume 1, 7.9): a frame starts only if the far end has granted
//! room for all of it, so nothing is ever lost for lack of room, and nothing needs headroom.
//!
//! Room is counted in blocks, and both counts are absolute: the sender says how many blocks it has sent since the beginning, the
//! receiver up to how many it may send. A lost update is made good by the next one. A sender that cannot know all its blocks to have
//! been received and released asks at least every 65,536 symbol times; the receiver takes over the count that comes with the question,
//! so that blocks which the link lost are granted anew, and answers. When all is quiet nobody asks.

use serde::Deserialize;

use crate::credit_waits::CreditWaits;
use crate::frame::Frame;
use crate::priority::{Priority, PrioritySet, PRIORITIES};
use crate::units::{Rate, Time};
use crate::wire::credit::Credit;

/// A question is asked at least so often while blocks are outstanding (IBTA 7.9.4); a symbol is eight bits on one lane.
const SYMBOLS: u64 = 65_536;
/// Lanes of a port, as a 4x link of InfiniBand has them.
const LANES: u64 = 4;

/// What the receiving end of a direction grants one priority.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub priority: Priority,
    /// A frame takes whole blocks of so many bytes.
    pub block_bytes: u32,
    /// Blocks of buffer behind the grant.
    pub blocks: u32,
    /// The sender is told when so many blocks have been released since it was last told.
    pub update_blocks: u32,
}

impl Grant {
    /// What is wrong with the figures, if anything.
    pub fn fault(&self) -> Option<String> {
        if self.block_bytes == 0 {
            return Some("blocks of 0 bytes".to_owned());
        }
        // Counts wrap around, so that no more than half of their range can be told from less than none.
        if self.blocks == 0 || self.blocks > i32::MAX as u32 {
            return Some(format!("{} blocks", self.blocks));
        }
        let updates = (1..=self.blocks).contains(&self.update_blocks);
        (!updates).then(|| format!("an update every {} of {} blocks", self.update_blocks, self.blocks))
    }

    /// The buffer behind the grant.
    pub fn bytes(&self) -> u64 {
        u64::from(self.blocks) * u64::from(self.block_bytes)
    }

    #[inline]
    fn blocks_of(&self, frame_bytes: u32) -> u32 {
        frame_bytes.div_ceil(self.block_bytes.max(1))
    }
}

/// The sending half: counts what left against what may leave.
#[derive(Copy, Clone, Debug)]
struct Sender {
    grant: Grant,
    sent: u32,
    limit: u32,
}

impl Sender {
    fn new(grant: Grant) -> Sender {
        Sender { grant, sent: 0, limit: grant.blocks }
    }

    #[inline]
    fn admits(&self, frame_bytes: u32) -> bool {
        // Counts wrap around; a limit in the past, which only a broken peer sets, leaves no room.
        self.limit.wrapping_sub(self.sent) as i32 >= self.grant.blocks_of(frame_bytes) as i32
    }

    /// Whether blocks may be on their way or in the far end's buffer still, as far as is known here.
    fn is_outstanding(&self) -> bool {
        self.limit.wrapping_sub(self.sent) != self.grant.blocks
    }
}

/// The receiving half: counts what came and what was released again.
#[derive(Copy, Clone, Debug)]
struct Receiver {
    grant: Grant,
    /// Blocks that the sender has sent, as far as is known here.
    received: u32,
    /// Blocks that are in the buffer.
    held: u32,
    /// The limit that the sender was told last.
    told: u32,
}

impl Receiver {
    fn new(grant: Grant) -> Receiver {
        Receiver { grant, received: 0, held: 0, told: grant.blocks }
    }

    fn limit(&self) -> u32 {
        self.received.wrapping_add(self.grant.blocks).wrapping_sub(self.held)
    }

    fn release(&mut self, frame_bytes: u32) -> bool {
        let blocks = self.grant.blocks_of(frame_bytes);
        debug_assert!(self.held >= blocks, "released more blocks than were held");
        self.held = self.held.saturating_sub(blocks);
        self.limit().wrapping_sub(self.told) >= self.grant.update_blocks
    }
}

/// Both halves at one end of a link, by priority, and what is to be told to the other end.
#[derive(Debug)]
pub struct Credits {
    senders: [Option<Sender>; PRIORITIES],
    receivers: [Option<Receiver>; PRIORITIES],
    waits: CreditWaits,
    /// The priorities of which a frame is due, and those of which it is to ask.
    due: PrioritySet,
    asking: PrioritySet,
    /// Those of which blocks are outstanding; while there are any, the next question is due at `ask_at`.
    outstanding: PrioritySet,
    ask_at: Time,
    /// Those whose frames need credit.
    credited: PrioritySet,
}

impl Credits {
    /// `granted` is what the far end grants this one, `granting` what this one grants the far end.
    pub fn new(granted: &[Grant], granting: &[Grant]) -> Credits {
        let mut credits = Credits {
            senders: Default::default(),
            receivers: Default::default(),
            waits: CreditWaits::default(),
            due: PrioritySet::NONE,
            asking: PrioritySet::NONE,
            outstanding: PrioritySet::NONE,
            ask_at: Time::NEVER,
            credited: granted.iter().map(|grant| grant.priority).collect(),
        };
        for grant in granted {
            credits.senders[grant.priority] = Some(Sender::new(*grant));
        }
        for grant in granting {
            credits.receivers[grant.priority] = Some(Receiver::new(*grant));
        }
        credits
    }

    /// The priorities whose frames need credit.
    #[inline]
    pub fn credited(&self) -> PrioritySet {
        self.credited
    }

    /// Whether a frame may start; always on a priority without credits.
    #[inline]
    pub fn admits(&self, priority: Priority, frame_bytes: u32) -> bool {
        self.senders[priority].is_none_or(|sender| sender.admits(frame_bytes))
    }

    /// Whether the far end needs leave from here for each frame of `priority`.
    pub fn grants(&self, priority: Priority) -> bool {
        self.receivers[priority].is_some()
    }

    /// A frame starts at `now`, with credit or (a tester's) without.
    pub fn spend(&mut self, priority: Priority, frame_bytes: u32, rate: Rate, now: Time) {
        let Some(sender) = &mut self.senders[priority] else { return };
        sender.sent = sender.sent.wrapping_add(sender.grant.blocks_of(frame_bytes));
        if self.outstanding.is_empty() {
            self.ask_at = now + ask_every(rate);
        }
        self.outstanding.insert(priority);
        self.waits.close(priority, now);
    }

    /// Note that a frame of so many bytes is there and may not start.
    pub fn wait(&mut self, priority: Priority, frame_bytes: u32, now: Time) {
        self.waits.open(priority, frame_bytes, now);
    }

    /// How long `priority` has waited up to `now`.
    pub fn wait_time(&self, priority: Priority, now: Time) -> Time {
        self.waits.total(priority, now)
    }

    pub fn waits(&self) -> &CreditWaits {
        &self.waits
    }

    pub fn waits_mut(&mut self) -> &mut CreditWaits {
        &mut self.waits
    }

    /// A frame has arrived, and will take room until it is released.
    pub fn reserve(&mut self, priority: Priority, frame_bytes: u32) {
        let Some(receiver) = &mut self.receivers[priority] else { return };
        let blocks = receiver.grant.blocks_of(frame_bytes);
        receiver.received = receiver.received.wrapping_add(blocks);
        receiver.held = receiver.held.saturating_add(blocks);
    }

    /// Whether at least half of what is granted here is in the buffer, and not under way.
    pub fn holds_most(&self, priority: Priority) -> bool {
        self.receivers[priority]
            .is_some_and(|receiver| u64::from(receiver.held) * 2 >= u64::from(receiver.grant.blocks))
    }

    /// Free the blocks of a frame that has left the buffer. Returns whether an update to the sender is due.
    pub fn release(&mut self, priority: Priority, frame_bytes: u32) -> bool {
        let Some(receiver) = &mut self.receivers[priority] else { return false };
        let due = receiver.release(frame_bytes);
        if due {
            self.due.insert(priority);
        }
        due
    }

    /// Obey what the far end says.
    pub fn handle(&mut self, credit: &Credit, now: Time) {
        let priority = credit.priority;
        if let Some(receiver) = &mut self.receivers[priority] {
            // Links keep order: what was sent before this frame and is not here by now was lost.
            receiver.received = credit.sent;
            let more = receiver.limit().wrapping_sub(receiver.told);
            if credit.request || more >= receiver.grant.update_blocks {
                self.due.insert(priority);
            }
        }
        let Some(sender) = &mut self.senders[priority] else { return };
        sender.limit = credit.limit;
        if self.waits.waits_for(priority).is_some_and(|frame_bytes| sender.admits(frame_bytes)) {
            self.waits.close(priority, now);
        }
        if !sender.is_outstanding() {
            self.outstanding.remove(priority);
        }
        if self.outstanding.is_empty() {
            self.ask_at = Time::NEVER;
        }
    }

    /// When the next frame is due; zero if one is already.
    #[inline]
    pub fn next_due(&self) -> Time {
        if !self.due.is_empty() {
            Time::ZERO
        } else {
            self.ask_at
        }
    }

    /// What is to be told to the far end by a frame that starts at `now`. The counts are of this moment: no data passes a control frame.
    pub fn next_frame(&mut self, rate: Rate, now: Time) -> Option<Credit> {
        if self.ask_at <= now {
            self.due = self.due | self.outstanding;
            self.asking = self.asking | self.outstanding;
            self.ask_at = now + ask_every(rate);
        }
        let priority = self.due.lowest()?;
        let request = self.asking.contains(priority);
        self.due.remove(priority);
        self.asking.remove(priority);
        let limit = self.receivers[priority].as_mut().map_or(0, |receiver| {
            receiver.told = receiver.limit();
            receiver.told
        });
        let sent = self.senders[priority].map_or(0, |sender| sender.sent);
        Some(Credit { priority, request, sent, limit })
    }
}

pub fn ask_every(rate: Rate) -> Time {
    rate.serialisation(SYMBOLS * LANES)
}

/// The checker's own account of what one end may send, kept apart from the sender's.
#[derive(Clone, Debug)]
pub struct Ledger {
    accounts: [Option<Account>; PRIORITIES],
}

#[derive(Copy, Clone, Debug)]
struct Account {
    block_bytes: u32,
    started: u32,
    limit: u32,
}

impl Ledger {
    pub fn new(granted: &[Grant]) -> Ledger {
        let mut accounts = [None; PRIORITIES];
        for grant in granted {
            let account = Account { block_bytes: grant.block_bytes, started: 0, limit: grant.blocks };
            accounts[grant.priority] = Some(account);
        }
        Ledger { accounts }
    }

    /// A frame starts; the answer is whether there was credit for it, or need of none.
    pub fn start(&mut self, frame: &Frame) -> bool {
        let Some(account) = &mut self.accounts[frame.priority] else { return true };
        if frame.is_control() {
            return true;
        }
        account.started = account.started.wrapping_add(frame.buffer_bytes().div_ceil(account.block_bytes.max(1)));
        frame.ingress == Frame::OUTSIDE || account.limit.wrapping_sub(account.started) as i32 >= 0
    }

    /// The far end sets a limit.
    pub fn update(&mut self, credit: &Credit) {
        if let Some(account) = &mut self.accounts[credit.priority] {
            account.limit = credit.limit;
        }
    }
}
