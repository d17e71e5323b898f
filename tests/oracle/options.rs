//! Random sets of options: all of rsync's that hasync implements and that a push to a directory
//! can show, and some of those that it accepts.
//!
//! In a word `ROOT` stands for the directory that a case is in, and `OUT` for one beside the
//! target that each program has for itself.

use super::deviations::{if_it_says_something, shown_path};
use super::generate::Case;
use crate::support::Rng;

/// Options that stand by themselves, with their share of the cases.
const SHARES: &[(&str, usize)] = &[
    ("-S", 12),
    ("-c", 15),
    ("-u", 15),
    ("-W", 10),
    ("-x", 8),
    ("--numeric-ids", 12),
    ("--size-only", 8),
    ("-I", 8),
    ("--max-size=900", 6),
    ("--max-size=10", 3),
    ("--min-size=20", 6),
    ("--modify-window=1", 4),
    ("--modify-window=100", 3),
    ("-O", 8),
    ("-J", 8),
    ("-E", 12),
    ("-U", 10),
    ("--open-noatime", 4),
    ("--super", 4),
    ("--force", 10),
    ("--ignore-errors", 6),
    ("-m", 10),
    ("--safe-links", 8),
    ("--no-implied-dirs", 8),
    ("-i", 10),
];

/// What symlinks stand for: at most one of these.
const FOLLOWED: &[&str] = &["-k", "-L", "--copy-unsafe-links", "-K"];

const DELETES: &[&str] = &[
    "--delete",
    "--delete",
    "--delete",
    "--del",
    "--delete-before",
    "--delete-during",
    "--delete-delay",
    "--delete-after",
    "--delete-excluded",
];

const MISSING: &[&str] = &["--ignore-missing-args", "--delete-missing-args"];

const NEGATED: &[&str] = &["--no-o", "--no-g", "--no-t", "--no-p", "--no-l", "--no-D"];

/// Words that change nothing.
const ACCEPTED: &[&str] = &[
    "--partial",
    "--partial-dir=.part",
    "--delay-updates",
    "--fsync",
    "--inc-recursive",
    "--no-inc-recursive",
    "--block-size=1024",
    "--checksum-choice=md5",
    "--compress",
    "--compress-choice=zstd",
    "--no-whole-file",
    "--temp-dir=/tmp",
    "-s",
    "--outbuf=L",
    "--timeout=100",
    "--bwlimit=0",
    "--no-motd",
];

const CHANGES: &[&str] = &[
    "--chmod=D755,F644",
    "--chmod=ug=rwX,o=",
    "--chmod=a+s,Fo+t",
    "--chmod=g=u,o-w",
    "--chmod=4750",
    "--chmod=Fa-x --chmod=Fu+X,Dg+w",
];

const OWNERS: &[&str] = &[
    "--chown=bin:daemon",
    "--chown=:bin",
    "--usermap=0-2:12345",
    "--usermap=daemon:bin,bin:root --groupmap=*:2",
    "--groupmap=:1,nogroup:0",
    "--usermap=[nb]*:65534",
];

const BACKUPS: &[&str] = &[
    "-b",
    "-b --suffix=.old",
    "--backup-dir=bak",
    "--backup-dir=bak/k --suffix=~",
    "--backup-dir=../OUT",
    "--backup-dir=ROOT/OUT/deep/er --suffix=.old",
];

const PATTERNS: &[&str] = &[
    "--exclude=*.o",
    "--exclude=/a",
    "--exclude=sub/",
    "--exclude=dir/*",
    "--exclude=b",
    "--include=x.o",
    "--include=*/",
    "--exclude=/*/c",
    "--exclude=**/z.c",
    "--exclude=[ab]",
    "--include=/dir/***",
    "--exclude=?",
    "--exclude=sp ace",
    "--exclude=*[!a-z]*",
    "--exclude=dir/**/b",
    "--exclude-from=ROOT/patterns",
    "--include-from=ROOT/patterns",
];

const RULES: &[&str] = &[
    "- x.o",
    "+ /dir/",
    "P b",
    "P sub/",
    "P *.o",
    "R a",
    "R *",
    "H c",
    "H dir/",
    "S c",
    "-s z.c",
    "-r a",
    "-p b",
    "-! */",
    "-!r *.o",
    "hide *.o",
    "show x.o",
    "protect /a",
    "risk b",
    "include */",
    "exclude .hid",
    "clear",
    "-/ /nowhere/a",
    "- /dir/sub/",
    "merge ROOT/rules",
    ". ROOT/rules",
    ".- ROOT/patterns",
];

/// Rules that name files in the directories of both trees. With `s` and `r` most of those would be
/// wrong.
const PER_DIR: &[&str] = &[
    ": .rules",
    ":n .rules",
    ":e .rules",
    ":- .rules",
    ":p .rules",
    "dir-merge,- .cvsignore",
    ":C",
    "-C",
];

