//! A flood of TCP connections to a server, from chosen addresses, in bounded number and time.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Running until it is dropped.
pub(crate) struct Flood {
    child: Child,
}

/// What each connection does once it is open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    Idle,
    Close,
    Garbage,
    Banner,
    BannerAndClose,
    BannerAndGarbage,
    /// The identification, a byte now and then.
    Drip,
}

pub(crate) const MANNERS: [Manner; 7] = [
    Manner::Idle,
    Manner::Close,
    Manner::Garbage,
    Manner::Banner,
    Manner::BannerAndClose,
    Manner::BannerAndGarbage,
    Manner::Drip,
];

/// `manner host port source…`; a source that ends in `/` is a prefix that each connection puts a
/// number behind. 1,000 connections in a second, 3,000 of them open at once, for a minute.
const SCRIPT: &str = r#"
import collections, resource, select, socket, sys, time
manner, host, port, *sources = sys.argv[1:]
family = socket.AF_INET6 if ':' in host else socket.AF_INET
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
poll, held, dripping = select.epoll(), collections.OrderedDict(), {}
def drop(number):
    held.pop(number).close()
    dripping.pop(number, None)
def opened(number, client):
    try:
        if manner == 'Close': return drop(number)
        if manner == 'Garbage': client.send(b'GET / HTTP/1.1\r\n\r\n')
        if manner.startswith('Banner'): client.send(b'SSH-2.0-flood\r\n')
        if manner == 'BannerAndGarbage': client.send(bytes(range(256)) * 16)
        if manner == 'BannerAndClose': drop(number)
        if manner == 'Drip': dripping[number] = 0
    except OSError:
        drop(number)
start, count, dripped = time.monotonic(), 0, 0
while time.monotonic() < start + 60:
    now = time.monotonic() - start
    while count < now * 1000:
        source = sources[count % len(sources)]
        if source.endswith('/'):
            source = source[:-1] + ('%x' % (count % 60000 + 1) if family == socket.AF_INET6
                else '%d.%d' % (count // 250 % 60, count % 250 + 1))
        client = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        # IPV6_FREEBIND and IP_FREEBIND
        if family == socket.AF_INET6: client.setsockopt(socket.IPPROTO_IPV6, 78, 1)
        else: client.setsockopt(socket.IPPROTO_IP, 15, 1)
        client.bind((source, 0))
        client.connect_ex((host, int(port)))
        held[client.fileno()] = client
        poll.register(client, select.EPOLLOUT | select.EPOLLET)
        count += 1
        if count == 500: print('flooding', flush=True)
        if len(held) > 3000: drop(next(iter(held)))
    for number, event in poll.poll(0.002):
        if number in held and number not in dripping: opened(number, held[number])
    if now > dripped + 0.1:
        dripped = now
        for number, sent in list(dripping.items()):
            try: held[number].send(b'SSH-2.0-flood\r\n'[sent % 15:][:1])
            except OSError: drop(number)
            else: dripping[number] = sent + 1
"#;

impl Flood {
    /// Begins one from `sources`, and waits until it is in full flow.
    pub(crate) fn begin(
        launcher: &[&str],
        manner: Manner,
        (host, port): (&str, &str),
        sources: &[&str],
    ) -> Self {
        let (program, words) = launcher.split_first().unwrap();
        let mut child = Command::new(program)
            .args(words)
            .args(["python3", "-c", SCRIPT, &format!("{manner:?}"), host, port])
            .args(sources)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut said).unwrap();
        assert_eq!(said, "flooding\n");
        Self { child }
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_on(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
