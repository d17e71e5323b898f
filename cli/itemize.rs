//! The lines of `-i` and `-v`: one per changed entry, in rsync's shape, so that scripts that
//! read them go on working.

use hasync_engine::{Action, Change, Differences, Kind, escape};

/// The line of `-i`, without its newline: `YXcstpoguax NAME`. `sent` is the letter of an entry
/// whose content moves: `<` to another host, `>` within this one, as rsync has it.
pub(crate) fn itemized(change: &Change<'_>, sent: u8) -> Vec<u8> {
    let (letters, name, arrow) = (letters(change, sent), name(change), arrow(change));
    format!("{letters} {name}{arrow}").into_bytes()
}

/// The letters in front of it.
pub(crate) fn letters(change: &Change<'_>, sent: u8) -> String {
    if change.action == Action::Delete {
        return "*deleting  ".to_owned();
    }
    let first = match change.action {
        Action::Transfer => sent,
        Action::Create => b'c',
        Action::HardLink => b'h',
        Action::Attributes | Action::KeepNewer | Action::Delete => b'.',
    };
    let mut letters = String::from(char::from(first));
    letters.push(char::from(kind_letter(change.kind)));
    letters.extend(difference_letters(change).map(char::from));
    letters
}

/// The line of `-v`, without its newline: the name alone. `None` for what plain `-v` passes
/// over: a change of metadata alone, unless it is a directory's.
pub(crate) fn named(change: &Change<'_>) -> Option<Vec<u8>> {
    let verb = match change.action {
        Action::Delete => "deleting ",
        Action::Attributes if change.kind != Kind::Dir => return None,
        _ => "",
    };
    Some(format!("{verb}{}{}", name(change), arrow(change)).into_bytes())
}

/// The line of `-vv` for a file that `-u` leaves alone.
pub(crate) fn kept(change: &Change<'_>) -> Vec<u8> {
    format!("{} is newer", escape(change.path)).into_bytes()
}

fn kind_letter(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'f',
        Kind::Dir => b'd',
        Kind::Symlink => b'L',
        Kind::Device => b'D',
        Kind::Special => b'S',
    }
}

/// The nine letters `cstpoguax`.
fn difference_letters(change: &Change<'_>) -> [u8; 9] {
    let Differences {
        new,
        content,
        size,
        time,
        time_now,
        perms,
        owner,
        group,
        atime,
        acl,
        xattr,
        ..
    } = change.differences;
    if new {
        return [b'+'; 9];
    }
    let letter = |differs: bool, letter: u8| if differs { letter } else { b'.' };
    let letters = [
        letter(content, b'c'),
        letter(size, b's'),
        if time_now { b'T' } else { letter(time, b't') },
        letter(perms, b'p'),
        letter(owner, b'o'),
        letter(group, b'g'),
        letter(atime, b'u'),
        letter(acl, b'a'),
        letter(xattr, b'x'),
    ];
    if change.action != Action::Transfer && letters == [b'.'; 9] {
        [b' '; 9]
    } else {
        letters
    }
}

/// The name as lists have it: a directory's ends in a slash.
pub(crate) fn name(change: &Change<'_>) -> String {
    let mut name = escape(change.path).into_owned();
    if change.kind == Kind::Dir {
        name.push('/');
    }
    name
}

/// Where a link leads.
pub(crate) fn arrow(change: &Change<'_>) -> String {
    let (sign, link) = arrow_and_link(change);
    format!("{sign}{link}")
}

/// The same in its two parts, which are empty where there is no link.
pub(crate) fn arrow_and_link(change: &Change<'_>) -> (&'static str, String) {
    let link = |link: &[u8]| escape(link).into_owned();
    match (change.link, change.action) {
        (None, _) | (_, Action::Delete) => ("", String::new()),
        (Some(to), Action::HardLink) => (" => ", link(to)),
        (Some(to), _) => (" -> ", link(to)),
    }
}

