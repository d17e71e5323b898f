//! What ssh configuration means for one connection: the first value of each directive wins, and a
//! directive that matters for security or reachability and is not supported stops everything.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use russh::Preferred;
use russh::keys::Algorithm;

use super::address::{canonical_host, parse_ip};
use super::algorithms;
use super::client::ClientOptions;
use super::config_directives::refuse_unsupported;
use super::config_file::{Directive, Place, directives};
use super::config_tokens::{Reached, Token};
use super::config_values::Found;
use super::config_words::{expand_path, expand_tokens};
use super::destination::Destination;
use super::keys::RSA_MIN_BITS;
use crate::{Error, ErrorKind};

/// Everything a connection needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The name or address to connect to.
    pub(crate) host_name: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    /// The name under which known_hosts lists the host, instead of its own.
    pub(crate) host_key_alias: Option<String>,
    pub(crate) host_keys: HostKeyPolicy,
    /// Where new host keys go is the first.
    pub(crate) known_hosts: Vec<PathBuf>,
    pub(crate) global_known_hosts: Vec<PathBuf>,
    pub(crate) hash_known_hosts: bool,
    /// Whether the address must not be known by another key than the name.
    pub(crate) check_host_ip: bool,
    pub(crate) key_limits: KeyLimits,
    /// In the order to try, and whether the user named them.
    pub(crate) identities: Vec<PathBuf>,
    pub(crate) identities_are_explicit: bool,
    pub(crate) identities_only: bool,
    pub(crate) agent_socket: Option<PathBuf>,
    pub(crate) family: Family,
    pub(crate) bind_address: Option<SocketAddr>,
    pub(crate) connect_timeout: Duration,
    pub(crate) alive_interval: Option<Duration>,
    pub(crate) alive_count_max: usize,
    pub(crate) preferred: Preferred,
    pub(crate) rekey_len: Option<u64>,
}

/// `StrictHostKeyChecking`, without a question to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostKeyPolicy {
    /// Only known keys: `yes`, and `ask` as nobody is there to answer.
    Known,
    /// Unknown keys are added, changed ones refused: `accept-new`.
    AddNew,
    /// Anything: `no`.
    Any,
}

/// What restricts the keys on either side.
#[derive(Clone, Debug)]
pub(crate) struct KeyLimits {
    /// `PubkeyAcceptedAlgorithms`: what the user's keys may sign with, and where it says so.
    pub(crate) accepted: Option<(Vec<Algorithm>, Place)>,
    /// `RequiredRSASize`.
    pub(crate) rsa_min_bits: u32,
}

/// `AddressFamily`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Whatever the name has.
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// Reads the configuration files for `destination`; options and the destination itself come first.
pub(crate) fn settings(to: &Destination, options: &ClientOptions) -> Result<Settings, Error> {
    let found = directives(to, &options.environment, options.config_file.as_deref())?;
    refuse_unsupported(&found)?;
    let found = Found(found);

    let environment = &options.environment;
    let host_name = match found.first("hostname")? {
        Some((name, directive)) => {
            expand_tokens(name, &[('h', to.host.clone())]).map_err(|e| directive.place.error(e))?
        }
        None => to.host.clone(),
    };
    let host_name = canonical_host(&host_name);
    let port = match (to.port, found.first("port")?) {
        (Some(port), _) => port,
        (None, Some((port, directive))) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| directive.place.error(format_args!("bad port {port}")))?,
        (None, None) => 22,
    };
    let user = match (&to.user, found.first("user")?) {
        (Some(user), _) => user.clone(),
        (None, Some((user, _))) => user.to_owned(),
        (None, None) => environment.user.clone(),
    };
    let host_key_alias = found
        .first("hostkeyalias")?
        .map(|(alias, _)| alias.to_ascii_lowercase());

    let reached = Reached {
        host_name: &host_name,
        port,
        user: &user,
        host_key_alias: host_key_alias.as_deref(),
    };
    let tokens = reached.tokens(to, environment);
    let files = FileNames {
        tokens: &tokens,
        home: environment.home.as_deref(),
    };

    let (known_hosts, global_known_hosts) = match &options.known_hosts {
        Some(file) => (vec![file.clone()], Vec::new()),
        None => (
            files.of(
                &found,
                "userknownhostsfile",
                &["~/.ssh/known_hosts", "~/.ssh/known_hosts2"],
            )?,
            files.of(
                &found,
                "globalknownhostsfile",
                &["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"],
            )?,
        ),
    };
    let mut configured = files.of_all(&found, "identityfile")?;
    let mut seen = HashSet::new();
    configured.retain(|file| seen.insert(file.clone()));
    let identities_are_explicit = !options.identities.is_empty() || !configured.is_empty();
    let mut identities = options.identities.clone();
    identities.extend(configured);
    if !identities_are_explicit {
        let names = ["id_ed25519", "id_ecdsa", "id_rsa"];
        let ssh_dir = environment.home.iter().map(|home| home.join(".ssh"));
        identities.extend(ssh_dir.flat_map(|dir| names.map(|name| dir.join(name))));
    }
    let (alive_interval, alive_count_max) = alive(&found)?;
    Ok(Settings {
        host_keys: host_key_policy(&found)?,
        known_hosts,
        global_known_hosts,
        hash_known_hosts: found.flag("hashknownhosts")?.unwrap_or(false),
        check_host_ip: found.flag("checkhostip")?.unwrap_or(false),
        key_limits: key_limits(&found)?,
        identities,
        identities_are_explicit,
        // A key named on the command line is meant to be the one that is used.
        identities_only: found.flag("identitiesonly")?.unwrap_or(false)
            || !options.identities.is_empty(),
        agent_socket: agent_socket(&found, &files, options)?,
        family: options.family.map_or_else(|| family(&found), Ok)?,
        bind_address: bind_address(&found)?,
        connect_timeout: connect_timeout(&found, options)?,
        alive_interval,
        alive_count_max,
        preferred: offered(&found)?,
        rekey_len: match options.rekey_len {
            Some(len) => Some(len),
            None => rekey_len(&found)?,
        },
        host_name,
        port,
        user,
        host_key_alias,
    })
}

