//! The state of this node, as one value that everything tells from: `status`, `check`, notices,
//! cluster managers. [`record`] is that value, [`gather`] reads it together, [`tell`] says what it
//! comes to and [`promotable`] whether this node can take over; [`trouble`] remembers what failed,
//! [`advice`] knows what to do about it, and [`file`] is where it can be read without root.

mod advice;
mod file;
mod gather;
mod promotable;
pub(crate) mod record;
mod tell;
#[cfg(test)]
mod tell_tests;
mod trouble;

pub(crate) use advice::{after as advice_after, on_standby as advice_on_standby};
pub(crate) use file::{config, note_fault, read_of};
pub(crate) use gather::{
    RoleLook, is_just_demoted, last_made, look, note, note_role, of_tree, ours,
};
pub(crate) use record::{NodeState, TreeState};
pub(crate) use tell::{Condition, Level, NOTHING, core, level_of};
pub(crate) use trouble::{Noted, clear, heard, peer_said, put};
