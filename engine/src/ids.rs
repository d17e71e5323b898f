//! Users and groups by name across two nodes. The sender announces (id, name) before an id's first
//! use; the receiver maps it to its own id of that name. An id without a name, or with a name that
//! the receiver does not know, stands for itself. Root is never mapped.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use nix::unistd::{Gid, Group, Uid, User};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::path::Shown;
use crate::refusal::Refusal;

/// Users or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IdKind {
    /// Users.
    User,
    /// Groups.
    Group,
}

/// Users and groups that a sender may announce.
pub(crate) const IDS_MAX: usize = 1 << 20;

/// Longest name of one in bytes; a longer one counts as none.
const ID_NAME_LEN_MAX: usize = 1024;

/// Length of all names that a sender may ask the numbers of, each with a byte more: each is looked
/// up.
pub(crate) const ACCOUNTS_LEN_MAX: usize = 64 << 10;

/// Groups that a receiver may set: no process has more.
pub(crate) const SETTABLE_GROUPS_MAX: usize = 1 << 16;

/// Refuses a number that stands for no user or group: to the kernel it means that the owner stays.
pub(crate) fn check_id(id: u32) -> Result<(), Refusal> {
    match id {
        u32::MAX => Err(Refusal::NoId),
        _ => Ok(()),
    }
}

/// Refuses a name that no user or group has.
fn check_name(name: &[u8]) -> Result<(), Refusal> {
    let len = name.len();
    match name {
        [] => Err(Refusal::IdOfNobody),
        _ if len > ID_NAME_LEN_MAX => Err(Refusal::IdName { len }),
        _ if name.contains(&0) || name.contains(&b'\n') => Err(Refusal::IdOfNobody),
        _ => Ok(()),
    }
}

/// Looks up the users and groups of this node for a receiver, which may be confined in a way that
/// keeps it from doing so itself. The error is why there is no answer.
pub trait Accounts: fmt::Debug + Send + Sync {
    /// The number of the bearer of `name`.
    ///
    /// # Errors
    ///
    /// Why that cannot be told.
    fn id(&self, kind: IdKind, name: &[u8]) -> Result<Option<u32>, String>;

    /// The name of the bearer of `id`.
    ///
    /// # Errors
    ///
    /// Why that cannot be told.
    fn name(&self, kind: IdKind, id: u32) -> Result<Option<Vec<u8>>, String>;
}

/// The accounts as this process can look them up itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnAccounts;

impl Accounts for OwnAccounts {
    fn id(&self, kind: IdKind, name: &[u8]) -> Result<Option<u32>, String> {
        Ok(id_of(kind, name))
    }

    fn name(&self, kind: IdKind, id: u32) -> Result<Option<Vec<u8>>, String> {
        Ok(name_of(kind, id))
    }
}

/// The name of a user or group on this node.
pub(crate) fn name_of(kind: IdKind, id: u32) -> Option<Vec<u8>> {
    let name = match kind {
        IdKind::User => User::from_uid(Uid::from_raw(id)).ok()??.name,
        IdKind::Group => Group::from_gid(Gid::from_raw(id)).ok()??.name,
    };
    Some(name.into_bytes()).filter(|name| check_name(name).is_ok())
}

fn id_of(kind: IdKind, name: &[u8]) -> Option<u32> {
    let name = std::str::from_utf8(name).ok()?;
    let id = match kind {
        IdKind::User => User::from_name(name).ok()??.uid.as_raw(),
        IdKind::Group => Group::from_name(name).ok()??.gid.as_raw(),
    };
    Some(id)
}

/// Bit that marks a local id which no id of the sender stands for, so that it equals none.
const FOREIGN: u64 = 1 << 32;

/// The receiver's map between the sender's ids and its own.
#[derive(Debug)]
pub(crate) struct IdMap {
    accounts: Arc<dyn Accounts>,
    /// Those announced, and what they are here: `None` if nobody has that name.
    to_local: HashMap<(IdKind, u32), Option<u32>>,
    to_sender: HashMap<(IdKind, u32), u32>,
}

#[cfg(test)]
impl Default for IdMap {
    fn default() -> Self {
        IdMap::new(Arc::new(OwnAccounts))
    }
}

