//! System calls that a receiver never makes and that no rule about files or ports covers.

use nix::libc;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::Ne;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

/// Sockets of any kind (those of other programs have names in the file system, and the system's
/// own managers listen on them), programs (one in memory has no path), and io_uring, which does
/// both past every filter. Then what a receiver as root has the right for alone because it sets
/// attributes that are trusted.
pub(super) const OUTWARD: [libc::c_long; 30] = [
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_quotactl,
    libc::SYS_fanotify_init,
    libc::SYS_vhangup,
];

/// What reaches the other processes of this user, whatever rules there are about files: signals,
/// their memory, limits and turns, and what they share without a name in the file system. Before
/// Linux 6.12 nothing else keeps a signal from being sent.
pub(super) const TO_OTHERS: &[libc::c_long] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_prlimit64,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    QUOTACTL_FD,
];

/// Changes of the metadata of whatever can be named. Those by descriptor take one that was opened
/// to read or write.
pub(super) const BY_NAME: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
    // A file by its number.
    libc::SYS_open_by_handle_at,
];

/// Calls that are younger than the library's list of them. Their numbers are the same everywhere.
const QUOTACTL_FD: libc::c_long = 443;
const FCHMODAT2: libc::c_long = 452;
const SETXATTRAT: libc::c_long = 463;
const REMOVEXATTRAT: libc::c_long = 466;
const FILE_SETATTR: libc::c_long = 469;

/// The same calls in the way of 32-bit programs on 64 bits have this bit, and two of them have
/// numbers of their own.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;
#[cfg(target_arch = "x86_64")]
const X32_EXEC: [i64; 2] = [X32 + 520, X32 + 545];

/// Refuses them on this thread, and on those that it starts; `false` if this kernel or this
/// machine has no way to.
pub(super) fn refuse(calls: &[libc::c_long]) -> bool {
    filter(calls).is_some_and(|filter| apply_filter(&filter).is_ok())
}

/// Whether [`refuse`] would do so, as far as can be told beforehand.
pub(super) fn can_be_refused() -> bool {
    // The kernel lists what its filters can do where it has them.
    filter(&OUTWARD).is_some()
        && filter(TO_OTHERS).is_some()
        && filter(BY_NAME).is_some()
        && std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail")
            .is_ok_and(|actions| actions.split_whitespace().any(|action| action == "errno"))
}

fn filter(calls: &[libc::c_long]) -> Option<BpfProgram> {
    let mut refused = std::collections::BTreeMap::new();
    for &call in calls {
        // The argument that has to be this for the call to be let through.
        let harmless = match call {
            // A thread may have a working directory of its own.
            libc::SYS_unshare => Some((0, Qword, libc::CLONE_FS.unsigned_abs().into())),
            // Without a name it changes what is open.
            libc::SYS_utimensat => Some((1, Qword, 0)),
            // The own limits, as each new thread looks at them.
            libc::SYS_prlimit64 => Some((0, Dword, 0)),
            // To end itself.
            libc::SYS_tgkill => Some((0, Dword, std::process::id().into())),
            _ => None,
        };
        let rules = match harmless {
            Some((argument, len, value)) => {
                let other = SeccompCondition::new(argument, len, Ne, value).ok()?;
                vec![SeccompRule::new(vec![other]).ok()?]
            }
            None => Vec::new(),
        };
        #[cfg(target_arch = "x86_64")]
        refused.insert(call | X32, rules.clone());
        refused.insert(call, rules);
    }
    #[cfg(target_arch = "x86_64")]
    if calls.contains(&libc::SYS_execve) {
        refused.extend(X32_EXEC.map(|call| (call, Vec::new())));
    }
    let arch = std::env::consts::ARCH.try_into().ok()?;
    let errno = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, errno, arch).ok()?;
    filter.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// What the kernel would make of a call whose first two arguments are these: an interpreter of
    /// the few instructions of a filter.
    fn is_refused(program: &BpfProgram, call: i64, arguments: [u64; 2]) -> bool {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            let (jump_to, is_true) = match step.code {
                // Loads a word of the call's data: number, architecture, and from 16 on arguments.
                0x20 => {
                    loaded = match step.k {
                        0 => u32::try_from(call).unwrap(),
                        4 => audit_arch(),
                        at @ (16 | 24) => arguments[(at as usize - 16) / 8] as u32,
                        at @ (20 | 28) => (arguments[(at as usize - 16) / 8] >> 32) as u32,
                        other => panic!("nothing is to be read at {other}"),
                    };
                    continue;
                }
                0x06 => {
                    let eperm = 0x0005_0000 | libc::EPERM.unsigned_abs();
                    assert!(step.k == eperm || step.k == 0x7fff_0000, "{:x}", step.k);
                    return step.k == eperm;
                }
                0x05 => {
                    at += step.k as usize;
                    continue;
                }
                0x15 => (step, loaded == step.k),
                other => panic!("instruction {other:x}"),
            };
            at += usize::from(if is_true { jump_to.jt } else { jump_to.jf });
        }
    }

    fn audit_arch() -> u32 {
        match std::env::consts::ARCH {
            "x86_64" => 0xc000_003e,
            "aarch64" => 0xc000_00b7,
            _ => 0xc000_00f3,
        }
    }

    #[test]
    fn each_call_is_refused_and_those_on_what_is_open_are_not() {
        let by_name = filter(BY_NAME).unwrap();
        let outward = filter(&OUTWARD).unwrap();
        let to_others = filter(TO_OTHERS).unwrap();
        let all = [
            (BY_NAME, &by_name),
            (&OUTWARD, &outward),
            (TO_OTHERS, &to_others),
        ];
        for (calls, program) in all {
            for call in calls {
                // Addresses end in zeros, too.
                for argument in [0x7fff_0000_1000, 1 << 32, 1] {
                    assert!(is_refused(program, *call, [1, argument]), "{call}");
                }
                #[cfg(target_arch = "x86_64")]
                assert!(is_refused(program, *call | X32, [1, 1]), "{call}");
            }
        }
        #[cfg(target_arch = "x86_64")]
        for call in X32_EXEC {
            assert!(is_refused(&outward, call, [1, 1]), "{call}");
        }
        for call in [
            libc::SYS_fchmod,
            libc::SYS_fchown,
            libc::SYS_fsetxattr,
            libc::SYS_fremovexattr,
            libc::SYS_openat,
            libc::SYS_renameat2,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
        ] {
            for (_, program) in all {
                assert!(!is_refused(program, call, [1, 1]), "{call}");
            }
        }
        // Without a name: the times of what is open.
        assert!(!is_refused(&by_name, libc::SYS_utimensat, [3, 0]));
        assert!(!is_refused(&to_others, libc::SYS_prlimit64, [0, 3]));
        let own = u64::from(std::process::id());
        assert!(!is_refused(&to_others, libc::SYS_tgkill, [own, 3]));
        assert!(is_refused(&to_others, libc::SYS_tgkill, [own + 1, 3]));
        let own_place = u64::from(libc::CLONE_FS.unsigned_abs());
        assert!(!is_refused(&outward, libc::SYS_unshare, [own_place, 3]));
    }
}
