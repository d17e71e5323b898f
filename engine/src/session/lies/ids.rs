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
        Lie::tell("TooManyIds", move |said, before| {
            if let Dir { .. } = said {
                // Names that are no text are not looked up.
                let all = (1..=1_050_000).flat_map(|id| message(0, &of(id, &[255])));
                before.push(Bytes(all.collect()));
            }
        }),
    ]
}
