//! Notices told beside the work: a thread tells them one after the other, so that a pager that
//! hangs does not keep the lock of a cycle for which a failover waits.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use super::{Notice, tell};
use crate::config::Config;
use crate::out;

/// Tells what it is given. It ends when it is dropped, and has told all of it by then.
#[derive(Debug)]
pub(crate) struct Teller {
    notices: Option<Sender<Notice>>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    /// Starts it.
    pub(crate) fn start(config: &Config) -> Self {
        let (sender, notices) = channel::<Notice>();
        let config = config.clone();
        let thread = thread::spawn(move || {
            for notice in notices {
                for failure in tell(&config, &notice) {
                    out::error(&failure);
                }
            }
        });
        Teller {
            notices: Some(sender),
            thread: Some(thread),
        }
    }

    /// Tells `notice` in its turn.
    pub(crate) fn tell(&self, notice: Notice) {
        if let Some(notices) = &self.notices {
            // The thread listens for as long as there is a sender.
            let _ = notices.send(notice);
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        drop(self.notices.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