/// What such files are called, and what is in one.
pub(super) const RULE_FILES: &[&str] = &[".rules", ".rsync-filter", ".cvsignore"];
pub(super) const RULE_TEXTS: &[&str] = &[
    "- *.o\n",
    "- /a\n- sub/\n",
    "P b\nH c\n",
    "+ x.o\n- *.o\n",
    "# nothing\n\n- ?\n",
    "- .*\n",
    "!\n- b\n",
    "R a\n-p b\n",
    "+ */\n- dir/*\n",
];

/// The files that rules name.
pub(super) const NAMED_FILES: &[(&str, &str)] = &[
    ("rules", "- *.o\n+ /dir/\nP b\n# no\n\n- /dir/*\n"),
    ("patterns", "*.o\n# no\n; no\n\n- sub/\n+ x.o\n"),
];

/// A set of options, without `-i` and `-n`.
pub(super) fn random(rng: &mut Rng) -> Vec<String> {
    let mut options = Options(Vec::new());
    let recursive = letters(rng, &mut options);
    if rng.chance(40) {
        options.add("-H");
    }
    for (option, percent) in SHARES {
        let is_newer = option.starts_with("--modify-window") && options.has("-u");
        if rng.chance(*percent) && !is_newer {
            options.add(option);
        }
    }
    if rng.chance(20) {
        options.add(rng.pick::<&str>(FOLLOWED));
    }
    for option in ["--existing", "--ignore-existing"] {
        if rng.chance(8) && !(option == "--ignore-existing" && options.has("-H")) {
            options.add(option);
        }
    }
    if rng.chance(15) {
        options.add(rng.pick::<&str>(MISSING));
    }
    deletions(rng, &mut options, recursive);
    // rsync asks for the mode of the symlink then, which nothing can have.
    let changes = if options.has("-K") { 0 } else { 15 };
    for (words, percent) in [
        (CHANGES, changes),
        (OWNERS, 15),
        (BACKUPS, 20),
        (ACCEPTED, 20),
    ] {
        if rng.chance(percent) {
            options.add(rng.pick::<&str>(words));
        }
    }
    filters(rng, &mut options);
    options.0
}

/// Takes the letter u out of the lines of files of rules, which rsync reads in both trees as if
/// somebody did, and then lines that say nothing any more.
pub(super) fn without_letters_of_rules(case: &Case, lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mask = |mut line: Vec<u8>| {
        let path = shown_path(&line);
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let is_read = RULE_FILES.iter().any(|file| file.as_bytes() == name);
        match line.get_mut(8) {
            Some(letter @ b'u') if is_read && case.has("-U") => *letter = b'.',
            _ => return Some(line),
        }
        if_it_says_something(case, line)
    };
    lines.into_iter().filter_map(mask).collect()
}

struct Options(Vec<String>);

impl Options {
    fn add(&mut self, words: &str) {
        self.0
            .extend(words.split(" --").enumerate().map(|(at, word)| {
                let dashes = if at > 0 { "--" } else { "" };
                format!("{dashes}{word}")
            }));
    }

    fn has(&self, option: &str) -> bool {
        self.0.iter().any(|given| given == option)
    }
}

/// `-a`, or some of what it stands for; whether `-r` is among it.
fn letters(rng: &mut Rng, options: &mut Options) -> bool {
    if rng.chance(60) {
        options.add("-a");
        if rng.chance(15) {
            options.add(rng.pick::<&str>(NEGATED));
        }
        return true;
    }
    for letter in ["-r", "-l", "-p", "-t", "-g", "-o", "-D"] {
        if rng.chance(if letter == "-r" { 90 } else { 60 }) {
            options.add(letter);
        }
    }
    options.has("-r")
}

fn deletions(rng: &mut Rng, options: &mut Options, recursive: bool) {
    let dirs = !recursive && rng.chance(60);
    if dirs {
        options.add(if rng.chance(80) { "-d" } else { "--old-dirs" });
    }
    if (recursive || dirs) && rng.chance(55) {
        options.add(rng.pick::<&str>(DELETES));
        if rng.chance(15) {
            options.add(&format!("--max-delete={}", rng.below(6)));
        }
    }
}

fn filters(rng: &mut Rng, options: &mut Options) {
    if rng.chance(25) {
        for _ in 0..rng.below(3) + 1 {
            options.add(rng.pick::<&str>(PATTERNS));
        }
    }
    if rng.chance(25) {
        for _ in 0..rng.below(3) + 1 {
            options.add(&format!("--filter={}", rng.pick::<&str>(RULES)));
        }
    }
    if rng.chance(15) {
        match rng.below(4) {
            0 => options.add(if rng.chance(60) { "-F" } else { "-FF" }),
            1 => options.add("-C"),
            _ => options.add(&format!("--filter={}", rng.pick::<&str>(PER_DIR))),
        }
    }
}

/// Whether rules are looked for in the directories of both trees.
pub(super) fn look_in_dirs(options: &[String]) -> bool {
    let looks = |option: &String| {
        let rule = option.strip_prefix("--filter=").unwrap_or_default();
        option.starts_with("-F") || option == "-C" || PER_DIR.contains(&rule)
    };
    options.iter().any(looks)
}
