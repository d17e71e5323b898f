//! `--chmod`, and to whom `--usermap`, `--groupmap` and `--chown` give what is mirrored: each user
//! and each group has one map.

use clap::{ArgAction, ArgMatches, Args};
use hasync_engine::{ModeChanges, OwnerMap, OwnerMaps, SuperUser, umask};

use super::push::{WHAT, last_index};
use crate::exit::Failure;

/// What permissions and owners become.
#[derive(Args, Clone, Debug)]
pub(crate) struct OwnersArgs {
    /// Change permissions before they are compared: D for directories, F for others, as in
    /// Dg+s,F644 or u=rwX,go-w
    #[arg(long, value_name = "CHANGES", action = ArgAction::Append, help_heading = WHAT)]
    #[arg(value_parser = parse_modes, allow_hyphen_values = true, hide_short_help = true)]
    chmod: Vec<ModeChanges>,
    /// All changes of permissions.
    #[arg(skip)]
    pub(crate) modes: ModeChanges,
    /// Give files to others and make devices even if the receiving side is not root (unless told,
    /// it does so as root)
    #[arg(long = "super", help_heading = WHAT, hide_short_help = true)]
    super_user: bool,
    /// What the words about that come to.
    #[arg(skip)]
    pub(crate) acts_as: SuperUser,
    /// Give everything to USER and GROUP; either may be left out
    #[arg(long, value_name = "USER:GROUP", action = ArgAction::Append, help_heading = WHAT)]
    #[arg(value_parser = parse_chown, hide_short_help = true)]
    pub(super) chown: Vec<OwnerMaps>,
    /// Give what FROM has to TO, which is somebody of the receiving side: FROM:TO,... where FROM is
    /// a name, a pattern, a number, two with - between, or nothing for who has no name
    #[arg(long, value_name = "MAP", action = ArgAction::Append, help_heading = WHAT)]
    #[arg(value_parser = OwnerMap::parse, allow_hyphen_values = true, hide_short_help = true)]
    usermap: Vec<OwnerMap>,
    /// The same of groups
    #[arg(long, value_name = "MAP", action = ArgAction::Append, help_heading = WHAT)]
    #[arg(value_parser = OwnerMap::parse, allow_hyphen_values = true, hide_short_help = true)]
    groupmap: Vec<OwnerMap>,
    /// What becomes of owners and groups.
    #[arg(skip)]
    pub(crate) maps: OwnerMaps,
}

impl OwnersArgs {
    /// Takes the words together.
    pub(super) fn settle(&mut self, matches: &ArgMatches) -> Result<(), Failure> {
        self.maps = self.maps()?;
        let changes = self.chmod.iter().cloned();
        self.modes = changes.fold(ModeChanges::default(), ModeChanges::and);
        let latest = |id: &str| last_index(matches, id);
        self.acts_as = match (latest("super_user"), latest("no_super_user")) {
            (yes, no) if yes > no => SuperUser::Always,
            (_, Some(_)) => SuperUser::Never,
            _ => SuperUser::IfRoot,
        };
        Ok(())
    }

    /// The maps that were typed, of which there may be one for users and one for groups.
    fn maps(&self) -> Result<OwnerMaps, Failure> {
        let of_chown = |map: fn(&OwnerMaps) -> &OwnerMap| self.chown.iter().map(map);
        Ok(OwnerMaps {
            users: only_one(
                of_chown(|maps| &maps.users).chain(&self.usermap),
                "--usermap",
            )?,
            groups: only_one(
                of_chown(|maps| &maps.groups).chain(&self.groupmap),
                "--groupmap",
            )?,
        })
    }
}

/// Reads `--chmod`. The error is for clap, which names the option and the word.
fn parse_modes(text: &str) -> Result<ModeChanges, String> {
    ModeChanges::parse(text, umask())
}

/// Reads `USER:GROUP`, of which either may be missing.
fn parse_chown(text: &str) -> Result<OwnerMaps, String> {
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
