//! The small words of the configuration file: times such as `"3m"`, sizes such as `"200MB"`, rates,
//! names, paths and commands. Each refuses what it cannot mean when it is read, so that the
//! message carries the line of the word.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::args::rate;

/// The longest time that can be given.
const MAX_TIME: Duration = Duration::from_secs(100 * 365 * 86_400);

/// No pair mirrors more often than this.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What `stall` of `[peer]` cannot go below: several pings.
const STALL_MIN: Duration = Duration::from_secs(60);

/// A value written as a string that has to be understood.
pub(super) trait Word: Sized {
    /// What is expected, with examples, for the message about something else.
    const WHAT: &'static str;

    /// The value, or why the word cannot be one.
    fn read(word: &str) -> Result<Self, String>;
}

/// Reads a [`Word`] in place of a string.
struct WordVisitor<T>(PhantomData<T>);

impl<T: Word> Visitor<'_> for WordVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<T, E> {
        T::read(word).map_err(E::custom)
    }
}

macro_rules! words {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(WordVisitor(PhantomData))
            }
        }
    )*};
}
words!(
    Time, Stall, Interval, Size, Speed, TreeName, AbsPath, Command, Host, NodeName, User, Line
);
words!(super::around::MailAddress);

/// A length of time: `"90s"`, `"3m"`, `"10h"`, `"7d"`, `"500ms"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl Word for Time {
    const WHAT: &'static str = "a time such as \"90s\", \"3m\", \"10h\" or \"7d\"";

    fn read(word: &str) -> Result<Self, String> {
        let refuse = || format!("\"{}\" is not {}", shown(word), Self::WHAT);
        let (number, unit) = number_and_unit(word).ok_or_else(refuse)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refuse()),
        };
        let time = number.checked_mul(unit_ms).map(Duration::from_millis);
        match time.filter(|time| *time <= MAX_TIME) {
            Some(time) if time.is_zero() => Err(format!("\"{word}\" is no time at all")),
            Some(time) => Ok(Time(time)),
            None => Err(format!("\"{word}\" is longer than 100 years")),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let units = [
            (86_400_000, "d"),
            (3_600_000, "h"),
            (60_000, "m"),
            (1_000, "s"),
        ];
        match units.iter().find(|(unit, _)| ms.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", ms / unit),
            None => write!(f, "{ms}ms"),
        }
    }
}

/// A length of time in which a peer that works gets on with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stall(pub(crate) Time);

impl Word for Stall {
    const WHAT: &'static str = Time::WHAT;

    fn read(word: &str) -> Result<Self, String> {
        let time = Time::read(word)?;
        if time.0 < STALL_MIN {
            return Err(format!(
                "\"{word}\" is less than a minute, which a busy disk may need for anything"
            ));
        }
        Ok(Stall(time))
    }
}

/// The time from one cycle to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Time);

impl Word for Interval {
    const WHAT: &'static str = Time::WHAT;

    fn read(word: &str) -> Result<Self, String> {
        let time = Time::read(word)?;
        if time.0 < INTERVAL_MIN {
            return Err(format!(
                "\"{word}\" is less than a second, in which no cycle ends"
            ));
        }
        Ok(Interval(time))
    }
}

