//! Work inside another network namespace.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;

use super::IoError;

/// Run `work` inside the network namespace at `netns` and return what it returns.
///
/// A socket belongs for life to the namespace it was opened in, so that a visit is enough. The visit is made by a
/// thread of its own: `setns` changes the calling thread only, and a thread that failed to come back would open
/// everything after it in the wrong place. Costs one thread start, some 50 µs.
///
/// Fails when the namespace cannot be opened or entered (it takes CAP_SYS_ADMIN), or with the error of `work`.
pub fn open_in<T, F>(netns: &Path, work: F) -> Result<T, IoError>
where
    T: Send,
    F: FnOnce() -> Result<T, IoError> + Send,
{
    thread::scope(|scope| {
        let visitor = thread::Builder::new()
            .name("netns-visit".into())
            .spawn_scoped(scope, || {
                enter(netns)?;
                work()
            })
            .map_err(|error| IoError::new("start of a thread", netns.display().to_string(), error))?;
        visitor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn enter(netns: &Path) -> Result<(), IoError> {
    let subject = || netns.display().to_string();
    let namespace = File::open(netns).map_err(|error| IoError::new("open", subject(), error))?;
    // SAFETY: the descriptor is open for the length of the call, which touches no memory of ours.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(IoError::last("setns", subject()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_namespace_is_named_in_the_error() {
        let error = open_in(Path::new("/run/netns/no-such-namespace"), || Ok(())).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT));
        assert!(error.to_string().contains("/run/netns/no-such-namespace"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_namespace_is_refused_before_the_work_runs() {
        let error = open_in(Path::new("/proc/self/status"), || -> Result<(), IoError> {
            panic!("the work must not run outside the namespace asked for")
        })
        .unwrap_err();
        assert_eq!(error.operation, "setns");
    }
}
