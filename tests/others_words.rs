//! What a peer, a child or a name says arrives harmless wherever it goes: terminal, log, syslog,
//! mail, pager, JSON, the lists, the log of a server.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::hasync::{FakeRsh, Reachable};
use crate::support::mountns::with_syslog_at;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::smtp::Smtp;
use crate::support::temptree::name;
use crate::support::{Finished, Hasync, Sshd, TempTree, await_that, need_root};

/// What a peer may want us to print. Each is valid UTF-8: the protocol takes nothing else.
const EVIL: [&str; 14] = [
    "\0 and what follows",
    "two\nhasync: all is well\r\nhasync: equal",
    "\r\x1b[2K\x1b[1Aall is well",
    "\x1b]0;title\x07\x1b]52;c;cm0gLXJmIC8=\x1b\\",
    "\u{9b}2J\u{9d}0;title\u{9c}\u{85}next",
    "\u{202e}txt.exe\u{202c} \u{2066}x\u{2069} \u{200f}\u{200e}\u{61c}",
    "line\u{2028}separator\u{2029}paragraph",
    "zero\u{200b}width\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}",
    "\u{fff9}a\u{fffa}b\u{fffb}",
    "tag\u{e0001}\u{e0068}\u{e0069}\u{e007f}",
    "\nSubject: all is well\n\n.\nMAIL FROM:<x>",
    "=?UTF-8?B?CkJjYzogeEB5?= =?utf-8?q?=0A?=",
    "$(touch PWNED) `touch PWNED` ; touch PWNED | touch PWNED %s%n",
    "\x7f\x08\x08\x0b\x0c ends in \\",
];

