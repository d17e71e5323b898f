//! What each node of a pair has for itself, and lives on: its configuration, its keys, who may log
//! in, its name, its state. A tree with one of these in it would give a node what is the other's,
//! and the first push of it would be the last one.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hasync_engine::Filter;
use hasync_transport::home;
use rustix::process::geteuid;

use super::{Content, Fault, Node, Peer, Tree, last_good, shown_file};

/// Where root keeps what a node needs besides its configuration.
pub(crate) const DIR: &str = "/etc/hasync";
/// Where sshd has its host keys.
pub(crate) const SSHD_DIR: &str = "/etc/ssh";
/// What their names begin with.
pub(crate) const HOST_KEY_PREFIX: &str = "ssh_host_";
/// What sshd makes, whether it has begun to run here or not.
const HOST_KEYS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];
/// The name of a node that has none by its configuration.
const HOST_NAME: &str = "/etc/hostname";

/// One of them.
struct Own {
    path: PathBuf,
    /// With all that is in it.
    is_dir: bool,
}

/// What this node has for itself; `file` is its configuration.
fn all(file: &Path, node: &Node, peer: &Peer) -> Vec<Own> {
    let state = &node.state;
    // Whoever only looks at the state of others has a home that the pair does not need.
    let is_ours = std::fs::metadata(state).map_or(true, |dir| dir.uid() == geteuid().as_raw());
    let logins = home().filter(|_| is_ours).map(|home| home.join(".ssh"));
    let dirs = [PathBuf::from(DIR), state.clone(), last_good::dir()];
    let dirs = dirs.into_iter().chain(logins);
    let named = [&peer.identity, &peer.known_hosts, &peer.ssh_config];
    let mut files: Vec<PathBuf> = named.into_iter().flatten().cloned().collect();
    files.extend(std::path::absolute(file));
    files.extend((!node.is_named).then(|| HOST_NAME.into()));
    for kind in HOST_KEYS {
        let key = format!("{SSHD_DIR}/{HOST_KEY_PREFIX}{kind}_key");
        files.extend([format!("{key}.pub"), key].map(PathBuf::from));
    }
    let found = std::fs::read_dir(SSHD_DIR).into_iter().flatten().flatten();
    let is_key = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_bytes();
        name.starts_with(HOST_KEY_PREFIX.as_bytes())
    };
    files.extend(found.map(|entry| entry.path()).filter(is_key));
    let own = |is_dir| move |path| Own { path, is_dir };
    dirs.map(own(true))
        .chain(files.into_iter().map(own(false)))
        .collect()
}

/// Refuses a tree that would mirror one of them; `trees` stand with their places in the text.
pub(super) fn check(
    trees: &[(Tree, usize)],
    file: &Path,
    node: &Node,
    peer: &Peer,
) -> Result<(), Fault> {
    if trees.is_empty() {
        return Ok(());
    }
    let all = all(file, node, peer);
    for (tree, offset) in trees {
        let filter = Filter::from_rules(tree.options.filters.clone());
        // What cannot be built is refused where it is used.
        let filter = filter.unwrap_or_default();
        let places = match &tree.content {
            Content::Dir(dir) => vec![dir.clone()],
            Content::Group { dir, names } => names.iter().map(|name| dir.join(name)).collect(),
        };
        for place in &places {
            let mut met = all
                .iter()
                .filter_map(|own| Some((own, own.met(place, &filter)?)));
            if let Some((own, met)) = met.next() {
                let message = sentence(tree.is_group(), place, own, met);
                return Err(Fault::new(*offset, message));
            }
        }
    }
    Ok(())
}

/// How a place has to do with what is a node's own.
#[derive(Debug, PartialEq, Eq)]
enum Met {
    /// It is that, or lies in it.
    Is,
    /// It holds it, by this path.
    Holds(PathBuf),
}

impl Own {
    /// Whether all that is mirrored at `place`, by `filter`, has this in it.
    fn met(&self, place: &Path, filter: &Filter) -> Option<Met> {
        let (places, owns) = (both(place), both(&self.path));
        let mut pairs = places
            .iter()
            .flat_map(|place| owns.iter().map(move |own| (place, own)));
        pairs.find_map(|(place, own)| match own.strip_prefix(place) {
            Ok(below) if below.as_os_str().is_empty() => Some(Met::Is),
            Ok(below) => {
                let is_reached = filter.reaches(below.as_os_str().as_bytes(), self.is_dir);
                is_reached.then(|| Met::Holds(below.to_owned()))
            }
            Err(_) => (self.is_dir && place.starts_with(own)).then_some(Met::Is),
        })
    }
}

fn sentence(in_group: bool, place: &Path, own: &Own, met: Met) -> String {
    let (shown, own_path) = (shown_file(place), shown_file(&own.path));
    let would = format!(
        "the path \"{shown}\" would mirror this node's own system and configuration, {own_path}"
    );
    match met {
        _ if in_group => format!("{would}; leave it out of the files"),
        Met::Is => format!("{would}; leave it to each node"),
        Met::Holds(below) => {
            let slash = if own.is_dir { "/" } else { "" };
            let rule = format!("- /{}{slash}", shown_file(&below));
            format!(
                "{would}; name the directories below it that the service needs, or keep that out \
                 with the filter \"{rule}\""
            )
        }
    }
}

/// A path as it is written, and where it leads.
fn both(path: &Path) -> Vec<PathBuf> {
    let mut both = vec![path.to_owned(), real(path)];
    both.dedup();
    both
}

/// The path without symlinks, as far as it exists: what is not mounted now may be later.
pub(crate) fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| {
        let real = std::fs::canonicalize(above).ok()?;
        Some(real.join(path.strip_prefix(above).ok()?))
    });
    // An empty rest would leave a slash at the end.
    found.map_or_else(|| path.to_owned(), |real| real.components().collect())
}
