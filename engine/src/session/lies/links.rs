//! Links to what cannot be linked to: what is not before them, what they are in, and in place of a
//! first file what is none of its group.

use super::scene::Lie;
use super::scene::Said::Message;
use crate::wire::ToReceiver::{self, Entries, Later, LinkFirst, NewDir, NewDirDone};

pub(super) fn all() -> Vec<Lie<ToReceiver>> {
    let of_new = |to: &'static [u8]| {
        Lie::tell("LinkForward", move |message: &mut ToReceiver, _| {
            if let NewDir { entries, .. } = message {
                let second = entries.iter_mut().find(|entry| entry.name == b"second");
                second.into_iter().for_each(|entry| {
                    assert!(entry.link_to.is_some());
                    entry.link_to = Some(to.to_vec());
                });
            }
        })
    };
    let in_place_of_first = |to: &'static [u8]| {
        let mut put_off = None;
        Lie::tell(
            "LinkFirst",
            move |message: &mut ToReceiver, before| match message {
                Later { dir, entries } => put_off = Some((*dir, entries[0])),
                NewDirDone { dir: done } if put_off.is_some_and(|(dir, _)| dir == *done) => {
                    let (dir, entry) = put_off.take().unwrap();
                    let to = to.to_vec();
                    let link = LinkFirst { dir, entry, to };
                    before.push(Message(std::mem::replace(message, link)));
                }
                _ => {}
            },
        )
    };
    vec![
        // Itself, one after it, one in a directory that comes later, the directory that it is in.
        of_new(b"new/second"),
        of_new(b"new/small"),
        of_new(b"new/below/file"),
        of_new(b"new"),
        Lie::tell("LinkForward", |message, _| {
            if let Entries { entries, .. } = message {
                let files = entries.iter_mut().filter(|entry| !entry.is_dir());
                files.for_each(|entry| entry.link_to = Some(entry.name.clone()));
            }
        }),
        in_place_of_first(b"small"),
        in_place_of_first(b"new/first"),
        in_place_of_first(b"new/second"),
        in_place_of_first(b"new/link"),
        in_place_of_first(b"old"),
        in_place_of_first(b""),
    ]
}
