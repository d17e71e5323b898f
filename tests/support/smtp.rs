//! A real SMTP server that keeps what it receives: aiosmtpd, writing a Maildir.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use super::{TempTree, await_or_tell, await_that};

/// A running server; killed on drop.
pub(crate) struct Smtp {
    dir: TempTree,
    address: String,
    child: Child,
}

impl Smtp {
    /// Starts one on a free loopback port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        Self::start_at(&[], &format!("127.0.0.1:{port}"))
    }

    /// Starts one under a launcher on an address that exists there.
    pub(crate) fn start_at(launcher: &[&str], address: &str) -> Self {
        let dir = TempTree::new();
        let maildir = dir.text("mail");
        let server = ["aiosmtpd", "-n", "-l", address];
        let words = [
            launcher,
            &server,
            &["-c", "aiosmtpd.handlers.Mailbox", &maildir],
        ]
        .concat();
        let child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("aiosmtpd (package python3-aiosmtpd): {error}"));
        let smtp = Self {
            dir,
            address: address.to_owned(),
            child,
        };
        await_that("the SMTP server listens", || {
            if launcher.is_empty() {
                TcpStream::connect(address).is_ok()
            } else {
                smtp.dir.path("mail/new").is_dir()
            }
        });
        smtp
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// All mails so far, in no order.
    pub(crate) fn mails(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.dir.path("mail/new")) else {
            return Vec::new();
        };
        let read = |file: std::fs::DirEntry| std::fs::read(file.path()).unwrap();
        files
            .map(|file| String::from_utf8_lossy(&read(file.unwrap())).into_owned())
            .collect()
    }

    /// Waits for a mail that holds `words`, and gives it.
    pub(crate) fn await_mail(&self, words: &str) -> String {
        let find = || self.mails().into_iter().find(|mail| mail.contains(words));
        let told = || format!("{words:?} among the mails {:#?}", self.mails());
        await_or_tell(told, || find().is_some());
        find().unwrap()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
