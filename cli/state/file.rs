//! `/run/hasync/status.json`: the state of this node, for whoever is not root. It is written whole
//! and renamed, without a lock, by whatever changes something; the last one stands.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hasync_engine::{escape, harmless_json};

use super::record::{Doing, Moment, NodeState, SCHEMA_VERSION, Trouble, Written};
use crate::config::Config;
use crate::exit::{self, Failure};
use crate::out;

/// Where it is; it goes with the boot.
const RUN_DIR: &str = "/run/hasync";
const FILE: &str = "status.json";
/// The longest that is read, in bytes.
const MAX_LEN: u64 = 16 << 20;

/// The file, for messages too.
pub(crate) fn path() -> PathBuf {
    dir().join(FILE)
}

fn dir() -> PathBuf {
    #[cfg(debug_assertions)]
    if let Some(dir) = std::env::var_os("HASYNC_RUN_DIR") {
        return dir.into();
    }
    RUN_DIR.into()
}

/// What was written last, if it can be understood.
pub(crate) fn read() -> Option<NodeState> {
    let file = fs::File::open(path()).ok()?;
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
    let fresh = dir.join(format!("{FILE}.{}", std::process::id()));
    // Left by a process of the same number that was killed.
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&fresh)
        .and_then(|mut file| {
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.write_all(text.as_bytes())
        })
        .and_then(|()| fs::rename(&fresh, path()));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// The configuration of this node, for a verb that acts. That it cannot be used is a state as well.
pub(crate) fn config(named: Option<&Path>) -> Result<Config, Failure> {
    Config::load_to_act(named).inspect_err(|failure| note_fault(named, failure))
}

/// Writes that this node cannot do anything, because its configuration cannot be used; of the trees
/// the last word stands. A file that was never used says nothing of this node.
pub(crate) fn note_fault(named: Option<&Path>, failure: &Failure) {
    let before = read();
    let named = named.map(|file| escape(file.as_os_str().as_encoded_bytes()).into_owned());
    let is_ours = match (&before, &named) {
        (Some(before), Some(named)) => before.config == *named,
        (None, Some(_)) => false,
        (_, None) => true,
    };
    if !is_ours {
        return;
    }
    let mut state = before.unwrap_or_else(|| NodeState::unknown(Written::now()));
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
