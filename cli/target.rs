//! Where a push goes: `DST` on this host, or `[USER@]HOST:DST` on another. Read as rsync reads
//! it: a colon that follows a slash belongs to a local name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use hasync_engine::escape;
use hasync_transport::ssh::quoted;

use crate::exit::Failure;

/// The place that a push makes equal to its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A path on this host, as typed.
    Local(Vec<u8>),
    /// A path on another host.
    Remote {
        /// The name to log in with, if one was typed.
        user: Option<String>,
        /// Name or address, without the brackets of an IPv6 address.
        host: String,
        /// The path, as typed, seen from the directory that the login starts in.
        path: Vec<u8>,
    },
}

impl Target {
    /// The other host, if it is on one.
    pub(crate) fn host(&self) -> Option<&str> {
        match self {
            Target::Local(_) => None,
            Target::Remote { host, .. } => Some(host),
        }
    }

    /// The path, as bytes, that the receiving half is asked to fill.
    pub(crate) fn path(&self) -> &[u8] {
        match self {
            Target::Local(path) | Target::Remote { path, .. } => path,
        }
    }
}

/// Tells sources and target apart: the last operand is the target. Sources must be local, since
/// `hasync` only ever pushes.
pub(crate) fn parse(operands: &[OsString]) -> Result<(&[OsString], Target), Failure> {
    let (last, sources) = match operands.split_last() {
        Some((last, sources)) if !sources.is_empty() => (last, sources),
        _ => {
            return Err(Failure::usage(
                "a push needs at least one source and a destination",
            ));
        }
    };
    let target = parse_target(last)?;
    for source in sources {
        let bytes = source.as_bytes();
        if bytes.is_empty() {
            return Err(Failure::usage(
                "a source is empty; write . for the current directory",
            ));
        }
        if bytes.starts_with(b"rsync://") || host_colon(bytes).is_some() {
            return Err(Failure::usage(refuse_remote_source(source, &target)));
        }
    }
    Ok((sources, target))
}

/// Reads `[USER@]HOST` alone, where a named tree is its own destination.
pub(crate) fn host(operand: &OsStr) -> Result<Target, Failure> {
    let bytes = operand.as_bytes();
    let name = escape(bytes);
    let wrong = bytes.contains(&b'/')
        || host_colon(bytes).is_some() && !(bytes.contains(&b'[') && bytes.ends_with(b"]"));
    if wrong {
        return Err(Failure::usage(format!(
            "\"{name}\" is not a host: a named tree goes where the standby's own configuration has \
             it; give the host alone, an IPv6 address in brackets"
        )));
    }
    parse_target(&OsString::from_vec([bytes, b":"].concat()))
}

/// Whether a name is one on another host.
pub(crate) fn names_host(name: &[u8]) -> bool {
    host_colon(name).is_some()
}

fn refuse_remote_source(source: &OsStr, target: &Target) -> String {
    let name = escape(source.as_bytes());
    match target {
        Target::Remote { .. } => {
            format!("source \"{name}\" and destination name two hosts; a source must be local")
        }
        Target::Local(_) => format!(
            "source \"{name}\" names another host, but hasync only pushes; run the push on the \
             host that has the data, or write ./{name} for a local name with a colon"
        ),
    }
}

