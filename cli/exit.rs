//! The exit codes, and the one place that decides which of them a run ends with.
//!
//! The numbers below 64 are rsync's, so that scripts written for it go on working; the rest are
//! the conventions of `sysexits.h` and numbers of our own.

use std::fmt;
use std::io;
use std::process::ExitCode;

use hasync_engine as engine;
use hasync_engine::delta::PatchError;
use hasync_engine::delta::file::{ApplyError, FileError};
pub(crate) use hasync_engine::describe as cause;
use hasync_transport as transport;

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Everything that was asked for is done.
    Ok = 0,
    /// The command line or the request makes no sense.
    Usage = 1,
    /// The peer speaks another version of the protocol.
    Incompatible = 2,
    /// A comparison found a difference.
    NotEqual = 3,
    /// A file system call failed in a way that ended the run.
    FileIo = 11,
    /// The stream to the peer broke, or carried garbage.
    Stream = 12,
    /// Ended by SIGINT, SIGTERM or SIGHUP.
    Signal = 20,
    /// Some entries could not be mirrored.
    Partial = 23,
    /// Some source files vanished while they were read.
    Vanished = 24,
    /// `--max-delete` stopped the deletions.
    DeleteLimit = 25,
    /// The peer was silent for too long.
    Timeout = 30,
    /// The host name could not be resolved.
    NameNotResolved = 68,
    /// The host refused the connection or could not be reached.
    Unreachable = 69,
    /// Another session holds the target; trying later helps.
    Locked = 75,
    /// The host key is unknown or not the expected one.
    HostKey = 76,
    /// The host accepted none of the keys.
    Auth = 77,
    /// A configuration file is wrong or asks for something unsupported.
    Config = 78,
    /// The sender is not the primary that the standby may take from.
    Fenced = 80,
    /// The two nodes' trees did not come from one another.
    Diverged = 81,
    /// No space or quota left on the target.
    NoSpace = 82,
    /// `hasync` was not found on the peer.
    NotFound = 127,
}

impl Exit {
    const ALL: [Exit; 21] = [
        Exit::Ok,
        Exit::Usage,
        Exit::Incompatible,
        Exit::NotEqual,
        Exit::FileIo,
        Exit::Stream,
        Exit::Signal,
        Exit::Partial,
        Exit::Vanished,
        Exit::DeleteLimit,
        Exit::Timeout,
        Exit::NameNotResolved,
        Exit::Unreachable,
        Exit::Locked,
        Exit::HostKey,
        Exit::Auth,
        Exit::Config,
        Exit::Fenced,
        Exit::Diverged,
        Exit::NoSpace,
        Exit::NotFound,
    ];

    /// The end with which a run of this program left, if it was one of its own.
    pub(crate) fn of_code(code: i32) -> Option<Exit> {
        Exit::ALL.into_iter().find(|exit| *exit as i32 == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", *self as u8)
    }
}

/// Why a run ended early: the code, and one lower-case line for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The code to leave with.
    pub(crate) exit: Exit,
    /// What failed, where, why and what to do; without the leading `hasync: `.
    pub(crate) message: String,
}

impl Failure {
    /// A failure that ends with `exit`.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure {
            exit,
            message: message.into(),
        }
    }

    /// A command line or a request that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, message)
    }

    /// A call on a file that failed: `cannot WHAT: why`.
    pub(crate) fn cannot(what: impl fmt::Display, why: &io::Error) -> Self {
        Failure::new(Exit::FileIo, format!("cannot {what}: {}", cause(why)))
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        use engine::ErrorKind;
        let exit = match error.kind {
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::Incompatible => Exit::Incompatible,
            ErrorKind::FileIo => Exit::FileIo,
            ErrorKind::Stream => Exit::Stream,
            ErrorKind::Timeout => Exit::Timeout,
            ErrorKind::NoSpace => Exit::NoSpace,
            ErrorKind::Locked => Exit::Locked,
            ErrorKind::Config | ErrorKind::OwnNode => Exit::Config,
            ErrorKind::Fenced => Exit::Fenced,
            ErrorKind::Diverged => Exit::Diverged,
            ErrorKind::NotEqual => Exit::NotEqual,
            ErrorKind::Braked => Exit::DeleteLimit,
        };
        Failure::new(exit, error.message)
    }
}

impl From<transport::Error> for Failure {
    fn from(error: transport::Error) -> Self {
        use transport::ErrorKind;
        let exit = match error.kind() {
            ErrorKind::NameNotResolved => Exit::NameNotResolved,
            ErrorKind::Unreachable => Exit::Unreachable,
            ErrorKind::Timeout => Exit::Timeout,
            ErrorKind::HostKey => Exit::HostKey,
            ErrorKind::Auth => Exit::Auth,
            ErrorKind::CommandNotFound => Exit::NotFound,
            ErrorKind::Config => Exit::Config,
            _ => Exit::Stream,
        };
        Failure::new(exit, error.to_string())
    }
}

/// How a run leaves that a failed call on a file ends.
pub(crate) fn of_io(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Exit::NoSpace,
        _ => Exit::FileIo,
    }
}

/// How a run leaves that a signature or delta file ends.
pub(crate) fn of_file_error(error: &FileError) -> Exit {
    match error {
        FileError::Read(error) => of_io(error),
        FileError::Version { .. } => Exit::Incompatible,
        _ => Exit::Stream,
    }
}

