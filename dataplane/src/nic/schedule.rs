//! Execution of a rank's schedule: which ops may start, in what order sends and receives are posted.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::memory::Reduce;
use crate::units::Time;

/// One op; `qp` counts the connections of this rank.
#[derive(Clone, Debug)]
pub enum Op {
    Send { qp: usize, offset: u64, bytes: u64, remote: u64 },
    Recv { qp: usize, offset: u64, bytes: u64 },
    Reduce(Reduce),
    Copy { dst: u64, src: u64, bytes: u64 },
    Calc { duration: Time },
}

#[derive(Debug)]
struct Node {
    op: Op,
    /// Requirements not finished yet.
    waiting: usize,
    dependents: Vec<usize>,
}

/// Sends or receives of one connection, in op order: the k-th one is the k-th message whatever the order they become ready in.
#[derive(Debug, Default)]
struct Lane {
    ops: Vec<usize>,
    /// Ready ones, by position in `ops`.
    ready: Vec<bool>,
    /// Positions before this one are done: posted (sends) or finished (receives).
    done: usize,
}

#[derive(Debug, Default)]
struct Connection {
    sends: Lane,
    recvs: Lane,
    arrived: usize,
}

/// A dependency graph of ops, run by whoever calls `next` and reports what finished.
#[derive(Debug, Default)]
pub struct Schedule {
    nodes: Vec<Node>,
    /// Position of a send or recv within its lane.
    positions: Vec<usize>,
    connections: Vec<Connection>,
    runnable: VecDeque<usize>,
    sleeping: BinaryHeap<Reverse<(Time, usize)>>,
    /// Calcs that have ended, by op, and when.
    slept: Vec<(usize, Time)>,
    unfinished: usize,
}

/// What a rank has to do next.
#[derive(Debug)]
pub enum Action {
    /// Post message number `message` of connection `qp`.
    Send {
        qp: usize,
        offset: u64,
        bytes: u64,
        remote: u64,
    },
    Reduce {
        index: usize,
        reduce: Reduce,
    },
    Copy {
        index: usize,
        dst: u64,
        src: u64,
        bytes: u64,
    },
}

impl Schedule {
    /// Build from ops and, for each, the indices it requires (each below `ops.len()`; the plan is checked before).
    pub fn new(ops: Vec<(Op, Vec<usize>)>, connections: usize) -> Schedule {
        let mut schedule = Schedule { unfinished: ops.len(), ..Schedule::default() };
        schedule.connections.resize_with(connections, Connection::default);
        let mut dependents = vec![Vec::new(); ops.len()];
        for (index, (op, requires)) in ops.into_iter().enumerate() {
            for &required in &requires {
                dependents[required].push(index);
            }
            let position = match &op {
                Op::Send { qp, .. } => schedule.connections[*qp].sends.push(index),
                Op::Recv { qp, .. } => schedule.connections[*qp].recvs.push(index),
                _ => 0,
            };
            schedule.positions.push(position);
            schedule.nodes.push(Node { op, waiting: requires.len(), dependents: Vec::new() });
        }
        for (node, dependents) in schedule.nodes.iter_mut().zip(dependents) {
            node.dependents = dependents;
        }
        let roots = schedule.nodes.iter().enumerate().filter(|(_, node)| node.waiting == 0);
        schedule.runnable = roots.map(|(index, _)| index).collect();
        schedule
    }

    pub fn is_finished(&self) -> bool {
        self.unfinished == 0
    }

    /// How many ops have finished.
    pub fn finished(&self) -> u64 {
        (self.nodes.len() - self.unfinished) as u64
    }

    /// The calcs that have ended, by op, and when: in that order.
    pub fn slept(&self) -> &[(usize, Time)] {
        &self.slept
    }

    /// When the next `calc` ends.
    pub fn next_wake(&self) -> Time {
        self.sleeping.peek().map_or(Time::NEVER, |Reverse((at, _))| *at)
    }

