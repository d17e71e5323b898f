//! The sections about what happens around pushes: how a node knows its role, who is told, what is
//! run beside, how often, and what stops a push that would delete too much.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use toml::Spanned;

use super::units::{AbsPath, Command, Host, Interval, Line, Time};
use super::{Fault, Peer};

/// Where heartbeat keeps who runs what.
const HARESOURCES: &str = "/etc/ha.d/haresources";
/// How long the last push may take unless the file says otherwise.
pub(crate) const DEFAULT_LAST_PUSH: Duration = Duration::from_secs(60);
/// How long a command of the configuration may take unless the file says otherwise.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// `[role]`: how this node knows whether it is primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RoleTest {
    /// It has the service address.
    Address {
        /// The address.
        address: IpAddr,
        /// On this interface alone.
        interface: Option<String>,
    },
    /// It has the addresses that stand on the line of a resource in haresources.
    Haresources {
        /// The file.
        file: PathBuf,
        /// The resource.
        resource: String,
    },
    /// A command says so.
    Command {
        /// For `sh -c`.
        command: String,
        /// What it prints on the primary; without it, success is what counts.
        expect: Option<String>,
        /// How long it may take.
        timeout: Duration,
    },
    /// What `promote` and `demote` last recorded.
    Recorded,
}

/// `[role]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRole {
    address: Option<Spanned<IpAddr>>,
    interface: Option<Spanned<Line>>,
    resource: Option<Spanned<Line>>,
    haresources: Option<Spanned<AbsPath>>,
    command: Option<Spanned<Command>>,
    expect: Option<Spanned<Line>>,
    timeout: Option<Spanned<Time>>,
}

impl RoleTest {
    /// Refuses an address that does not move: whoever has it is primary for ever.
    pub(super) fn check_address(&self, at: Option<usize>, peer: &Peer) -> Result<(), Fault> {
        let (RoleTest::Address { address, .. }, Some(at)) = (self, at) else {
            return Ok(());
        };
        let hosts = [
            ("this node's own", &peer.own_host),
            ("the peer's", &peer.host),
        ];
        let whose = hosts.into_iter().find_map(|(whose, host)| {
            let host = host.as_deref().and_then(Host::address);
            (host == Some(*address)).then_some(whose)
        });
        let is_everybodys =
            address.is_loopback() || address.is_unspecified() || address.is_multicast();
        let why = match whose {
            Some(whose) => format!("is {whose} host, by [peer], and does not move"),
            None if is_everybodys => "is no address of one node alone".to_owned(),
            None => return Ok(()),
        };
        let message = format!("{address} {why}; give the address that moves with the service");
        Err(Fault::new(at, message))
    }
}

impl RawRole {
    /// Where in the text the address stands.
    pub(super) fn address_at(&self) -> Option<usize> {
        self.address.as_ref().map(|address| address.span().start)
    }

    pub(super) fn settle(self) -> Result<RoleTest, Fault> {
        let given = |span: Option<std::ops::Range<usize>>| span.map(|span| span.start);
        let address = given(self.address.as_ref().map(Spanned::span));
        let resource = given(self.resource.as_ref().map(Spanned::span));
        let command = given(self.command.as_ref().map(Spanned::span));
        let mut tests: Vec<usize> = [address, resource, command].into_iter().flatten().collect();
        tests.sort_unstable();
        if let [_, second, ..] = tests[..] {
            let message =
                "[role] goes by one of address, resource and command; leave the others out";
            return Err(Fault::new(second, message));
        }
        let beside = [
            (
                "interface",
                given(self.interface.as_ref().map(Spanned::span)),
                "address",
                address,
            ),
            (
                "haresources",
                given(self.haresources.as_ref().map(Spanned::span)),
                "resource",
                resource,
            ),
            (
                "expect",
                given(self.expect.as_ref().map(Spanned::span)),
                "command",
                command,
            ),
            (
                "timeout",
                given(self.timeout.as_ref().map(Spanned::span)),
                "command",
                command,
            ),
        ];
        for (key, offset, with, other) in beside {
            if let (Some(offset), None) = (offset, other) {
                let message = format!("{key} has a meaning beside {with} alone; give that too");
                return Err(Fault::new(offset, message));
            }
        }
        Ok(if let Some(address) = self.address {
            RoleTest::Address {
                address: address.into_inner(),
                interface: self.interface.map(|name| name.into_inner().0),
            }
        } else if let Some(resource) = self.resource {
            RoleTest::Haresources {
                file: self
                    .haresources
                    .map_or_else(|| HARESOURCES.into(), |file| file.into_inner().0),
                resource: resource.into_inner().0,
            }
        } else if let Some(command) = self.command {
            RoleTest::Command {
                command: command.into_inner().0,
                expect: self.expect.map(|line| line.into_inner().0),
                timeout: self
                    .timeout
                    .map_or(COMMAND_TIME, |time| time.into_inner().0),
            }
        } else {
            RoleTest::Recorded
        })
    }
}

/// What people are told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Event {
    /// A cycle was due while one was running.
    Overlap,
    /// A push failed, or mirrored a part.
    Failure,
    /// This node became primary.
    Promotion,
    /// This node became standby.
    Demotion,
    /// The peer takes nothing from this node any more.
    Fenced,
    /// The two nodes' trees did not come from one another.
    Diverged,
    /// A push would have deleted too much.
    Brake,
    /// The standby is further behind than allowed.
    Lag,
    /// The configurations of the two nodes differ.
    Differs,
    /// What was wrong is right again.
    Recovery,
}

