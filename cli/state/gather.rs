//! Reads the state of this node together: the records of its trees, what it remembers of its
//! cycles, and the test of its role.

use std::time::Duration;

use hasync_engine::generation::{self, Data, Generation, GenerationKind, NodeRole, TreeStatus};
use hasync_engine::history::Sizes;
use hasync_engine::{escape, lost_words};

use super::file;
use super::record::{
    AsOfState, Bytes, DataState, DataWord, Doing, Facts, GenerationState, GivenUp, LastCycle,
    LastStopState, Moment, NodeState, Part, Past, PinnedState, RoleSeen, RoleWord, SCHEMA_VERSION,
    SpaceState, StagedState, TreeState, Trouble, Written, WrittenState,
};
use super::tell::Told;
use super::trouble::Mark;
use crate::config::{Config, RoleTest, Tree};
use crate::exit::{Exit, Failure};
use crate::memory::{self, Course, Memory};
use crate::role::{self, Found, Role};
use crate::writable;

/// Where the role by its test comes from.
pub(crate) enum RoleLook {
    /// The test is run; sizes are measured anew, too.
    Test,
    /// It was run just now.
    Known(Result<Found, Failure>),
    /// The last word stands: whoever notes a change does not wait for a test.
    Recall,
}

/// Whether this user may read the records of this node; for everybody else there is the file.
pub(crate) fn ours(config: &Config) -> bool {
    use std::os::unix::fs::MetadataExt;
    let euid = rustix::process::geteuid();
    let owner = config.node.state.metadata().map(|state| state.uid());
    euid.is_root() || owner.is_ok_and(|owner| owner == euid.as_raw())
}

/// Writes the state of this node to where anybody can read it.
pub(crate) fn note(config: &Config) {
    note_role(config, RoleLook::Recall);
}

/// The same with what is known of the role.
pub(crate) fn note_role(config: &Config, role: RoleLook) {
    file::write(&look(config, &config.in_push_order(), role));
}

/// The state of this node and of these trees.
pub(crate) fn look(config: &Config, trees: &[&Tree], role: RoleLook) -> NodeState {
    let memory = Memory::recall(&config.node.state);
    let measures = matches!(role, RoleLook::Test);
    let before = written_before(config);
    let (role, fault) = match role {
        // Trees that are recorded as different things stop nobody who pushes them by name.
        RoleLook::Test if config.role == RoleTest::Recorded && !has_failed(&memory) => (None, None),
        RoleLook::Test => by_test(config, role::find(config)),
        RoleLook::Known(found) => by_test(config, found),
        RoleLook::Recall => match &before {
            Some(before) if config.role != RoleTest::Recorded => last_word(before),
            _ => (None, None),
        },
    };
    let by_test = role.as_ref().map(|role| role.role);
    let of = |tree: &&Tree| {
        let before = before.as_ref().filter(|_| !measures);
        let before = before.and_then(|before| before.tree(&tree.name));
        of_tree_by(config, tree, &memory, by_test, before)
            .unwrap_or_else(|failure| unreadable(config, tree, &failure))
    };
    let mut states: Vec<TreeState> = trees.iter().map(of).collect();
    let noted = unwritable(config);
    for (tree, state) in trees.iter().zip(&mut states) {
        let of_data = || unwritable_data(config, tree, &state.facts);
        if let Some(trouble) = noted.clone().or_else(of_data) {
            state.facts.last_failure = Some(trouble);
            state.told = Told::of(&state.facts, &config.node.name);
        }
    }
    NodeState {
        schema_version: SCHEMA_VERSION,
        node: config.node.name.clone(),
        config: config.shown_file(),
        written: Written::now(),
        role,
        fault,
        interval_seconds: config.cycle.interval.0.as_secs(),
        max_lag_seconds: config.max_lag().as_secs(),
        last_cycle: memory.cycles.last().map(|cycle| last_cycle(config, cycle)),
        last_success: last_success(&memory.cycles),
        last_stop: memory.last_stop.as_ref().map(LastStopState::from),
        trees: states,
    }
}

/// Why nothing can be noted on this node, if that is so. No push is sent or received then, nobody
/// is promoted or demoted, and no failure is remembered: it shows here alone.
fn unwritable(config: &Config) -> Option<Trouble> {
    let failure = writable::obstacle(&config.node.state).filter(|_| ours(config))?;
    Some(of_disk(config, &failure))
}

