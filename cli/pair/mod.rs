//! `hasync pair`: two nodes that can push to each other, from one command. Each gets a key for this
//! purpose alone, knows the other by its host key, and lets the other's key do nothing but fill the
//! trees of the configuration. What is there already is left as it is.
//!
//! The order is that of trust: the host key that the other node shows is compared by a person, or
//! pinned, before anybody logs in; what is said over that login is believed. `node` is what either
//! node does for itself, `far` the other one at the end of a login, `files` the files that are
//! written, `by_hand` the way without a login.

mod by_hand;
mod far;
mod files;
mod node;

use std::path::Path;

use hasync_engine::{Existing, put_file};
use hasync_transport::ssh::PublicHalf;

use crate::args::{InitArgs, PairArgs};
use crate::exit::{self, Exit, Failure};
use crate::out::{self, Out};
use crate::questions;

use far::Far;
use files::Admission;
use node::{Introduction, Node, Terms, Tried};

/// Pairs this node with another.
pub(crate) fn run(args: &PairArgs) -> Result<Exit, Failure> {
    if args.far_half {
        return far::serve(args);
    }
    let node = Node::here(args)?;
    let out = Out::stdout();
    let exit = if args.print {
        by_hand::print(&node, &out)?
    } else if args.by_hand {
        by_hand::pair(&node, args, &out)?
    } else {
        let mut pairing = Pairing {
            trust: Trust::of(args),
            shared: None,
            out: &out,
            changes: 0,
        };
        pairing.run(&node, args)?
    };
    out.finish()?;
    Ok(exit)
}

/// Pairs the nodes of a first configuration, which the other one gets too.
pub(crate) fn share(args: &InitArgs, text: &str, out: &Out) -> Result<Exit, Failure> {
    let args = PairArgs::of_init(args);
    let node = Node::here(&args)?;
    let mut pairing = Pairing {
        trust: Trust::of(&args),
        shared: Some(text),
        out,
        changes: 0,
    };
    pairing.run(&node, &args)
}

/// Makes a configuration file, unless there is one with this text; `false` if there is.
pub(crate) fn make_file(file: &Path, text: &str) -> Result<bool, Failure> {
    let cannot = |e: std::io::Error| {
        let (file, why) = (file.display(), exit::cause(&e));
        Failure::new(exit::of_io(&e), format!("cannot write {file}: {why}"))
    };
    files::make_parent(file, 0o755).map_err(cannot)?;
    if put_file(file, text.as_bytes(), 0o644, Existing::Stays).map_err(cannot)? {
        return Ok(true);
    }
    if std::fs::read(file).map_err(cannot)? == text.as_bytes() {
        return Ok(false);
    }
    Err(Failure::new(
        Exit::Config,
        format!(
            "{} is there and says something else; nothing is written over it: edit it, or move it \
             away",
            file.display()
        ),
    ))
}

/// Who decides on a host key.
struct Trust {
    /// Whether a person can be asked.
    asks: bool,
    fingerprints: Vec<String>,
}

impl Trust {
    fn of(args: &PairArgs) -> Self {
        Trust {
            asks: !args.yes,
            fingerprints: args.fingerprint.clone(),
        }
    }

    /// Whether this is the key of that node; `command` shows the right one there.
    fn decide(&self, key: &PublicHalf, whose: &str, command: &str) -> Result<(), Failure> {
        if self.fingerprints.contains(&key.fingerprint()) {
            return Ok(());
        }
        let refuse = |why: &str| {
            Failure::new(
                Exit::HostKey,
                format!("the host key of {whose} is not trusted: it shows {key}{why}"),
            )
        };
        if !self.fingerprints.is_empty() {
            return Err(refuse(", and --fingerprint has another"));
        }
        if !self.asks {
            let hint = format!("; compare it with `{command}` there, and give it by --fingerprint");
            return Err(refuse(&hint));
        }
        let question = format!("Compare it on {whose} with `{command}`. Is it the same? [y/N]");
        match questions::confirm(&question, "--yes --fingerprint SHA256:...")? {
            true => Ok(()),
            false => Err(refuse("; nothing was written for it")),
        }
    }
}

/// What shows the fingerprints of a node that runs sshd.
const SHOW_HOST_KEYS: &str = "for k in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $k; done";

struct Pairing<'a> {
    trust: Trust,
    /// A configuration for both nodes.
    shared: Option<&'a str>,
    out: &'a Out,
    /// How many things were not as they should be.
    changes: usize,
}