fn parse_target(operand: &OsStr) -> Result<Target, Failure> {
    let bytes = operand.as_bytes();
    let name = escape(bytes);
    if bytes.is_empty() {
        return Err(Failure::usage(
            "the destination is empty; write . for the current directory",
        ));
    }
    if bytes.starts_with(b"rsync://") {
        return Err(Failure::usage(format!(
            "\"{name}\" names an rsync daemon, which hasync does not speak to; write HOST:PATH"
        )));
    }
    let Some(colon) = host_colon(bytes) else {
        // To the receiving half a leading ~ is the home directory; here a shell has seen to that.
        let prefix: &[u8] = if bytes.starts_with(b"~") { b"./" } else { b"" };
        return Ok(Target::Local([prefix, bytes].concat()));
    };
    let (login, path) = (
        bytes.get(..colon).unwrap_or(bytes),
        bytes.get(colon + 1..).unwrap_or(b""),
    );
    if path.starts_with(b":") {
        return Err(Failure::usage(format!(
            "\"{name}\" names a module of an rsync daemon, which hasync does not speak to; \
             write HOST:PATH with one colon"
        )));
    }
    let login = std::str::from_utf8(login)
        .map_err(|_| Failure::usage(format!("the host name in \"{name}\" is not UTF-8")))?;
    let (user, host) = match login.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, login),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() {
        return Err(Failure::usage(format!(
            "no host before the colon in \"{name}\""
        )));
    }
    if host.starts_with('-') || user.as_ref().is_some_and(|user| user.starts_with('-')) {
        // Such a word would become an option of the program that -e names.
        return Err(Failure::usage(format!(
            "host or user in \"{name}\" starts with a dash"
        )));
    }
    if user.as_deref() == Some("") {
        return Err(Failure::usage(format!(
            "no user before the @ in \"{name}\""
        )));
    }
    if path.starts_with(b"~") && !matches!(path, [b'~'] | [b'~', b'/', ..]) {
        // No shell runs there that would expand it.
        return Err(Failure::usage(format!(
            "~USER in \"{name}\" is not expanded; write the path from /, or ~/ for the directory \
             that the login starts in"
        )));
    }
    Ok(Target::Remote {
        user,
        host: host.to_owned(),
        path: path.to_vec(),
    })
}

/// The index of the colon that ends a host name, if there is one: the first colon, outside the
/// brackets of an IPv6 address, with no slash before it.
fn host_colon(bytes: &[u8]) -> Option<usize> {
    let host = bytes
        .iter()
        .position(|&byte| byte == b'@')
        .map_or(0, |at| at + 1);
    let host = if bytes.get(..host)?.contains(&b'/') {
        0
    } else {
        host
    };
    if bytes.get(host) == Some(&b'[')
        && let Some(end) = bytes.iter().position(|&byte| byte == b']')
        && bytes.get(end + 1) == Some(&b':')
        && !bytes.get(..end)?.contains(&b'/')
    {
        return Some(end + 1);
    }
    let colon = bytes.iter().position(|&byte| byte == b':')?;
    (!bytes.get(..colon)?.contains(&b'/')).then_some(colon)
}

