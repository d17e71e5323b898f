//! Where hasync deliberately does otherwise than rsync 3.5.0. The page hasync-rsync(7) quotes these
//! sentences; the oracle forgives exactly what they say and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::generate::Case;
use super::unlisted::Stopped;
use crate::support::Finished;
use crate::support::snapshot::{Entry, Snapshot};
use crate::support::xattrs::OfTree;

/// One deliberate difference.
pub(crate) struct Deviation {
    pub(crate) name: &'static str,
    /// The sentence of that page.
    pub(crate) sentence: &'static str,
}

/// All of them. A name is used by the code below that forgives it.
pub(crate) const LIST: &[Deviation] = &[
    Deviation {
        name: "nanoseconds",
        sentence: "Times are compared to the nanosecond; rsync compares whole seconds, and with -u \
                   and --modify-window=N takes for newer what is not N seconds older.",
    },
    Deviation {
        name: "missing source",
        sentence: "Nothing is deleted, nor gives a full directory way, when a SRC is missing or a \
                   part of the source could not be listed, and in that part not with \
                   --ignore-errors either; rsync still deletes after a missing SRC, and what is \
                   in the way.",
    },
    Deviation {
        name: "max-delete",
        sentence: "Above --max-delete=N nothing at all is deleted; rsync deletes the first N.",
    },
    Deviation {
        name: "kept directories",
        sentence: "`cannot delete non-empty directory` is said once for each directory that must \
                   stay because it holds excluded entries, and in a dry run too; rsync may say \
                   it twice, and its -n lists deletions that the real run does not make.",
    },
    Deviation {
        name: "unmirrored directory times",
        sentence: "The time of a directory that is not itself mirrored (no -t, or DST when SRC has \
                   no trailing slash) may change by the writing inside it, and no time is set \
                   that differs within --modify-window; rsync sets some.",
    },
    Deviation {
        name: "device kinds",
        sentence: "A character device in the place of a block device with the same numbers is \
                   replaced; rsync 3.5.0 takes them as equal.",
    },
    Deviation {
        name: "first of a link group",
        sentence: "In a hard-link group the first member in canonical order carries the content \
                   and the others are linked to it; rsync picks the first that exists on the \
                   target, else the last, which decides what is backed up, too, and whether \
                   other content of the same length and time stays.",
    },
    Deviation {
        name: "links in the place of directories",
        sentence: "With --existing and -H, what takes the place of a directory is made; rsync \
                   removes the directory and makes nothing, if the member of the link group \
                   that it picks is missing.",
    },
    Deviation {
        name: "reading of rules",
        sentence: "Files of rules are read without a trace with -U; rsync changes the times of \
                   access that it compares.",
    },
    Deviation {
        name: "group of a sticky directory",
        sentence: "An ACL is right at once where a directory becomes sticky or an entry loses \
                   setuid or setgid; rsync may leave the group no permissions, until it is run \
                   again.",
    },
    Deviation {
        name: "links to what cannot be made",
        sentence: "When a full directory has to stay in the place of the member of a hard-link \
                   group that carries the content, its links are not made either; rsync gives the \
                   content to another member.",
    },
    Deviation {
        name: "newer members of a link group",
        sentence: "With -u and -H, a newer target file stays as it is even when it is a later \
                   member of a hard-link group; rsync replaces it with the link.",
    },
    Deviation {
        name: "mode of another type",
        sentence: "Without -p, an entry of another type than the one it replaces gets the mode \
                   of a new entry; rsync hands on the old one's.",
    },
    Deviation {
        name: "owner letters",
        sentence: "The -i line of an entry with a setuid or setgid bit whose owner changes shows \
                   o and g; rsync shows p in their place, because it reads the mode again \
                   between chown and chmod.",
    },
    Deviation {
        name: "modes beside ACLs",
        sentence: "The -i line of an entry that stays and gets another ACL shows p too if its mode \
                   changes; rsync shows it in a dry run alone.",
    },
    Deviation {
        name: "ACLs set again",
        sentence: "With -A a second push has nothing to do; rsync may set an ACL again and again \
                   whose mask --chmod changes, or in which several are named whose numbers change.",
    },
    Deviation {
        name: "letters of replaced devices",
        sentence: "The -i line of a device that replaces another shows a and x as for a new one; \
                   rsync compares it with itself.",
    },
    Deviation {
        name: "times beside attributes",
        sentence: "Without -t, -U and -X leave times of modification alone; rsync sets that of a \
                   file whose attributes change to 1969.",
    },
    Deviation {
        name: "letters of capabilities",
        sentence: "The -i line of a file with a capability whose owner changes shows no x for \
                   that; rsync shows one, because the change of owner takes the capability away \
                   for a moment.",
    },
    Deviation {
        name: "attributes of followed symlinks",
        sentence: "With -X what is mirrored in the place of a symlink has its own attributes; \
                   rsync gives it those of the symlink.",
    },
    Deviation {
        name: "capabilities that rules leave alone",
        sentence: "A capability that a rule with x leaves alone stays when the owner changes; with \
                   rsync it is lost.",
    },
    Deviation {
        name: "ACLs that repeat",
        sentence: "Users or groups that become one by a map are named once in an ACL, with the \
                   least of their permissions; rsync names that one several times.",
    },
    Deviation {
        name: "ACL of several sources",
        sentence: "Of several SRC that give DST their contents the first gives it its ACL too; \
                   rsync sets it again and again.",
    },
    Deviation {
        name: "modes beside attributes",
        sentence: "Without -p, -X leaves permissions alone; rsync gives what gets other attributes \
                   the source's.",
    },
    Deviation {
        name: "symlinks of others",
        sentence: "For -k, -L and --copy-unsafe-links root follows no symlink of another user \
                   without --follow-untrusted, and for -K none of another user or that leads out \
                   of DST; rsync follows them all, and with -K sets the metadata of the symlink.",
    },
    Deviation {
        name: "backups",
        sentence: "What is in --backup-dir is not deleted; rsync deletes it, into that very \
                   directory, unless a filter protects it.",
    },
    Deviation {
        name: "replaced directories",
        sentence: "The -i line of what takes the place of a full directory comes after the \
                   deletions, which decide whether it can; rsync deletes on the way.",
    },
    Deviation {
        name: "directories of backups",
        sentence: "What --backup-dir makes in DST inherits the default ACL that its directory has \
                   when it is made; with -A rsync may have set another by then.",
    },
    Deviation {
        name: "no backup",
        sentence: "What cannot be kept as a backup, because its name is too long or an older \
                   backup is in the way, stays as it is, and the push exits 23; rsync deletes it, \
                   or the older one.",
    },
    Deviation {
        name: "delete-before",
        sentence: "With --delete-before the times of directories are compared before anything is \
                   deleted; rsync itemizes those that its deletions have just \
                   changed, and those that its backups have, in a next push or for \
                   a next SRC.",
    },
    Deviation {
        name: "passed over",
        sentence: "`skipping non-regular file` is said of each; with --existing rsync says it of \
                   those that DST has, with --ignore-existing of those that it does not have.",
    },
    Deviation {
        name: "twice",
        sentence: "With -m an empty directory is left out although a list names it twice; rsync \
                   makes it then.",
    },
    Deviation {
        name: "exit codes",
        sentence: "A DST that cannot be a directory or be made exits 11; rsync exits 3 or 11.",
    },
];

