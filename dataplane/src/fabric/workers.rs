//! Threads that run shards side by side. In a stint every thread has its shard to itself: all run a turn, meet, take in what was sent
//! to them, and run the next, until the fabric is to be looked at. Between two stints the caller has all shards.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::meeting::{Broken, Meeting};
use super::shard::{Crossing, Shard};
use crate::units::Time;

/// After so many turns it shows whether they are worth a meeting.
const TRIED_TURNS: u64 = 16;

/// What shards have to do until they are looked at.
#[derive(Copy, Clone, Debug)]
pub(super) struct Order {
    /// When the first event is due.
    pub next: Time,
    pub until: Time,
    /// What a shard does has no effect on another for longer than this.
    pub lookahead: Time,
    /// The stint ends with the turn in which there were so many events.
    pub budget: u64,
    /// It ends, too, if turns have fewer events than this,
    pub least_events: u64,
    /// or if threads take longer than this for an event, in nanoseconds.
    pub most_ns: f64,
}

/// What became of an order.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Stint {
    pub turns: u64,
    pub events: u64,
    /// Events of the shard that had most, summed over the turns: what the others waited for.
    pub longest: u64,
}

impl Order {
    /// The end of the turn in which the next event of any shard is due at `next`. What is sent in it arrives later: not before `next`
    /// and the lookahead, and a frame takes its time on the line as well.
    fn turn(&self, next: Time) -> Time {
        self.until.min(next + self.lookahead)
    }

    /// Whether the stint is over before the turn that begins at `next`.
    fn is_over(&self, next: Time, stint: &Stint) -> bool {
        let is_thin = stint.turns >= TRIED_TURNS && stint.events < stint.turns * self.least_events;
        next > self.until || next == Time::NEVER || stint.events >= self.budget || is_thin
    }
}

impl Stint {
    fn count(&mut self, events: u64, longest: u64) {
        self.turns += 1;
        self.events += events;
        self.longest += longest;
    }
}

/// Do as threads would, in the caller's: one shard after the other, turn by turn.
pub(super) fn run_together(shards: &mut [Shard], order: &Order) -> Stint {
    let (mut stint, mut next) = (Stint::default(), order.next);
    while !order.is_over(next, &stint) {
        let until = order.turn(next);
        let events = shards.iter_mut().map(|shard| shard.run(until, u64::MAX));
        let (events, longest) = events.fold((0, 0), |(all, most), events| (all + events, u64::max(most, events)));
        stint.count(events, longest);
        exchange(shards);
        next = shards.iter().map(|shard| shard.queue.next()).min().unwrap_or(Time::NEVER);
    }
    stint
}

/// Hand over the frames that left a shard for another one.
pub(super) fn exchange(shards: &mut [Shard]) {
    for from in 0..shards.len() {
        for to in 0..shards[from].outboxes.len() {
            if !shards[from].outboxes[to].is_empty() {
                let mut crossings = std::mem::take(&mut shards[from].outboxes[to]);
                shards[to].accept(&mut crossings);
                shards[from].outboxes[to] = crossings;
            }
        }
    }
}

/// What a shard has to say after a turn.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Seat {
    /// When the next event is due that it knows of.
    next: AtomicU64,
    events: AtomicU64,
    /// At the first seat: the stint takes too long. All go by one clock, so that all end at the same turn.
    is_slow: AtomicBool,
}

/// What threads share that run shards side by side. Seats and letters are there twice, for every other turn: who is ahead writes
/// for the next turn while others still read about the last.
#[derive(Debug)]
struct Table {
    meeting: Meeting,
    seats: Vec<[Seat; 2]>,
    /// By sender, then by receiver.
    letters: Vec<[Mutex<Vec<Crossing>>; 2]>,
    /// Where shards are handed over, for a stint and back.
    places: Vec<Mutex<Option<Shard>>>,
    order: Mutex<Option<Order>>,
}

/// A lock whose holder panicked still guards a whole value here; nobody goes on after a panic but to pass it on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Breaks up a meeting when its holder panics.
struct Attendance<'a>(&'a Meeting);

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.break_up();
        }
    }
}

impl Table {
    fn new(shards: usize) -> Table {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Table {
            meeting: Meeting::new(shards, cores),
            seats: (0..shards).map(|_| Default::default()).collect(),
            letters: (0..shards * shards).map(|_| Default::default()).collect(),
            places: (0..shards).map(|_| Mutex::default()).collect(),
            order: Mutex::default(),
        }
    }

    fn shards(&self) -> usize {
        self.seats.len()
    }