/// A host as it stands before a colon.
pub(crate) fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// The command that copies a file to a node, which is reached by `[USER@]HOST` and this port.
pub(crate) fn scp(login: &str, port: Option<u16>, from: &str, to: &str) -> String {
    let port = port.map_or_else(String::new, |port| format!("-P {port} "));
    let (user, host) = match login.rsplit_once('@') {
        Some((user, host)) => (format!("{user}@"), host),
        None => (String::new(), login),
    };
    let (from, to) = (quoted(from), quoted(to));
    format!("scp {port}{from} {user}{}:{to}", bracketed(host))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn target(operand: &str) -> Target {
        parse_target(OsStr::new(operand)).unwrap()
    }

    fn local(path: &str) -> Target {
        Target::Local(path.as_bytes().to_vec())
    }

    fn remote(user: Option<&str>, host: &str, path: &str) -> Target {
        let user = user.map(str::to_owned);
        Target::Remote {
            user,
            host: host.to_owned(),
            path: path.as_bytes().to_vec(),
        }
    }

    fn refusal(operands: &[&str]) -> String {
        let operands: Vec<OsString> = operands.iter().map(OsString::from).collect();
        parse(&operands).unwrap_err().message
    }

    #[test]
    fn a_command_that_copies_names_the_port_and_brackets_an_address() {
        for (login, port, expected) in [
            ("foo1", None, "scp /x foo1:/y"),
            ("root@foo1", None, "scp /x root@foo1:/y"),
            ("10.0.0.2", Some(2222), "scp -P 2222 /x 10.0.0.2:/y"),
            ("fd00::2", None, "scp /x [fd00::2]:/y"),
            (
                "root@fe80::2%eth1",
                Some(2222),
                "scp -P 2222 /x root@[fe80::2%eth1]:/y",
            ),
            ("a@b@foo1", None, "scp /x a@b@foo1:/y"),
        ] {
            assert_eq!(scp(login, port, "/x", "/y"), expected);
        }
        assert_eq!(scp("h", None, "/a b", "/c"), "scp '/a b' h:/c");
    }

    #[test]
    fn a_host_ends_at_the_first_colon() {
        assert_eq!(target("b:/srv"), remote(None, "b", "/srv"));
        assert_eq!(
            target("root@b:/srv/a:b"),
            remote(Some("root"), "b", "/srv/a:b")
        );
        assert_eq!(
            target("u@example.com@b:x"),
            remote(Some("u@example.com"), "b", "x")
        );
    }

    #[test]
    fn a_colon_after_a_slash_is_local() {
        for path in ["/srv/a:b", "./a:b", "a/b:c", "plain", "a@b/c:d", "/x/[y]:z"] {
            assert_eq!(target(path), local(path));
        }
    }

    #[test]
    fn ipv6_addresses_stand_in_brackets() {
        assert_eq!(target("[fd00::2]:/srv"), remote(None, "fd00::2", "/srv"));
        assert_eq!(target("root@[::1]:"), remote(Some("root"), "::1", ""));
    }

    #[test]
    fn a_named_trees_operand_is_a_host_alone() {
        let read = |word: &str| host(OsStr::new(word));
        assert_eq!(read("b").unwrap(), remote(None, "b", ""));
        assert_eq!(
            read("root@10.0.0.2").unwrap(),
            remote(Some("root"), "10.0.0.2", "")
        );
        assert_eq!(
            read("root@[fd00::2]").unwrap(),
            remote(Some("root"), "fd00::2", "")
        );
        for word in ["b:", "b:/srv", "/srv", "", "fd00::2", "-x", "@b"] {
            assert!(read(word).is_err(), "{word}");
        }
    }

    #[test]
    fn only_the_login_users_home_is_known() {
        assert_eq!(target("b:~/html/"), remote(None, "b", "~/html/"));
        assert_eq!(target("b:~"), remote(None, "b", "~"));
        assert_eq!(target("b:"), remote(None, "b", ""));
        assert!(refusal(&["a", "b:~www/x"]).contains("~USER"));
        assert_eq!(target("~/x"), local("./~/x"));
    }

    #[test]
    fn daemons_are_refused_by_name() {
        assert!(refusal(&["a", "b::module/x"]).contains("module of an rsync daemon"));
        assert!(refusal(&["a", "rsync://b/x"]).contains("rsync daemon"));
    }

    #[test]
    fn a_pull_is_refused_with_the_way_out() {
        assert!(refusal(&["b:/srv", "/srv"]).contains("only pushes"));
        assert!(refusal(&["b:/srv", "c:/srv"]).contains("two hosts"));
    }

    #[test]
    fn what_cannot_be_a_host_is_refused() {
        assert!(refusal(&["a", ":/x"]).contains("no host"));
        assert!(refusal(&["a", "@b:/x"]).contains("no user"));
        assert!(refusal(&["a", "-oProxyCommand=x:/x"]).contains("dash"));
        assert!(refusal(&["a"]).contains("at least one source"));
        assert!(refusal(&[]).contains("at least one source"));
        assert!(refusal(&["", "b:/x"]).contains("empty"));
    }

    #[test]
    fn sources_keep_their_trailing_slash() {
        let operands = [
            OsString::from("a/"),
            OsString::from("b"),
            OsString::from("h:/x"),
        ];
        let (sources, target) = parse(&operands).unwrap();
        assert_eq!(sources, &operands[..2]);
        assert_eq!(target, remote(None, "h", "/x"));
    }
}