    /// Finish the calcs that end at `now` or before.
    pub fn wake(&mut self, now: Time) {
        while self.next_wake() <= now {
            let Some(Reverse((_, index))) = self.sleeping.pop() else { return };
            self.slept.push((index, now));
            self.finish(index);
        }
    }

    /// What to do next at `now`; `None` when all that is left waits for the network or a calc.
    pub fn next(&mut self, now: Time) -> Option<Action> {
        while let Some(index) = self.runnable.pop_front() {
            match self.nodes[index].op {
                Op::Send { qp, .. } => {
                    let position = self.positions[index];
                    self.connections[qp].sends.ready[position] = true;
                    if let Some(action) = self.next_send(qp) {
                        return Some(action);
                    }
                }
                Op::Recv { qp, .. } => {
                    let position = self.positions[index];
                    self.connections[qp].recvs.ready[position] = true;
                    self.match_receives(qp);
                }
                Op::Reduce(reduce) => return Some(Action::Reduce { index, reduce }),
                Op::Copy { dst, src, bytes } => return Some(Action::Copy { index, dst, src, bytes }),
                Op::Calc { duration } => self.sleeping.push(Reverse((now + duration, index))),
            }
        }
        None
    }

    /// The oldest unposted send of `qp`, if it is ready. Call it again until it returns `None`.
    pub fn next_send(&mut self, qp: usize) -> Option<Action> {
        let lane = &mut self.connections[qp].sends;
        if !lane.ready.get(lane.done).copied().unwrap_or(false) {
            return None;
        }
        let index = lane.ops[lane.done];
        lane.done += 1;
        let Op::Send { offset, bytes, remote, .. } = self.nodes[index].op else { return None };
        Some(Action::Send { qp, offset, bytes, remote })
    }

    /// Where message number `message` of `qp` belongs, and its bytes; `None` if nobody expects it.
    pub fn receive_buffer(&self, qp: usize, message: u64) -> Option<(u64, u64)> {
        let lane = &self.connections.get(qp)?.recvs;
        let index = *lane.ops.get(usize::try_from(message).ok()?)?;
        match self.nodes[index].op {
            Op::Recv { offset, bytes, .. } => Some((offset, bytes)),
            _ => None,
        }
    }

    /// Whether the receive of message number `message` of `qp` has been posted: all that it required is finished.
    pub fn is_posted(&self, qp: usize, message: u64) -> bool {
        let ready = self.connections.get(qp).map(|connection| &connection.recvs.ready);
        ready.and_then(|ready| ready.get(usize::try_from(message).ok()?)).copied().unwrap_or(false)
    }

    /// A message arrived whole on `qp`.
    pub fn arrived(&mut self, qp: usize) {
        self.connections[qp].arrived += 1;
        self.match_receives(qp);
    }

    /// The send with message number `message` of `qp` was acknowledged.
    pub fn sent(&mut self, qp: usize, message: u64) {
        let index = self.connections[qp].sends.ops[message as usize];
        self.finish(index);
    }

    /// An op is over: those that waited for it alone may run.
    pub fn finish(&mut self, index: usize) {
        debug_assert!(self.unfinished > 0, "an op finishes once");
        self.unfinished -= 1;
        for dependent in std::mem::take(&mut self.nodes[index].dependents) {
            self.nodes[dependent].waiting -= 1;
            if self.nodes[dependent].waiting == 0 {
                self.runnable.push_back(dependent);
            }
        }
    }

    fn match_receives(&mut self, qp: usize) {
        loop {
            let Connection { recvs, arrived, .. } = &mut self.connections[qp];
            let ready = recvs.ready.get(recvs.done).copied().unwrap_or(false);
            if !ready || recvs.done >= *arrived {
                return;
            }
            let index = recvs.ops[recvs.done];
            recvs.done += 1;
            self.finish(index);
        }
    }
}

impl Lane {
    fn push(&mut self, index: usize) -> usize {
        self.ops.push(index);
        self.ready.push(false);
        self.ops.len() - 1
    }
}