/// How a patch leaves that could not be completed. A basis that is not the right one is told from
/// a delta that is damaged: the cure is another.
pub(crate) fn of_apply_error(error: &ApplyError) -> Exit {
    match error {
        ApplyError::Delta(error) => of_file_error(error),
        ApplyError::BasisLen { .. } | ApplyError::OtherBasis => Exit::NotEqual,
        ApplyError::Patch(PatchError::Basis { error, .. } | PatchError::Output(error)) => {
            of_io(error)
        }
        ApplyError::Patch(_) => Exit::Stream,
    }
}

/// The one of two ends that a run over several trees leaves with: what admins must not miss first,
/// and among the rest what was not pushed at all before what was pushed in part.
pub(crate) fn worse(one: Exit, other: Exit) -> Exit {
    let rank = |exit| match exit {
        Exit::Ok => 0,
        Exit::DeleteLimit => 1,
        Exit::Vanished => 2,
        Exit::Partial => 3,
        Exit::Locked => 4,
        Exit::NoSpace => 6,
        Exit::Fenced | Exit::Diverged => 7,
        _ => 5,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// Whether a push failed for a reason that lies between the nodes, so that another tree's push
/// would meet it as well.
pub(crate) fn is_about_the_way(exit: Exit) -> bool {
    matches!(
        exit,
        Exit::Incompatible
            | Exit::Timeout
            | Exit::NameNotResolved
            | Exit::Unreachable
            | Exit::HostKey
            | Exit::Auth
            | Exit::NotFound
    )
}

/// The line about a push that left something out, of which the first is known.
pub(crate) fn partial_line(count: u64, first: &str) -> String {
    let entries = if count == 1 {
        "entry was"
    } else {
        "entries were"
    };
    format!(
        "partial: {count} {entries} not mirrored, first: {first} (exit {})",
        Exit::Partial
    )
}

/// How a push that ran to its end leaves, and the line that says so. An error that admins must
/// not miss outranks one that cures itself: partial, then vanished, then the delete limit.
pub(crate) fn of_summary(summary: &engine::Summary) -> (Exit, Option<String>) {
    if summary.partial {
        let line = "partial: some entries were not mirrored, see the lines above";
        (
            Exit::Partial,
            Some(format!("{line} (exit {})", Exit::Partial)),
        )
    } else if summary.vanished {
        let line = "some source files vanished before they were read, the rest is mirrored";
        (
            Exit::Vanished,
            Some(format!("{line} (exit {})", Exit::Vanished)),
        )
    } else if summary.deletions_stopped > 0 {
        let line = format!(
            "--max-delete stopped the deletions, all {} of them; the rest is mirrored",
            summary.deletions_stopped
        );
        (
            Exit::DeleteLimit,
            Some(format!("{line} (exit {})", Exit::DeleteLimit)),
        )
    } else {
        (Exit::Ok, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hasync_engine::{Error, ErrorKind, Summary};

    fn exit_of(partial: bool, vanished: bool, deletions_stopped: u64) -> Exit {
        of_summary(&Summary {
            partial,
            vanished,
            deletions_stopped,
            ..Summary::default()
        })
        .0
    }

    #[test]
    fn partial_outranks_vanished_outranks_the_delete_limit() {
        assert_eq!(exit_of(true, true, 3), Exit::Partial);
        assert_eq!(exit_of(false, true, 3), Exit::Vanished);
        assert_eq!(exit_of(false, false, 3), Exit::DeleteLimit);
        assert_eq!(exit_of(false, false, 0), Exit::Ok);
    }

    #[test]
    fn the_worst_of_several_trees_is_what_admins_must_not_miss() {
        let order = [
            Exit::Ok,
            Exit::DeleteLimit,
            Exit::Vanished,
            Exit::Partial,
            Exit::Locked,
            Exit::Unreachable,
            Exit::NoSpace,
            Exit::Fenced,
        ];
        for (rank, exit) in order.iter().enumerate() {
            for other in &order[..rank] {
                assert_eq!(worse(*exit, *other), *exit);
                assert_eq!(worse(*other, *exit), *exit);
            }
        }
        assert_eq!(worse(Exit::Diverged, Exit::NoSpace), Exit::Diverged);
    }

    #[test]
    fn every_end_but_success_says_its_code() {
        for (partial, vanished, stopped, code) in [
            (true, false, 0, "23"),
            (false, true, 0, "24"),
            (false, false, 1, "25"),
        ] {
            let summary = Summary {
                partial,
                vanished,
                deletions_stopped: stopped,
                ..Summary::default()
            };
            let line = of_summary(&summary).1.unwrap_or_default();
            assert!(line.ends_with(&format!("(exit {code})")), "{line}");
        }
    }

    #[test]
    fn a_cause_is_told_without_its_number() {
        assert_eq!(
            cause(&io::Error::from_raw_os_error(2)),
            "no such file or directory"
        );
        assert_eq!(cause(&io::Error::other("I/O stopped")), "I/O stopped");
    }

    #[test]
    fn an_engine_error_keeps_its_line() {
        let failure = Failure::from(Error::new(ErrorKind::NoSpace, "cannot write \"a\": full"));
        assert_eq!(
            failure,
            Failure::new(Exit::NoSpace, "cannot write \"a\": full")
        );
        assert_eq!(Exit::NoSpace as u8, 82);
    }
}
