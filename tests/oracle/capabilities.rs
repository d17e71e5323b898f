//! What becomes of capabilities with rsync where owners change, and with hasync does not.

use std::collections::{BTreeMap, BTreeSet};

use super::deviations::{shown, shown_path};
use super::generate::Case;
use crate::support::Snapshot;
use crate::support::xattrs::OfTree;

/// Takes the letter x out of the lines of files whose owner changes and that had capabilities.
pub(crate) fn without_letters_of_capabilities(
    before: (&Snapshot, &OfTree),
    lines: Vec<Vec<u8>>,
) -> Vec<Vec<u8>> {
    let capable = before
        .1
        .iter()
        .filter(|(_, all)| all.contains_key("security.capability"));
    let capable: BTreeSet<Vec<u8>> = capable.flat_map(|(path, _)| shown(path)).collect();
    let special = before
        .0
        .entries
        .iter()
        .filter(|(_, entry)| entry.mode & 0o6000 != 0);
    let special: BTreeSet<Vec<u8>> = special.flat_map(|(path, _)| shown(path)).collect();
    let mask = |mut line: Vec<u8>| {
        let [is_capable, is_special] =
            [&capable, &special].map(|set| set.contains(shown_path(&line)));
        // With setuid or setgid p stands for the owner.
        if let Some([perms, owner, group, _, acl, letter @ b'x']) = line.get_mut(5..11)
            && is_capable
            // And without -p, or beside an ACL, rsync says nothing of them.
            && ([*perms, *owner, *group, *acl] != [b'.'; 4] || is_special)
        {
            *letter = b'.';
        }
        line
    };
    lines.into_iter().map(mask).collect()
}

/// Takes a capability out of what hasync left that rsync lost, although a rule leaves it alone.
pub(crate) fn forget_kept_capability(
    case: &Case,
    before: Option<&BTreeMap<String, String>>,
    rsync: &BTreeMap<String, String>,
    hasync: &mut BTreeMap<String, String>,
) {
    let name = "security.capability";
    let has_rules = case.options.iter().any(|option| option.contains("x_"));
    let was = before.and_then(|before| before.get(name));
    if has_rules && !rsync.contains_key(name) && hasync.get(name) == was {
        hasync.remove(name);
    }
}
