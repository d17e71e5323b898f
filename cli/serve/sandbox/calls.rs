//! System calls that a receiver never makes and that no rule about files or ports covers: sockets
//! of any kind (those of other programs have names in the file system, and the system's own
//! managers listen on them), programs (one in memory has no path), and io_uring, which does both
//! past every filter.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

const REFUSED: [libc::c_long; 9] = [
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// Refuses them on this thread, and on those that it starts; `false` if this kernel or this
/// machine has no way to.
pub(super) fn refuse() -> bool {
    filter().is_some_and(|filter| apply_filter(&filter).is_ok())
}

/// Whether [`refuse`] would do so, as far as can be told beforehand.
pub(super) fn can_be_refused() -> bool {
    // The kernel lists what its filters can do where it has them.
    filter().is_some()
        && std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail")
            .is_ok_and(|actions| actions.split_whitespace().any(|action| action == "errno"))
}

fn filter() -> Option<BpfProgram> {
    let refused: BTreeMap<i64, Vec<_>> = REFUSED.map(|call| (call, Vec::new())).into();
    let arch = std::env::consts::ARCH.try_into().ok()?;
    let errno = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, errno, arch).ok()?;
    filter.try_into().ok()
}
