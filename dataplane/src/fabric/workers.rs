//! Threads that run shards side by side. A shard is sent to its thread for a turn and comes back: between two turns the caller has
//! all of them.

use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use super::shard::Shard;
use crate::units::Time;

/// A turn with fewer events than this is not worth waking a thread: handing a shard over and back takes as long as a hundred events.
const WORTHWHILE_EVENTS: u64 = 500;

/// A shard, how far it is to be run, and how many events that took.
struct Turn {
    shard: Shard,
    until: Time,
    events: u64,
}

#[derive(Debug)]
struct Worker {
    work: Sender<Turn>,
    /// Only ever reached through `&mut`; the lock makes a fabric fit to be shared with Python.
    done: Mutex<Receiver<Turn>>,
    thread: Option<JoinHandle<()>>,
}

/// One thread for every shard but the first, which the caller's thread runs. Threads start when there is enough to do, and end with
/// the pool.
#[derive(Debug, Default)]
pub(super) struct WorkerPool {
    workers: Vec<Worker>,
    /// Events of the last turn: the best guess of how many the next one has.
    last: u64,
}

impl WorkerPool {
    /// Run all shards until `until`; the answer is the number of events.
    pub fn run(&mut self, shards: &mut Vec<Shard>, until: Time) -> u64 {
        let busy = shards.iter().filter(|shard| shard.queue.next() <= until).count();
        self.last = if busy > 1 && self.last >= WORTHWHILE_EVENTS {
            self.run_apart(shards, until)
        } else {
            shards.iter_mut().map(|shard| shard.run(until, u64::MAX)).sum()
        };
        self.last
    }

    fn run_apart(&mut self, shards: &mut Vec<Shard>, until: Time) -> u64 {
        while self.workers.len() + 1 < shards.len() {
            self.workers.push(Worker::start());
        }
        let away = shards.split_off(1);
        let out = away.len();
        for (worker, shard) in self.workers.iter_mut().zip(away) {
            worker.send(Turn { shard, until, events: 0 });
        }
        let mut events = shards[0].run(until, u64::MAX);
        for worker in &mut self.workers[..out] {
            let turn = worker.receive();
            events += turn.events;
            shards.push(turn.shard);
        }
        events
    }
}

impl Worker {
    fn start() -> Worker {
        let (work, inbox) = channel::<Turn>();
        let (outbox, done) = channel();
        let thread = std::thread::spawn(move || {
            for mut turn in inbox {
                turn.events = turn.shard.run(turn.until, u64::MAX);
                if outbox.send(turn).is_err() {
                    return;
                }
            }
        });
        Worker { work, done: Mutex::new(done), thread: Some(thread) }
    }

    fn send(&mut self, turn: Turn) {
        if self.work.send(turn).is_err() {
            self.fail();
        }
    }

    fn receive(&mut self) -> Turn {
        match self.done.get_mut().unwrap_or_else(PoisonError::into_inner).recv() {
            Ok(turn) => turn,
            Err(_) => self.fail(),
        }
    }

    /// The thread is gone, and a shard with it: a node panicked. Panic as it did.
    #[expect(clippy::panic, reason = "a thread ends by a panic alone while it has work: its sender is in our hand")]
    fn fail(&mut self) -> ! {
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            _ => panic!("a thread of the fabric ended while it had work"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The thread ends when nobody can give it work any more.
        let (nobody, _) = channel();
        self.work = nobody;
        if let Some(thread) = self.thread.take() {
            // If it panicked, whoever waited for its shard was told.
            let _ = thread.join();
        }
    }
}
