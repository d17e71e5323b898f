//! What a receiver says where a file system does not keep what others do: entries without owners or
//! permissions, and a `.hasync` that others can change.

use super::site::Site;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind};
use crate::fs::{Abilities, Root};
use crate::keeps::lost_words;
use crate::mounted::MountedBelow;
use crate::observer::Differences;
use crate::path::{RESERVED_NAME, RelPath};

/// Refuses an atomic push to where its journal, or what it stages, could be changed by others.
pub(super) fn refuse_not_private(
    root: &Root,
    of_root: Abilities,
    mounted: &MountedBelow,
    is_named: bool,
) -> Result<(), Error> {
    let top = RelPath::root();
    let shared = (!of_root.is_private).then_some(&top);
    let Some(dir) = shared.or_else(|| mounted.not_private()) else {
        return Ok(());
    };
    let shown = root.shown(&dir.join(RESERVED_NAME));
    let (kind, to_do) = match is_named {
        true => (
            ErrorKind::Config,
            "a tree with a name cannot be kept there: choose another path",
        ),
        false => (ErrorKind::Usage, "push without --atomic"),
    };
    let message = format!(
        "{shown} on the target cannot be private, since its file system makes up owners or \
         permissions; {to_do}"
    );
    Err(Error::new(kind, message))
}

impl Site {
    /// Says once that such an entry made in `dir` does not get all that was asked for. For
    /// a tree with a name its configuration has said so, but for symlinks, which few have there.
    pub(super) fn tell_lost(&mut self, dir: &RelPath, entry: &Entry) -> Result<(), Error> {
        self.tell_lost_attributes(dir, entry)?;
        self.tell_lost_links(dir, entry)?;
        let lost = Differences {
            acl: false,
            xattr: false,
            links: false,
            ..self.rules.fields.at(dir).lost(entry.kind())
        };
        let is_known = match lost.time {
            true => &mut self.voice.bare_links_are_known,
            false => &mut self.voice.lost_is_known,
        };
        if !lost.any() || std::mem::replace(is_known, true) {
            return Ok(());
        }
        let shown = self.door.shown(dir);
        self.warn(if lost.time {
            format!(
                "cannot keep owners and times of symlinks in {shown} on the target: its file \
                 system has none of their own"
            )
        } else {
            format!(
                "cannot keep {} in {shown} on the target: its file system has none of its own; \
                 content and times are mirrored",
                lost_words(lost).join(" and ")
            )
        })
    }

    /// The same of hard links.
    pub(super) fn tell_lost_links(&mut self, dir: &RelPath, entry: &Entry) -> Result<(), Error> {
        let is_lost = entry.link_to.is_some() && self.rules.fields.at(dir).lost(entry.kind()).links;
        if !is_lost || std::mem::replace(&mut self.voice.lost_links_are_known, true) {
            return Ok(());
        }
        let shown = self.door.shown(dir);
        self.warn(format!(
            "cannot keep hard links in {shown} on the target: its file system has none, or \
             does not show them; each name is mirrored as a file of its own"
        ))
    }

    /// The same of ACLs and extended attributes, which few entries have.
    fn tell_lost_attributes(&mut self, dir: &RelPath, entry: &Entry) -> Result<(), Error> {
        let lost = self.rules.fields.at(dir).lost_attributes(entry);
        if !lost.any() || std::mem::replace(&mut self.voice.lost_attributes_are_known, true) {
            return Ok(());
        }
        let shown = self.door.shown(&dir.join(&entry.name));
        let what = match (lost.acl, lost.xattr) {
            (true, true) => "ACL and extended attributes",
            (true, false) => "ACL",
            _ => "extended attributes",
        };
        self.warn(format!(
            "cannot keep the {what} of {shown} on the target, nor those of others there: its file \
             system has none of that kind; everything else is mirrored"
        ))
    }
}
