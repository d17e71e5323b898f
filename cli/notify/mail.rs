//! A notice as mail: handed to `sendmail -t`, or to a smarthost. The smarthost is spoken to in the
//! clear and without a password, as suits one on this node or on the private link; to any other,
//! sendmail is the way.

use std::path::Path;
use std::time::{Duration, SystemTime};

use hasync_engine::Place;

use super::letter::Letter;
use super::smtp;
use crate::config::{self, Mail, MailAddress};
use crate::shell;
use crate::times;

/// The usual place of the program.
pub(crate) const SENDMAIL: &str = "/usr/sbin/sendmail";
/// The port of a smarthost unless the file says otherwise.
const SMTP_PORT: u16 = 25;

pub(super) fn send(mail: &Mail, letter: &Letter, timeout: Duration) -> Result<(), String> {
    match &mail.smtp {
        Some(host) => {
            let message = message(mail, letter, true);
            by_smtp(&host.0, mail, letter, &message, timeout)
        }
        None => {
            let program = mail.sendmail.as_ref();
            let program = program.map_or(Path::new(SENDMAIL), |file| &file.0);
            by_sendmail(program, &message(mail, letter, false), timeout)
        }
    }
}

fn by_sendmail(program: &Path, message: &str, timeout: Duration) -> Result<(), String> {
    let name = program.display().to_string();
    // The path comes as a variable: the shell sees nothing of it that could mean something.
    let command = "exec \"$HASYNC_SENDMAIL\" -t -i";
    let variables = [("HASYNC_SENDMAIL", name.as_str())];
    match shell::run(command, &variables, message.as_bytes(), timeout) {
        Ok(ended) if ended.code == 0 => Ok(()),
        Ok(ended) => Err(format!("{name}: {}", ended.shown())),
        Err(why) => Err(format!("{name}: {why}")),
    }
}

fn by_smtp(
    host: &str,
    mail: &Mail,
    letter: &Letter,
    message: &str,
    timeout: Duration,
) -> Result<(), String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            let port = port.parse();
            (
                name,
                port.map_err(|_| format!("smtp = \"{host}\" has no port behind its colon"))?,
            )
        }
        _ => (host, SMTP_PORT),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let node = letter.node(Place::Header);
    let from = with_domain(&sender(mail), &node);
    let to: Vec<String> = mail.to.iter().map(|to| with_domain(to, &node)).collect();
    let is_address = |word: &&String| config::mail_address(word).is_ok();
    if let Some(odd) = to.iter().chain([&from]).find(|word| !is_address(word)) {
        return Err(format!("{odd} is no address for SMTP"));
    }
    let mail = smtp::Mail {
        from: &from,
        to: &to,
        text: message,
    };
    smtp::send(name, port, &mail, timeout).map_err(|cause| format!("smarthost {host}: {cause}"))
}

fn sender(mail: &Mail) -> MailAddress {
    mail.from
        .clone()
        .unwrap_or(MailAddress("hasync".to_owned()))
}

/// A name without a domain is one of this node's.
fn with_domain(address: &MailAddress, node: &str) -> String {
    match address.0.contains('@') {
        true => address.0.clone(),
        false => format!("{}@{node}", address.0),
    }
}

/// Headers and text. To sendmail a name without a domain stays as it is: it knows its aliases.
fn message(mail: &Mail, letter: &Letter, for_smtp: bool) -> String {
    let header = |address: &MailAddress| match for_smtp {
        true => with_domain(address, &letter.node(Place::Header)),
        false => address.0.clone(),
    };
    let to: Vec<_> = mail.to.iter().map(header).collect();
    let subject = letter.subject(Place::Header);
    let newline = if for_smtp { "\r\n" } else { "\n" };
    let headers = [
        format!("From: {}", header(&sender(mail))),
        // Many of them take a line each, which no server refuses for its length.
        format!("To: {}", to.join(&format!(",{newline} "))),
        format!("Subject: {subject}"),
        format!("Date: {}", times::rfc2822(SystemTime::now())),
        "Auto-Submitted: auto-generated".to_owned(),
    ];
    let text = letter.text(Place::Mail).replace('\n', newline);
    format!("{}{newline}{newline}{text}", headers.join(newline))
}
