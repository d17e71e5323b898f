//! The files that a configuration names to be run or believed: nobody but root and this user may
//! have a hand in them, or whoever has decides what runs here, and which peer is the right one.

use std::path::{Path, PathBuf};

use hasync_engine::{PathCause, open_trusted};

use super::{Config, RoleTest, shown_file};
use crate::exit::{Exit, Failure};
use crate::notify::SENDMAIL;

/// Refuses a configuration that names a file which somebody else owns or may write. What is not on
/// this node, or what this user may not look at, is met when it is needed.
pub(super) fn check(config: &Config) -> Result<(), Failure> {
    for (key, file) in named(config) {
        let Err(fault) = open_trusted(&file) else {
            continue;
        };
        if !matches!(fault.cause, PathCause::Io(_)) {
            let message = format!(
                "{}: {key} {} is not used: {fault}",
                config.shown_file(),
                shown_file(&file)
            );
            return Err(Failure::new(Exit::Config, message));
        }
    }
    Ok(())
}

/// The keys with the files that they name.
fn named(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let (peer, notify, hooks) = (&config.peer, &config.notify, &config.hooks);
    let mut role = (None, None);
    match &config.role {
        RoleTest::Haresources { file, .. } => role.0 = Some(file.clone()),
        RoleTest::Command { command, .. } => role.1 = Some(command.as_str()),
        RoleTest::Address { .. } | RoleTest::Recorded => {}
    }
    let sendmail = notify.mail.as_ref().filter(|mail| mail.smtp.is_none());
    let sendmail = sendmail.map(|mail| {
        let given = mail.sendmail.as_ref();
        given.map_or_else(|| PathBuf::from(SENDMAIL), |file| file.0.clone())
    });
    let files = [
        ("[peer] identity", peer.identity.clone()),
        ("[peer] known_hosts", peer.known_hosts.clone()),
        ("[peer] ssh_config", peer.ssh_config.clone()),
        ("[role] haresources", role.0),
        ("[notify] mail sendmail", sendmail),
    ];
    let hook = |command: &'_ Option<super::Command>| command.as_ref().and_then(|c| program(&c.0));
    let programs = [
        ("[peer] check", hook(&peer.check)),
        ("[role] command", role.1.and_then(program)),
        ("[notify] command", hook(&notify.command)),
        ("[hooks] before", hook(&hooks.before)),
        ("[hooks] after", hook(&hooks.after)),
        ("[hooks] on_failure", hook(&hooks.on_failure)),
        ("[hooks] on_overrun", hook(&hooks.on_overrun)),
    ];
    let all = files.into_iter().chain(programs);
    all.filter_map(|(key, file)| Some((key, file?))).collect()
}

/// The program that a command for `sh -c` begins with, if it is named by an absolute path that no
/// shell has to make out first. Assignments, `exec` and opening brackets before it do not count.
fn program(command: &str) -> Option<PathBuf> {
    let mut rest = command;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || "({!".contains(c));
        let (word, after) = first_word(rest)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let assigns = rest
            .split_once('=')
            .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(is_name));
        if !assigns && word != "exec" {
            return Path::new(&word).is_absolute().then(|| PathBuf::from(word));
        }
        rest = after;
    }
}

/// A word as a shell reads it, and what comes after; `None` where there is none, or only a shell
/// knows what it means.
fn first_word(text: &str) -> Option<(String, &str)> {
    let (mut word, mut quote) = (String::new(), None);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some('\''), c) if c != '\'' => word.push(c),
            (_, '$' | '`') => return None,
            (None, '*' | '?' | '[') => return None,
            (_, '\\') => match chars.next()?.1 {
                '\n' => {}
                c if quote.is_some() && !"\"\\$`".contains(c) => word.extend(['\\', c]),
                c => word.push(c),
            },
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, c) if c.is_whitespace() || ";&|<>()".contains(c) => {
                return (at > 0).then(|| (word, text.get(at..).unwrap_or_default()));
            }
            (_, c) => word.push(c),
        }
    }
    (!text.is_empty() && quote.is_none()).then_some((word, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_command_is_its_first_word() {
        for (command, expected) in [
            ("/opt/page", Some("/opt/page")),
            ("  /opt/page --now 5", Some("/opt/page")),
            ("\t/opt/page;true", Some("/opt/page")),
            ("/opt/page>/dev/null", Some("/opt/page")),
            ("/opt/page&", Some("/opt/page")),
            ("/opt/page|cat", Some("/opt/page")),
            ("'/opt/my page' x", Some("/opt/my page")),
            ("\"/opt/my page\"", Some("/opt/my page")),
            ("/opt/my\\ page x", Some("/opt/my page")),
            ("/op't'/page", Some("/opt/page")),
            ("\\/opt/page", Some("/opt/page")),
            ("(/opt/page)", Some("/opt/page")),
            ("{ /opt/page; }", Some("/opt/page")),
            ("! /opt/page", Some("/opt/page")),
            ("exec /opt/page x", Some("/opt/page")),
            ("LANG=C TZ='a b' /opt/page", Some("/opt/page")),
            ("A=/x exec /opt/page", Some("/opt/page")),
            ("/opt/a=b", Some("/opt/a=b")),
            ("page /opt/page", None),
            ("./page", None),
            ("$HOME/page", None),
            ("\"/opt/$x\"", None),
            ("/opt/*", None),
            ("'/opt/page", None),
            ("A=/x", None),
            ("", None),
            (";", None),
        ] {
            assert_eq!(program(command), expected.map(PathBuf::from), "{command:?}");
        }
    }
}
