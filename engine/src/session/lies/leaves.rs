//! A receiver that ends with a reason while it is written to: what is told is its reason, however
//! early the sender hears that nothing takes what it writes.

use std::io::{self, Cursor, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::{Duplex, Unheard};
use crate::error::ErrorKind;
use crate::options::Options;
use crate::session::connection::push;
use crate::wire::{ToSender, message_frame, preamble};

/// Nobody reads what is written here.
struct Broken(Sender<()>);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        // The reading end may have gone.
        let _ = self.0.send(());
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Comes a little later than the news that nothing can be written.
struct Late {
    broken: Option<Receiver<()>>,
    said: Cursor<Vec<u8>>,
}

impl Read for Late {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(broken) = self.broken.take() {
            broken.recv().unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        self.said.read(buf)
    }
}

#[test]
fn a_receiver_that_leaves_is_believed_its_reason() {
    let fatal = ToSender::Fatal {
        kind: ErrorKind::NoSpace,
        message: "no space left".to_owned(),
    };
    let said = [&preamble()[..], &message_frame(&fatal).unwrap()].concat();
    let (tell, broken) = channel();
    let link = Duplex {
        reader: Box::new(Late {
            broken: Some(broken),
            said: Cursor::new(said),
        }),
        writer: Box::new(Broken(tell)),
    };
    let source = tempfile::tempdir().unwrap();
    let sources = [source.path().as_os_str().to_owned()];
    let options = Options {
        recursive: true,
        ..Options::default()
    };
    let error = push(link, &sources, b"/srv", &options, &mut Unheard).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
}
