//! What either node does to make a pair. The same code runs on both: here because it was typed, and
//! on the other node because the login started it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hasync_engine::Wish;
use hasync_transport::home;
use hasync_transport::ssh::{self, PublicHalf};
use serde::{Deserialize, Serialize};

use super::files::{self, Admission, Binding};
use crate::args::PairArgs;
use crate::config::{self, Config, HOST_KEY_PREFIX, SSHD_DIR};
use crate::exit::{Exit, Failure};
use crate::itself;
use crate::peer_link::PeerLink;
use crate::reach::{self, Reach};
use crate::target::{self, Target};

/// The host key of a node that is its own SSH server.
pub(super) const HOST_KEY: &str = "/etc/hasync/host_key";
/// And the keys that may log in there.
pub(super) const OWN_LIST: &str = "/etc/hasync/authorized_keys";
/// A small file that every node has, for a push with `-n`.
const SAMPLE: &str = "/etc/passwd";

/// What both nodes have to agree on before they begin.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Terms {
    pub(super) roots: Vec<PathBuf>,
    pub(super) authorized_keys: Option<PathBuf>,
    /// The configuration, where it is not in the place that every verb looks in.
    pub(super) config: Option<PathBuf>,
    /// Each key is taken from the other node's addresses alone.
    pub(super) from: bool,
    /// The node that logs in has seen the other one, without a host between them.
    pub(super) is_direct: bool,
}

/// Who a node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Introduction {
    pub(super) node: String,
    /// The public half of the key that it logs in with.
    pub(super) key: String,
    pub(super) key_file: String,
    /// The key was made just now.
    pub(super) made: bool,
    /// What its SSH server may show.
    pub(super) host_keys: Vec<String>,
}

/// What was tried: a tree or a directory, and why it failed.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    pub(super) what: String,
    pub(super) failure: Option<Failure>,
}

/// A node, with its configuration if it has one.
pub(super) struct Node {
    config: Config,
    has_config: bool,
    named_config: Option<PathBuf>,
    terms: Terms,
    /// The other node as typed, for the login.
    typed: Option<String>,
    /// Who logs in there.
    user: Option<String>,
    port: Option<u16>,
}

impl Node {
    /// This node, by what was typed.
    pub(super) fn here(args: &PairArgs) -> Result<Self, Failure> {
        let terms = Terms {
            roots: once_each(&args.root),
            authorized_keys: args.authorized_keys.clone(),
            config: args.config.config.as_deref().map(absolute),
            from: args.from,
            is_direct: true,
        };
        let mut node = Node::new(args.config.config.as_deref(), terms)?;
        node.port = args.port;
        if let Some(typed) = &args.host {
            let Target::Remote { user, host, .. } = target::host(typed.as_ref())? else {
                return Err(Failure::usage(format!("\"{typed}\" is no host")));
            };
            node.user = user;
            node.meet_at(Some(host.clone()));
            node.typed = Some(host);
        }
        node.must_have_trees()?;
        Ok(node)
    }

    /// A node by its configuration, which may be missing.
    pub(super) fn new(named: Option<&Path>, terms: Terms) -> Result<Self, Failure> {
        let found = Config::load_if_there(named)?;
        let has_config = found.is_some();
        let config = match found {
            Some(config) => config,
            None => Config::parse(Path::new(config::DEFAULT_FILE), "")?,
        };
        Ok(Node {
            config,
            has_config,
            // It will be read from wherever a login begins.
            named_config: named.map(absolute),
            terms,
            typed: None,
            user: None,
            port: None,
        })
    }

    fn must_have_trees(&self) -> Result<(), Failure> {
        if !self.terms.roots.is_empty() || !self.config.trees.is_empty() {
            return Ok(());
        }
        let file = self.config.shown_file();
        let what = match self.has_config {
            true => format!("{file} names no tree that a key could be for; add a [[tree]]"),
            false => format!(
                "there is no {file}, whose trees a key could be for; write it with hasync init, \
                 or give --root DIR for pushes without one"
            ),
        };
        Err(Failure::new(Exit::Config, what))
    }

    pub(super) fn terms(&self) -> Terms {
        self.terms.clone()
    }

    /// Goes by what the node says that has logged in: by the configuration that it names too, if
    /// that is here.
    pub(super) fn agree(&mut self, terms: Terms) -> Result<(), Failure> {
        if let Some(file) = terms.config.as_ref().filter(|file| file.exists()) {
            self.go_by(Some(file))?;
        }
        if !terms.is_direct && !self.has_config {
            // The login came from the host between them.
            self.config.peer.host = None;
        }
        self.terms = terms;
        Ok(())
    }

