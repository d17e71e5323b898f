//! authorized_keys: who may log in to the server, with the options that restrict a key.
//!
//! Options that take away what this server never offers (`restrict`, `no-…`) change nothing here;
//! an option that is not known makes its line worthless, as in sshd.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;

use super::pattern;
use crate::error::Plain;

/// A key that may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) comment: String,
    /// `command="…"`: what the administrator meant the key for.
    pub(crate) forced_command: Option<String>,
}

/// Looks `blob` up in `file` for a client at `address`; the reason if it may not log in.
pub(crate) fn look_up(file: &Path, blob: &[u8], address: IpAddr) -> Result<Grant, String> {
    let text = read(file)?;
    let mut reason = format!("it is not in {}", file.display());
    for (index, line) in text.lines().enumerate() {
        let Some(entry) = parse_line(line) else {
            continue;
        };
        if entry.blob != blob {
            continue;
        }
        match entry.admits(address.to_canonical(), SystemTime::now()) {
            Ok(grant) => return Ok(grant),
            Err(why) => reason = format!("{}:{}: {why}", file.display(), index + 1),
        }
    }
    Err(reason)
}

/// Reads the file unless somebody else could have written it.
pub(crate) fn read(file: &Path) -> Result<String, String> {
    let cannot = |e: std::io::Error| format!("{}: {}", file.display(), Plain(&e));
    let full = std::fs::canonicalize(file).map_err(cannot)?;
    let own_uid = rustix::process::geteuid().as_raw();
    for path in full.ancestors() {
        let metadata = std::fs::metadata(path).map_err(cannot)?;
        // In a sticky directory nobody can replace what is another's.
        let sticky_directory = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
        let foreign = metadata.uid() != 0 && metadata.uid() != own_uid;
        if foreign || (metadata.mode() & 0o022 != 0 && !sticky_directory) {
            let path = path.display();
            return Err(format!(
                "{path} belongs to or can be written by others (chmod go-w {path})"
            ));
        }
    }
    let mut bytes = Vec::new();
    let opened = File::open(&full).map_err(cannot)?;
    opened
        .take(FILE_MAX_LEN + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > FILE_MAX_LEN {
        return Err(format!(
            "{}: larger than {FILE_MAX_LEN} bytes",
            file.display()
        ));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Entry {
    options: Vec<String>,
    blob: Vec<u8>,
    comment: String,
}

fn parse_line(line: &str) -> Option<Entry> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    // Options, if any, come before the key type and may hold blanks in quotes.
    let (options, rest) = match key_on(line) {
        Some(_) => (Vec::new(), line),
        None => split_options(line)?,
    };
    let (blob, comment) = key_on(rest)?;
    Some(Entry {
        options,
        blob,
        comment,
    })
}

/// `TYPE BASE64 [COMMENT]`
fn key_on(text: &str) -> Option<(Vec<u8>, String)> {
    let mut words = text.split_ascii_whitespace();
    let (key_type, key) = (words.next()?, words.next()?);
    let blob = BASE64.decode(key.as_bytes()).ok()?;
    // The blob repeats its type behind a four-byte length: the two must agree.
    let named = blob.get(4..4 + key_type.len())? == key_type.as_bytes();
    let comment: Vec<&str> = words.collect();
    named.then(|| (blob, comment.join(" ")))
}

/// Splits `a,b="c d" rest` into its options and the rest.
fn split_options(line: &str) -> Option<(Vec<String>, &str)> {
    let mut options = vec![String::new()];
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        let option = options.last_mut()?;
        match c {
            _ if escaped => {
                escaped = false;
                if c != '"' {
                    option.push('\\');
                }
                option.push(c);
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => options.push(String::new()),
            c if c.is_ascii_whitespace() && !quoted => return Some((options, line.get(at..)?)),
            c => option.push(c),
        }
    }
    None
}

impl Entry {
    fn admits(&self, address: IpAddr, now: SystemTime) -> Result<Grant, String> {
        let mut forced_command = None;
        for option in &self.options {
            let (name, value) = option
                .split_once('=')
                .map_or((option.as_str(), None), |(n, v)| (n, Some(v)));
            let name = name.to_ascii_lowercase();
            match (name.as_str(), value) {
                ("from", Some(list)) if address_matches(list, address) => {}
                ("from", Some(_)) => return Err(format!("its from= does not admit {address}")),
                ("expiry-time", Some(text)) => match parse_time(text) {
                    Some(expiry) if now < expiry => {}
                    Some(_) => return Err("it has expired".to_owned()),
                    None => return Err(format!("bad expiry-time {text}")),
                },
                ("command", Some(command)) => forced_command = Some(command.to_owned()),
                (known, None) if WITHOUT_VALUE.contains(&known) => {}
                (known, Some(_)) if WITH_VALUE.contains(&known) => {}
                (other, _) => return Err(format!("option {other} is not known here")),
            }
        }
        Ok(Grant {
            comment: self.comment.clone(),
            forced_command,
        })
    }
}

/// A `from=` list: addresses with wildcards or as CIDR, `!` negates. Names match nothing, since
/// no name is looked up.
fn address_matches(list: &str, address: IpAddr) -> bool {
    let text = address.to_string();
    let mut matched = false;
    for item in list.split(',').map(str::trim) {
        let (negated, item) = item
            .strip_prefix('!')
            .map_or((false, item), |item| (true, item));
        let hit = match item.split_once('/') {
            Some((network, len)) => in_network(network, len, address).unwrap_or(false),
            None => pattern::matches(&item.to_ascii_lowercase(), &text),
        };
        if hit && negated {
            return false;
        }
        matched |= hit;
    }
    matched
}

fn in_network(network: &str, len: &str, address: IpAddr) -> Option<bool> {
    let len: u32 = len.parse().ok()?;
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((network, width), (address, address_width)) = (bits(network.parse().ok()?), bits(address));
    if width != address_width || len > width {
        return Some(false);
    }
    Some(len == 0 || (network ^ address) >> (128 - len) == 0)
}

/// `YYYYMMDD[HHMM[SS]][Z]`. Without `Z` it means a local time; the zone is not known here, so the
/// earliest moment it can mean is taken: a key may expire some hours early, never late.
fn parse_time(text: &str) -> Option<SystemTime> {
    let (digits, utc) = text
        .strip_suffix('Z')
        .map_or((text, false), |digits| (digits, true));
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| match digits.get(from..to) {
        Some(digits) => digits.parse::<u64>().ok(),
        None => Some(0),
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970-01-01 in years that begin in March, so that a leap day is a year's last.
    let shifted_year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + day_of_year;
    let days = days.checked_sub(719_468)?;
    let moment = Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second);
    let zone = if utc { Duration::ZERO } else { EARLIEST_ZONE };
    Some(SystemTime::UNIX_EPOCH + moment.saturating_sub(zone))
}

/// Local time runs at most this far ahead of UTC.
const EARLIEST_ZONE: Duration = Duration::from_secs(14 * 3600);
const FILE_MAX_LEN: u64 = 1 << 20;

const WITHOUT_VALUE: &[&str] = &[
    "agent-forwarding",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-x11-forwarding",
    "port-forwarding",
    "pty",
    "restrict",
    "user-rc",
    "x11-forwarding",
];
const WITH_VALUE: &[&str] = &["environment", "permitlisten", "permitopen", "tunnel"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    /// A blob as a key of this type begins, so that lines parse.
    fn blob(tail: &str) -> Vec<u8> {
        let mut blob = vec![0, 0, 0, 11];
        blob.extend_from_slice(b"ssh-ed25519");
        blob.extend_from_slice(tail.as_bytes());
        blob
    }

    fn admitted(options: &str, address: &str) -> Result<Grant, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        let (mine, other) = (BASE64.encode(&blob("mine")), BASE64.encode(&blob("other")));
        let text = format!("# k\n\nssh-ed25519 {other} x\n{options}ssh-ed25519 {mine} me there\n");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        look_up(&file, &blob("mine"), address.parse().unwrap())
    }

    #[test]
    fn plain_and_restricted_keys_are_admitted() {
        for options in [
            "",
            "restrict ",
            "no-pty,no-agent-forwarding ",
            "RESTRICT,pty ",
        ] {
            let grant = admitted(options, "10.0.0.1").unwrap();
            assert_eq!(
                (grant.comment.as_str(), grant.forced_command),
                ("me there", None)
            );
        }
        let forced = admitted("restrict,command=\"a \\\"b\\\", c\" ", "10.0.0.1").unwrap();
        assert_eq!(forced.forced_command.unwrap(), "a \"b\", c");
    }

    #[test]
    fn unknown_options_and_authorities_are_not() {
        for options in [
            "cert-authority ",
            "no-such ",
            "principals=\"a\" ",
            "from ",
            "\"a ",
        ] {
            assert!(admitted(options, "10.0.0.1").is_err(), "{options}");
        }
    }

    #[test]
    fn from_lists() {
        for (list, address, expected) in [
            ("10.0.0.*", "10.0.0.7", true),
            ("10.0.0.0/24", "10.0.0.7", true),
            ("10.0.0.0/24", "10.0.1.7", false),
            ("10.0.0.0/24,!10.0.0.7", "10.0.0.7", false),
            ("fd00::/8", "fd12::1", true),
            ("10.0.0.0/24", "::ffff:10.0.0.7", true),
            ("0.0.0.0/0", "fd12::1", false),
            ("b.example.com", "10.0.0.7", false),
            ("10.0.0.0/99", "10.0.0.7", false),
        ] {
            let options = format!("from=\"{list}\" ");
            assert_eq!(
                admitted(&options, address).is_ok(),
                expected,
                "{list} {address}"
            );
        }
    }

    #[test]
    fn expiry() {
        assert!(admitted("expiry-time=\"20990101\" ", "::1").is_ok());
        for past_or_bad in ["20200101", "202001011200Z", "2099", "20991301", "x"] {
            assert!(admitted(&format!("expiry-time=\"{past_or_bad}\" "), "::1").is_err());
        }
        let leap = SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_210_096);
        assert_eq!(parse_time("20240229123456Z").unwrap(), leap);
        assert_eq!(parse_time("19700101Z").unwrap(), SystemTime::UNIX_EPOCH);
        assert!(parse_time("20240229123456").unwrap() < leap);
    }

    #[test]
    fn a_file_others_can_write_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o620)).unwrap();
        assert!(
            read(&file)
                .unwrap_err()
                .contains("can be written by others")
        );
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&file).unwrap(), "");
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(read(&file).is_err());
    }
}