/// The options rsync is given so that its result is the one hasync promises.
pub(crate) fn rsync_options(case: &Case, stopped: Option<Stopped>) -> Vec<String> {
    let is_unlisted = case.misses_a_source() || stopped == Some(Stopped::Unlisted);
    let no_deletes = is_unlisted || stopped.is_some();
    let backup_dir = |option: &String| {
        let dir = option.strip_prefix("--backup-dir=")?.to_owned();
        (!dir.contains("OUT")).then(|| format!("--filter=P /{dir}"))
    };
    let protection = case.options.iter().find_map(backup_dir);
    let deletes = |option: &&String| {
        option.starts_with("--del")
            && !option.starts_with("--delete-missing")
            && !option.starts_with("--delay")
    };
    let given = case.options.iter();
    let given = given.filter(|option| !(no_deletes && deletes(option)));
    let given = given.filter(|option| !(is_unlisted && *option == "--force"));
    // Both programs read the same sources.
    let quietly = |option: &String| match option.as_str() {
        "-U" => "-UU".to_owned(),
        "--delete-before" => "--delete-during".to_owned(),
        "--delete-missing-args" if is_unlisted => "--ignore-missing-args".to_owned(),
        _ => option.clone(),
    };
    let compares = |option: &String| option == "-u" || option.starts_with("--modify-window");
    let to_the_nanosecond =
        (!case.options.iter().any(compares)).then(|| "--modify-window=-1".into());
    // A fault of its own, which the old way does not have.
    let is_union = case.has("-H") && case.sources.len() > 1;
    let at_once = is_union.then(|| "--no-inc-recursive".to_owned());
    let more = to_the_nanosecond.into_iter().chain(at_once);
    let mut options: Vec<String> = more.chain(given.map(quietly)).collect();
    if let Some(protection) = protection {
        // Nothing takes it back.
        let clear = options
            .iter()
            .rposition(|option| option == "--filter=clear");
        options.insert(clear.map_or(0, |at| at + 1), protection);
    }
    options
}