    /// Has the other node's configuration, in this place, unless it has one with this text.
    pub(super) fn configure(&mut self, named: Option<&Path>, text: &str) -> Result<bool, Failure> {
        let file = named.unwrap_or(Path::new(config::DEFAULT_FILE));
        Config::foresee(file, text).map_err(|why| {
            let what = format!("no configuration is written, for it would be refused: {why}");
            Failure::new(Exit::Config, what)
        })?;
        let made = super::make_file(file, text)?;
        self.go_by(named)?;
        Ok(made)
    }

    /// Reads its configuration anew, from this place.
    fn go_by(&mut self, named: Option<&Path>) -> Result<(), Failure> {
        let host = self.config.peer.host.take();
        let mut again = Node::new(named, self.terms())?;
        again.meet_at(host);
        *self = again;
        Ok(())
    }

    /// What it understands its configuration to say.
    pub(super) fn report(&self) -> String {
        config::report(&self.config)
    }

    /// What its SSH server may show.
    pub(super) fn host_keys(&self) -> Vec<String> {
        host_keys()
    }

    /// Where the other node is reached, unless the configuration says it.
    pub(super) fn meet_at(&mut self, host: Option<String>) {
        let configured = self.config.peer.host.take().filter(|_| self.has_config);
        self.config.peer.host = configured.or(host);
    }

    /// The other node, as this one reaches it.
    pub(super) fn host(&self) -> Result<String, Failure> {
        self.config.peer.host.clone().ok_or_else(|| {
            Failure::usage(match self.terms.is_direct {
                true => "which node is the other one? give it, as in hasync pair root@standby",
                false => {
                    "the login came by way of another host, and no configuration here says where \
                     the other node is; write one with hasync init"
                }
            })
        })
    }

    /// Whether a configuration says which node is the other one.
    pub(super) fn is_configured(&self) -> bool {
        self.has_config
    }

    /// Where a server here listens for the other node, as far as it is known.
    pub(super) fn own_address(&self) -> String {
        let host = self.config.peer.own_host.as_deref().unwrap_or("ADDRESS");
        let host = target::bracketed(host);
        match self.reach().port {
            Some(port) => format!("{host}:{port}"),
            None => format!("{host}:PORT"),
        }
    }

    /// Where the login goes: `[USER@]HOST`, as typed if it was, and the port.
    pub(super) fn login(&self) -> Result<(String, Option<u16>), Failure> {
        let host = self.typed.clone().map_or_else(|| self.host(), Ok)?;
        let at = self
            .user()
            .map_or_else(String::new, |user| format!("{user}@"));
        Ok((format!("{at}{host}"), self.reach().port))
    }

    /// Who logs in there.
    fn user(&self) -> Option<String> {
        self.user.clone().or(self.config.peer.user.clone())
    }

    /// The program on the other node.
    pub(super) fn remote_bin(&self) -> &str {
        self.config.peer.remote_bin.as_deref().unwrap_or("hasync")
    }

    pub(super) fn known_hosts(&self) -> Option<&Path> {
        self.config.peer.known_hosts.as_deref()
    }

    pub(super) fn name(&self) -> &str {
        &self.config.node.name
    }