/// A number of bytes: `"200MB"`, `"20GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Word for Size {
    const WHAT: &'static str = "a size such as \"200MB\" or \"20GiB\"";

    fn read(word: &str) -> Result<Self, String> {
        let refuse = || format!("\"{}\" is not {}", shown(word), Self::WHAT);
        let (number, unit) = number_and_unit(word).ok_or_else(refuse)?;
        let unit: u64 = match unit {
            "B" => 1,
            "KB" | "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(refuse()),
        };
        let bytes = number.checked_mul(unit);
        bytes
            .filter(|bytes| *bytes > 0)
            .map(Size)
            .ok_or_else(|| format!("\"{word}\" is out of range"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1_u64 << 40, "TiB"),
            (1_000_000_000_000, "TB"),
            (1 << 30, "GiB"),
            (1_000_000_000, "GB"),
            (1 << 20, "MiB"),
            (1_000_000, "MB"),
            (1 << 10, "KiB"),
            (1_000, "KB"),
        ];
        match units.iter().find(|(unit, _)| self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Bytes per second, spelled as `--bwlimit` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speed(pub(crate) rate::Rate);

impl Word for Speed {
    const WHAT: &'static str = "a rate such as \"20MB\", as of --bwlimit";

    fn read(word: &str) -> Result<Self, String> {
        let rate = rate::parse(word);
        rate.map(Speed)
            .map_err(|cause| format!("\"{}\" is not {}: {cause}", shown(word), Self::WHAT))
    }
}

/// The name of a tree: it becomes the name of directories.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TreeName(pub(crate) String);

impl Word for TreeName {
    const WHAT: &'static str = "a name of 1 to 64 letters a-z, digits, - and _";

    fn read(word: &str) -> Result<Self, String> {
        let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        let leads = word.bytes().next().is_some_and(|byte| byte != b'-');
        if leads && word.len() <= 64 && word.bytes().all(is_letter) {
            Ok(TreeName(word.to_owned()))
        } else {
            let what = Self::WHAT;
            Err(format!("\"{}\" is not {what}, no - first", shown(word)))
        }
    }
}

impl fmt::Display for TreeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An absolute path without `..`, `.`, doubled or trailing slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AbsPath(pub(crate) PathBuf);

impl Word for AbsPath {
    const WHAT: &'static str = "an absolute path such as \"/srv/html\"";

    fn read(word: &str) -> Result<Self, String> {
        let path = shown(word);
        if !word.starts_with('/') {
            return Err(format!(
                "the path \"{path}\" is not absolute; write it from /"
            ));
        }
        if word.contains('\0') {
            return Err(format!("the path \"{path}\" holds a zero byte"));
        }
        let mut clean = PathBuf::from("/");
        for part in word.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    return Err(format!(
                        "the path \"{path}\" climbs with ..; write where it leads"
                    ));
                }
                part if part.len() > 255 => {
                    return Err(format!(
                        "the path \"{path}\" has a name longer than 255 bytes"
                    ));
                }
                part => clean.push(part),
            }
        }
        Ok(AbsPath(clean))
    }
}

/// A command for `/bin/sh -c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) String);

impl Word for Command {
    const WHAT: &'static str = "a command as for sh -c, in one string";

    fn read(word: &str) -> Result<Self, String> {
        if word.trim().is_empty() || word.contains('\0') {
            return Err("the command is empty; leave the key out to run none".to_owned());
        }
        Ok(Command(word.to_owned()))
    }
}

/// A host: a name, an address or an alias of ssh_config, without user, port or brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host(pub(crate) String);

impl Word for Host {
    const WHAT: &'static str = "a host name or address such as \"standby\" or \"10.0.0.2\"";

    fn read(word: &str) -> Result<Self, String> {
        // An IPv6 address may name its interface.
        let address = word.split('%').next().unwrap_or(word);
        let host = bare(word, Self::WHAT).map(Host)?;
        if word.contains(':') && address.parse::<Ipv6Addr>().is_err() {
            let word = shown(word);
            return Err(match word.rsplit_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() => format!(
                    "\"{word}\" is a host with a port; give \"{host}\" alone, and the port by \
                     --port or by port in [peer]"
                ),
                _ => format!("\"{word}\" is not {}", Self::WHAT),
            });
        }
        Ok(host)
    }
}

impl Host {
    /// The address, if it is one.
    pub(super) fn address(host: &str) -> Option<IpAddr> {
        host.parse().ok()
    }

    /// Whether both are one host, as far as the words tell.
    pub(crate) fn is_same(one: &str, other: &str) -> bool {
        let addresses = (Host::address(one), Host::address(other));
        match addresses {
            (Some(one), Some(other)) => one == other,
            _ => one.eq_ignore_ascii_case(other),
        }
    }
}

/// The name of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeName(pub(crate) String);

impl Word for NodeName {
    const WHAT: &'static str = "the name of a node such as \"foo0\", as hostname prints it";

    fn read(word: &str) -> Result<Self, String> {
        bare(word, Self::WHAT).map(NodeName)
    }
}

/// Who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User(pub(crate) String);

impl Word for User {
    const WHAT: &'static str = "the name of a user such as \"root\"";

    fn read(word: &str) -> Result<Self, String> {
        bare(word, Self::WHAT).map(User)
    }
}

/// A word that can stand alone on a command line, in a list and before or behind an `@`.
fn bare(word: &str, what: &str) -> Result<String, String> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "@/[]\"'=,;".contains(c);
    if word.is_empty() || word.starts_with('-') || word.len() > 255 || word.contains(is_odd) {
        return Err(format!("\"{}\" is not {what}", shown(word)));
    }
    Ok(word.to_owned())
}

/// Text of one line that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) String);

