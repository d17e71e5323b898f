//! Whether this node is the primary: by the service address, by heartbeat's resources, by a
//! command, or by what `promote` and `demote` recorded. And `hasync role`, which says so.

mod address;
mod haresources;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use hasync_engine::escape;
use hasync_engine::generation::NodeRole;

use crate::args::{RoleArgs, WantedRole};
use crate::config::{Config, RoleTest};
use crate::exit::{self, Exit, Failure};
use crate::out::Out;
use crate::shell;
use crate::state::{self, Condition, RoleLook};

/// What a node is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has the service, and pushes.
    Primary,
    /// It receives.
    Standby,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Standby => "standby",
        })
    }
}

/// A role, and what shows it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) role: Role,
    pub(crate) why: String,
}

impl Found {
    fn new(is_primary: bool, why: impl Into<String>) -> Self {
        Found {
            role: if is_primary {
                Role::Primary
            } else {
                Role::Standby
            },
            why: why.into(),
        }
    }
}

/// `hasync role`: prints the role and why; with `--is`, tells by the exit code.
pub(crate) fn run(args: &RoleArgs) -> Result<Exit, Failure> {
    let config = Config::load(args.config.config.as_deref())?;
    let found = find(&config)?;
    let out = Out::stdout();
    if !args.quiet {
        out.say(&format!("{}: {}", found.role, found.why));
        let state = state::look(
            &config,
            &config.in_push_order(),
            RoleLook::Known(Ok(found.clone())),
        );
        for tree in state
            .trees
            .iter()
            .filter(|tree| tree.facts.part.role_mismatch)
        {
            let core = state::core(&tree.facts, Condition::Mismatch);
            out.say(&format!("note: {core}; next: {}", tree.told.next));
        }
    }
    out.finish()?;
    let wanted = args.is.map(|wanted| match wanted {
        WantedRole::Primary => Role::Primary,
        WantedRole::Standby => Role::Standby,
    });
    Ok(match wanted {
        Some(wanted) if wanted != found.role => Exit::NotEqual,
        _ => Exit::Ok,
    })
}

/// The role of this node by the test of its configuration.
pub(crate) fn find(config: &Config) -> Result<Found, Failure> {
    match &config.role {
        RoleTest::Address { address, interface } => {
            by_addresses(&[*address], interface.as_deref(), "")
        }
        RoleTest::Haresources { file, resource } => by_haresources(file, resource),
        RoleTest::Command {
            command,
            expect,
            timeout,
        } => by_command(command, expect.as_deref(), *timeout),
        RoleTest::Recorded => recorded(config),
    }
}

/// Primary is who has all of the addresses.
fn by_addresses(
    addresses: &[IpAddr],
    interface: Option<&str>,
    source: &str,
) -> Result<Found, Failure> {
    let here = address::of_this_node().map_err(|cause| {
        let message = format!("cannot list the addresses of this node: {cause}");
        Failure::new(Exit::FileIo, message)
    })?;
    let mut found = Vec::new();
    for address in addresses {
        let mut places = here.iter().filter(|(_, other)| other == address);
        let place = match interface {
            Some(name) => places.find(|(on, _)| on == name),
            None => places.next(),
        };
        match place {
            Some((on, _)) => found.push(format!("{address}{source} is on {on}")),
            None => {
                let on = interface.map_or("any interface".to_owned(), str::to_owned);
                let why = format!("{address}{source} is not on {on} of this node");
                return Ok(Found::new(false, why));
            }
        }
    }
    Ok(Found::new(true, found.join(", ")))
}

/// What `promote` and `demote` left in the records of the trees. Those that can be read tell.
fn recorded(config: &Config) -> Result<Found, Failure> {
    let (mut primary, mut other, mut damaged) = (Vec::new(), Vec::new(), None);
    for tree in &config.trees {
        match tree.on(&config.node).status().map(|status| status.role) {
            Ok(NodeRole::Primary) => primary.push(tree.name.as_str()),
            Ok(NodeRole::Standby | NodeRole::New) => other.push(tree.name.as_str()),
            Err(why) => damaged = Some(why),
        }
    }
    match (primary.as_slice(), other.as_slice(), damaged) {
        ([], _, Some(why)) => Err(why.into()),
        ([], _, None) => Ok(Found::new(false, "no tree was promoted on this node")),
        (promoted, [], _) => {
            let why = format!("recorded as primary of {}", promoted.join(", "));
            Ok(Found::new(true, why))
        }
        (promoted, others, _) => Err(Failure::new(
            Exit::Config,
            format!(
                "this node is recorded as primary of {} and not of {}; run hasync promote --all, \
                 or hasync demote --all",
                promoted.join(", "),
                others.join(", ")
            ),
        )),
    }
}

fn by_haresources(file: &Path, resource: &str) -> Result<Found, Failure> {
    let name = escape(file.as_os_str().as_encoded_bytes());
    let text = std::fs::read_to_string(file).map_err(|cause| {
        let cause = exit::cause(&cause);
        Failure::new(
            Exit::Config,
            format!("cannot read {name} for the role: {cause}"),
        )
    })?;
    let addresses = haresources::addresses(&text, resource).ok_or_else(|| {
        let resource = escape(resource.as_bytes());
        let message = format!(
            "{name} has no line with the resource {resource} and a service address; correct \
             [role] resource, or the line"
        );
        Failure::new(Exit::Config, message)
    })?;
    by_addresses(&addresses, None, &format!(" of {name}"))
}

fn by_command(
    command: &str,
    expect: Option<&str>,
    timeout: std::time::Duration,
) -> Result<Found, Failure> {
    let shown = escape(command.as_bytes()).into_owned();
    let cannot = |why: String| {
        let message = format!("cannot tell the role by [role] command \"{shown}\": {why}");
        Failure::new(Exit::FileIo, message)
    };
    let ended = shell::run(command, &[], b"", timeout).map_err(cannot)?;
    Ok(match expect {
        // A command that cannot be found or run, or was ended by a signal, has said nothing.
        None if ended.code > 125 => return Err(cannot(ended.shown())),
        None => Found::new(ended.code == 0, format!("\"{shown}\": {}", ended.shown())),
        // Silence and an error are not the same as another role.
        Some(_) if ended.code != 0 => return Err(cannot(ended.shown())),
        Some(expect) => {
            let said = escape(ended.stdout.trim().as_bytes()).into_owned();
            Found::new(
                ended.stdout.trim() == expect,
                format!("\"{shown}\" says \"{said}\""),
            )
        }
    })
}
