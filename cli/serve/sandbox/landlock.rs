//! What a receiver can reach in the file system and beyond, as Landlock enforces it.

use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{FileType, fstat};

/// What it takes to know files. Of later versions nothing is asked: it would be untried.
const FILES: ABI = ABI::V5;

/// Something that a receiver has to reach.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) held: OwnedFd,
    pub(super) reach: Reach,
}

/// What may be done in a place, and below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everything that mirroring takes, but to run a program.
    Tree,
    /// The same without device nodes.
    TreeWithoutDevices,
    /// Reading directories and files.
    Look,
    /// Reading one file.
    Read,
    /// Reading and writing one file.
    Lock,
}

impl Place {
    /// What is allowed there: of what is no directory, only what there is to a file. A tree's root
    /// may be one by mistake, and the other trees are served all the same.
    fn access(&self) -> BitFlags<AccessFs> {
        let is_dir = fstat(&self.held)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let sort = if is_dir {
            AccessFs::from_all(FILES)
        } else {
            AccessFs::from_file(FILES)
        };
        self.reach.access() & sort
    }
}

impl Reach {
    /// Whether it is mirrored into.
    pub(super) fn is_tree(self) -> bool {
        matches!(self, Reach::Tree | Reach::TreeWithoutDevices)
    }

    fn access(self) -> BitFlags<AccessFs> {
        let nodes = AccessFs::MakeChar | AccessFs::MakeBlock;
        let tree = AccessFs::from_all(FILES) & !(AccessFs::Execute | AccessFs::IoctlDev);
        match self {
            Reach::Tree => tree,
            Reach::TreeWithoutDevices => tree & !nodes,
            Reach::Look => AccessFs::ReadFile | AccessFs::ReadDir,
            Reach::Read => AccessFs::ReadFile.into(),
            Reach::Lock => AccessFs::ReadFile | AccessFs::WriteFile,
        }
    }
}

/// From now on nothing else can be reached by this thread, and by those that it starts: no other
/// file, no port, no process outside. As far as the kernel can; where it is too old to let a
/// directory's entries move to another one (Linux 5.19), files are left alone.
pub(super) fn restrict<'a>(places: impl Iterator<Item = &'a Place>) -> Result<(), RulesetError> {
    if !can(AccessFs::Refer) {
        return Ok(());
    }
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(FILES))?
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    for place in places {
        let access = place.access();
        // Nothing can be allowed of it: a rule would be refused.
        if !access.is_empty() {
            rules = rules.add_rule(PathBeneath::new(&place.held, access))?;
        }
    }
    rules.restrict_self().map(|_| ())
}

/// What this kernel cannot enforce, one line each.
pub(super) fn gaps() -> Vec<&'static str> {
    if !can(AccessFs::Refer) {
        return vec![
            "this kernel cannot keep a receiver to its directories (Landlock, Linux 5.19): \
             whoever took one over would reach every file",
        ];
    }
    let mut gaps = Vec::new();
    if !can(AccessFs::Truncate) {
        gaps.push(
            "this kernel cannot keep a receiver from cutting off files elsewhere (Landlock, Linux \
             6.2)",
        );
    }
    gaps
}

fn can(access: AccessFs) -> bool {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    rules.handle_access(access).is_ok()
}
