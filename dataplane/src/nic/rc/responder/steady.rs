//! What a period does to the receiving end of a connection.

use super::Responder;
use crate::steady::{Reason, Sender, Visitor};

impl Responder {
    /// `sender` numbers the packets that come.
    pub fn visit(&mut self, visitor: &mut impl Visitor, sender: Sender) {
        let Responder {
            recovery: _,
            window: _,
            expected,
            asked,
            kept,
            wanted,
            overtaken,
            blocks,
            attempts,
            arrived,
            offset,
            bytes,
            inside,
            refused,
            deferred,
        } = self;
        if blocks.is_some() || attempts.is_some() {
            visitor.refuse(Reason::Coding);
        }
        if !kept.is_empty() || !wanted.is_empty() || !overtaken.is_empty() || *deferred {
            visitor.refuse(Reason::Losses);
        }
        visitor.fixed(*arrived, Reason::Messages);
        visitor.fixed(u64::from(*refused), Reason::Losses);
        visitor.same(u64::from(*inside));
        [expected, asked].into_iter().for_each(|number| visitor.number(sender, number));
        [offset, bytes].into_iter().for_each(|count| visitor.count(count));
    }
}
