//! What is wrong with a trace in which something waits for ever.

use std::io;

use super::found::{MatchFault, Place};
use super::matching::Matching;
use super::waiting::Waiting;
use super::{Op, ANY_SOURCE};

const MOST_FAULTS: usize = 10;

impl Matching {
    /// What is left when nothing more can happen: messages that nobody receives first, then who waits for what.
    pub(super) fn stuck(&mut self) -> io::Result<Vec<MatchFault>> {
        let mut faults = Vec::new();
        let waiting: Vec<Place> = self.unexpected.iter().flat_map(Waiting::all).take(MOST_FAULTS).collect();
        for place in waiting {
            let Op { amount, tag, peer, line, .. } = self.record(place)?.op;
            let message = format!("sends {amount} bytes with tag {tag} to rank {peer}, which does not receive them");
            faults.push(MatchFault { rank: place.0, op: Some((place.1, line)), message, other: None });
        }
        let posted = self.posted.iter().zip(0_u32..);
        let posted = posted.flat_map(|(posted, rank)| posted.all().into_iter().map(move |op| (rank, op)));
        let posted: Vec<Place> = posted.take(MOST_FAULTS).collect();
        for place in posted {
            let op = self.record(place)?.op;
            let source = if op.peer == ANY_SOURCE { "any rank".into() } else { format!("rank {}", op.peer) };
            let tag = if op.any_tag { "any tag".into() } else { format!("tag {}", op.tag) };
            let message = format!("receives {} bytes with {tag} from {source}, and no rank sends them", op.amount);
            faults.push(MatchFault { rank: place.0, op: Some((place.1, op.line)), message, other: None });
        }
        if faults.is_empty() {
            let never = self.begun.iter().zip(0_u32..).zip(self.spool.ranks());
            let never = never.filter_map(|(((_, bits), rank), extent)| Some((rank, first_clear(bits, extent.ops)?)));
            let never: Vec<Place> = never.take(MOST_FAULTS).collect();
            for place in never {
                let line = self.record(place)?.op.line;
                let message = "waits for itself, through the ops that it comes after".into();
                faults.push(MatchFault { rank: place.0, op: Some((place.1, line)), message, other: None });
            }
        }
        faults.truncate(MOST_FAULTS);
        Ok(faults)
    }
}

/// The first of so many bits that is not set.
fn first_clear(bits: &[u64], ops: u32) -> Option<u32> {
    let (place, word) = bits.iter().enumerate().find(|(place, word)| {
        let whole = (*place as u64 + 1) * 64 <= u64::from(ops);
        **word != if whole { u64::MAX } else { (1 << (ops % 64)) - 1 }
    })?;
    Some(place as u32 * 64 + word.trailing_ones())
}
