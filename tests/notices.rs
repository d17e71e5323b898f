//! Notices arrive by every way that the configuration names, and a way that fails is named and
//! holds up no other.

use std::os::unix::fs::PermissionsExt;

use crate::support::smtp::Smtp;
use crate::support::{Finished, Hasync, TempTree};

fn test_notice(dir: &TempTree, notify: &str) -> Finished {
    let state = dir.text("state");
    let node = format!("[node]\nname = \"foo0\"\nstate = \"{state}\"\n");
    dir.write("hasync.toml", format!("{node}[notify]\n{notify}"));
    let file = dir.text("hasync.toml");
    Hasync::new()
        .args(["check-config", "--notify", "--config", &file])
        .run()
}

#[test]
fn mail_reaches_a_smarthost() {
    let (dir, smtp) = (TempTree::new(), Smtp::start());
    let mail = format!(
        "mail = {{ to = [\"root\", \"ops@example.com\"], smtp = \"{}\" }}\n",
        smtp.address()
    );
    test_notice(&dir, &mail).expect(0);
    let mail = smtp.await_mail("this is a test");
    for line in [
        "From: hasync@foo0",
        "To: root@foo0,\n ops@example.com",
        "Subject: hasync foo0: recovery: this is a test, nothing has happened",
        "nothing needs to be done",
    ] {
        assert!(mail.contains(line), "{line:?} in\n{mail}");
    }
}

#[test]
fn mail_goes_to_sendmail_with_its_headers() {
    let dir = TempTree::new();
    let got = dir.text("got");
    dir.write(
        "sendmail",
        format!("#!/bin/sh\necho \"$*\" >{got}\ncat >>{got}\n"),
    );
    let program = dir.path("sendmail");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.display();
    let mail = format!("mail = {{ to = [\"root\"], sendmail = \"{program}\" }}\n");
    test_notice(&dir, &mail).expect(0);
    let text = String::from_utf8(dir.read("got")).unwrap();
    assert!(
        text.starts_with("-t -i\nFrom: hasync\nTo: root\nSubject: hasync foo0: "),
        "{text}"
    );
    assert!(
        text.contains("\n\nhasync foo0: recovery: this is a test"),
        "{text}"
    );
}

#[test]
fn a_pager_gets_the_parts_and_the_log_a_line() {
    let dir = TempTree::new();
    let (got, log) = (dir.text("got"), dir.text("log"));
    let ways =
        format!("log = \"{log}\"\ncommand = \"(echo $HASYNC_EVENT $HASYNC_NODE; cat) > {got}\"\n");
    test_notice(&dir, &ways).expect(0);
    test_notice(&dir, &ways).expect(0);
    let got = String::from_utf8(dir.read("got")).unwrap();
    assert!(
        got.starts_with("recovery foo0\nhasync foo0: recovery: "),
        "{got}"
    );
    let log = String::from_utf8(dir.read("log")).unwrap();
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(
        log.lines()
            .all(|line| line.contains("Z hasync foo0: recovery: ")),
        "{log}"
    );
}

#[test]
fn a_way_that_fails_is_named_and_holds_up_no_other() {
    let dir = TempTree::new();
    let log = dir.text("log");
    let ways = format!(
        "log = \"{log}\"\ncommand = \"echo no modem >&2; exit 5\"\n\
         mail = {{ to = [\"root\"], smtp = \"127.0.0.1:1\" }}\n"
    );
    let done = test_notice(&dir, &ways).expect(11);
    for words in [
        "by command \"echo no modem",
        "exit code 5: no modem",
        "smarthost 127.0.0.1:1",
        "refused",
        "2 of the ways",
    ] {
        assert!(done.stderr.contains(words), "{words:?} in\n{done}");
    }
    assert!(dir.path("log").exists());
}
