//! The thread that runs one connection: a runtime of its own, so that connections share nothing
//! and encryption has a core to itself while the engine works on another.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};

use crate::Error;

/// What blocking code needs of a connection's runtime: a way in, and that it lives as long.
#[derive(Clone)]
pub(crate) enum Runtime {
    /// Kept alive by whoever holds this.
    Own(Arc<Running>),
    /// Belongs to the connection's thread, which waits until every sender is gone.
    Of {
        handle: Handle,
        _alive: Option<mpsc::Sender<()>>,
    },
}

impl Runtime {
    pub(crate) fn handle(&self) -> &Handle {
        match self {
            Runtime::Own(running) => running.handle(),
            Runtime::Of { handle, .. } => handle,
        }
    }
}

/// Holds a connection's thread; dropped, the connection is closed.
pub(crate) struct Running {
    handle: Handle,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Running {
    /// Starts a thread named `name` with an empty runtime.
    pub(crate) fn start(name: &str) -> Result<Running, Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::io("starting the ssh runtime", &e))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _ = runtime.block_on(stopped);
                // A name look-up may still hang in a helper thread: it is left behind.
                runtime.shutdown_background();
            })
            .map_err(|e| Error::io("starting the ssh thread", &e))?;
        Ok(Running {
            handle,
            stop: Mutex::new(Some(stop)),
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `work` on the connection's thread and waits for it here.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let task = self.handle.spawn(work);
        self.handle.block_on(task).ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(
            self.stop
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
