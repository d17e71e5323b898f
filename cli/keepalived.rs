//! `hasync keepalived --fifo PATH`: a service of its own that starts and stops the mirror as
//! keepalived moves the service address. Notify scripts of keepalived run beside one another and
//! overtake one another; here one action is carried out at a time, and the newest state counts.

mod fifo;
mod states;

use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::args::KeepalivedArgs;
use crate::config::Config;
use crate::exit::{self, Exit, Failure};
use crate::itself;
use crate::out;
use crate::signals;

use fifo::Fifo;
use states::{States, Wanted};

/// How often the end of an action and a new file under the FIFO's name are looked for.
const POLL: Duration = Duration::from_millis(100);
/// When an action that failed is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// How long after its own end was asked for this service waits for keepalived to say that it has
/// ended, too: the two are often stopped together.
const FAREWELL: Duration = Duration::from_secs(3);

/// Follows keepalived until it is ended.
pub(crate) fn run(args: &KeepalivedArgs) -> Result<Exit, Failure> {
    // A mistake in the configuration is better told now than at the failover.
    let config = Config::load(args.config.as_deref())?;
    if let Some(line) = without_address(&config) {
        out::error(&line);
    }
    let (tell, ended) = channel();
    signals::tell_on_signal(move |signal| {
        // Whoever listened is gone, and this process with it.
        let _ = tell.send(signal);
    })?;
    let mut service = Service {
        args,
        fifo: Fifo::new(&args.fifo)?,
        states: States::of(args.instance.as_deref()),
        running: None,
        done: None,
        failed: None,
    };
    service.follow(&ended);
    Ok(Exit::Ok)
}

/// The role should be told by what keepalived moves, or the peer cannot know who serves.
fn without_address(config: &Config) -> Option<String> {
    (config.role == crate::config::RoleTest::Recorded).then(|| {
        format!(
            "warning: {} has no [role]: give it the address that keepalived moves, so that the \
             other node waits for a last push from here",
            config.shown_file()
        )
    })
}

struct Service<'a> {
    args: &'a KeepalivedArgs,
    fifo: Fifo,
    states: States,
    /// What is being done.
    running: Option<(Wanted, Child)>,
    /// What was done last.
    done: Option<Wanted>,
    /// What failed last, and when.
    failed: Option<(Wanted, Instant)>,
}

impl Service<'_> {
    /// Until a signal has come and what had to be done then is done.
    fn follow(&mut self, ended: &Receiver<Signal>) {
        let mut leaves_at = None;
        loop {
            for line in self.fifo.lines() {
                self.states.heard(&line);
            }
            self.attend();
            let wanted = self.states.wanted();
            match leaves_at {
                None => self.act(wanted, false),
                // keepalived was told before this service went, or is still there and goes on.
                Some(at) if wanted == Some(Wanted::Stopped) || Instant::now() >= at => {
                    return self.leave(wanted);
                }
                Some(_) => {}
            }
            match ended.recv_timeout(POLL) {
                Ok(signal) if leaves_at.is_none() => {
                    out::error(&format!("{signal}: leaving when what is going on is done"));
                    leaves_at = Some(Instant::now() + FAREWELL);
                }
                Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
                _ => {}
            }
        }
    }

    /// The last thing: what is running is waited for, and a node that has lost the service, whether
    /// keepalived has said so or not, pushes a last time.
    fn leave(&mut self, wanted: Option<Wanted>) {
        while self.running.is_some() {
            self.attend();
            thread::sleep(POLL);
        }
        if wanted.is_some() && self.done != Some(Wanted::Stopped) {
            self.act(Some(Wanted::Stopped), wanted == Some(Wanted::Started));
            while self.running.is_some() {
                self.attend();
                thread::sleep(POLL);
            }
        }
    }

    /// Sees whether the action has ended.
    fn attend(&mut self) {
        let Some((wanted, child)) = &mut self.running else {
            return;
        };
        let ended = match child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(status.to_string()),
            Err(cause) => Err(exit::cause(&cause)),
        };
        let wanted = *wanted;
        self.running = None;
        match ended {
            Ok(()) => (self.done, self.failed) = (Some(wanted), None),
            Err(why) => {
                out::error(&format!(
                    "{} failed: {why}, see above; it is tried again in {} s unless keepalived \
                     says otherwise",
                    wanted.shown(),
                    AGAIN.as_secs()
                ));
                (self.done, self.failed) = (None, Some((wanted, Instant::now())));
            }
        }
    }

    /// Begins what is wanted, unless it is done, or something is going on.
    fn act(&mut self, wanted: Option<Wanted>, unless_serving: bool) {
        let Some(wanted) = wanted else { return };
        let is_due = |(failed, at): &(Wanted, Instant)| *failed != wanted || at.elapsed() >= AGAIN;
        if self.running.is_some()
            || self.done == Some(wanted)
            || !self.failed.as_ref().is_none_or(is_due)
        {
            return;
        }
        match self.start(wanted, unless_serving) {
            Ok(child) => self.running = Some((wanted, child)),
            Err(why) => {
                out::error(&format!("{} cannot be started: {why}", wanted.shown()));
                self.failed = Some((wanted, Instant::now()));
            }
        }
    }

    /// An action is a process of its own, which whoever ends this one does not end.
    fn start(&self, wanted: Wanted, unless_serving: bool) -> Result<Child, String> {
        let mut command = itself::command().map_err(|failure| failure.message)?;
        command.arg0("hasync").args(["mirror", wanted.action()]);
        command.args(unless_serving.then_some("--unless-serving"));
        if let Some(file) = &self.args.config {
            command.arg("--config").arg(file);
        }
        let command = command.stdin(Stdio::null()).process_group(0);
        command.spawn().map_err(|cause| exit::cause(&cause))
    }
}