fn host_key_policy(found: &Found) -> Result<HostKeyPolicy, Error> {
    let Some((value, directive)) = found.first("stricthostkeychecking")? else {
        return Ok(HostKeyPolicy::Known);
    };
    match value.to_ascii_lowercase().as_str() {
        "yes" | "ask" | "true" => Ok(HostKeyPolicy::Known),
        "accept-new" => Ok(HostKeyPolicy::AddNew),
        "no" | "off" | "false" => Ok(HostKeyPolicy::Any),
        _ => Err(directive.bad_value(value)),
    }
}

fn agent_socket(
    found: &Found,
    files: &FileNames<'_>,
    options: &ClientOptions,
) -> Result<Option<PathBuf>, Error> {
    let default = || options.environment.agent_socket.clone();
    let Some((value, directive)) = found.first("identityagent")? else {
        return Ok(default());
    };
    match value {
        "none" => Ok(None),
        "SSH_AUTH_SOCK" => Ok(default()),
        variable if variable.starts_with('$') && !variable.starts_with("${") => {
            Ok(std::env::var_os(variable.trim_start_matches('$')).map(PathBuf::from))
        }
        path => files.expand(path, directive).map(Some),
    }
}

fn family(found: &Found) -> Result<Family, Error> {
    let Some((value, directive)) = found.first("addressfamily")? else {
        return Ok(Family::Any);
    };
    match value.to_ascii_lowercase().as_str() {
        "any" => Ok(Family::Any),
        "inet" => Ok(Family::V4),
        "inet6" => Ok(Family::V6),
        _ => Err(directive.bad_value(value)),
    }
}

fn bind_address(found: &Found) -> Result<Option<SocketAddr>, Error> {
    let Some((value, directive)) = found.first("bindaddress")? else {
        return Ok(None);
    };
    match parse_ip(value) {
        Some(address) => Ok(Some(address)),
        None => Err(directive
            .place
            .error("BindAddress takes a numeric address here: use -e ssh")),
    }
}

fn connect_timeout(found: &Found, options: &ClientOptions) -> Result<Duration, Error> {
    if let Some(limit) = options.connect_timeout {
        return Ok(limit);
    }
    match found.seconds("connecttimeout")? {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Ok(CONNECT_TIMEOUT),
    }
}

fn alive(found: &Found) -> Result<(Option<Duration>, usize), Error> {
    let interval = found.seconds("serveraliveinterval")?;
    let count_max = match found.first("serveralivecountmax")? {
        Some((value, directive)) => value.parse().map_err(|_| directive.bad_value(value))?,
        None => ALIVE_COUNT_MAX,
    };
    Ok(match interval {
        // Debian ships 0; a mirror whose standby died has to notice all the same.
        None | Some(0) => (Some(ALIVE_INTERVAL), count_max.max(1)),
        Some(seconds) => (Some(Duration::from_secs(seconds)), count_max.max(1)),
    })
}

