//! The embedded server in one process: its listener has a thread, and each connection another one,
//! where the product has processes.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use hasync_transport::ssh::server::{
    Connection, Listener, PeerInfo, Process, ServerOptions, Stopper,
};
use hasync_transport::{Error, Link};

/// Listens on loopback; dropped, it stops.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stopper: Stopper,
    listening: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(
        options: ServerOptions,
        log: impl Fn(&str) + Send + 'static,
        handler: impl Fn(Link, PeerInfo) -> u32 + Send + Sync + 'static,
    ) -> Result<Server, Error> {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), options.clone(), log)?;
        let (address, stopper) = (listener.local_addr(), listener.stopper()?);
        let handler = Arc::new(handler);
        let listen = move || {
            let launch = |client: TcpStream, listener| {
                let socket = client.try_clone()?;
                let (options, handler) = (options.clone(), Arc::clone(&handler));
                let serve = move || {
                    if let Ok(connection) = Connection::new(client, listener, options) {
                        connection.serve(move |link, peer| handler(link, peer));
                    }
                };
                let thread = std::thread::spawn(serve);
                Ok(Box::new(Threaded { socket, thread }) as Box<dyn Process>)
            };
            listener.run(launch).unwrap();
        };
        Ok(Server {
            address,
            stopper,
            listening: Some(std::thread::spawn(listen)),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

/// A thread cannot be killed; without its socket it ends.
struct Threaded {
    socket: TcpStream,
    thread: JoinHandle<()>,
}

impl Process for Threaded {
    fn kill(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn ended(&mut self) -> Option<Result<(), String>> {
        self.thread.is_finished().then_some(Ok(()))
    }
}
