//! Waiting for many sockets at once, to the nanosecond, with a way to be woken from another thread.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;

use super::{IoError, PacketSocket};

/// Sockets reported by one wait; the rest are reported by the next.
const EVENTS_MAX: usize = 256;

/// The token of the waker's own descriptor; sockets have 32-bit tokens.
const WAKER_TOKEN: u64 = u64::MAX;

/// The token under which the socket for heartbeats is reported.
pub const HEARTBEATS_TOKEN: u32 = u32::MAX;

const SUBJECT: &str = "the poller";

/// A socket that has something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The number it was added under.
    pub token: u32,
    /// Frames wait, or an error does that the next `recv` collects.
    pub readable: bool,
    /// There is room to send; reported only while asked for.
    pub writable: bool,
}

/// What of a socket is to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Frames that wait.
    pub readable: bool,
    /// Room to send: for a socket whose flush left frames.
    pub writable: bool,
}

/// Interrupts the wait of a poller from any thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// Make the poller's present wait, or else its next one, return at once. Many calls count as one.
    pub fn wake(&self) -> Result<(), IoError> {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the kernel reads the eight bytes during the call.
        let written = unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        // A counter too full to add to is as good as one added to: the poller wakes.
        if written < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EAGAIN) {
            return Err(IoError::last("write to eventfd", SUBJECT));
        }
        Ok(())
    }
}

/// A set of sockets to wait on, level-triggered: what is not read is reported again.
pub struct Poller {
    epoll: OwnedFd,
    event: Arc<OwnedFd>,
    events: Vec<libc::epoll_event>,
    ready: Vec<Ready>,
    has_epoll_pwait2: bool,
}

