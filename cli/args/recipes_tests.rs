//! The options of ten mirror and backup recipes that are found in public: each set parses, and each
//! option of it is in the list that the table says. A set with a refused option is refused for that
//! one, by name; an option that is only known is in one of the lists, whichever.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::ffi::OsString;

use super::*;
use crate::args::parse;

/// What it is for, and its options by their lists.
struct Recipe {
    of: &'static str,
    implemented: &'static [&'static str],
    accepted: &'static [&'static str],
    refused: &'static [&'static str],
    known: &'static [&'static str],
}

const fn recipe(
    of: &'static str,
    implemented: &'static [&'static str],
    accepted: &'static [&'static str],
    refused: &'static [&'static str],
    known: &'static [&'static str],
) -> Recipe {
    Recipe {
        of,
        implemented,
        accepted,
        refused,
        known,
    }
}

const RECIPES: &[Recipe] = &[
    recipe(
        "a Debian archive mirror, first stage",
        &[
            "-prltvHSB8192",
            "--timeout=3600",
            "--stats",
            "--exclude=Packages*",
            "--exclude=.~tmp~/",
            "--no-human-readable",
        ],
        &[],
        &[],
        &[],
    ),
    recipe(
        "a Debian archive mirror, second stage",
        &[
            "-prltvHS",
            "--max-delete=40000",
            "--delay-updates",
            "--delete-excluded",
        ],
        &["--delete", "--delete-after"],
        &[],
        &[],
    ),
    recipe(
        "an Ubuntu archive mirror",
        &[
            "--recursive",
            "--times",
            "--links",
            "--hard-links",
            "--stats",
        ],
        &["--delete", "--delete-after"],
        &[],
        &["--safe-links"],
    ),
    recipe(
        "an Arch Linux mirror",
        &[
            "-rlptH",
            "--delay-updates",
            "--timeout=600",
            "--contimeout=60",
            "-q",
        ],
        &["--delete-delay"],
        &[],
        &["--safe-links"],
    ),
    recipe(
        "a CPAN mirror",
        &["-av", "--bwlimit=1000", "--exclude=/indices/mirrors.json"],
        &["--delete"],
        &[],
        &[],
    ),
    recipe(
        "a Gentoo portage tree",
        &[
            "--recursive",
            "--links",
            "--perms",
            "--times",
            "-D",
            "--omit-dir-times",
            "--compress",
            "--force",
            "--whole-file",
            "--stats",
            "--human-readable",
            "--timeout=180",
            "--exclude=/distfiles",
            "--exclude=/local",
        ],
        &["--delete"],
        &[],
        &[],
    ),
    recipe(
        "a home directory to a disk",
        &[
            "-av",
            "-x",
            "--info=progress2",
            "--exclude={/dev/*,/proc/*}",
            "-F",
        ],
        &["--delete"],
        &[],
        &["-A", "-X"],
    ),
    recipe(
        "a web root before a release",
        &[
            "-azvCi",
            "--exclude-from=deploy.exclude",
            "-e",
            "ssh -p 2222",
            "-P",
        ],
        &["--delete", "--protect-args"],
        &[],
        &["--chmod=D755,F644"],
    ),
    recipe(
        "snapshots in a row of days",
        &["-a", "--numeric-ids"],
        &["--delete"],
        &["--link-dest=../daily.1"],
        &["--relative"],
    ),
    recipe(
        "a copy of a running virtual machine",
        &["-avh", "--progress", "-S"],
        &["--block-size=65536"],
        &["--inplace"],
        &[],
    ),
];

/// What a push with these options is answered.
fn push(options: &[&str]) -> Option<String> {
    let line = ["hasync", "push"].iter().chain(options);
    let line = line.chain(&["src/", "host:dst"]).map(OsString::from);
    parse(line).err().map(|failure| failure.message)
}

#[test]
fn recipes_parse_and_each_option_is_in_its_list() {
    for Recipe {
        of,
        implemented,
        accepted,
        refused,
        known,
    } in RECIPES
    {
        let taken = [*implemented, *accepted].concat();
        assert_eq!(push(&taken), None, "{of}");
        for option in *accepted {
            let name = option.split('=').next().unwrap_or(option);
            let is_listed = ACCEPTED.iter().any(|row| row.names.contains(name));
            assert!(is_listed || *option == "--delete", "{of}: {option}");
        }
        for option in *refused {
            let name = option.split('=').next().unwrap_or(option);
            let all = [&taken[..], &[*option]].concat();
            let said = push(&all).unwrap_or_else(|| panic!("{of}: {option} is taken"));
            assert!(
                said.contains(name) && said.contains("refused"),
                "{of}: {said}"
            );
        }
        for option in *known {
            let all = [&taken[..], &[*option]].concat();
            let said = push(&all).unwrap_or_else(|| "refused".to_owned());
            assert!(said.contains("refused"), "{of}: {option}: {said}");
        }
    }
}