impl Word for Line {
    const WHAT: &'static str = "a text of one line";

    fn read(word: &str) -> Result<Self, String> {
        if word.is_empty() || word.contains(|c: char| c.is_control()) {
            return Err(format!("\"{}\" is not {}", shown(word), Self::WHAT));
        }
        Ok(Line(word.to_owned()))
    }
}

/// A word as a message quotes it: escaped, and not without end.
pub(super) fn shown(word: &str) -> String {
    hasync_engine::escape(word.as_bytes())
        .chars()
        .take(200)
        .collect()
}

fn number_and_unit(word: &str) -> Option<(u64, &str)> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = word.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn refused<T: Word>(words: &[&str]) {
        for word in words {
            assert!(T::read(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn times_have_units() {
        for (word, seconds) in [("90s", 90), ("3m", 180), ("3 min", 180), ("2h", 7200)] {
            assert_eq!(Time::read(word).unwrap().0.as_secs(), seconds, "{word}");
        }
        assert_eq!(Time::read("500ms").unwrap().0.as_millis(), 500);
        assert_eq!(Time::read("7d").unwrap().to_string(), "7d");
        assert_eq!(Time::read("90s").unwrap().to_string(), "90s");
        refused::<Time>(&[
            "",
            "3",
            "m",
            "-3m",
            "3 months",
            "1.5h",
            "0s",
            "99999999999999999999s",
            "40000d",
            "18446744073709551615d",
        ]);
    }

    #[test]
    fn sizes_have_units() {
        for (word, bytes) in [("200MB", 200_000_000), ("1KiB", 1024), ("7B", 7)] {
            assert_eq!(Size::read(word).unwrap().0, bytes, "{word}");
            assert_eq!(Size::read(word).unwrap().to_string(), word);
        }
        refused::<Size>(&["200", "MB", "0MB", "5mb", "1e3MB", "99999999999TiB"]);
    }

    #[test]
    fn names_are_fit_for_directories() {
        for word in ["html", "a", "0", "mail_spool-2", &"x".repeat(64)] {
            assert!(TreeName::read(word).is_ok(), "{word}");
        }
        let long = "x".repeat(65);
        refused::<TreeName>(&["", "HTML", "a b", "a/b", "..", "-a", "é", &long]);
    }

    #[test]
    fn paths_are_cleaned_and_stay_where_they_are() {
        let clean = |word| AbsPath::read(word).unwrap().0;
        assert_eq!(clean("/srv/html/"), PathBuf::from("/srv/html"));
        assert_eq!(clean("//srv/./html"), PathBuf::from("/srv/html"));
        assert_eq!(clean("/").as_os_str(), "/");
        let long = format!("/{}", "x".repeat(256));
        refused::<AbsPath>(&["", "srv", "./srv", "/srv/../etc", "/a\0b", &long]);
    }

    #[test]
    fn hosts_are_bare() {
        for word in [
            "standby",
            "10.0.0.2",
            "fd00::2",
            "a.example.com",
            "fe80::2%eth1",
            "::1",
            "a_b",
        ] {
            assert!(Host::read(word).is_ok(), "{word}");
        }
        let no_bare_word = [
            "",
            "root@b",
            "-oProxyCommand=x",
            "a b",
            "[fd00::2]",
            "a/b",
            "foo0=10.0.0.1",
            "10.0.0.1,10.0.0.2",
        ];
        refused::<Host>(&no_bare_word);
        refused::<NodeName>(&no_bare_word);
        refused::<User>(&no_bare_word);
        refused::<Host>(&[
            "10.0.0.1:2222",
            "foo1:22",
            "foo1:",
            "fd00::2::",
            ":",
            "a:b:c",
        ]);
        for (word, host) in [("10.0.0.1:2222", "\"10.0.0.1\""), ("foo1:22", "\"foo1\"")] {
            let why = Host::read(word).unwrap_err();
            assert!(why.contains(host) && why.contains("--port"), "{why}");
        }
        assert!(User::read("a b").unwrap_err().contains("name of a user"));
        for (one, other, expected) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("fd00::1", "fd00:0::1", true),
            ("Foo", "foo", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("foo0", "foo1", false),
            ("fe80::1%a", "fe80::1%b", false),
        ] {
            assert_eq!(Host::is_same(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn intervals_leave_time_for_a_cycle() {
        assert!(Interval::read("1s").is_ok() && Interval::read("10m").is_ok());
        refused::<Interval>(&["1ms", "999ms", "0s", "soon"]);
    }
}
