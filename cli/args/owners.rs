//! `--chmod`, and to whom `--usermap`, `--groupmap` and `--chown` give what is mirrored: each user
//! and each group has one map.

use hasync_engine::{ModeChanges, OwnerMap, OwnerMaps, umask};

use super::PushArgs;
use crate::exit::Failure;

/// Reads `--chmod`. The error is for clap, which names the option and the word.
pub(super) fn parse_modes(text: &str) -> Result<ModeChanges, String> {
    ModeChanges::parse(text, umask())
}

/// Reads `USER:GROUP`, of which either may be missing.
pub(super) fn parse_chown(text: &str) -> Result<OwnerMaps, String> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let map = |name: &str| match name {
        "" => Ok(OwnerMap::default()),
        name => OwnerMap::all_to(name),
    };
    Ok(OwnerMaps {
        users: map(user)?,
        groups: map(group)?,
    })
}

/// The maps that were typed, of which there may be one for users and one for groups.
pub(super) fn maps(args: &PushArgs) -> Result<OwnerMaps, Failure> {
    let of_chown = |map: fn(&OwnerMaps) -> &OwnerMap| args.chown.iter().map(map);
    Ok(OwnerMaps {
        users: only_one(
            of_chown(|maps| &maps.users).chain(&args.usermap),
            "--usermap",
        )?,
        groups: only_one(
            of_chown(|maps| &maps.groups).chain(&args.groupmap),
            "--groupmap",
        )?,
    })
}

fn only_one<'a>(
    maps: impl Iterator<Item = &'a OwnerMap>,
    option: &str,
) -> Result<OwnerMap, Failure> {
    let mut given = maps.filter(|map| !map.is_empty());
    let map = given.next().cloned().unwrap_or_default();
    match given.next() {
        None => Ok(map),
        Some(_) => Err(Failure::usage(format!(
            "{option} and --chown can say once what becomes of somebody; put all rules into one \
             {option}"
        ))),
    }
}
