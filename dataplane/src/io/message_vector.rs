//! What recvmmsg and sendmmsg work on.

use std::io;
use std::ops::Range;
use std::ptr;

use super::PacketSocket;
use crate::wire::sizes::LONGEST_FRAME_BYTES;

/// The array that recvmmsg and sendmmsg work on: one buffer pointer and one length per frame.
pub(super) struct MessageVector {
    headers: Vec<libc::mmsghdr>,
    // The headers point here: never resized.
    buffers: Vec<libc::iovec>,
}

// SAFETY: the raw pointers lead into `buffers`, which the value owns, and into frame memory whose owner moves with it
// (the contract of `point`); nothing refers to the thread.
unsafe impl Send for MessageVector {}

impl MessageVector {
    pub(super) fn new(frames: usize) -> Self {
        // All callers pass constants.
        assert!(frames > 0, "a batch holds at least one frame");
        let mut buffers = vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; frames];
        let first = buffers.as_mut_ptr();
        let headers = (0..frames)
            .map(|index| {
                // SAFETY: mmsghdr is integers and pointers, for which zero is a value.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_iov = first.wrapping_add(index);
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self { headers, buffers }
    }

    /// Let message `index` use `length` bytes at `base`.
    ///
    /// # Safety
    /// The memory must stay valid, and be written by nobody else during `receive` and `send`, until `point` is called
    /// for the index again or the vector is dropped.
    pub(super) unsafe fn point(&mut self, index: usize, base: *mut u8, length: usize) {
        self.buffers[index] = libc::iovec { iov_base: base.cast(), iov_len: length };
    }

    /// Set how many bytes of its buffer message `index` sends; never more than the memory it points to.
    pub(super) fn shorten(&mut self, index: usize, length: usize) {
        // What `point` vouched for: the kernel must not be told to read beyond it.
        assert!(length <= LONGEST_FRAME_BYTES);
        self.buffers[index].iov_len = length;
    }

    pub(super) fn len(&self) -> usize {
        self.headers.len()
    }

    /// The length of the frame received in message `index`, or None if its end was cut off.
    pub(super) fn received(&self, index: usize) -> Option<usize> {
        let header = &self.headers[index];
        (header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0).then_some(header.msg_len as usize)
    }

    /// Receive what is there, into the first messages; 0 if nothing is.
    pub(super) fn receive(&mut self, socket: &PacketSocket) -> io::Result<usize> {
        let fd = socket.raw_fd();
        loop {
            let length = self.headers.len() as libc::c_uint;
            // SAFETY: each header points to one iovec of ours and that to memory that `point`'s caller vouches for.
            let count =
                unsafe { libc::recvmmsg(fd, self.headers.as_mut_ptr(), length, libc::MSG_DONTWAIT, ptr::null_mut()) };
            if count >= 0 {
                return Ok(count as usize);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return Ok(0),
                _ => return Err(error),
            }
        }
    }

    /// Send the messages of `range` in order; the answer is how many went, at least one.
    pub(super) fn send(&mut self, socket: &PacketSocket, range: Range<usize>) -> io::Result<usize> {
        let fd = socket.raw_fd();
        let messages = &mut self.headers[range];
        loop {
            let length = messages.len() as libc::c_uint;
            // SAFETY: as for recvmmsg; the kernel only reads the frames.
            let count = unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), length, libc::MSG_DONTWAIT) };
            if count >= 0 {
                return Ok(count as usize);
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINTR) {
                return Err(error);
            }
        }
    }
}
