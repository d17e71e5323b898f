//! The options before a key, read as sshd reads them. What takes away something that this server
//! never offers (`restrict`, `no-…`, forwarding) changes nothing; what is not understood, or asks
//! for something that cannot be done here, makes its line worthless.

use std::time::SystemTime;

use super::expiry;
use super::from::FromList;

/// What matters of the options of one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyOptions {
    pub(super) from: Option<FromList>,
    /// The earliest, if several are given.
    pub(super) expiry: Option<SystemTime>,
    pub(super) command: Option<String>,
}

/// Where the options end: at the first blank outside quotes. `None` in an open quote.
pub(super) fn split(line: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' if escaped => {}
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return line.split_at_checked(at),
            _ => {}
        }
        // A backslash means something before a quote alone, not even before another.
        escaped = c == '\\';
    }
    None
}

impl KeyOptions {
    pub(super) fn parse(text: &str) -> Result<KeyOptions, String> {
        let mut options = KeyOptions::default();
        let mut rest = text;
        loop {
            let name_len = rest.find(['=', ',', '"']).unwrap_or(rest.len());
            let (typed, after) = rest.split_at_checked(name_len).unwrap_or_default();
            let name = typed.to_ascii_lowercase();
            let after = match after.strip_prefix('=') {
                Some(quoted) => {
                    let (value, after) = unquote(quoted)
                        .ok_or_else(|| format!("the value of its {typed}= is not in quotes"))?;
                    options.set(&name, &value)?;
                    after
                }
                None => flag(&name).map(|()| after)?,
            };
            if after.is_empty() {
                return Ok(options);
            }
            rest = after
                .strip_prefix(',')
                .ok_or_else(|| format!("there is something behind its option {typed}"))?;
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let bad = || Err(format!("bad {name}={value:?}"));
        match name {
            "command" => once(&mut self.command, name, value.to_owned())?,
            "from" => once(&mut self.from, name, FromList::parse(value)?)?,
            "expiry-time" => match expiry::parse(value) {
                Some(moment) => {
                    let earliest = self.expiry.map_or(moment, |other| other.min(moment));
                    self.expiry = Some(earliest);
                }
                None => return bad(),
            },
            "environment" if !is_assignment(value) => return bad(),
            "permitopen" if !is_host_port(value) => return bad(),
            "permitlisten" if !is_host_port(value) && !is_port(value) => return bad(),
            "tunnel" if value != "any" && value.parse::<u16>().is_err() => return bad(),
            "environment" | "permitopen" | "permitlisten" | "tunnel" => {}
            "principals" => return Err("principals= is for certificates".to_owned()),
            _ => return Err(not_known(name)),
        }
        Ok(())
    }
}

fn flag(name: &str) -> Result<(), String> {
    let positive = name.strip_prefix("no-").unwrap_or(name);
    match name {
        "restrict" | "no-verify-required" => Ok(()),
        "cert-authority" => Err("it is for certificates, which are not taken here".to_owned()),
        "verify-required" => Err("verify-required cannot be checked here".to_owned()),
        _ if NEVER_OFFERED.contains(&positive) => Ok(()),
        _ => Err(not_known(name)),
    }
}

fn not_known(name: &str) -> String {
    format!("option {name:?} is not known here")
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("it has {name}= more than once")),
    }
}

/// A value in quotes, as sshd and this server read it: of it all, a backslash goes before quotes
/// alone.
#[must_use]
pub fn option_value(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\\\""))
}

/// Takes a quoted value from the front. Of backslashes only those before a quote go.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' if chars.as_str().starts_with('"') => value.extend(chars.next()),
            c => value.push(c),
        }
    }
}

fn is_assignment(value: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    value
        .split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(of_name))
}

fn is_host_port(value: &str) -> bool {
    value
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && is_port(port))
}

fn is_port(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    text == "*" || (digits && text.parse::<u16>().is_ok_and(|port| port > 0))
}

const NEVER_OFFERED: &[&str] = &[
    "agent-forwarding",
    "port-forwarding",
    "pty",
    // No key that could be touched is taken.
    "touch-required",
    "user-rc",
    "x11-forwarding",
];