/// What hasync is given besides so that it follows the symlinks that rsync follows.
pub(crate) fn more_options(case: &Case) -> &'static [&'static str] {
    if follows(case) {
        &["--follow-untrusted"]
    } else {
        &[]
    }
}

/// Whether symlinks may stand for what they lead to.
pub(crate) fn follows(case: &Case) -> bool {
    let follow = ["-k", "-L", "--copy-unsafe-links"];
    follow.iter().any(|option| case.has(option))
}

/// The exit code that hasync owes where rsync's was `code`, run without its deletions when
/// `stopped_by_max_delete`.
pub(crate) fn exit_code(code: i32, stopped_by_max_delete: bool) -> i32 {
    match code {
        0 if stopped_by_max_delete => 25,
        3 => 11,
        other => other,
    }
}

/// True when rsync failed by a fault of its own, so that there is nothing to compare with:
/// -H and several SRC with the same names (`hard-link gnum 11 precedes flist start`), or a full
/// directory in the way of a link (`File-list index 7 not in 18 - 20`). Or a backup cannot be made,
/// which costs hasync that one entry, or a symlink that -K keeps has no mode or
/// gets another owner, or a directory that
/// --ignore-existing leaves out is entered all the same.
pub(crate) fn rsync_broke(case: &Case, run: &Finished) -> bool {
    let faults = [
        "hard-link gnum",
        "Hlink node data",
        "File-list index",
        "keep_backup failed",
        // Whose owner it has just set itself.
        "refusing to follow a symlink owned by an untrusted user",
    ];
    let of_generator = [
        "File name too long",
        "Too many levels of symbolic links",
        "ACL_TYPE_DEFAULT): Permission denied",
        // The symlink that -K keeps.
        "ACL_TYPE_DEFAULT): Operation not supported",
        "Not a directory",
    ];
    let is_fault = |line: &str| {
        let is_told = |fault: &&str| line.contains(*fault);
        // What is in one that a symlink to nothing stands for.
        let is_bare = case.has("--ignore-existing") && line.contains("No such file or directory");
        // Of a symlink that it keeps.
        let is_led = case.has("-K") && line.contains("failed to set permissions on");
        // Its two halves have made the same directory for backups.
        let is_raced = line.contains("make_backup(") && line.contains("failed: File exists");
        is_led
            || is_raced
            || faults.iter().any(is_told)
            || line.contains("[generator]") && (is_bare || of_generator.iter().any(is_told))
    };
    run.stderr.lines().any(is_fault)
}

/// True when something stays because its backup would destroy another.
pub(crate) fn keeps_older_backup(run: &Finished) -> bool {
    let words = ["is in the way of a backup", "has the name of the backup"];
    run.code == 23 && words.iter().any(|words| run.stderr.contains(words))
}

/// Whether rsync may change permissions that nobody asked it to.
pub(crate) fn changes_modes(case: &Case) -> bool {
    case.has("-X") && !case.keeps("p")
}

/// Whether rsync sets times that nobody asked it to.
pub(crate) fn loses_times(case: &Case) -> bool {
    case.has("-X") && case.has("-U") && !case.keeps("t")
}

/// Takes the letter a out of what rsync says in a second run of ACLs that it sets again, and then
/// lines that say nothing any more.
pub(crate) fn without_acls_set_again(
    case: &Case,
    (target, lost): (&OfTree, &BTreeSet<Vec<u8>>),
    lines: Vec<Vec<u8>>,
) -> Vec<Vec<u8>> {
    let changes = ["--chmod=", "--chown=", "--usermap=", "--groupmap="];
    let is_change = |option: &String| changes.iter().any(|prefix| option.starts_with(prefix));
    let is_changed = case.options.iter().any(is_change);
    let of_several = target
        .iter()
        .filter(|(_, all)| all.iter().any(names_several));
    let of_several = of_several.map(|(path, _)| path).chain(lost);
    let of_several: BTreeSet<Vec<u8>> = of_several.map(|path| escaped(path)).collect();
    let mask = |mut line: Vec<u8>| {
        let path = shown_path(&line);
        let is_of_several = path.is_empty() && case.sources.len() > 1;
        let is_set_again = is_changed || is_of_several || of_several.contains(path);
        match line.get_mut(9) {
            Some(letter @ b'a') if is_set_again => *letter = b'.',
            _ => return Some(line),
        }
        if_it_says_something(case, line)
    };
    lines.into_iter().filter_map(mask).collect()
}

