//! Verdicts, one rule at a time.

use super::*;
use crate::attributes::Attributes;
use crate::entry::Time;
use crate::keeps::Keeps;
use crate::policy::{Powers, Rights};

fn file(len: u64, secs: i64, mode: u32) -> Entry {
    Entry {
        name: b"f".to_vec(),
        mode,
        uid: 0,
        gid: 0,
        mtime: Time { secs, nanos: 0 },
        body: Body::File { len, sum: None },
        atime: None,
        link_to: None,
        attributes: Attributes::default(),
    }
}

fn check(options: &Options, entry: &Entry, local: Option<Entry>) -> Decision {
    check_with(Rights::default(), options, entry, local)
}

fn check_with(rights: Rights, options: &Options, entry: &Entry, local: Option<Entry>) -> Decision {
    let powers = Powers::new(true, rights);
    let fields = Fields::new(options, powers, Vec::new(), Keeps::default(), [0; 32]);
    let judge = Judge {
        options,
        fields: Cow::Owned(fields),
        own_groups: &[],
        umask: 0o22,
    };
    let local = local.map(|entry| Listed {
        entry,
        dev: 0,
        ino: 0,
        nlink: 1,
    });
    judge.decide(
        &IdMap::default(),
        entry,
        local.as_ref(),
        LinkState::NotLinked,
    )
}

#[test]
fn quick_check_compares_length_and_time() {
    let archive = Options::archive();
    let same = check(&archive, &file(5, 9, 0o644), Some(file(5, 9, 0o644)));
    assert_eq!(same, Decision::Keep);
    for other in [file(6, 9, 0o644), file(5, 8, 0o644)] {
        let decision = check(&archive, &file(5, 9, 0o644), Some(other));
        assert!(matches!(
            decision,
            Decision::Make {
                action: Action::Transfer,
                ..
            }
        ));
    }
}

#[test]
fn a_change_of_mode_alone_moves_no_content() {
    let decision = check(
        &Options::archive(),
        &file(5, 9, 0o600),
        Some(file(5, 9, 0o644)),
    );
    let Decision::SetAttrs { differences, attrs } = decision else {
        unreachable!("{decision:?}")
    };
    assert!(differences.perms && !differences.time);
    assert_eq!(
        attrs,
        Attrs {
            mode: Some(0o600),
            ..Attrs::default()
        }
    );
}

#[test]
fn update_leaves_newer_files_alone_but_not_other_types() {
    let options = Options {
        update: true,
        ..Options::archive()
    };
    let newer = check(&options, &file(5, 9, 0o644), Some(file(6, 10, 0o600)));
    assert_eq!(newer, Decision::KeepNewer);
    let fifo = Entry {
        body: Body::Fifo,
        ..file(0, 10, 0o600)
    };
    assert!(matches!(
        check(&options, &file(5, 9, 0o644), Some(fifo)),
        Decision::Make { .. }
    ));
}

const NO_SETUID: Rights = Rights {
    deletes: true,
    devices: true,
    setuid: false,
};

#[test]
fn bits_that_may_not_be_set_are_no_difference() {
    let archive = Options::archive();
    for there in [0o755, 0o4755, 0o2755, 0o6755] {
        let local = Some(file(5, 9, there));
        let decision = check_with(NO_SETUID, &archive, &file(5, 9, 0o755), local);
        assert_eq!(decision, Decision::Keep, "{there:o}");
    }
    // The sticky bit and a directory's setgid lend nobody's rights to anybody.
    let sticky = check_with(
        NO_SETUID,
        &archive,
        &file(5, 9, 0o755),
        Some(file(5, 9, 0o1755)),
    );
    assert!(matches!(sticky, Decision::SetAttrs { .. }));
    let dir = |mode| Entry {
        body: Body::Dir,
        ..file(0, 9, mode)
    };
    let setgid = check_with(NO_SETUID, &archive, &dir(0o2755), Some(dir(0o755)));
    assert!(matches!(setgid, Decision::SetAttrs { .. }));
}

/// Whoever may not set the bits may not fill a file that has them, nor give it to another.
#[test]
fn bits_that_are_there_do_not_outlive_a_change() {
    let without_perms = Options {
        perms: false,
        ..Options::archive()
    };
    let owner = |uid| Entry {
        uid,
        ..file(5, 9, 0o755)
    };
    for there in [0o4711, 0o2711, 0o6711] {
        for (rights, kept) in [(NO_SETUID, 0o711), (Rights::default(), there)] {
            let local = Entry {
                uid: 7,
                ..file(5, 9, there)
            };
            let given = check_with(rights, &without_perms, &owner(8), Some(local.clone()));
            let Decision::SetAttrs { attrs, .. } = given else {
                unreachable!("{given:?}")
            };
            assert_eq!((attrs.uid, attrs.mode), (Some(8), Some(kept)));
            let powers = Powers::new(true, rights);
            let fields = Fields::new(
                &without_perms,
                powers,
                Vec::new(),
                Keeps::default(),
                [0; 32],
            );
            let judge = Judge {
                options: &without_perms,
                fields: Cow::Owned(fields),
                own_groups: &[],
                umask: 0o22,
            };
            let replaced = Replaced {
                kind: Kind::File,
                mode: there,
                len: 5,
            };
            let filled = judge.made_attrs(
                &IdMap::default(),
                &owner(7),
                Some(replaced),
                Inherited::default(),
            );
            assert_eq!(filled.mode, Some(kept));
        }
    }
}