/// Why a standby can take no push, nor be promoted: its services would find the same.
fn unwritable_data(config: &Config, tree: &Tree, facts: &Facts) -> Option<Trouble> {
    if facts.part.role != RoleWord::Standby || !ours(config) {
        return None;
    }
    Some(of_disk(config, &writable::obstacle(tree.dir())?))
}

fn of_disk(config: &Config, failure: &Failure) -> Trouble {
    let next = match failure.exit {
        Exit::NoSpace => "make room there; the next cycle goes on",
        _ => "make it writable; the next cycle goes on",
    };
    Trouble {
        next: next.to_owned(),
        ..trouble(config, None, failure)
    }
}

/// The state of one tree, without a test of the role.
pub(crate) fn of_tree(config: &Config, tree: &Tree) -> Result<TreeState, Failure> {
    let memory = Memory::recall(&config.node.state);
    let before = written_before(config);
    let before = before.as_ref().and_then(|before| before.tree(&tree.name));
    of_tree_by(config, tree, &memory, None, before)
}

/// Whether this node was demoted of a tree a moment ago: its role may be about to follow.
pub(crate) fn is_just_demoted(config: &Config, tree: &Tree) -> Result<bool, Failure> {
    let memory = Memory::recall(&config.node.state);
    let status = tree.on(&config.node).status()?;
    Ok(status.role == NodeRole::Standby && is_recent(config, tree, &memory))
}

fn is_recent(config: &Config, tree: &Tree, memory: &Memory) -> bool {
    let moved = memory.moved.get(&tree.name);
    moved.is_some_and(|since| memory::left(*since, config.cycle.interval.0).is_some())
}

/// The last word on this node, by this configuration.
fn written_before(config: &Config) -> Option<NodeState> {
    let (node, file) = (&config.node.name, config.shown_file());
    file::read().filter(|before| before.node == *node && before.config == file)
}

/// What this node is to a tree.
pub(super) fn part_of(config: &Config, tree: &Tree) -> Result<Mark, Failure> {
    Ok(mark(&tree.on(&config.node).status()?))
}

fn has_failed(memory: &Memory) -> bool {
    memory.cycles.last().is_some_and(|cycle| !cycle.is_good())
}

/// What the test of the role said last; a fault of anything else is over.
fn last_word(before: &NodeState) -> (Option<RoleSeen>, Option<Trouble>) {
    let is_known = |seen: &RoleSeen| seen.role != RoleWord::Unknown;
    let fault = match before.role.as_ref().is_none_or(is_known) {
        true => None,
        false => before.fault.clone(),
    };
    (before.role.clone(), fault)
}

fn by_test(config: &Config, found: Result<Found, Failure>) -> (Option<RoleSeen>, Option<Trouble>) {
    let is_test = config.role != RoleTest::Recorded;
    match found {
        Ok(found) if is_test => {
            let (role, why) = (found.role.into(), found.why);
            (Some(RoleSeen { role, why }), None)
        }
        Ok(_) => (None, None),
        Err(failure) => {
            let (role, why) = (RoleWord::Unknown, failure.message.clone());
            let seen = is_test.then_some(RoleSeen { role, why });
            (seen, Some(trouble(config, None, &failure)))
        }
    }
}

fn trouble(config: &Config, tree: Option<&Tree>, failure: &Failure) -> Trouble {
    Trouble {
        doing: Doing::Looking,
        exit: failure.exit as u8,
        line: failure.message.clone(),
        next: match tree {
            Some(tree) if failure.exit == Exit::Locked => format!("`hasync status {}`", tree.name),
            Some(tree) => format!("mend that, then `hasync status {}`", tree.name),
            None => format!(
                "correct [role] in {}, then `hasync role`",
                config.shown_file()
            ),
        },
        at: Moment::now(),
    }
}

fn unreadable(config: &Config, tree: &Tree, failure: &Failure) -> TreeState {
    let facts = Facts {
        unreadable: Some(trouble(config, Some(tree), failure)),
        ..place(config, tree)
    };
    TreeState {
        told: Told::of(&facts, &config.node.name),
        facts,
    }
}

