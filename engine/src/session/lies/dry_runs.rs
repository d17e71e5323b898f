//! Content in a dry run, which has none, whatever it is about.

use super::Wish::DryRun;
use super::scene::Said::{Frame, Message};
use super::scene::{Lie, Said};
use super::to_receiver::{SaidBy, at_end, pack};
use crate::since::Since;
use crate::wire::FrameKind;
use crate::wire::ToReceiver::{
    self, FileBegin, FileEnd, FileSkipped, Later, LinkFirst, NewDir, NewDirDone,
};

/// Everything that is about content, said when all has been compared.
pub(super) fn all() -> Vec<Lie<ToReceiver>> {
    let begin = FileBegin {
        dir: 0,
        entry: 0,
        len: 9,
        since: Since::Same,
    };
    let new_dir = NewDir {
        dir: 1,
        parent: 0,
        name: b"new".to_vec(),
        entries: Vec::new(),
        last: true,
    };
    let link = LinkFirst {
        dir: 0,
        entry: 0,
        to: b"small".to_vec(),
    };
    let later = Later {
        dir: 0,
        entries: vec![0],
    };
    let cases: [fn() -> Said<ToReceiver>; 5] = [
        || Message(NewDirDone { dir: 0 }),
        || Message(FileEnd { sum: None }),
        || Message(FileSkipped { dir: 0, entry: 0 }),
        || Frame(FrameKind::Data, vec![5, b'x']),
        || Frame(FrameKind::Exchange, vec![0; 13]),
    ];
    let messages = [begin, new_dir, link, later];
    let messages = messages.map(|message| Box::new(move || Message(message.clone())) as SaidBy);
    let others = cases.map(|case| Box::new(case) as SaidBy);
    let pack = Box::new(|| pack(0, 0)) as SaidBy;
    let all = messages.into_iter().chain(others).chain([pack]);
    all.map(|said| at_end("DryContent", said).of(DryRun))
        .collect()
}