impl Pairing<'_> {
    fn run(&mut self, node: &Node, args: &PairArgs) -> Result<Exit, Failure> {
        let here = node.introduce()?;
        self.say_key(&here, "this node");
        let host = node.host()?;
        let is_direct = self.know_peer(node, &here, &host)?;
        let greeted = Far::login(node, args).and_then(|mut far| far.greet().map(|()| far));
        let mut far = match greeted {
            Ok(far) => far,
            Err(failure) => {
                // Where the program alone is missing, the login works.
                if failure.exit == Exit::Unreachable {
                    self.out.say(&by_hand::HINT.replace("HOST", &host));
                }
                return Err(failure);
            }
        };
        self.out
            .say(&format!("login: {} answers, by ssh", far.name()));
        if let Some(text) = self.shared {
            let made = far.configure(node, text)?;
            let verb = if made { "written" } else { "is there already" };
            self.changes += usize::from(made);
            let name = far.name();
            self.out.say(&format!("configuration of {name}: {verb}"));
        }
        let there = far.introduce(&Terms {
            is_direct,
            ..node.terms()
        })?;
        let name = there.node.clone();
        if there.key == here.key {
            return Err(Failure::usage(format!(
                "{} has this node's own key: it is this node, or a copy of it, where {} has to be \
                 removed first",
                far.name(),
                there.key_file
            )));
        }
        self.say_key(&there, &name);
        self.be_known(&here, &mut far, &name)?;
        let list_here = node.admit(&there.key, &there.node)?;
        self.say_admission(&list_here, &name, "this node");
        let list_there = far.admit(&here.key, &here.node)?;
        self.say_admission(&list_there, "this node", &name);
        let forth = self.tell_tried(&node.attempt(), "this node", &name, &list_there);
        let back = self.tell_tried(&far.attempt()?, &name, "this node", &list_here);
        if self.shared.is_some() {
            for (who, report) in [("this node", node.report()), (name.as_str(), far.report()?)] {
                self.out.say(&format!("check-config on {who}:"));
                self.out.say_all(&report);
            }
        }
        far.leave();
        let exit = exit::worse(forth, back);
        if exit == Exit::Ok {
            self.out.say(match self.changes {
                0 => "done: nothing was to be changed, both directions work",
                _ => "done: both directions work",
            });
        }
        Ok(exit)
    }

    fn say_key(&mut self, who: &Introduction, name: &str) {
        let verb = if who.made { "made" } else { "is there" };
        self.changes += usize::from(who.made);
        self.out
            .say(&format!("key of {name}: {verb}, {}", who.key_file));
    }

    /// The other node is known by its host key, before anybody logs in there. Whether it can be
    /// seen without a host between them.
    fn know_peer(&mut self, node: &Node, here: &Introduction, host: &str) -> Result<bool, Failure> {
        let key = match node.look() {
            Ok(key) => key,
            Err(failure) if failure.exit == Exit::Config => {
                // Such as ProxyJump, which ssh knows: its login may still help.
                out::error(&failure.message);
                return Ok(false);
            }
            Err(failure) => {
                self.out.say(&by_hand::HINT.replace("HOST", host));
                return Err(failure);
            }
        };
        self.out.say(&format!("host key of {host}: {key}"));
        let own = here
            .host_keys
            .iter()
            .filter_map(|line| PublicHalf::parse(line));
        for own in own.filter(|own| own.key_type() == key.key_type()) {
            self.out.say(&format!("host key of this node: {own}"));
        }
        if node.knows(&key)? {
            return Ok(true);
        }
        self.out.flush();
        self.trust.decide(&key, host, SHOW_HOST_KEYS)?;
        if let Some(file) = node.believe(&key)? {
            self.changes += 1;
            self.out
                .say(&format!("known_hosts: {host} is added to {file}"));
        }
        Ok(true)
    }

    /// The other node knows this one by the host key that it sees, if that is one of ours.
    fn be_known(&mut self, here: &Introduction, far: &mut Far, name: &str) -> Result<(), Failure> {
        let key = match far.look() {
            Ok(key) => key,
            Err(failure) => {
                out::error(&format!("{name} cannot see this node: {}", failure.message));
                return Ok(());
            }
        };
        let is_ours = here
            .host_keys
            .iter()
            .any(|line| PublicHalf::parse(line).as_ref() == Some(&key));
        if !is_ours && !far.knows(&key)? {
            self.out
                .say(&format!("host key that {name} sees of this node: {key}"));
            self.out.flush();
            self.trust.decide(&key, "this node", SHOW_HOST_KEYS)?;
        }
        if let Some(file) = far.believe(&key)? {
            self.changes += 1;
            self.out.say(&format!(
                "known_hosts of {name}: this node is added to {file}"
            ));
        }
        Ok(())
    }

    fn say_admission(&mut self, admitted: &Admission, whose: &str, on: &str) {
        self.changes += usize::from(admitted.is_new());
        self.out.say(&admitted.told(whose, on));
    }

    /// Says how one direction went, and how a run that could not do it leaves.
    fn tell_tried(&self, tried: &[Tried], from: &str, to: &str, list: &Admission) -> Exit {
        let mut worst = Exit::Ok;
        let mut works = Vec::new();
        for one in tried {
            match &one.failure {
                None => works.push(one.what.as_str()),
                Some(failure) => {
                    self.out.flush();
                    let line = format!(
                        "{from} cannot push {} to {to}: {} (exit {})",
                        one.what, failure.message, failure.exit
                    );
                    out::error(&line);
                    worst = exit::worse(worst, failure.exit);
                }
            }
        }
        if worst == Exit::Auth {
            let file = &list.file;
            self.out.say(&format!(
                "hint: the sshd of {to} may read another list than {file} (AuthorizedKeysFile in \
                 sshd_config; name it by --authorized-keys), let nobody in as this user \
                 (PermitRootLogin, AllowUsers), or not trust the mode of the list or of a \
                 directory above it; its log says which"
            ));
        }
        if !works.is_empty() {
            let works = works.join(", ");
            self.out.say(&format!("{from} can push to {to}: {works}"));
        }
        worst
    }
}