/// Fails if anything in `text` moves the cursor, turns the order or cannot be seen.
#[track_caller]
fn assert_plain(what: &str, text: &[u8]) {
    let text = std::str::from_utf8(text).unwrap_or_else(|e| panic!("{what}: {e}"));
    let bad = |c: char| {
        c != '\n' && (c.is_control() || "\u{ad}\u{61c}\u{feff}".contains(c))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    assert!(!text.contains(bad), "{what}: {text:?}");
}

/// One line, and plain.
#[track_caller]
fn assert_line(what: &str, text: &str) {
    assert_plain(what, text.as_bytes());
    assert!(!text.is_empty() && !text.contains('\n'), "{what}: {text:?}");
}

/// Runs with both outputs plain, and each line on standard error ours or by name the host b's.
#[track_caller]
fn run_plain(hasync: &Hasync) -> Finished {
    let done = hasync.run();
    assert_plain("stdout", &done.stdout);
    assert_plain("stderr", done.stderr.as_bytes());
    for line in done.stderr.lines() {
        assert!(
            line.starts_with("hasync: ") || line.starts_with("b: "),
            "{done}"
        );
    }
    done
}

/// What the honest receiver says and the hostile one replaces, byte for byte.
fn marker() -> String {
    "M".repeat(120)
}

/// Two nodes; what the standby's check says reaches the primary with other words in it.
struct Scene {
    pair: Pair,
    smtp: Smtp,
    syslog: UnixDatagram,
}

impl Scene {
    fn set() -> Self {
        let smtp = Smtp::start();
        let notify = format!(
            "[notify]\non = [\"failure\"]\nlog = \"LOG\"\nsyslog = true\nrepeat = \"1ms\"\n\
             command = \"env -0 > ENV; cat > TEXT\"\n\
             mail = {{ to = [\"root\"], smtp = \"{}\" }}\n[role]\ncommand = \"true\"\n",
            smtp.address()
        );
        let pair = Pair::here("");
        let file = |name: &str| pair.path(Foo0, name).display().to_string();
        let notify = notify
            .replace("LOG", &file("log"))
            .replace("ENV", &file("env"))
            .replace("TEXT", &file("text"));
        pair.configure_one(Foo0, &notify);
        pair.write(Foo1, &marker(), "in the way of the tree");
        let in_the_way = pair.path(Foo1, &marker());
        pair.set(
            Foo1,
            "path",
            &format!("path = \"{}\"", in_the_way.display()),
        );
        pair.run(Foo0, &["promote", "html"]).expect(0);
        pair.run(Foo0, &["promote", "conf"]).expect(0);
        for name in ["etc/a", "etc/b", "html/x"] {
            pair.write(Foo0, name, "x");
        }
        let syslog = UnixDatagram::bind(pair.path(Foo0, "devlog")).unwrap();
        syslog
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self { pair, smtp, syslog }
    }

    /// From now on the standby's program says `evil` in its messages.
    fn let_standby_say(&self, evil: &str) {
        let mut words = evil.as_bytes().to_vec();
        words.resize(marker().len(), b'x');
        self.pair.write(Foo1, "evil", words);
        let program = Hasync::program();
        let (config, evil) = (
            self.pair.path(Foo1, "hasync.toml"),
            self.pair.path(Foo1, "evil"),
        );
        let swap = "import os,sys\nevil=open(sys.argv[1],'rb').read()\n\
                    while True:\n  b=os.read(0,1<<20)\n  if not b: break\n  \
                    os.write(1,b.replace(b'M'*len(evil),evil))\n";
        let script = format!(
            "#!/bin/sh\n{} \"$@\" --config {} | python3 -c \"{swap}\" {}\n",
            program.display(),
            config.display(),
            evil.display()
        );
        self.pair.write(Foo1, "hasync", script);
    }

    /// A failed cycle; the notice that it gives by each way, checked.
    fn cycle(&self, words: &str) {
        let mails = self.smtp.mails().len();
        let launcher = with_syslog_at(&self.pair.path(Foo0, "devlog"));
        let done = run_plain(&self.pair.on(Foo0, &["cycle"]).under(&launcher));
        assert!(done.code != 0 && done.stderr.contains(words), "{done}");
        assert!(!done.stderr.contains("cannot send a notice"), "{done}");

        let env = self.pair.read(Foo0, "env");
        let variable = |name: &str| {
            let value = env.split('\0').find_map(|line| line.strip_prefix(name));
            value.unwrap_or_else(|| panic!("no {name}")).to_owned()
        };
        for name in [
            "HASYNC_LINE=",
            "HASYNC_NEXT=",
            "HASYNC_NODE=",
            "HASYNC_TREE=",
        ] {
            assert_line(name, &variable(name));
        }
        let line = variable("HASYNC_LINE=");
        assert!(
            line.contains(words) && line.contains(" (says 127.0.0.1)"),
            "whose words these are is said: {line}"
        );
        let text = self.pair.read(Foo0, "text");
        assert_plain("the pager's input", text.as_bytes());
        assert_eq!(text.lines().count(), 2, "{text:?}");

        let log = self.pair.read(Foo0, "log");
        assert_line("log", log.lines().last().unwrap());
        assert!(
            log.lines()
                .all(|line| line.contains("Z hasync foo0: failure: ")),
            "{log}"
        );

        let mut buffer = [0; 65536];
        loop {
            let len = self.syslog.recv(&mut buffer).unwrap();
            let datagram = std::str::from_utf8(&buffer[..len]).unwrap();
            assert_line("syslog", datagram);
            if datagram.contains(words) {
                break;
            }
        }
        await_that("a mail", || self.smtp.mails().len() > mails);
        for mail in self.smtp.mails() {
            assert_plain("mail", mail.replace("\r\n", "\n").as_bytes());
            let (head, body) = mail.split_once("\n\n").unwrap();
            assert_eq!(head.matches("Subject:").count(), 1, "{mail}");
            assert!(mail.is_ascii() && !head.contains("=?"), "{mail}");
            assert_eq!(body.trim_end().lines().count(), 2, "{mail}");
            assert!(mail.lines().all(|line| line.len() < 998), "{mail}");
        }
    }
}

#[test]
fn what_a_hostile_standby_says_is_harmless_in_every_notice() {
    need_root();
    let scene = Scene::set();
    for evil in EVIL {
        scene.let_standby_say(evil);
        scene.cycle("directory");
        // What is wrong with one tree is no harm to the other.
        assert_eq!(scene.pair.read(Foo1, "etc/a"), "x");
        let status = run_plain(&scene.pair.on(Foo0, &["status"])).expect(0);
        assert!(status.stdout_text().contains("the last cycle"), "{status}");
        let json = run_plain(&scene.pair.on(Foo0, &["status", "--json"])).expect(0);
        let file = scene.pair.path(Foo0, "json");
        std::fs::write(&file, &json.stdout).unwrap();
        let words = "import json,sys; print(json.load(open(sys.argv[1]))['last_cycle']['line'])";
        let read = Command::new("python3")
            .args(["-c", words])
            .arg(&file)
            .output()
            .unwrap();
        assert!(read.status.success(), "{json}");
        let said: String = evil.chars().take_while(|c| *c != '\r').collect();
        assert!(
            String::from_utf8(read.stdout).unwrap().contains(&said),
            "what the JSON says is what was said: {json}"
        );
    }
    assert!(!std::path::Path::new("PWNED").exists());
}

#[test]
fn what_a_far_end_writes_to_standard_error_is_quoted_harmless() {
    let trees = TempTree::new();
    trees.write("src/file", "x");
    for (index, evil) in EVIL.iter().enumerate() {
        let words = trees.text(&format!("evil{index}"));
        std::fs::write(&words, evil).unwrap();
        for end in ["exit 3", "exit 127", "kill -9 $$"] {
            let rsh = FakeRsh::with_script(&format!("cat {words}; cat {words} >&2; {end}"));
            let push = Hasync::push(&["-a", "-e", &rsh.path()])
                .arg(trees.contents_of("src"))
                .arg("b:/nowhere");
            assert_ne!(run_plain(&push).code, 0);
        }
    }
    let sshd = Sshd::start();
    for index in 0..EVIL.len() {
        let words = trees.text(&format!("evil{index}"));
        trees.write("far", format!("#!/bin/sh\ncat {words} >&2\nexit 3\n"));
        trees.chmod("far", 0o755);
        let push = sshd
            .push(&["-a"], &trees.contents_of("src"), &trees.path("dst"))
            .args(["--remote-bin", &trees.text("far")]);
        assert_eq!(run_plain(&push).code, 12);
    }
}

#[test]
fn names_are_harmless_in_lists_and_errors_and_told_back_from_lists() {
    need_root();
    let reachable = Reachable::new();
    let trees = TempTree::new();
    let names: Vec<String> = EVIL
        .iter()
        .map(|evil| evil.replace(['\0', '/'], "_"))
        .collect();
    for evil in &names {
        trees.write(std::path::Path::new("src").join(name(evil.as_bytes())), "x");
    }
    trees.write(
        std::path::Path::new("src").join(name(b"\xc0\xaf\xed\xa0\x80")),
        "x",
    );
    let push = Hasync::push(&["-ai"])
        .arg(trees.contents_of("src"))
        .arg(trees.path("dst"));
    let listed = run_plain(&push).expect(0).stdout_text();
    assert_eq!(
        listed.lines().filter(|line| line.starts_with(">f")).count(),
        names.len() + 1
    );
    for evil in &names {
        let told = listed
            .lines()
            .any(|line| unescaped(line).ends_with(evil.as_bytes()));
        assert!(told, "{evil:?} in\n{listed}");
    }
    for evil in &names {
        trees.chmod(std::path::Path::new("src").join(evil), 0);
    }
    let push = Hasync::push(&["-rt"])
        .arg(trees.contents_of("src"))
        .arg("/nonexistent/\x1b[2J\u{202e}/x")
        .by_nobody(&reachable);
    assert_ne!(run_plain(&push).code, 0);
    let dst = trees.mkdir("by nobody");
    trees.chown("by nobody", 65534, 65534);
    let push = Hasync::push(&["-rt"])
        .arg(trees.contents_of("src"))
        .arg(dst)
        .by_nobody(&reachable);
    let done = run_plain(&push).expect(23);
    assert_eq!(
        done.stderr.matches("ermission denied").count(),
        names.len(),
        "{done}"
    );
}

#[test]
fn whose_words_they_are_is_said() {
    need_root();
    let reachable = Reachable::new();
    let rsh = FakeRsh::with_script(
        "exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c \"$*\"",
    );
    let trees = TempTree::within(std::path::Path::new("/tmp"));
    trees.write("src/file", "x");
    trees.write("src/sub/file", "x");
    trees.mkdir("dst/sub");
    trees.chown("dst", 65534, 65534);
    trees.mkdir("closed");
    let push = |target: &str| {
        let push = Hasync::push(&["-rt", "-e", &rsh.path()])
            .arg("--remote-bin")
            .arg(reachable.program())
            .arg(trees.contents_of("src"))
            .arg(format!("b:{}", trees.text(target)));
        run_plain(&push)
    };
    let warned = push("dst").expect(23);
    assert!(warned.stderr.contains("denied (says b)\n"), "{warned}");
    let ended = push("closed/new").expect(11);
    assert!(ended.stderr.contains("denied (says b)\n"), "{ended}");
    let here = Hasync::push(&["-a"])
        .arg(trees.contents_of("src"))
        .arg(trees.path("src/file/in"));
    let here = run_plain(&here);
    assert!(
        here.code != 0 && here.stderr.starts_with("hasync: cannot "),
        "{here}"
    );
}

/// Undoes the escapes of a list.
fn unescaped(line: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), line);
    while let Some(at) = rest.find("\\#") {
        let (before, after) = rest.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        match after
            .get(2..5)
            .and_then(|octal| u8::from_str_radix(octal, 8).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[5..];
            }
            None => {
                bytes.extend_from_slice(b"\\#");
                rest = &after[2..];
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// `hasync serve --listen` and its log.
struct Server {
    child: Child,
    log: std::path::PathBuf,
}

impl Server {
    fn start(trees: &TempTree) -> Self {
        let log = trees.path("log");
        let child = Command::new(Hasync::program())
            .args(["serve", "--listen", "127.0.0.1:0", "--root"])
            .arg(trees.mkdir("root"))
            .arg("--authorized-keys")
            .arg(trees.path("authorized_keys"))
            .arg("--host-key")
            .arg(trees.path("key"))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let server = Self { child, log };
        await_that("it listens", || server.log().contains("listening on"));
        server
    }

    fn log(&self) -> String {
        String::from_utf8(std::fs::read(&self.log).unwrap()).unwrap()
    }

    fn port(&self) -> String {
        let log = self.log();
        let after = log.split("127.0.0.1:").nth(1).unwrap();
        after.chars().take_while(char::is_ascii_digit).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_logs_in_writes_nothing_of_his_own_into_the_log_of_a_server() {
    let trees = TempTree::within(std::path::Path::new("/tmp"));
    let key = trees.text("key");
    crate::support::process::run_ok("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    let public = String::from_utf8(trees.read("key.pub")).unwrap();
    let comment = "\x1b[2J\u{202e}who\u{2028}";
    trees.write("authorized_keys", format!("{} {comment}\n", public.trim()));
    trees.write("src/file", "x");
    let server = Server::start(&trees);
    let known = format!("[127.0.0.1]:{} {public}", server.port());
    trees.write("known_hosts", known);
    for (index, evil) in EVIL.iter().enumerate() {
        let user = evil.replace(['\0', '@', '/', ':'], "_");
        let push = Hasync::push(&["-a", "--ssh-config", "none", "--port", &server.port()])
            .args([
                "--identity",
                &key,
                "--known-hosts",
                &trees.text("known_hosts"),
            ])
            .arg(trees.contents_of("src"))
            .arg(format!("u{user}@127.0.0.1:{}", trees.text("root/d")));
        run_plain(&push);
        await_that("the session is in the log", || {
            server.log().matches("logged in as").count() > index
        });
    }
    assert_plain("log", server.log().as_bytes());
    for line in server.log().lines().skip(1) {
        let (address, _) = line.split_once(": ").unwrap();
        assert!(address.parse::<std::net::SocketAddr>().is_ok(), "{line:?}");
    }
}

#[test]
fn a_plugins_answer_has_figures_of_ours_alone() {
    for file in [
        "/x | lag=0s;;;",
        "/x\nHASYNC OK - fine | lag=0s",
        "/<b>&`id`$USER1$",
    ] {
        let done = Hasync::new()
            .args(["check", "--config", file])
            .run()
            .expect(3);
        let line = done.stdout_text();
        assert_line("check", line.trim_end_matches('\n'));
        assert!(line.starts_with("HASYNC UNKNOWN - "), "{line}");
        assert!(!line.contains(['|', '<', '&', '`', '$']), "{line}");
    }
}
