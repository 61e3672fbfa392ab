//! Where threads that run shards meet between two turns. Who comes early spins, for a meeting is seldom long in coming; then it
//! sleeps. It does not spin where cores are wanting: it would keep from its core the thread that it waits for.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// Looks without leaving the core, some 2 µs of them. After that, looks between which another thread may have the core.
const LOOKS: u32 = 128;
/// Sleeping and being woken takes about 25 µs: waiting up to twice as long for that is worth it.
const PATIENCE: Duration = Duration::from_micros(50);
/// Who gave the core away for as long as this gave it to a thread that had work for it, not to an interrupt.
const AWAY: Duration = Duration::from_micros(200);
/// Then nobody spins for a while.
const CROWDED: Duration = Duration::from_millis(10);

/// A party of the meeting panicked, and will never come.
#[derive(Debug)]
pub(super) struct Broken;

/// A place where `parties` threads wait for one another, again and again. Each counts the meetings that it was at.
#[derive(Debug)]
pub(super) struct Meeting {
    parties: usize,
    arrived: AtomicUsize,
    /// How many meetings there were.
    held: AtomicU64,
    broken: AtomicBool,
    /// How many wait for the bell.
    asleep: AtomicUsize,
    lock: Mutex<()>,
    bell: Condvar,
    made: Instant,
    /// Until when nobody spins, in nanoseconds after `made`.
    crowded_until: AtomicU64,
    may_spin: bool,
}

impl Meeting {
    /// A meeting of `parties` threads on a machine of `cores`.
    pub fn new(parties: usize, cores: usize) -> Meeting {
        Meeting {
            parties,
            arrived: AtomicUsize::new(0),
            held: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
            lock: Mutex::new(()),
            bell: Condvar::new(),
            made: Instant::now(),
            crowded_until: AtomicU64::new(0),
            may_spin: parties <= cores,
        }
    }

    /// Wait for all parties. `count` is how many meetings the caller was at.
    pub fn wait(&self, count: &mut u64) -> Result<(), Broken> {
        let before = *count;
        *count += 1;
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.parties {
            self.arrived.store(0, Ordering::Relaxed);
            self.held.store(*count, Ordering::SeqCst);
            self.wake();
        } else if !(self.spins() && self.spin(before)) {
            self.sleep(before);
        }
        if self.broken.load(Ordering::Acquire) {
            return Err(Broken);
        }
        Ok(())
    }

    /// Let everybody go who waits or ever will: a party will not come any more.
    pub fn break_up(&self) {
        self.broken.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether who waits spins: there is a core for each party, and lately nobody else wanted one of them.
    pub fn spins(&self) -> bool {
        self.may_spin && self.age() >= self.crowded_until.load(Ordering::Relaxed)
    }

    fn age(&self) -> u64 {
        self.made.elapsed().as_nanos() as u64
    }

    fn is_over(&self, before: u64) -> bool {
        self.held.load(Ordering::SeqCst) != before || self.broken.load(Ordering::SeqCst)
    }

    /// Look until the meeting is over, for a while. Returns whether it is.
    fn spin(&self, before: u64) -> bool {
        for _ in 0..LOOKS {
            if self.is_over(before) {
                return true;
            }
            std::hint::spin_loop();
        }
        let mut looked = Instant::now();
        let give_up = looked + PATIENCE;
        loop {
            yield_now();
            let now = Instant::now();
            if now.duration_since(looked) > AWAY {
                self.crowded_until.store(self.age() + CROWDED.as_nanos() as u64, Ordering::Relaxed);
                return self.is_over(before);
            }
            if self.is_over(before) {
                return true;
            }
            if now > give_up {
                return false;
            }
            looked = now;
        }
    }

    fn sleep(&self, before: u64) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.fetch_add(1, Ordering::SeqCst);
        while !self.is_over(before) {
            guard = self.bell.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whoever fell asleep saw the meeting not over after it was counted as asleep: one of the two sees the other.
    fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) > 0 || self.broken.load(Ordering::SeqCst) {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.bell.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Have `parties` threads meet `times`, each adding to a sum before; return what each saw of it after each meeting.
    fn meet(parties: usize, cores: usize, times: u64) -> Vec<Vec<u64>> {
        let (meeting, sum) = (Meeting::new(parties, cores), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let party = |_| {
                scope.spawn(|| {
                    let mut count = 0;
                    let turn = |_| {
                        sum.fetch_add(1, Ordering::Relaxed);
                        meeting.wait(&mut count).expect("nobody panics");
                        let seen = sum.load(Ordering::Relaxed);
                        meeting.wait(&mut count).expect("nobody panics");
                        seen
                    };
                    (0..times).map(turn).collect()
                })
            };
            let threads: Vec<_> = (0..parties).map(party).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        })
    }

    #[test]
    fn nobody_goes_on_before_all_have_come() {
        for (parties, cores) in [(1, 1), (2, 2), (2, 1), (5, 8), (5, 2)] {
            let expected: Vec<u64> = (1..=200).map(|turn| turn * parties as u64).collect();
            for seen in meet(parties, cores, 200) {
                assert_eq!(seen, expected, "{parties} parties, {cores} cores");
            }
        }
    }

    #[test]
    fn nobody_spins_where_cores_are_wanting() {
        assert!(Meeting::new(2, 2).spins() && !Meeting::new(3, 2).spins());
        let crowded = Meeting::new(2, 2);
        crowded.crowded_until.store(u64::MAX, Ordering::Relaxed);
        assert!(!crowded.spins());
    }

    #[test]
    fn who_waits_for_a_party_that_will_not_come_is_let_go() {
        for cores in [1, 3] {
            let meeting = Meeting::new(3, cores);
            std::thread::scope(|scope| {
                let waiting = [(); 2].map(|()| scope.spawn(|| meeting.wait(&mut 0).is_err()));
                meeting.break_up();
                assert_eq!(waiting.map(|thread| thread.join().expect("it does not panic")), [true; 2]);
            });
            assert!(meeting.wait(&mut 0).is_err(), "nor does anybody wait later");
        }
    }
}