impl IdMap {
    pub(crate) fn new(accounts: Arc<dyn Accounts>) -> Self {
        IdMap {
            accounts,
            to_local: HashMap::new(),
            to_sender: HashMap::new(),
        }
    }

    /// Takes in an announcement. A name that cannot be looked up ends the push: its files would go
    /// to whoever bears the sender's number here.
    pub(crate) fn announce(&mut self, kind: IdKind, id: u32, name: &[u8]) -> Result<(), Error> {
        check_name(name)
            .and_then(|()| check_id(id))
            .map_err(Error::peer)?;
        if id == 0 {
            return Err(Error::peer(Refusal::IdOfRoot));
        }
        // A look-up takes its time: there is one for each.
        if self.to_local.contains_key(&(kind, id)) {
            return Ok(());
        }
        self.has_room()?;
        let found = self.accounts.id(kind, name);
        let local = found.map_err(|why| unanswered(kind, Shown(name), &why))?;
        self.map(kind, id, local);
        Ok(())
    }

    /// Takes in that an id becomes another one here, even if it is root's.
    pub(crate) fn mapped(&mut self, kind: IdKind, id: u32, becomes: u32) -> Result<(), Error> {
        check_id(id)
            .and_then(|()| check_id(becomes))
            .map_err(Error::peer)?;
        if !self.to_local.contains_key(&(kind, id)) {
            self.has_room()?;
            self.map(kind, id, Some(becomes));
        }
        Ok(())
    }

    fn has_room(&self) -> Result<(), Error> {
        let max = IDS_MAX;
        match self.to_local.len() < max {
            true => Ok(()),
            false => Err(Error::peer(Refusal::TooManyIds { max })),
        }
    }

    fn map(&mut self, kind: IdKind, id: u32, local: Option<u32>) {
        // An account of this node may have a number that stands for none.
        let local = local.filter(|&local| check_id(local).is_ok());
        self.to_local.insert((kind, id), local);
        if let Some(local) = local {
            self.to_sender.entry((kind, local)).or_insert(id);
        }
    }

    /// The local id for one of the sender's.
    pub(crate) fn local(&self, kind: IdKind, id: u32) -> u32 {
        self.to_local
            .get(&(kind, id))
            .copied()
            .flatten()
            .unwrap_or(id)
    }

    /// The sender's id for a local one, as a number that equals the sender's own exactly if the
    /// two mean the same.
    pub(crate) fn sender(&self, kind: IdKind, local: u32) -> u64 {
        match self.to_sender.get(&(kind, local)) {
            Some(&id) => id.into(),
            None if self.local(kind, local) == local => local.into(),
            // The sender's bearer of this number is another one here.
            None => FOREIGN | u64::from(local),
        }
    }
}

/// The numbers of the bearers of these names.
pub(crate) fn look_up(
    names: &[(IdKind, String)],
    accounts: &dyn Accounts,
) -> Result<Vec<Option<u32>>, Error> {
    let max = ACCOUNTS_LEN_MAX;
    if accounts_len(names) > max {
        return Err(Error::peer(Refusal::AccountsLen { max }));
    }
    let number = |(kind, name): &(IdKind, String)| {
        check_name(name.as_bytes()).map_err(Error::peer)?;
        let found = accounts.id(*kind, name.as_bytes());
        let found = found.map_err(|why| unanswered(*kind, Shown(name.as_bytes()), &why))?;
        Ok(found.filter(|&id| check_id(id).is_ok()))
    };
    names.iter().map(number).collect()
}

/// How much is asked by these names.
fn accounts_len(names: &[(IdKind, String)]) -> usize {
    names.iter().map(|(_, name)| name.len() + 1).sum()
}

/// Refuses to ask more than a receiver would answer.
pub(crate) fn check_accounts(names: &[(IdKind, String)]) -> Result<(), Error> {
    let longest = names.iter().map(|(_, name)| name.len()).max();
    let is_none = |(_, name): &(IdKind, String)| check_name(name.as_bytes()).is_err();
    let message = match longest {
        Some(len) if len > ID_NAME_LEN_MAX => {
            format!("a user or group of the target has a name of {len} bytes, above 1,024")
        }
        _ if accounts_len(names) > ACCOUNTS_LEN_MAX => {
            "the users and groups of the target that are named by --usermap, --groupmap and \
             --chown have more than 64 KiB of names: give numbers"
                .to_owned()
        }
        _ if names.iter().any(is_none) => {
            "a user or group of the target has a name that is empty, or more than a line".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Usage, message))
}

