//! One reliable connection: what requester and responder keep, send again and ask for. Nothing here knows a port or another connection.

pub(super) mod blocks;
pub(super) mod chunks;
pub mod code;
pub mod message;
mod pending_naks;
pub mod qp;
pub mod requester;
mod resend;
pub mod responder;
mod round_trips;
