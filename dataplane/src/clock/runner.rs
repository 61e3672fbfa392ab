//! The thread that a real clock lives in, and the way others talk to it.

use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use super::real::{prepare_thread, RealClock, RealError};
use crate::io::{IoError, Waker};

/// Something to do with the clock between two turns of its loop.
type Command = Box<dyn FnOnce(&mut RealClock) + Send>;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error("the data plane has stopped: {0}")]
    Stopped(String),
}

/// A real clock at work, for any number of threads to talk to. Dropping it stops the thread and closes the sockets.
pub struct Runner {
    commands: Mutex<Option<Sender<Command>>>,
    waker: Waker,
    thread: Mutex<Option<JoinHandle<Result<(), IoError>>>>,
}

impl Runner {
    /// Start the loop of `clock` in a thread of its own.
    pub fn start(clock: RealClock) -> Result<Runner, RealError> {
        let waker = clock.waker();
        let (commands, inbox) = channel();
        let thread = std::thread::Builder::new().name("dataplane".into()).spawn(move || run(clock, &inbox));
        let thread = thread.map_err(|error| IoError::new("spawn", "the data plane's thread", error))?;
        Ok(Runner { commands: Mutex::new(Some(commands)), waker, thread: Mutex::new(Some(thread)) })
    }

    /// Have `work` done between two turns of the loop, and wait for its answer.
    pub fn call<T, F>(&self, work: F) -> Result<T, RunnerError>
    where
        T: Send + 'static,
        F: FnOnce(&mut RealClock) -> T + Send + 'static,
    {
        let (reply, answer) = channel();
        let command: Command = Box::new(move |clock| {
            // Nobody waits for the answer any more if the caller is gone; that is not the loop's concern.
            let _ = reply.send(work(clock));
        });
        let sent = lock(&self.commands).as_ref().is_some_and(|commands| commands.send(command).is_ok());
        if sent && self.waker.wake().is_ok() {
            if let Ok(answer) = answer.recv() {
                return Ok(answer);
            }
        }
        Err(RunnerError::Stopped(self.stop()))
    }

    /// Stop the loop and close its sockets; the answer says what went wrong in it, if anything did.
    pub fn stop(&self) -> String {
        *lock(&self.commands) = None;
        // If the waker fails the loop's own naps end the wait.
        let _ = self.waker.wake();
        match lock(&self.thread).take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(_)) => "its thread panicked".to_owned(),
            Some(Ok(Ok(()))) | None => "it was closed".to_owned(),
        }
    }
}

/// A lock whose holder panicked still guards a whole value here: each is replaced in one step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(mut clock: RealClock, inbox: &Receiver<Command>) -> Result<(), IoError> {
    prepare_thread()?;
    let result = loop {
        match inbox.try_recv() {
            Ok(command) => command(&mut clock),
            Err(std::sync::mpsc::TryRecvError::Disconnected) => break Ok(()),
            Err(std::sync::mpsc::TryRecvError::Empty) => {
                if let Err(error) = clock.turn() {
                    break Err(error);
                }
            }
        }
    };
    clock.close();
    result
}
