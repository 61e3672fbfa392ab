//! Heartbeats: what the agents of one lab tell each other, a datagram at a time, so that nominal time goes in lockstep everywhere.

use super::{split, Field, WireError};

/// "TB", what it is, and a version.
const PROTOCOL: [u8; 4] = [b'T', b'B', b'B', 1];
pub const HEARTBEAT_BYTES: usize = 95;

mod field {
    use super::Field;

    pub const PROTOCOL: Field<0, 4> = Field;
    pub const KEY: Field<4, 8> = Field;
    pub const FROM: Field<12, 2> = Field;
    pub const PHASE: Field<14, 1> = Field;
    pub const WORKLOAD: Field<15, 4> = Field;
    pub const AT: Field<19, 8> = Field;
    pub const PROGRESS: Field<27, 8> = Field;
    pub const FINISHED: Field<35, 4> = Field;
    pub const FINISH: Field<39, 8> = Field;
    pub const SENT: Field<47, 8> = Field;
    pub const ACCOUNTED: Field<55, 8> = Field;
    pub const WALL: Field<63, 8> = Field;
    pub const ECHO: Field<71, 8> = Field;
    pub const KEPT: Field<79, 8> = Field;
    pub const BEGIN: Field<87, 8> = Field;
}

/// How far an agent is with the workload that it has loaded.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Phase {
    #[default]
    Loaded,
    /// It may begin as far as this agent is concerned.
    Ready,
    Running,
}

/// Hold what one agent says. Nominal times are picoseconds since the workload began, wall times nanoseconds of the sender's clock.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Which run of which lab: others are not listened to.
    pub key: u64,
    /// The number of the agent that says so.
    pub from: u16,
    pub phase: Phase,
    /// The workload that is loaded, counted from 1 within the run.
    pub workload: u32,
    /// How far nominal time has come there, and when its ranks last got on.
    pub at_ps: u64,
    pub progress_ps: u64,
    /// The newest workload that its ranks have finished, and when they had.
    pub finished: u32,
    pub finish_ps: u64,
    /// Packets of this run that its NICs have sent, and those whose fate it knows.
    pub sent: u64,
    pub accounted: u64,
    /// When this was sent; what the receiver sent last, and for how long that has been here.
    pub wall_ns: u64,
    pub echo_ns: u64,
    pub kept_ns: u64,
    /// When the workload begins; 0 while that is open, and from all but the first agent.
    pub begin_ns: u64,
}

impl Heartbeat {
    pub fn build(&self) -> [u8; HEARTBEAT_BYTES] {
        let mut bytes = [0; HEARTBEAT_BYTES];
        field::PROTOCOL.set(&mut bytes, PROTOCOL);
        field::KEY.set(&mut bytes, self.key.to_be_bytes());
        field::FROM.set(&mut bytes, self.from.to_be_bytes());
        field::PHASE.set(&mut bytes, [self.phase as u8]);
        field::WORKLOAD.set(&mut bytes, self.workload.to_be_bytes());
        field::AT.set(&mut bytes, self.at_ps.to_be_bytes());
        field::PROGRESS.set(&mut bytes, self.progress_ps.to_be_bytes());
        field::FINISHED.set(&mut bytes, self.finished.to_be_bytes());
        field::FINISH.set(&mut bytes, self.finish_ps.to_be_bytes());
        field::SENT.set(&mut bytes, self.sent.to_be_bytes());
        field::ACCOUNTED.set(&mut bytes, self.accounted.to_be_bytes());
        field::WALL.set(&mut bytes, self.wall_ns.to_be_bytes());
        field::ECHO.set(&mut bytes, self.echo_ns.to_be_bytes());
        field::KEPT.set(&mut bytes, self.kept_ns.to_be_bytes());
        field::BEGIN.set(&mut bytes, self.begin_ns.to_be_bytes());
        bytes
    }
}

/// Read a datagram; `None` if it is something else than a heartbeat. What follows a heartbeat is ignored.
///
/// # Errors
/// `Truncated` if it is shorter than a heartbeat.
pub fn parse(datagram: &[u8]) -> Result<Option<Heartbeat>, WireError> {
    let (bytes, _) = split::<HEARTBEAT_BYTES>(datagram, "heartbeat")?;
    let phase = match field::PHASE.u8(bytes) {
        0 => Phase::Loaded,
        1 => Phase::Ready,
        2 => Phase::Running,
        _ => return Ok(None),
    };
    if field::PROTOCOL.get(bytes) != PROTOCOL {
        return Ok(None);
    }
    Ok(Some(Heartbeat {
        key: field::KEY.u64(bytes),
        from: field::FROM.u16(bytes),
        phase,
        workload: field::WORKLOAD.u32(bytes),
        at_ps: field::AT.u64(bytes),
        progress_ps: field::PROGRESS.u64(bytes),
        finished: field::FINISHED.u32(bytes),
        finish_ps: field::FINISH.u64(bytes),
        sent: field::SENT.u64(bytes),
        accounted: field::ACCOUNTED.u64(bytes),
        wall_ns: field::WALL.u64(bytes),
        echo_ns: field::ECHO.u64(bytes),
        kept_ns: field::KEPT.u64(bytes),
        begin_ns: field::BEGIN.u64(bytes),
    }))
}
