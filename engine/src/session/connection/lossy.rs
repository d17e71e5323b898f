//! A tree with a name is not mirrored with less than was asked for, unless its configuration says
//! so, and nothing at all is under `--ha`.

use crate::digest::Fields;
use crate::error::{Error, ErrorKind};
use crate::keeps::lost_words;
use crate::observer::Differences;
use crate::path::Shown;

/// Refuses to push to where something is lost that the configuration of the tree does not name.
pub(super) fn refuse_lossy(
    fields: &Fields,
    accepted: Differences,
    tree: Option<&str>,
) -> Result<(), Error> {
    let Some((path, first)) = fields.losing(accepted).next() else {
        return Ok(());
    };
    // All that is lost anywhere stands in one line of the configuration.
    let all = fields
        .losing(Differences::default())
        .fold(accepted, |all, (_, lost)| Differences {
            perms: all.perms || lost.perms,
            owner: all.owner || lost.owner,
            group: all.group || lost.group,
            acl: all.acl || lost.acl,
            xattr: all.xattr || lost.xattr,
            links: all.links || lost.links,
            ..all
        });
    let quoted: Vec<String> = lost_words(all)
        .iter()
        .map(|word| format!("\"{word}\""))
        .collect();
    let (lost, line) = (lost_words(first).join(" and "), quoted.join(", "));
    let place = match path.is_root() {
        true => "for its root".to_owned(),
        false => format!("in {}", Shown(&path.as_bytes())),
    };
    let to_do = match tree {
        Some(tree) => format!(
            "to mirror tree {tree} without, write lossy = [{line}] into its section of hasync.toml"
        ),
        None => "choose another file system, or push with the parts of --ha that it can keep: \
                 -aHAXS --delete --numeric-ids"
            .to_owned(),
    };
    let message = format!("the standby's file system keeps no {lost} {place}: {to_do}");
    Err(Error::new(ErrorKind::Config, message))
}

/// Refuses to push under `--ha` to a receiver that cannot change owners.
pub(super) fn refuse_without_rights(fields: &Fields) -> Result<(), Error> {
    if fields.powers.owners {
        return Ok(());
    }
    let message = "the receiver does not act as root, and cannot keep owners, devices or \
                   capabilities: log in as root, without --no-super, or push only what it can \
                   keep: -rlptHAXS --delete";
    Err(Error::new(ErrorKind::Config, message))
}