    /// Run a shard turn by turn with those of the other threads. All reckon from the same figures, and so end at the same turn.
    fn run(&self, number: usize, shard: &mut Shard, order: &Order, count: &mut u64) -> Result<Stint, Broken> {
        let _attendance = Attendance(&self.meeting);
        let (mut stint, mut next) = (Stint::default(), order.next);
        let (start, mut is_slow) = (Instant::now(), false);
        while !order.is_over(next, &stint) && !is_slow {
            let side = stint.turns as usize % 2;
            let events = shard.run(order.turn(next), u64::MAX);
            self.post(number, side, shard, events);
            if number == 0 && stint.turns >= TRIED_TURNS {
                let most_ns = order.most_ns * (stint.events + events) as f64;
                self.seats[0][side].is_slow.store(start.elapsed().as_nanos() as f64 > most_ns, Ordering::Relaxed);
            }
            self.meeting.wait(count)?;
            (0..self.shards())
                .for_each(|from| shard.accept(&mut lock(&self.letters[from * self.shards() + number][side])));
            let seats = self.seats.iter().map(|seat| &seat[side]);
            let events = seats.clone().map(|seat| seat.events.load(Ordering::Relaxed));
            let (events, longest) = events.fold((0, 0), |(all, most), events| (all + events, u64::max(most, events)));
            stint.count(events, longest);
            let nexts = seats.map(|seat| seat.next.load(Ordering::Relaxed));
            next = Time::from_ps(nexts.min().unwrap_or(u64::MAX));
            is_slow = self.seats[0][side].is_slow.load(Ordering::Relaxed);
        }
        Ok(stint)
    }

    /// Leave for the others what they need to go on.
    fn post(&self, number: usize, side: usize, shard: &mut Shard, events: u64) {
        let mut next = shard.queue.next();
        for (to, crossings) in shard.outboxes.iter_mut().enumerate().filter(|(_, crossings)| !crossings.is_empty()) {
            next = crossings.iter().map(|crossing| crossing.arrival).fold(next, Time::min);
            std::mem::swap(&mut *lock(&self.letters[number * self.seats.len() + to][side]), crossings);
        }
        self.seats[number][side].next.store(next.ps(), Ordering::Relaxed);
        self.seats[number][side].events.store(events, Ordering::Relaxed);
    }

    /// What a thread does from its start on: a stint for every order, until the table is broken up.
    fn serve(&self, number: usize) {
        let mut count = 0;
        while self.meeting.wait(&mut count).is_ok() {
            let order = *lock(&self.order);
            let shard = lock(&self.places[number]).take();
            let (Some(order), Some(mut shard)) = (order, shard) else { return };
            if self.run(number, &mut shard, &order, &mut count).is_err() {
                return;
            }
            *lock(&self.places[number]) = Some(shard);
            if self.meeting.wait(&mut count).is_err() {
                return;
            }
        }
    }
}

/// A thread for every shard but the first, which the caller's thread runs.
#[derive(Debug)]
pub(super) struct WorkerPool {
    table: Arc<Table>,
    threads: Vec<JoinHandle<()>>,
    /// How many meetings the caller was at.
    count: u64,
}

impl WorkerPool {
    /// Start the threads for so many shards.
    pub fn start(shards: usize) -> WorkerPool {
        let table = Arc::new(Table::new(shards));
        let start = |number| {
            let table = Arc::clone(&table);
            std::thread::spawn(move || table.serve(number))
        };
        WorkerPool { threads: (1..shards).map(start).collect(), table, count: 0 }
    }

    /// For how many shards there are threads.
    pub fn shards(&self) -> usize {
        self.table.shards()
    }

    /// Whether who comes early to a meeting spins.
    pub fn spins(&self) -> bool {
        self.table.meeting.spins()
    }

    /// Carry out an order.
    pub fn run(&mut self, shards: &mut Vec<Shard>, order: &Order) -> Stint {
        debug_assert_eq!(shards.len(), self.shards());
        *lock(&self.table.order) = Some(*order);
        self.table.seats[0].iter().for_each(|seat| seat.is_slow.store(false, Ordering::Relaxed));
        for (place, shard) in self.table.places.iter().skip(1).zip(shards.drain(1..)) {
            *lock(place) = Some(shard);
        }
        match self.attend(&mut shards[0], order) {
            Ok(stint) => {
                shards.extend(self.table.places.iter().filter_map(|place| lock(place).take()));
                stint
            }
            Err(Broken) => self.fail(),
        }
    }

    fn attend(&mut self, first: &mut Shard, order: &Order) -> Result<Stint, Broken> {
        self.table.meeting.wait(&mut self.count)?;
        let stint = self.table.run(0, first, order, &mut self.count)?;
        self.table.meeting.wait(&mut self.count)?;
        Ok(stint)
    }

    /// A node panicked in a thread. Panic as it did.
    #[expect(clippy::panic, reason = "a meeting is broken up by a panic alone while the pool is there")]
    fn fail(&mut self) -> ! {
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        panic!("a thread of the fabric ended while it had work")
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.table.meeting.break_up();
        for thread in self.threads.drain(..) {
            // If it panicked, whoever waited for its shard was told.
            let _ = thread.join();
        }
    }
}
