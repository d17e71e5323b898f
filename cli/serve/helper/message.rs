//! What passes between a receiver and its helper: short messages, each whole, one with a directory
//! if need be.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::{Errno, Result, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

/// Longest answer, in bytes, and longest message without attributes: a name in it is the peer's.
pub(super) const ANSWER_LEN_MAX: usize = 4096;

/// Longest message, in bytes: with the attributes of an entry that cannot be opened, such as a
/// symlink. A socket takes no much longer ones at once.
pub(super) const MESSAGE_LEN_MAX: usize = ANSWER_LEN_MAX + 128 * 1024;

/// The two ends.
pub(super) fn ends() -> Result<(OwnedFd, OwnedFd)> {
    let (unix, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    socketpair(unix, kind, SocketFlags::CLOEXEC, None)
}

pub(super) fn send(to: impl AsFd, message: &[u8], dir: Option<BorrowedFd<'_>>) -> Result<()> {
    if message.len() > MESSAGE_LEN_MAX {
        return Err(Errno::MSGSIZE);
    }
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    if let Some(dir) = &dir {
        along.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(dir)));
    }
    let bytes = [IoSlice::new(message)];
    // The other end may have left.
    retry_on_intr(|| sendmsg(&to, &bytes, &mut along, SendFlags::NOSIGNAL)).map(drop)
}

/// Waits for a message of `len_max` bytes at the most. It is empty if the other end has left; one
/// that is too long is an error.
pub(super) fn receive(
    from: impl AsFd,
    message: &mut Vec<u8>,
    len_max: usize,
) -> Result<Option<OwnedFd>> {
    message.resize(len_max, 0);
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut bytes = [IoSliceMut::new(message)];
        match recvmsg(&from, &mut bytes, &mut along, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    let dir = along.drain().find_map(|more| match more {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    message.truncate(received.bytes);
    Ok(dir)
}