    /// The private key that pushes log in with.
    fn key_file(&self) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.config.peer.identity {
            return Ok(file.clone());
        }
        reach::pair_key().ok_or_else(no_home)
    }

    fn reach(&self) -> Reach {
        let mut reach = Reach::from_peer(&self.config.peer);
        reach.port = self.port.or(reach.port);
        if reach.identity.is_none() {
            reach.identity = self.key_file().ok();
        }
        reach
    }

    fn way(&self) -> Result<(ssh::Destination, ssh::ClientOptions), Failure> {
        Ok(self.reach().ssh(self.user(), self.host()?))
    }

    /// Says who it is, with a key that is made if it has none.
    pub(super) fn introduce(&self) -> Result<Introduction, Failure> {
        self.must_have_trees()?;
        // Neither node binds a key to what one of them lacks.
        if let Some(root) = self.terms.roots.iter().find(|root| !root.is_dir()) {
            let (root, node) = (root.display(), self.name());
            let what = format!("--root {root} is no directory on {node}; make it on both nodes");
            return Err(Failure::new(Exit::FileIo, what));
        }
        let file = self.key_file()?;
        let made = !file.exists();
        if made {
            let what = format!("make the key {}", file.display());
            let cannot = |e| Failure::cannot(what, &e);
            let in_home = file.parent().is_some_and(|dir| dir.ends_with(".ssh"));
            files::make_parent(&file, if in_home { 0o700 } else { 0o755 }).map_err(cannot)?;
            ssh::generate_key_pair(&file, &self.comment())?;
        }
        Ok(Introduction {
            node: self.name().to_owned(),
            key: ssh::public_half(&file)?.line(),
            key_file: file.display().to_string(),
            made,
            host_keys: host_keys(),
        })
    }

    /// The key of this node, if there is one yet.
    pub(super) fn own_key(&self) -> Result<Option<String>, Failure> {
        let file = self.key_file()?;
        match file.exists() {
            true => Ok(Some(ssh::public_half(&file)?.line())),
            false => Ok(None),
        }
    }

    pub(super) fn comment(&self) -> String {
        format!("hasync@{}", self.name())
    }

    /// The host key that the other node shows.
    pub(super) fn look(&self) -> Result<PublicHalf, Failure> {
        let (destination, options) = self.way()?;
        Ok(ssh::shown_key(&destination, &options)?)
    }

    pub(super) fn knows(&self, key: &PublicHalf) -> Result<bool, Failure> {
        let (destination, options) = self.way()?;
        Ok(ssh::is_known(&destination, &options, key)?)
    }

    /// Makes the other node known by this key; gives the file that had to change.
    pub(super) fn believe(&self, key: &PublicHalf) -> Result<Option<String>, Failure> {
        let (destination, options) = self.way()?;
        let file = ssh::make_known(&destination, &options, key)?;
        Ok(file.map(|file| file.display().to_string()))
    }

    /// The words that the other node's key is bound to.
    pub(super) fn serve_words(&self) -> Result<Vec<String>, Failure> {
        let program =
            std::env::current_exe().map_err(|e| Failure::cannot("tell where hasync is", &e))?;
        let mut words = vec![program.display().to_string(), "serve".to_owned()];
        words.extend(self.config_words());
        words.extend(self.allowed()?);
        words.push("--receive-only".to_owned());
        match words.iter().find(|word| word.contains(['\n', '\r'])) {
            None => Ok(words),
            Some(word) => {
                let word = hasync_engine::escape(word.as_bytes());
                let what = "has a line break, which no line of authorized_keys can hold";
                Err(Failure::usage(format!(
                    "{word} {what}; give it another name"
                )))
            }
        }
    }

    /// The option that names the configuration, where it has to be said.
    pub(super) fn config_words(&self) -> Vec<String> {
        let file = self.named_config.iter();
        file.flat_map(|file| ["--config".to_owned(), file.display().to_string()])
            .collect()
    }

    /// The options of `hasync serve` that say what may be pushed here.
    pub(super) fn allowed(&self) -> Result<Vec<String>, Failure> {
        self.must_have_trees()?;
        let roots = self.terms.roots.iter();
        let roots: Vec<String> = roots
            .flat_map(|root| ["--root".to_owned(), root.display().to_string()])
            .collect();
        if !roots.is_empty() {
            return Ok(roots);
        }
        let names = self.config.trees.iter().map(|tree| tree.name.clone());
        Ok(["--tree".to_owned()].into_iter().chain(names).collect())
    }

    /// Lets the other node's key in, to push what the configuration says and nothing else.
    pub(super) fn admit(&self, key: &str, node: &str) -> Result<Admission, Failure> {
        let file = match &self.terms.authorized_keys {
            Some(file) => file.clone(),
            None => home().ok_or_else(no_home)?.join(".ssh/authorized_keys"),
        };
        files::admit(&file, self.binding(key, node)?)
    }

    /// What the other node's key may do here.
    pub(super) fn binding(&self, key: &str, node: &str) -> Result<Binding, Failure> {
        let from = match self.terms.from {
            true => Some(self.addresses(self.host()?)?),
            false => None,
        };
        Ok(Binding {
            words: self.serve_words()?,
            from,
            key: checked(key)?.line(),
            comment: comment_of(node),
        })
    }

    /// The same for the key of this node on the other one, if it has the program in the same
    /// place; `key` may be missing yet.
    pub(super) fn own_binding(&self, key: String) -> Result<Binding, Failure> {
        let from = match (self.terms.from, &self.config.peer.own_host) {
            (false, _) => None,
            (true, Some(own)) => Some(self.addresses(own.clone())?),
            (true, None) => {
                let what = "--from needs the address of this node, which [peer] hosts says";
                return Err(Failure::new(Exit::Config, what));
            }
        };
        Ok(Binding {
            words: self.serve_words()?,
            from,
            key,
            comment: self.comment(),
        })
    }

    /// All addresses of a node, as the option `from` has them.
    fn addresses(&self, host: String) -> Result<String, Failure> {
        let (destination, options) = self.reach().ssh(None, host);
        let found = ssh::addresses(&destination, &options)?;
        let words: Vec<String> = found.iter().map(ToString::to_string).collect();
        Ok(words.join(","))
    }

    /// Reaches the other node as a push would, for each tree or directory.
    pub(super) fn attempt(&self) -> Vec<Tried> {
        if !self.terms.roots.is_empty() {
            return self.attempt_roots();
        }
        let mut tried = Vec::new();
        let mut config = self.config.clone();
        config.peer.user = self.user();
        config.peer.port = self.port.or(config.peer.port);
        let mut link = match PeerLink::configured(&config) {
            Ok(link) => link,
            Err(failure) => {
                return vec![Tried {
                    what: "anything".to_owned(),
                    failure: Some(failure),
                }];
            }
        };
        for tree in config.in_push_order() {
            let named = tree.on(&config.node);
            let asked = link.push(|connection| connection.ask(&named, Wish::Nothing));
            let failure = asked.err();
            let is_the_way = failure
                .as_ref()
                .is_some_and(|failure| crate::exit::is_about_the_way(failure.exit));
            tried.push(Tried {
                what: format!("tree {}", tree.name),
                failure,
            });
            if is_the_way {
                break;
            }
        }
        link.close();
        tried
    }

    /// A push of one small file to each directory, with `-n`: it changes nothing.
    fn attempt_roots(&self) -> Vec<Tried> {
        let roots = self.terms.roots.iter().map(|root| Tried {
            what: format!("into {}", root.display()),
            failure: self.attempt_root(root).err(),
        });
        roots.collect()
    }

    fn attempt_root(&self, root: &Path) -> Result<(), Failure> {
        let (file, host, reach) = (self.key_file()?, self.host()?, self.reach());
        let user = self
            .user()
            .map_or_else(String::new, |user| format!("{user}@"));
        let host = target::bracketed(&host);
        let mut push = itself::command()?;
        push.args(["push", "-nq", "--identity"]).arg(&file);
        if let Some(port) = reach.port {
            push.args(["--port", &port.to_string()]);
        }
        if let Some(known_hosts) = &reach.known_hosts {
            push.arg("--known-hosts").arg(known_hosts);
        }
        if let Some(ssh_config) = &reach.ssh_config {
            push.arg("--ssh-config").arg(ssh_config);
        }
        let to = format!("{user}{host}:{}/", root.display());
        let done = push
            .args([SAMPLE.to_owned(), to])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Failure::cannot("try it", &e))?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let line = said.lines().next().unwrap_or("it does not say why");
        let line = line.strip_prefix("hasync: ").unwrap_or(line);
        let exit = done.status.code().and_then(Exit::of_code);
        Err(Failure::new(exit.unwrap_or(Exit::Stream), line))
    }
}

