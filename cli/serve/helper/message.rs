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

/// Longest message, in bytes: a name in it is the peer's.
const MESSAGE_LEN_MAX: usize = 4096;

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

/// Waits for a message. It is empty if the other end has left; one that is too long is an error.
pub(super) fn receive(from: impl AsFd) -> Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut message = vec![0; MESSAGE_LEN_MAX];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut bytes = [IoSliceMut::new(&mut message)];
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
    Ok((message, dir))
}
