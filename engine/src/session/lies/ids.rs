//! Users and groups that are too many, or have names that none has.

use super::scene::Lie;
use super::scene::Said::{Bytes, Message};
use super::to_receiver::message;
use crate::ids::IdKind;
use crate::wire::ToReceiver::{self, Dir};

pub(super) fn all() -> Vec<Lie<ToReceiver>> {
    let of = |id: u32, name: &[u8]| ToReceiver::Id {
        kind: IdKind::User,
        id,
        name: name.to_vec(),
    };
    let account = |len: usize| (IdKind::User, "n".repeat(len));
    let said = |refused, said: ToReceiver| {
        Lie::tell(refused, move |message: &mut ToReceiver, before| {
            if let Dir { .. } = message {
                before.push(Message(said.clone()));
            }
        })
    };
    let none = |name: &[u8]| said("IdOfNobody", of(7, name));
    let account_of_none = |name: &'static str| {
        Lie::tell("IdOfNobody", move |message: &mut ToReceiver, _| {
            if let ToReceiver::Hello(hello) = message {
                hello.accounts = vec![(IdKind::Group, name.to_owned())];
            }
        })
    };
    let mapped = |id: u32, becomes: u32| ToReceiver::MappedId {
        kind: IdKind::Group,
        id,
        becomes,
    };
    vec![
        Lie::tell("IdName", move |message, _| {
            if let ToReceiver::Hello(hello) = message {
                hello.accounts = vec![account(1025)];
            }
        }),
        Lie::tell("AccountsLen", move |message, _| {
            if let ToReceiver::Hello(hello) = message {
                hello.accounts = vec![account(1); 32 << 10 | 1];
            }
        }),
        Lie::tell("IdName", move |message, before| {
            if let Dir { .. } = message {
                before.push(Message(of(7, &[b'n'; 1025])));
            }
        }),
        none(b""),
        none(b"zero\0"),
        none(b"two\nlines"),
        account_of_none(""),
        account_of_none("zero\0"),
        account_of_none("two\nlines"),
        said("IdOfRoot", of(0, b"toor")),
        said("NoId", of(u32::MAX, b"nobody")),
        said("NoId", mapped(u32::MAX, 7)),
        said("NoId", mapped(7, u32::MAX)),
        Lie::tell("TooManyIds", move |said, before| {
            if let Dir { .. } = said {
                // Names that are no text are not looked up.
                let all = (1..=1_050_000).flat_map(|id| message(0, &of(id, &[255])));
                before.push(Bytes(all.collect()));
            }
        }),
    ]
}
