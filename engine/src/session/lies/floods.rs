//! Two halves that both have much to say.

use super::Unheard;
use super::script::{Far, push_to};
use crate::observer::Warning;
use crate::options::Options;
use crate::wire::{ToReceiver, ToSender};

/// More than any buffer between the halves holds, and more than the inbox.
const FLOOD_LEN: usize = 64 << 20;

#[test]
fn a_receiver_may_say_all_it_has_to_before_it_reads_on() {
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("source");
    std::fs::create_dir_all(&source).unwrap();
    // A file in frames of ops, packs, and a directory with many names.
    std::fs::write(source.join("a"), vec![7; 8 << 20]).unwrap();
    for number in 0..100 {
        std::fs::write(source.join(format!("b{number}")), vec![1; 100_000]).unwrap();
    }
    let warning = ToSender::Warning(Warning {
        vanished: false,
        message: "w".repeat(64 << 10),
    });
    let act = |far: &mut Far| {
        assert!(far.want(101));
        for _ in 0..FLOOD_LEN / (64 << 10) {
            assert!(far.answer(&warning), "the sender does not read");
        }
        let mut passed = [0; 2];
        loop {
            match far.heard(&mut passed) {
                Some(ToReceiver::ContentDone { .. }) => break,
                Some(_) => {}
                None => panic!("the sender has ended"),
            }
        }
        assert!(passed[1] > 30, "{passed:?} pings and frames of content");
        far.done();
    };
    let options = Options {
        fsync: false,
        ..Options::archive()
    };
    let summary = push_to(&source, &options, &mut Unheard, true, act).unwrap();
    assert!(summary.partial);
}