impl Poller {
    pub fn new() -> Result<Self, IoError> {
        // SAFETY: no pointers.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }, "epoll_create1")?;
        // SAFETY: no pointers.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        let event = Arc::new(owned(event, "eventfd")?);
        let poller = Self {
            epoll,
            event,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX],
            ready: Vec::with_capacity(EVENTS_MAX),
            has_epoll_pwait2: true,
        };
        poller.control(libc::EPOLL_CTL_ADD, poller.event.as_raw_fd(), libc::EPOLLIN, WAKER_TOKEN, SUBJECT)?;
        Ok(poller)
    }

    /// Watch `socket` for frames and report it under `token`. A socket that is closed is forgotten by itself.
    pub fn add(&self, socket: &PacketSocket, token: u32) -> Result<(), IoError> {
        self.control(libc::EPOLL_CTL_ADD, socket.raw_fd(), libc::EPOLLIN, token.into(), socket.subject())
    }

    /// Watch the socket by which agents keep step, and report it under `HEARTBEATS_TOKEN`.
    pub fn add_heartbeats(&self, socket: &UdpSocket) -> Result<(), IoError> {
        self.control(
            libc::EPOLL_CTL_ADD,
            socket.as_raw_fd(),
            libc::EPOLLIN,
            HEARTBEATS_TOKEN.into(),
            "the socket for heartbeats",
        )
    }

    /// Watch `socket` under `token`, whether or not it is watched already under another, for what `interest` says.
    pub fn watch(&self, socket: &PacketSocket, token: u32, interest: Interest) -> Result<(), IoError> {
        let readable = if interest.readable { libc::EPOLLIN } else { 0 };
        let writable = if interest.writable { libc::EPOLLOUT } else { 0 };
        let set =
            |operation| self.control(operation, socket.raw_fd(), readable | writable, token.into(), socket.subject());
        match set(libc::EPOLL_CTL_MOD) {
            Err(error) if error.errno() == Some(libc::ENOENT) => set(libc::EPOLL_CTL_ADD),
            result => result,
        }
    }

    /// Stop watching `socket`.
    pub fn remove(&self, socket: &PacketSocket) -> Result<(), IoError> {
        self.control(libc::EPOLL_CTL_DEL, socket.raw_fd(), 0, 0, socket.subject())
    }

    fn control(&self, operation: i32, fd: RawFd, interest: i32, token: u64, subject: &str) -> Result<(), IoError> {
        let mut event = libc::epoll_event { events: interest as u32, u64: token };
        // SAFETY: the kernel reads the event during the call.
        if unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &mut event) } != 0 {
            return Err(IoError::last("epoll_ctl", subject));
        }
        Ok(())
    }

    /// A handle by which other threads interrupt `wait`.
    pub fn waker(&self) -> Waker {
        Waker { event: Arc::clone(&self.event) }
    }

    /// Wait until a socket is ready, a waker calls, a signal arrives, or `timeout_ns` of wall time is over.
    ///
    /// Time-out 0 looks without waiting. The answer is empty in all cases but the first. The kernel ends a wait late
    /// by the thread's timer slack, 50 µs unless `set_timer_slack_ns` says less.
    pub fn wait(&mut self, timeout_ns: u64) -> Result<&[Ready], IoError> {
        let count = match self.wait_events(timeout_ns) {
            Ok(count) => count,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => 0,
            Err(error) => return Err(IoError::new("epoll_pwait2", SUBJECT, error)),
        };
        self.ready.clear();
        for event in &self.events[..count] {
            let (token, flags) = (event.u64, event.events as i32);
            if token == WAKER_TOKEN {
                self.drain_waker();
                continue;
            }
            self.ready.push(Ready {
                token: token as u32,
                readable: flags & (libc::EPOLLIN | libc::EPOLLERR | libc::EPOLLHUP) != 0,
                writable: flags & libc::EPOLLOUT != 0,
            });
        }
        Ok(&self.ready)
    }

    fn wait_events(&mut self, timeout_ns: u64) -> io::Result<usize> {
        if timeout_ns == 0 {
            return self.fetch();
        }
        let timeout = libc::timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (timeout_ns % 1_000_000_000) as libc::c_long,
        };
        if self.has_epoll_pwait2 {
            match self.epoll_pwait2(&timeout) {
                // Linux before 5.11, or a container's seccomp list from before it.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    self.has_epoll_pwait2 = false;
                }
                answer => return answer,
            }
        }
        self.ppoll(&timeout)?;
        self.fetch()
    }

    fn epoll_pwait2(&mut self, timeout: &libc::timespec) -> io::Result<usize> {
        // By number: C libraries older than the system call have no wrapper.
        // SAFETY: the kernel reads the timeout and writes at most EVENTS_MAX events, both ours, during the call.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX as libc::c_int,
                ptr::from_ref(timeout),
                ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Sleep on the epoll descriptor itself: ppoll counts in nanoseconds where epoll_wait has milliseconds.
    fn ppoll(&self, timeout: &libc::timespec) -> io::Result<()> {
        let mut watched = libc::pollfd { fd: self.epoll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd and the timeout, both valid for the call.
        if unsafe { libc::ppoll(&mut watched, 1, timeout, ptr::null()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn fetch(&mut self) -> io::Result<usize> {
        let epoll = self.epoll.as_raw_fd();
        // SAFETY: the kernel writes at most EVENTS_MAX events, ours, during the call.
        let count = unsafe { libc::epoll_wait(epoll, self.events.as_mut_ptr(), EVENTS_MAX as libc::c_int, 0) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn drain_waker(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the kernel writes at most eight bytes, ours, during the call. That nothing is left to read is the
        // state wanted, so that the answer does not matter.
        unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

/// Let the calling thread's sleeps end at most `slack_ns` late (at least 1), instead of the usual 50 µs.
pub fn set_timer_slack_ns(slack_ns: u32) -> Result<(), IoError> {
    // To the kernel 0 means the default.
    let slack = libc::c_ulong::from(slack_ns.max(1));
    // SAFETY: the option takes one integer.
    if unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack) } != 0 {
        return Err(IoError::last("PR_SET_TIMERSLACK", "the calling thread"));
    }
    Ok(())
}

fn owned(fd: RawFd, operation: &'static str) -> Result<OwnedFd, IoError> {
    if fd < 0 {
        return Err(IoError::last(operation, SUBJECT));
    }
    // SAFETY: the descriptor was opened just now and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const LONG_NS: u64 = 60_000_000_000;

    fn both_ways() -> [Poller; 2] {
        let mut old_kernel = Poller::new().unwrap();
        old_kernel.has_epoll_pwait2 = false;
        [Poller::new().unwrap(), old_kernel]
    }

    #[test]
    fn a_wait_lasts_its_time_and_no_less() {
        for mut poller in both_ways() {
            for timeout_ns in [0, 1, 200_000, 1_500_000] {
                let start = Instant::now();
                assert!(poller.wait(timeout_ns).unwrap().is_empty());
                assert!(start.elapsed() >= Duration::from_nanos(timeout_ns));
            }
        }
    }

    #[test]
    fn a_wake_before_the_wait_is_kept_and_used_up_once() {
        for mut poller in both_ways() {
            let waker = poller.waker();
            waker.wake().unwrap();
            waker.clone().wake().unwrap();
            assert!(poller.wait(LONG_NS).unwrap().is_empty());
            let start = Instant::now();
            poller.wait(1_000_000).unwrap();
            assert!(start.elapsed() >= Duration::from_millis(1), "the second wake was still there");
        }
    }

    #[test]
    fn another_thread_ends_a_long_wait() {
        for mut poller in both_ways() {
            let waker = poller.waker();
            let start = Instant::now();
            std::thread::scope(|scope| {
                scope.spawn(|| waker.wake().unwrap());
                assert!(poller.wait(LONG_NS).unwrap().is_empty());
            });
            assert!(start.elapsed() < Duration::from_nanos(LONG_NS));
        }
    }
}