/// A line that has lost a letter, if it is printed then.
pub(super) fn if_it_says_something(case: &Case, mut line: Vec<u8>) -> Option<Vec<u8>> {
    let says_nothing = line[0] == b'.' && line[2..11].iter().all(|letter| *letter == b'.');
    if says_nothing {
        line[2..11].fill(b' ');
    }
    (!says_nothing || case.has("-i")).then_some(line)
}

/// The path that a line is about, as it is shown; none for the root.
pub(super) fn shown_path(line: &[u8]) -> &[u8] {
    let shown = line.get(12..).unwrap_or_default();
    let end = shown.windows(4).position(|window| window == b" => ");
    let path = &shown[..end.unwrap_or(shown.len())];
    match path.strip_suffix(b"/").unwrap_or(path) {
        b"." => b"",
        path => path,
    }
}

/// Whether an attribute is an ACL in which several users or several groups are named.
fn names_several((name, value): (&String, &String)) -> bool {
    let named = |tag: &str| {
        value
            .split(' ')
            .filter(|entry| entry.starts_with(tag))
            .count()
    };
    name.starts_with("system.") && (named("2.") > 1 || named("8.") > 1)
}

/// Takes the letters a and x out of the lines of devices that replace others.
pub(crate) fn without_letters_of_devices(mut lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for line in &mut lines {
        if let [b'c', b'D', b'c', .., _, _] = &line[..]
            && let Some(letters) = line.get_mut(9..11)
        {
            letters.fill(b'.');
        }
    }
    lines
}

/// Takes ACLs out of both in which rsync names somebody several times.
pub(crate) fn forget_repeating_acls(
    rsync: &mut BTreeMap<String, String>,
    hasync: &mut BTreeMap<String, String>,
) {
    let repeats = |acl: &str| {
        let mut named = BTreeSet::new();
        let mut all = acl.split(' ').filter_map(|entry| entry.split_once(':'));
        !all.all(|(who, _)| named.insert(who))
    };
    rsync.retain(|name, acl| {
        let is_told = !(name.starts_with("system.") && repeats(acl));
        if !is_told {
            hasync.remove(name);
        }
        is_told
    });
}

/// Takes the letter p out of the lines of entries that stay and get another ACL.
pub(crate) fn without_modes_beside_acls(case: &Case, mut lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for line in lines.iter_mut().filter(|_| case.has("-A")) {
        if let [b'.', _, _, _, _, mode @ b'p', _, _, _, b'a', ..] = &mut line[..] {
            *mode = b'.';
        }
    }
    lines
}

/// Takes the letters p, o and g out of the lines of entries that were setuid or setgid
/// before the run, and then lines that say nothing any more.
pub(crate) fn without_owner_letters(
    case: &Case,
    before: &Snapshot,
    lines: Vec<Vec<u8>>,
) -> Vec<Vec<u8>> {
    let prefix: &[u8] = if case.slash { b"" } else { b"src0/" };
    let mut special: Vec<Vec<u8>> = Vec::new();
    for (path, entry) in before
        .entries
        .iter()
        .filter(|(_, entry)| entry.mode & 0o6000 != 0)
    {
        for mut shown in shown(path).into_iter().filter(|p| p.starts_with(prefix)) {
            if shown.is_empty() {
                shown.push(b'.');
            }
            if entry.kind == 'd' {
                shown.push(b'/');
            }
            special.push(shown);
        }
    }
    let is_special = |line: &[u8]| {
        let name = line.get(12..).unwrap_or_default();
        let named = |shown: &Vec<u8>| {
            let rest = name.strip_prefix(shown.as_slice());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b" => "))
        };
        line.get(11) == Some(&b' ') && special.iter().any(named)
    };
    let mask = |mut line: Vec<u8>| {
        if is_special(&line) && line[2] != b'+' {
            for letter in &mut line[5..8] {
                *letter = b'.';
            }
        }
        line
    };
    let says_something = |line: &Vec<u8>| {
        let letters = line.get(2..11).unwrap_or_default();
        line[..1] != *b"."
            || !is_special(line)
            || letters.iter().any(|letter| !b". ".contains(letter))
    };
    lines.into_iter().map(mask).filter(says_something).collect()
}