/// A group by number and, where it has one, by name.
pub(crate) type NamedGroup = (u32, Option<String>);

/// The groups, besides the one that its new files get anyway, that this process may give its files
/// to when it is not root.
pub(crate) fn settable_groups(accounts: &dyn Accounts) -> Result<Vec<NamedGroup>, Error> {
    let effective = nix::unistd::getegid();
    let groups = nix::unistd::getgroups().unwrap_or_default();
    let ids = groups
        .iter()
        .filter(|&&group| group != effective)
        .map(|group| group.as_raw());
    let named = |id| {
        let name = accounts.name(IdKind::Group, id);
        let name = name.map_err(|why| unanswered(IdKind::Group, id, &why))?;
        Ok((id, name.and_then(|name| String::from_utf8(name).ok())))
    };
    ids.map(named).collect()
}

fn unanswered(kind: IdKind, who: impl fmt::Display, why: &str) -> Error {
    let kind = match kind {
        IdKind::User => "user",
        IdKind::Group => "group",
    };
    let message = format!(
        "cannot look up {kind} {who} on the receiving node: {why}; mend that, or push with \
         --numeric-ids"
    );
    Error::new(ErrorKind::FileIo, message)
}

/// The peer's groups in this node's numbers: by name, or by number where either has no name.
pub(crate) fn groups_here(groups: &[NamedGroup], numeric_ids: bool) -> Vec<u32> {
    let here = |(id, name): &NamedGroup| match name {
        Some(name) if !numeric_ids => id_of(IdKind::Group, name.as_bytes()).unwrap_or(*id),
        _ => *id,
    };
    groups.iter().map(here).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_number_is_not_mistaken_for_itself() {
        let mut map = IdMap::default();
        map.map(IdKind::User, 1000, Some(1001));
        assert_eq!(map.local(IdKind::User, 1000), 1001);
        assert_eq!(map.sender(IdKind::User, 1001), 1000);
        // Local 1000 is somebody else than the sender's 1000.
        assert_ne!(map.sender(IdKind::User, 1000), 1000);
        assert_eq!(map.sender(IdKind::User, 7), 7);
        assert_eq!(map.local(IdKind::Group, 1000), 1000);
    }

    /// Counts how often it is asked, and knows nobody.
    #[derive(Debug, Default)]
    struct Asked(std::sync::atomic::AtomicUsize);

    impl Accounts for Asked {
        fn id(&self, _: IdKind, _: &[u8]) -> Result<Option<u32>, String> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(None)
        }

        fn name(&self, _: IdKind, _: u32) -> Result<Option<Vec<u8>>, String> {
            Ok(None)
        }
    }

    #[test]
    fn each_id_is_looked_up_once() {
        let asked = Arc::new(Asked::default());
        let mut map = IdMap::new(Arc::clone(&asked) as Arc<dyn Accounts>);
        for _ in 0..3 {
            for id in [7, 8] {
                let said = map.announce(IdKind::User, id, b"name").is_ok();
                assert!(said && map.announce(IdKind::Group, id, b"name").is_ok());
            }
        }
        assert_eq!(asked.0.load(std::sync::atomic::Ordering::Relaxed), 4);
        assert_eq!(map.local(IdKind::User, 7), 7);
    }

    /// A node that cannot be asked.
    #[derive(Debug)]
    struct Silent;

    impl Accounts for Silent {
        fn id(&self, _: IdKind, _: &[u8]) -> Result<Option<u32>, String> {
            Err("nobody answers".to_owned())
        }

        fn name(&self, _: IdKind, _: u32) -> Result<Option<Vec<u8>>, String> {
            Err("nobody answers".to_owned())
        }
    }

    #[test]
    fn an_id_is_not_taken_by_number_for_want_of_an_answer() {
        let mut map = IdMap::new(Arc::new(Silent));
        let refusal = map.announce(IdKind::User, 7, b"a\rb").err();
        let message = refusal.map(|e| e.message).unwrap_or_default();
        assert!(message.contains("nobody answers"), "{message}");
        assert_eq!(message.lines().count(), 1);
    }
}
