//! A frame that waits or flies.

use super::{Reason, Sender, Visitor};
use crate::frame::{Body, Frame, Packet};
use crate::wire::roce::{Opcode, Syndrome};

impl Frame {
    /// Visit a frame, which counts by all that it says.
    pub fn visit(&mut self, visitor: &mut impl Visitor) {
        let Frame {
            bytes,
            dst,
            src,
            len,
            entropy,
            ingress,
            payload_at,
            priority,
            group,
            dscp,
            ecn,
            of_kernel,
            detoured,
            unpadded,
            body,
        } = self;
        if bytes.is_some() {
            visitor.refuse(Reason::Payload);
        }
        visitor.same(u64::from(dst.0) << 32 | u64::from(src.0));
        let lengths = u64::from(*len) << 16 | u64::from(*payload_at);
        visitor.same(lengths << 32 | u64::from(*entropy) << 16 | u64::from(*ingress));
        let flags = u64::from(*of_kernel) << 2 | u64::from(*detoured) << 1 | u64::from(*unpadded);
        let class = u64::from(*dscp) << 16 | u64::from(priority.number()) << 8 | u64::from(group.number());
        visitor.same(flags << 32 | u64::from(*ecn) << 24 | class);
        match body {
            Body::Roce(packet) => {
                // What is acknowledged is numbered by whom the acknowledgement goes to.
                let station = if packet.opcode == Opcode::Ack { *dst } else { *src };
                visit_packet(packet, Sender { station, qpn: packet.dst_qp }, visitor);
            }
            Body::Pause(_) => visitor.refuse(Reason::Pauses),
            Body::Credit(_) => visitor.refuse(Reason::Credits),
            Body::Opaque => visitor.same(0),
        }
    }
}

fn visit_packet(packet: &mut Packet, sender: Sender, visitor: &mut impl Visitor) {
    let Packet { va, dst_qp, psn, dma_bytes, msn, syndrome, opcode, pad, ack_request, marked } = packet;
    let credits = match syndrome {
        Syndrome::Ack { credits } => *credits,
        Syndrome::RnrNak { .. } | Syndrome::Nak(_) => return visitor.refuse(Reason::Losses),
    };
    match opcode {
        // Nothing numbers these.
        Opcode::Cnp => visitor.refuse(Reason::Congestion),
        Opcode::Parity => visitor.refuse(Reason::Coding),
        _ => visitor.psn(sender, psn),
    }
    visitor.same(*va);
    visitor.same(u64::from(*dst_qp) << 32 | u64::from(*dma_bytes));
    let kind = u64::from(credits) << 24
        | (*opcode as u64) << 16
        | u64::from(*pad) << 8
        | u64::from(*marked) << 1
        | u64::from(*ack_request);
    visitor.same(u64::from(*msn) << 32 | kind);
}