/// A path as it is shown, and as it is under -K.
pub(super) fn shown(path: &[u8]) -> [Vec<u8>; 2] {
    let led = path.split(|b| *b == b'/');
    let led = led.map(|name| name.strip_prefix(b"kept-").unwrap_or(name));
    [escaped(path), escaped(&led.collect::<Vec<_>>().join(&b'/'))]
}

/// A name as both programs print it under a UTF-8 locale.
pub(super) fn escaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, byte) in path.iter().enumerate() {
        let rest = &path[at..];
        let reads_as_escape = rest.starts_with(b"\\#")
            && rest.len() >= 5
            && rest[2..5].iter().all(u8::is_ascii_digit);
        // The generator's only bytes above ASCII that are not UTF-8 are these two.
        let unsafe_byte = (*byte < b' ' && *byte != b'\t') || *byte >= 0xfe;
        if reads_as_escape || unsafe_byte {
            out.extend(format!("\\#{byte:03o}").bytes());
        } else {
            out.push(*byte);
        }
    }
    out
}

/// A line of rsync that hasync does not print.
pub(crate) fn is_unsaid(line: &[u8]) -> bool {
    line.starts_with(b"cannot delete non-empty directory: ")
        || line == b"IO error encountered -- skipping file deletion"
}

/// Takes out of a snapshot what no promise covers. `NOW` stands for any time of the run.
pub(crate) fn without_unpromised(
    case: &Case,
    tree: Snapshot,
    before: &Snapshot,
    rsync: &Snapshot,
    linked: &BTreeSet<Vec<u8>>,
) -> Snapshot {
    let mirrored = case.keeps("t");
    tree.map(|path, entry| {
        let old_kind = before.entries.get(path).map(|entry| entry.kind);
        if !case.keeps("p") && old_kind.is_some_and(|kind| kind != entry.kind) {
            entry.mode = 0;
        }
        let ns = |(secs, nanos): (i64, u32)| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        let is_near = |window_ns| {
            let theirs = rsync.entries.get(path);
            theirs.is_some_and(|theirs| (ns(theirs.mtime) - ns(entry.mtime)).abs() <= window_ns)
        };
        if case.window_ns().is_some_and(is_near) {
            entry.mtime = NOW;
        }
        if case.has("-K") && old_kind == Some('l') && entry.kind == 'l' {
            (entry.uid, entry.gid, entry.mtime) = (0, 0, NOW);
        }
        if changes_modes(case) {
            entry.mode = 0;
        }
        // What the options do not set comes from the member that the others are linked to.
        if linked.contains(path) {
            if case.has("-u") {
                *entry = rsync.entries.get(path).unwrap_or(entry).clone();
            }
            entry.uid = if case.keeps("o") { entry.uid } else { 0 };
            entry.gid = if case.keeps("g") { entry.gid } else { 0 };
            entry.mode = if case.keeps("p") { entry.mode } else { 0 };
            entry.mtime = if mirrored { entry.mtime } else { NOW };
        }
        if entry.kind != 'd' {
            return;
        }
        if case.has("-K") && path.windows(5).any(|name| name == b"kept-") {
            (entry.uid, entry.gid, entry.mode, entry.mtime) = (0, 0, 0, NOW);
        }
        let theirs = rsync.entries.get(path).map(|entry| entry.mtime);
        let outside = path.is_empty() && !case.root_is_mirrored;
        if !mirrored || outside || theirs == Some(NOW) {
            entry.mtime = NOW;
        }
    })
}

/// Any time that a run of either program left.
pub(crate) const NOW: (i64, u32) = (i64::MAX, 0);

/// Generated times are all before this second.
const RUN_STARTS_AFTER: i64 = 1_700_000_000;

/// What rsync sets where it means to set none.
const NO_TIME: i64 = -1;

/// Replaces times that the run itself made by `NOW`.
pub(crate) fn with_now(tree: Snapshot) -> Snapshot {
    tree.map(|_, entry: &mut Entry| {
        if entry.mtime.0 > RUN_STARTS_AFTER || entry.mtime.0 == NO_TIME {
            entry.mtime = NOW;
        }
    })
}