/// A key of the other node's, which is about to stand in a file.
pub(super) fn checked(key: &str) -> Result<PublicHalf, Failure> {
    PublicHalf::parse(key).ok_or_else(|| {
        let shown = hasync_engine::escape(key.as_bytes()).into_owned();
        let shown: String = shown.chars().take(100).collect();
        Failure::usage(format!(
            "\"{shown}\" is no public key such as \"ssh-ed25519 AAAA...\""
        ))
    })
}

/// The comment behind a key: the node's name, without what a list of keys could misread.
fn comment_of(node: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-._".contains(*c);
    let name: String = node.chars().filter(is_plain).collect();
    format!("hasync@{name}")
}

/// The public host keys that lie where sshd and this program have theirs.
fn host_keys() -> Vec<String> {
    let found = fs::read_dir(SSHD_DIR).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = found
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(HOST_KEY_PREFIX) && name.ends_with("_key.pub")
        })
        .collect();
    files.sort();
    files.push(format!("{HOST_KEY}.pub").into());
    let lines = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let keys = lines.filter_map(|line| PublicHalf::parse(&line));
    keys.map(|key| key.line()).collect()
}

/// In the order of what was typed.
fn once_each(roots: &[PathBuf]) -> Vec<PathBuf> {
    let mut once: Vec<PathBuf> = Vec::new();
    for root in roots {
        if !once.contains(root) {
            once.push(root.clone());
        }
    }
    once
}

fn no_home() -> Failure {
    let what = "this user has no home directory, in which its keys could be";
    Failure::new(Exit::Config, what)
}

fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}