impl Event {
    /// All of them.
    pub(crate) const ALL: [Event; 10] = [
        Event::Overlap,
        Event::Failure,
        Event::Promotion,
        Event::Demotion,
        Event::Fenced,
        Event::Diverged,
        Event::Brake,
        Event::Lag,
        Event::Differs,
        Event::Recovery,
    ];

    /// Its name in the file and in notices.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Event::Overlap => "overlap",
            Event::Failure => "failure",
            Event::Promotion => "promotion",
            Event::Demotion => "demotion",
            Event::Fenced => "fenced",
            Event::Diverged => "diverged",
            Event::Brake => "brake",
            Event::Lag => "lag",
            Event::Differs => "differs",
            Event::Recovery => "recovery",
        }
    }
}

/// `[notify]`: who is told, how, about what.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Notify {
    /// About these events alone.
    pub(crate) on: Vec<Event>,
    /// The same event of the same tree not again within this time.
    pub(crate) repeat: Time,
    /// A pager: the notice is its standard input, and the `HASYNC_…` variables.
    pub(crate) command: Option<Command>,
    /// A file to which each notice is one line.
    pub(crate) log: Option<AbsPath>,
    /// Whether the system's log gets it.
    pub(crate) syslog: bool,
    /// Mail.
    pub(crate) mail: Option<Mail>,
}

impl Default for Notify {
    fn default() -> Self {
        Notify {
            on: Event::ALL.to_vec(),
            repeat: Time(Duration::from_secs(3600)),
            command: None,
            log: None,
            syslog: false,
            mail: None,
        }
    }
}

/// `mail` of `[notify]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mail {
    /// To whom.
    pub(crate) to: Vec<MailAddress>,
    /// From whom; `hasync` on this node without it.
    pub(crate) from: Option<MailAddress>,
    /// A smarthost, `HOST` or `HOST:PORT`, spoken to directly and in the clear.
    pub(crate) smtp: Option<Line>,
    /// Otherwise this program, called as `sendmail -t -i`.
    pub(crate) sendmail: Option<AbsPath>,
}

/// `user` or `user@domain`, fit for a header and an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MailAddress(pub(crate) String);

impl super::units::Word for MailAddress {
    const WHAT: &'static str = "a mail address such as \"root\" or \"ops@example.com\"";

    fn read(word: &str) -> Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".+-_=@".contains(c);
        let parts: Vec<&str> = word.split('@').collect();
        let fits = (1..=2).contains(&parts.len())
            && parts
                .iter()
                .all(|part| !part.is_empty() && !part.starts_with('-'))
            && word.len() <= 254
            && word.chars().all(is_plain);
        if fits {
            return Ok(MailAddress(word.to_owned()));
        }
        Err(format!(
            "\"{}\" is not {}",
            super::units::shown(word),
            Self::WHAT
        ))
    }
}

/// `[hooks]`: commands around a cycle.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Hooks {
    /// Before the first push; if it fails, nothing is pushed.
    pub(crate) before: Option<Command>,
    /// After the last push that went well.
    pub(crate) after: Option<Command>,
    /// After a cycle that failed.
    pub(crate) on_failure: Option<Command>,
    /// When a cycle is due while another runs.
    pub(crate) on_overrun: Option<Command>,
    /// How long each may take.
    pub(crate) timeout: Option<Time>,
}

impl Hooks {
    /// How long a hook may take.
    pub(crate) fn time(&self) -> Duration {
        self.timeout.map_or(COMMAND_TIME, |time| time.0)
    }
}

/// `[cycle]`: how often, and what when it takes longer.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cycle {
    /// How often a cycle is started, by cron, a timer or `--every`.
    #[serde(deserialize_with = "interval")]
    pub(crate) interval: Time,
    /// What happens when one is due while another runs.
    pub(crate) overlap: Overlap,
    /// How long `mirror stop` waits for a running cycle and its last push together.
    pub(crate) last_push: Time,
    /// People are told when the standby is further behind.
    pub(crate) max_lag: Option<Time>,
}

fn interval<'de, D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
    Interval::deserialize(from).map(|interval| interval.0)
}

impl Default for Cycle {
    fn default() -> Self {
        Cycle {
            interval: Time(Duration::from_secs(600)),
            overlap: Overlap::Skip,
            last_push: Time(DEFAULT_LAST_PUSH),
            max_lag: None,
        }
    }
}

/// `overlap` of `[cycle]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Overlap {
    /// The new cycle gives way.
    Skip,
    /// One waits its turn, further ones give way.
    QueueOne,
}

/// `[lineage]`: what a node does where its records leave a choice.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Lineage {
    /// Whether a node is promoted although its peer has the service or newer data.
    pub(crate) stale: Stale,
    /// Whether a node that was primary before its peer was promoted follows by itself.
    pub(crate) rejoin: AfterCrash,
}

/// `rejoin` of `[lineage]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AfterCrash {
    /// It does, where it is known not to have served since.
    #[default]
    Auto,
    /// Somebody says so.
    Ask,
}

/// `stale` of `[lineage]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stale {
    /// It is not, unless by `--force`.
    #[default]
    Refuse,
    /// It is, and says so.
    Warn,
}

/// `[brake]`: a push that would delete more than both of these stops before it deletes anything.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Brake {
    /// Share of the entries that the tree had at the last push, in percent.
    pub(crate) percent: Percent,
    /// Entries.
    pub(crate) entries: u64,
}

impl Default for Brake {
    fn default() -> Self {
        Brake {
            percent: Percent(50),
            entries: 100,
        }
    }
}

/// 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub(crate) struct Percent(pub(crate) u8);

impl TryFrom<i64> for Percent {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        u8::try_from(number)
            .ok()
            .filter(|percent| *percent <= 100)
            .map(Percent)
            .ok_or_else(|| format!("{number} is not a share from 0 to 100"))
    }
}
