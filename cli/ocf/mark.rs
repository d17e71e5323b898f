//! The mark that a resource is running on this node: under HA_RSCTMP, which a boot empties. It also
//! holds what one action has to tell the next one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hasync_engine::{StateDir, escape};
use serde::{Deserialize, Serialize};

use crate::exit::{self, Failure};

/// Where Pacemaker's agents keep such files unless HA_RSCTMP says otherwise.
const TEMP: &str = "/run/resource-agents";
/// The longest mark that is read, in bytes.
const LEN_MAX: u64 = 1 << 20;

/// The part that the cluster has given to a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    Unpromoted,
    /// It is promoted, or its promotion has begun.
    Promoted,
    /// Its demotion failed, after a last push was tried.
    Demoting,
    /// The mark is damaged.
    #[default]
    Unknown,
}

/// What is known of a running resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Mark {
    pub(super) part: Part,
    /// By tree, the generation at which the peer was last known to have none that is newer.
    pub(super) proven: BTreeMap<String, String>,
    /// What the cluster's status shows of this node.
    pub(super) shown: Option<String>,
}

impl Mark {
    /// Of a resource that is just being started: what the cluster's status shows may be old.
    pub(super) fn of_a_start() -> Self {
        Mark {
            part: Part::Unpromoted,
            shown: Some(String::new()),
            ..Mark::default()
        }
    }
}

/// Where the mark of one resource is.
#[derive(Clone)]
pub(super) struct Place {
    dir: PathBuf,
    name: String,
}

impl Place {
    pub(super) fn new(temp: Option<PathBuf>, instance: &str) -> Self {
        let temp = temp.unwrap_or_else(|| TEMP.into());
        Place {
            // A directory of its own is private, whatever the other one is.
            dir: temp.join("hasync"),
            name: format!("{}.json", instance.replace('/', "%")),
        }
    }

    /// The mark, if the resource is running.
    pub(super) fn read(&self) -> Result<Option<Mark>, Failure> {
        let Some(dir) = StateDir::look(&self.dir)? else {
            return Ok(None);
        };
        let bytes = dir.read(&self.name, LEN_MAX)?;
        // A damaged one is there all the same.
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// Has the mark there for whatever comes next, also after a kill.
    pub(super) fn write(&self, mark: &Mark) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(mark).unwrap_or_default();
        Ok(StateDir::open(&self.dir)?.replace(&self.name, &text)?)
    }

    pub(super) fn remove(&self) -> Result<(), String> {
        let path: &Path = &self.dir.join(&self.name);
        match std::fs::remove_file(path) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                let shown = escape(path.as_os_str().as_encoded_bytes());
                Err(format!("cannot remove {shown}: {}", exit::cause(&cause)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_mark_is_there_from_the_first_write_to_the_removal() {
        let temp = tempfile::tempdir().unwrap();
        let place = Place::new(Some(temp.path().to_owned()), "mirror/0");
        assert_eq!(place.read().unwrap(), None);
        let mark = Mark {
            part: Part::Promoted,
            ..Mark::default()
        };
        place.write(&mark).unwrap();
        assert_eq!(place.read().unwrap(), Some(mark));
        let other = Place::new(Some(temp.path().to_owned()), "mirror");
        assert_eq!(other.read().unwrap(), None, "each instance has its own");
        for damage in ["", "{", "{}", "[]", "{\"part\": \"dance\"}", "\u{fffd}"] {
            std::fs::write(temp.path().join("hasync/mirror%0.json"), damage).unwrap();
            let read = place.read().unwrap();
            assert_eq!(read.map(|mark| mark.part), Some(Part::Unknown), "it runs");
        }
        place.remove().unwrap();
        place.remove().unwrap();
        assert_eq!(place.read().unwrap(), None);
    }
}
