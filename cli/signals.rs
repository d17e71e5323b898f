//! Leaving on SIGINT, SIGTERM and SIGHUP with one line and exit 20. What is committed stays,
//! what is staged goes with the receiving half, or with the next push.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use crate::exit::{Exit, Failure};

/// Set when a signal has come and the process is about to leave.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// The threads that say so, and leave.
const THREAD_NAME: &str = "signals";

/// The longest that leaving takes: what reads our output may have stopped reading.
const LEAVING_LIMIT: Duration = Duration::from_secs(10);

/// From now on these signals run `cleanup` and end the process; a second one does not wait for
/// it. To be called before any other thread starts, since threads inherit the mask. Children do
/// not: the standard library clears it for them.
pub(crate) fn exit_on_signal(cleanup: impl FnOnce(Signal) + Send + 'static) -> Result<(), Failure> {
    let set = signals_to_heed();
    set.thread_block().map_err(|cause| cannot(&cause))?;
    let wait = move || {
        let Ok(signal) = set.wait() else { return };
        LEAVING.store(true, Ordering::SeqCst);
        let cleaned = spawn(move || {
            cleanup(signal);
            leave();
        });
        let timed = spawn(|| {
            thread::sleep(LEAVING_LIMIT);
            leave();
        });
        if cleaned.is_ok() && timed.is_ok() {
            let _ = set.wait();
        }
        leave();
    };
    spawn(wait).map_err(|cause| cannot(&cause))
}

/// From now on these signals are only told. To be called before any other thread starts.
pub(crate) fn tell_on_signal(tell: impl Fn(Signal) + Send + 'static) -> Result<(), Failure> {
    let set = signals_to_heed();
    set.thread_block().map_err(|cause| cannot(&cause))?;
    let wait = move || {
        while let Ok(signal) = set.wait() {
            tell(signal);
        }
    };
    spawn(wait).map_err(|cause| cannot(&cause))
}

/// From now on a file that is longer than this process may write is an error of that file alone. To
/// be called before any other thread starts.
pub(crate) fn outlive_long_files() {
    // Where it cannot be blocked, such a file ends the push, as it would end any other program.
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(THREAD_NAME.to_owned())
        .spawn(work)
        .map(drop)
}

fn leave() {
    std::process::exit(Exit::Signal as i32);
}

fn cannot(cause: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::FileIo, format!("cannot wait for signals: {cause}"))
}

fn signals_to_heed() -> SigSet {
    let ignored = ignored_signals();
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // A blocked signal is delivered even if it is ignored, which would undo nohup and a shell's
        // `&`. Where that is not known, the two that those ignore are left as they are.
        let heeded = match ignored {
            Some(ignored) => ignored & (1 << (signal as u32 - 1)) == 0,
            None => signal == Signal::SIGTERM,
        };
        if heeded {
            set.add(signal);
        }
    }
    set
}

/// Stops a thread for good if a signal has come: whatever it has to say now is a consequence of
/// that, and the exit code is decided.
pub(crate) fn stop_if_leaving() {
    while LEAVING.load(Ordering::SeqCst) && thread::current().name() != Some(THREAD_NAME) {
        thread::park();
    }
}

/// The signals that whoever started us had set to be ignored, one bit each; `None` where the
/// kernel does not tell, for want of `/proc`.
fn ignored_signals() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}