fn offered(found: &Found) -> Result<Preferred, Error> {
    type Edit = fn(&mut Preferred, &str) -> Result<(), String>;
    let edits: [(&str, Edit); 4] = [
        ("ciphers", algorithms::set_ciphers),
        ("macs", algorithms::set_macs),
        ("kexalgorithms", algorithms::set_kex),
        ("hostkeyalgorithms", algorithms::set_host_keys),
    ];
    let mut preferred = algorithms::preferred();
    for (keyword, edit) in edits {
        found.list(keyword, |list| edit(&mut preferred, list))?;
    }
    Ok(preferred)
}

fn key_limits(found: &Found) -> Result<KeyLimits, Error> {
    let rsa_min_bits = match found.first("requiredrsasize")? {
        Some((bits, directive)) => bits.parse().map_err(|_| directive.bad_value(bits))?,
        None => RSA_MIN_BITS,
    };
    Ok(KeyLimits {
        accepted: found.list("pubkeyacceptedalgorithms", algorithms::user_keys)?,
        // ssh takes no smaller limit.
        rsa_min_bits: rsa_min_bits.max(RSA_MIN_BITS),
    })
}

fn rekey_len(found: &Found) -> Result<Option<u64>, Error> {
    // It may have a time behind, which is not kept to here.
    let directive = found.0.iter().find(|found| found.keyword == "rekeylimit");
    let Some(directive) = directive else {
        return Ok(None);
    };
    let value = directive.value()?;
    if matches!(value, "default" | "none") {
        return Ok(None);
    }
    let (digits, shift) = match value.to_ascii_lowercase().chars().last() {
        Some('k') => (value.get(..value.len() - 1), 10),
        Some('m') => (value.get(..value.len() - 1), 20),
        Some('g') => (value.get(..value.len() - 1), 30),
        _ => (Some(value), 0),
    };
    let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
    match number.and_then(|number| number.checked_mul(1 << shift)) {
        Some(len) => Ok(Some(len)),
        None => Err(directive.bad_value(value)),
    }
}

/// Expands file names of directives.
struct FileNames<'a> {
    tokens: &'a [Token],
    home: Option<&'a std::path::Path>,
}

impl FileNames<'_> {
    /// All arguments of the first `keyword`, or `default`; `none` stands for no file.
    fn of(&self, found: &Found, keyword: &str, default: &[&str]) -> Result<Vec<PathBuf>, Error> {
        match found
            .0
            .iter()
            .find(|directive| directive.keyword == keyword)
        {
            Some(directive) => {
                directive.value()?;
                let names = directive.arguments.iter().filter(|name| *name != "none");
                names.map(|name| self.expand(name, directive)).collect()
            }
            None => {
                let at_home = |name: &&str| match name.strip_prefix("~/") {
                    Some(below) => self.home.map(|home| home.join(below)),
                    None => Some(PathBuf::from(name)),
                };
                Ok(default.iter().filter_map(at_home).collect())
            }
        }
    }

    /// The first argument of every `keyword`.
    fn of_all(&self, found: &Found, keyword: &str) -> Result<Vec<PathBuf>, Error> {
        let mut paths = Vec::new();
        for directive in found
            .0
            .iter()
            .filter(|directive| directive.keyword == keyword)
        {
            let name = directive.only_value()?;
            if name != "none" {
                paths.push(self.expand(name, directive)?);
            }
        }
        Ok(paths)
    }

    fn expand(&self, name: &str, directive: &Directive) -> Result<PathBuf, Error> {
        expand_path(name, self.tokens, self.home)
            .map_err(|e| directive.place.error(format_args!("{name}: {e}")))
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const ALIVE_COUNT_MAX: usize = 3;

/// A configuration that names no host at all is refused before anything is resolved.
pub(crate) fn check_host(to: &Destination) -> Result<(), Error> {
    let odd = |c: char| c.is_control() || c.is_whitespace();
    if to.host.is_empty() || to.host.starts_with('-') || to.host.contains(odd) {
        let message = format!("{:?} is no host name", to.host);
        return Err(Error::new(ErrorKind::NameNotResolved, message));
    }
    Ok(())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