/// The line of `-vv` for an entry that is as it should be; of directories there is none.
pub(crate) fn up_to_date(entry: &Change<'_>) -> Option<Vec<u8>> {
    let name = escape(entry.path);
    (entry.kind != Kind::Dir).then(|| format!("{name} is uptodate").into_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use hasync_engine::Facts;

    const SAME: Differences = Differences {
        new: false,
        content: false,
        size: false,
        time: false,
        time_now: false,
        perms: false,
        owner: false,
        group: false,
        atime: false,
        acl: false,
        xattr: false,
        links: false,
    };

    fn change(path: &str, kind: Kind, action: Action, differences: Differences) -> Change<'_> {
        Change {
            path: path.as_bytes(),
            kind,
            action,
            differences,
            link: None,
            len: 0,
            facts: Facts::default(),
        }
    }

    fn check(change: &Change<'_>, line: &str) {
        assert_eq!(String::from_utf8(itemized(change, b'<')).unwrap(), line);
    }

    #[test]
    fn new_entries_are_all_plus() {
        let new = Differences { new: true, ..SAME };
        check(
            &change("big", Kind::File, Action::Transfer, new),
            "<f+++++++++ big",
        );
        check(
            &change("sub", Kind::Dir, Action::Create, new),
            "cd+++++++++ sub/",
        );
        check(
            &change("fifo", Kind::Special, Action::Create, new),
            "cS+++++++++ fifo",
        );
        check(
            &change("null", Kind::Device, Action::Create, new),
            "cD+++++++++ null",
        );
        let link = Change {
            link: Some(b"a"),
            ..change("l", Kind::Symlink, Action::Create, new)
        };
        check(&link, "cL+++++++++ l -> a");
        let hard = Change {
            link: Some(b"hl"),
            ..change("a", Kind::File, Action::HardLink, new)
        };
        check(&hard, "hf+++++++++ a => hl");
    }

    #[test]
    fn each_difference_has_its_place() {
        let all = Differences {
            new: false,
            content: true,
            size: true,
            time: true,
            time_now: false,
            perms: true,
            owner: true,
            group: true,
            atime: true,
            acl: true,
            xattr: true,
            links: true,
        };
        check(
            &change("a", Kind::File, Action::Transfer, all),
            "<fcstpoguax a",
        );
        let now = Differences {
            time_now: true,
            size: true,
            ..SAME
        };
        check(
            &change("a", Kind::File, Action::Transfer, now),
            "<f.sT...... a",
        );
        let perms = Differences {
            perms: true,
            ..SAME
        };
        check(
            &change("a", Kind::File, Action::Attributes, perms),
            ".f...p..... a",
        );
        let time = Differences { time: true, ..SAME };
        check(
            &change(".", Kind::Dir, Action::Attributes, time),
            ".d..t...... ./",
        );
    }

    #[test]
    fn no_difference_is_blank_unless_content_moves() {
        let hard = Change {
            link: Some(b"hl"),
            ..change("a", Kind::File, Action::HardLink, SAME)
        };
        check(&hard, "hf          a => hl");
        check(
            &change("a", Kind::File, Action::Transfer, SAME),
            "<f......... a",
        );
    }

    #[test]
    fn deletions_have_no_letters() {
        check(
            &change("old/x", Kind::Dir, Action::Delete, SAME),
            "*deleting   old/x/",
        );
        let gone = Change {
            link: Some(b"t"),
            ..change("l", Kind::Symlink, Action::Delete, SAME)
        };
        check(&gone, "*deleting   l");
    }

    #[test]
    fn within_one_host_content_is_received() {
        let line = itemized(&change("a", Kind::File, Action::Transfer, SAME), b'>');
        assert!(line.starts_with(b">f"));
    }

    #[test]
    fn plain_names_pass_over_metadata_except_of_directories() {
        let time = Differences { time: true, ..SAME };
        assert_eq!(
            named(&change("a", Kind::File, Action::Attributes, time)),
            None
        );
        let dir = named(&change("sub", Kind::Dir, Action::Attributes, time));
        assert_eq!(dir.as_deref(), Some(&b"sub/"[..]));
        let gone = named(&change("x", Kind::Dir, Action::Delete, SAME));
        assert_eq!(gone.as_deref(), Some(&b"deleting x/"[..]));
        let odd = named(&change("nl\nname", Kind::File, Action::Transfer, SAME));
        assert_eq!(odd.as_deref(), Some(&b"nl\\#012name"[..]));
    }
}