/// A tree of which no more than its configuration is known.
fn place(config: &Config, tree: &Tree) -> Facts {
    let records = config.node.state.join("trees").join(&tree.name);
    Facts {
        name: tree.name.clone(),
        path: escape(tree.dir().as_os_str().as_encoded_bytes()).into_owned(),
        is_group: tree.is_group(),
        records: escape(records.as_os_str().as_encoded_bytes()).into_owned(),
        lossy: lost_words(tree.options.lossy)
            .into_iter()
            .map(str::to_owned)
            .collect(),
        part: Part::default(),
        data: DataState::default(),
        past: Past::default(),
        unreadable: None,
        last_failure: None,
        peer: None,
    }
}

fn of_tree_by(
    config: &Config,
    tree: &Tree,
    memory: &Memory,
    by_test: Option<RoleWord>,
    before: Option<&Facts>,
) -> Result<TreeState, Failure> {
    let named = tree.on(&config.node);
    let status = named.status()?;
    let noted = memory.troubles.get(&tree.name);
    let is_asked_for = by_test != Some(RoleWord::Standby);
    let last_failure =
        noted.and_then(|noted| noted.standing(&mark(&status), is_asked_for).cloned());
    let undone_from = match is_undone(&status) {
        true => last_made(&named)?,
        false => None,
    };
    let bytes = match before.filter(|before| has_same_past(before, &status)) {
        Some(before) => before.past.bytes.clone(),
        None => Bytes::from(named.sizes()?),
    };
    let facts = Facts {
        part: part(config, tree, memory, by_test, &status),
        data: data(tree, memory, &status, undone_from),
        past: past(&status, bytes),
        last_failure,
        peer: memory.peers.get(&tree.name).cloned(),
        ..place(config, tree)
    };
    Ok(TreeState {
        told: Told::of(&facts, &config.node.name),
        facts,
    })
}

fn mark(status: &TreeStatus) -> Mark {
    let given_up_for = status
        .adopted
        .as_ref()
        .map(|adopted| adopted.id.to_string());
    Mark {
        role: status.role.into(),
        epoch: status.epoch,
        head_id: status.head.as_ref().map(|head| head.id.to_string()),
        given_up_for,
    }
}

fn part(
    config: &Config,
    tree: &Tree,
    memory: &Memory,
    by_test: Option<RoleWord>,
    status: &TreeStatus,
) -> Part {
    let interval = config.cycle.interval.0;
    let held = memory.held.get(&tree.name);
    let held = held.filter(|since| memory::left(**since, interval).is_some());
    let is_mismatch = match status.role {
        NodeRole::Primary => by_test == Some(RoleWord::Standby),
        NodeRole::Standby => by_test == Some(RoleWord::Primary),
        NodeRole::New => false,
    };
    Part {
        role: status.role.into(),
        role_by_test: by_test,
        role_mismatch: is_mismatch,
        epoch: status.epoch,
        may_be_alone: status.may_be_alone,
        handed_over: status.was_primary,
        held_until: held.map(|since| Moment::of(since.saturating_add(interval.as_secs()))),
        is_moving: is_mismatch && is_recent(config, tree, memory),
        is_unsent: status.owes.head,
        unacknowledged: status.owes.open.map(|id| id.to_string()),
        given_up_for: status.adopted.as_ref().map(|adopted| GivenUp {
            node: adopted.node.clone(),
            id: adopted.id.to_string(),
        }),
    }
}

fn data(
    tree: &Tree,
    memory: &Memory,
    status: &TreeStatus,
    undone_from: Option<GivenUp>,
) -> DataState {
    let known = memory.trees.get(&tree.name);
    // The root alone was pushed: that it is empty is no news.
    let was_empty = known.is_some_and(|known| known.entries <= 1);
    let head = status.head.as_ref();
    let lag = status.as_of.as_ref().and_then(|as_of| as_of.lag_ns());
    let lag = lag.and_then(|ns| u64::try_from(ns).ok());
    DataState {
        state: match status.data {
            Data::NotMounted => DataWord::Unmounted,
            Data::Emptied if !tree.dir().exists() => DataWord::Missing,
            Data::Emptied if was_empty => DataWord::Complete,
            Data::Emptied => DataWord::Emptied,
            Data::NoHead => DataWord::Unrecorded,
            Data::Here if status.is_interrupted => DataWord::Interrupted,
            Data::Here if head.is_some_and(|head| head.partial.is_some()) => DataWord::Partial,
            Data::Here if head.is_some() => DataWord::Complete,
            Data::Here => DataWord::New,
        },
        head: head.map(GenerationState::from),
        as_of: status.as_of.as_ref().map(AsOfState::from),
        lag_seconds: lag.map(|ns| Duration::from_nanos(ns).as_secs()),
        undone_from,
    }
}

