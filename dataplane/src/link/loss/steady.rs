//! What a period does to a loss process: the next loss is drawn when the last one has been, so that it is known when it is due.

use super::{Codewords, Loss};
use crate::steady::{Reason, Visitor};
use crate::units::{Rate, Time};
use crate::wire::sizes::LONGEST_ON_LINE_BYTES;

impl Loss {
    pub fn visit(&mut self, visitor: &mut impl Visitor, now: Time) {
        match self {
            Loss::None => {}
            Loss::Bernoulli(bernoulli) => visitor.countdown(&mut bernoulli.passing),
            // It moves with every frame.
            Loss::GilbertElliott(_) => visitor.refuse(Reason::RandomLinks),
            Loss::Codewords(codewords) => codewords.visit(visitor, now),
        }
    }
}

impl Codewords {
    fn visit(&mut self, visitor: &mut impl Visitor, now: Time) {
        let Codewords { mean_gap_ps: _, burst: _, rate_bps, next, dead } = self;
        if *dead > now {
            return visitor.refuse(Reason::Losses);
        }
        // Of one that has passed on an idle line the next frame draws another.
        if *next <= now {
            return visitor.fixed(next.ps(), Reason::Losses);
        }
        // A frame that starts before it can still be on the line then.
        let rate = Rate::from_bps(*rate_bps);
        let longest = rate.map_or(Time::NEVER, |rate| rate.serialisation(LONGEST_ON_LINE_BYTES as u64));
        visitor.until(next.since(longest));
    }
}
