//! `/run/hasync/status.json`: the state of this node, for whoever is not root. It is written whole
//! and renamed, without a lock, by whatever changes something; the last one stands.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hasync_engine::{Existing, escape, harmless_json, only_files, open_file, put_file};

use super::record::{Doing, Moment, NodeState, SCHEMA_VERSION, Trouble, Written};
use crate::config::{Config, DEFAULT_FILE};
use crate::exit::{self, Exit, Failure};
use crate::out;

/// Where it is; it goes with the boot.
const RUN_DIR: &str = "/run/hasync";
const FILE: &str = "status.json";
/// The longest that is read, in bytes.
const MAX_LEN: u64 = 16 << 20;

/// The file, for messages too.
fn path() -> PathBuf {
    dir().join(FILE)
}

fn dir() -> PathBuf {
    #[cfg(debug_assertions)]
    if let Some(dir) = std::env::var_os("HASYNC_RUN_DIR") {
        return dir.into();
    }
    RUN_DIR.into()
}

/// What was written last by the configuration that was named, or else the default one.
///
/// # Errors
///
/// Nothing was, or it is about another configuration's trees: nobody is told of those instead.
pub(crate) fn read_of(named: Option<&Path>) -> Result<NodeState, Failure> {
    let file = path();
    let refused = |why: String| {
        let message = format!("{} {why}", file.display());
        Failure::new(Exit::FileIo, message)
    };
    let state = read().ok_or_else(|| {
        refused("is not there or not readable; hasync cycle, run as root, writes it".to_owned())
    })?;
    if is_by(&state, named) {
        return Ok(state);
    }
    let (asked, other) = (shown(named), &state.config);
    Err(refused(format!(
        "is by the configuration {other}, not by {asked}: give --config {other}, or run hasync \
         cycle with {asked} as root"
    )))
}

/// Whether a state was written by this configuration, in the words of the command line or as an
/// absolute path.
fn is_by(state: &NodeState, named: Option<&Path>) -> bool {
    let absolute = named.and_then(|file| std::path::absolute(file).ok());
    state.config == shown(named) || absolute.is_some_and(|file| state.config == shown(Some(&file)))
}

fn shown(named: Option<&Path>) -> String {
    let file = named.unwrap_or(Path::new(DEFAULT_FILE));
    escape(file.as_os_str().as_encoded_bytes()).into_owned()
}

/// What was written last, if it can be understood.
pub(super) fn read() -> Option<NodeState> {
    // A FIFO in its place is not waited for.
    let file = open_file(&path(), &mut only_files).ok()?;
    let state: NodeState = serde_json::from_reader(io::Read::take(file, MAX_LEN)).ok()?;
    (state.schema_version == SCHEMA_VERSION).then_some(state)
}

/// Writes it, as far as this user may.
pub(super) fn write(state: &NodeState) {
    let Err(cause) = try_write(state) else { return };
    if rustix::process::geteuid().is_root() {
        let (file, cause) = (path(), exit::cause(&cause));
        out::error(&format!("cannot write {}: {cause}", file.display()));
    }
}

fn try_write(state: &NodeState) -> io::Result<()> {
    let dir = dir();
    match DirBuilder::new().mode(0o755).create(&dir) {
        // Whatever the umask took away.
        Ok(()) => fs::set_permissions(&dir, Permissions::from_mode(0o755))?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e),
    }
    let text = harmless_json(&format!("{}\n", serde_json::to_string_pretty(state)?));
    put_file(&path(), text.as_bytes(), 0o644, Existing::IsRenewed).map(drop)
}

/// The configuration of this node, for a verb that acts. That it cannot be used is a state as well.
pub(crate) fn config(named: Option<&Path>) -> Result<Config, Failure> {
    Config::load_to_act(named).inspect_err(|failure| note_fault(named, failure))
}

/// Writes that this node cannot do anything, because its configuration cannot be used; of the trees
/// the last word stands. A file that was never used says nothing of this node.
pub(crate) fn note_fault(named: Option<&Path>, failure: &Failure) {
    let mut state = match read() {
        Some(before) if is_by(&before, named) => before,
        None if named.is_none() => NodeState::unknown(shown(named), Written::now()),
        _ => return,
    };
    // What was known stays as old as it is.
    state.age(&[]);
    state.written = Written::now();
    state.fault = Some(Trouble {
        doing: Doing::Looking,
        exit: failure.exit as u8,
        line: failure.message.clone(),
        next: "correct that, then `hasync check-config`".to_owned(),
        at: Moment::now(),
    });
    write(&state);
}