fn past(status: &TreeStatus, bytes: Bytes) -> Past {
    Past {
        bytes,
        space: status.space.map(|space| SpaceState {
            free_bytes: space.free_bytes,
            total_bytes: space.total_bytes,
        }),
        undo: status.undo.iter().map(GenerationState::from).collect(),
        pinned: status.pinned.iter().map(pinned).collect(),
        written_here: status
            .written
            .iter()
            .map(|(generation, written)| WrittenState {
                id: generation.id.to_string(),
                number: generation.number,
                count: written.count,
                paths: written.lines.clone(),
            })
            .collect(),
        staged: status
            .staged
            .iter()
            .map(|left| StagedState {
                name: left.name.clone(),
                is_running: left.is_running,
            })
            .collect(),
        rubbish: rubbish(status),
    }
}

fn pinned(pinned: &hasync_engine::history::Pinned) -> PinnedState {
    PinnedState {
        id: pinned.generation.id.to_string(),
        number: pinned.generation.number,
        node: pinned.generation.node.clone(),
        path: escape(pinned.path.as_os_str().as_encoded_bytes()).into_owned(),
    }
}

fn rubbish(status: &TreeStatus) -> Vec<String> {
    let paths = status.rubbish.iter();
    paths
        .map(|path| escape(path.as_os_str().as_encoded_bytes()).into_owned())
        .collect()
}

/// What the steps of the past take does not change while they are the same.
fn has_same_past(before: &Facts, status: &TreeStatus) -> bool {
    let ids = |generations: &[Generation]| -> Vec<String> {
        generations.iter().map(|one| one.id.to_string()).collect()
    };
    let known =
        |ids: &[GenerationState]| -> Vec<String> { ids.iter().map(|one| one.id.clone()).collect() };
    let pinned: Vec<PinnedState> = status.pinned.iter().map(pinned).collect();
    status.staged.is_empty()
        && before.past.staged.is_empty()
        && known(&before.past.undo) == ids(&status.undo)
        && before.past.pinned == pinned
        && before.past.rubbish == rubbish(status)
}

fn is_undone(status: &TreeStatus) -> bool {
    let head = status.head.as_ref();
    status.role == NodeRole::Standby && head.is_some_and(|head| head.kind == GenerationKind::Undo)
}

/// The last generation that was no undo: the other node has it, whichever made it.
pub(crate) fn last_made(tree: &generation::Tree) -> Result<Option<GivenUp>, Failure> {
    let log = tree.log()?;
    let made = log
        .into_iter()
        .rev()
        .find(|one| one.kind != GenerationKind::Undo);
    let other = || Memory::recall(&tree.state_dir).peers.remove(&tree.name);
    Ok(made.map(|made| GivenUp {
        node: match made.node == tree.node {
            true => other().map_or(made.node, |peer| peer.node),
            false => made.node,
        },
        id: made.id.to_string(),
    }))
}

fn last_cycle(config: &Config, cycle: &Course) -> LastCycle {
    let interval_ms = config.cycle.interval.0.as_millis().max(1);
    let share = u128::from(cycle.took_ms) * 100 / interval_ms;
    LastCycle {
        began: Moment::of(cycle.began),
        took_ms: cycle.took_ms,
        sent_bytes: cycle.sent_bytes,
        share_percent: u64::try_from(share).unwrap_or(u64::MAX),
        exit: cycle.exit,
        is_good: cycle.is_good(),
        line: cycle.line.clone(),
    }
}

fn last_success(cycles: &[Course]) -> Option<Moment> {
    let good = cycles.iter().rev().find(|cycle| cycle.is_good())?;
    Some(Moment::of(good.began.saturating_add(good.took_ms / 1000)))
}

impl From<Role> for RoleWord {
    fn from(role: Role) -> Self {
        match role {
            Role::Primary => RoleWord::Primary,
            Role::Standby => RoleWord::Standby,
        }
    }
}

impl From<Sizes> for Bytes {
    fn from(sizes: Sizes) -> Self {
        Bytes {
            undo: sizes.undo_bytes,
            kept: sizes.pinned_bytes,
            staged: sizes.staged_bytes,
            unremovable: sizes.rubbish_bytes,
        }
    }
}
