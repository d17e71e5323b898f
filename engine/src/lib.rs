//! The engine of hasync: what makes one directory tree equal to another over any byte stream.
//!
//! Data goes one way: [`scan`] reads the source, [`compare`] decides what differs, [`delta`] finds
//! what must travel of a file (signature, then delta), [`apply`] makes it in staging, and
//! [`change`] is the only door through which the target changes; [`generation`] makes such a change
//! durable as a whole and keeps its lineage, [`history`] what it replaced. [`wire`] is what
//! travels, and [`session`] holds the two halves that speak it. The engine knows no terminal, no
//! network and no environment variable, and prints nothing: it reports to an [`Observer`].
#![forbid(unsafe_code)]

mod list_source;
mod read_ahead;
mod reader;
mod scan;
mod source;

mod compare;
mod digest;

pub mod delta;

mod apply;

mod change;
mod delete;

pub mod generation;
pub mod history;
mod lineage;

mod session;
mod wire;

mod acl;
mod attributes;
mod clock;
mod entries;
mod entry;
mod error;
mod escape;
mod fail;
pub mod filter;
mod first_names;
mod fs;
mod ids;
mod keeps;
#[cfg(test)]
mod limits;
mod links;
mod members;
mod mounted;
mod names;
mod namespaces;
mod node_id;
mod not_mirrored;
mod observer;
mod options;
mod overlap;
mod page_buf;
mod path;
mod path_list;
mod path_set;
mod policy;
mod recast;
mod refusal;
mod sample;
mod selection;
mod served_root;
mod since;
mod source_list;
mod spill;
mod state;
mod target;
mod term;
mod umask;
mod work;

/// What the fuzz targets run on what a peer says.
#[cfg(any(test, fuzzing))]
pub mod fuzzing {
    pub use crate::session::fuzzing::{receiver, sender};
    pub use crate::wire::fuzzing::{frames, to_receiver, to_sender};
}

pub use entry::Time;
pub use error::{Error, ErrorKind, describe};
pub use escape::{Place, escape, harmless, harmless_json};
pub use filter::{Filter, FilterRule};
pub use fs::{
    Assigned, Attrs, ByName, Existing, Inode, Judge, Lock, OwnCalls, PathCause, PathError, Step,
    hold, make_dirs, only_files, open_file, open_log, open_trusted, put_file, set_by_name_through,
};
pub use ids::{Accounts, IdKind, OwnAccounts};
pub use keeps::lost_words;
pub use list_source::{SourceEntry, list_source};
pub use not_mirrored::NotMirrored;
pub use observer::{
    Action, Change, Differences, Facts, Kind, KindCounts, Note, Observer, Progress, Summary,
    Warning,
};
pub use options::{Backup, BackupPlace, Brake, Compression, Options, QuickCheck, SuperUser};
pub use overlap::overlaps;
pub use path::Shown;
pub use policy::{Confinement, Greeted, Over, Ready, Rights, ServePolicy, Service, Wish};
pub use recast::modes::ModeChanges;
pub use recast::owners::{OwnerMap, OwnerMaps};
pub use sample::{Sample, sample};
pub use served_root::ServedRoot;
pub use session::{Comparison, Connection, Duplex, HELLO_TIME, push, serve};
pub use source_list::SourceList;
#[cfg(debug_assertions)]
pub use spill::spill_from;
pub use spill::{open_spill, spill_into};
pub use state::{Attempt, StateDir};
pub use term::Term;
pub use umask::umask;
