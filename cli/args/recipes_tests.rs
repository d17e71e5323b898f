//! The options of mirror and backup recipes that are found in public: each set parses, and each
//! option of it is in the list that the table says. A set with a refused option is refused for that
//! one, by name.

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
}

const fn recipe(
    of: &'static str,
    implemented: &'static [&'static str],
    accepted: &'static [&'static str],
    refused: &'static [&'static str],
) -> Recipe {
    Recipe {
        of,
        implemented,
        accepted,
        refused,
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
    ),
    recipe(
        "a Debian archive mirror, second stage",
        &[
            "-prltvHS",
            "--max-delete=40000",
            "--delay-updates",
            "--delete-excluded",
            "--delete",
        ],
        &["--delete-after"],
        &[],
    ),
    recipe(
        "an Ubuntu archive mirror",
        &[
            "--recursive",
            "--times",
            "--links",
            "--safe-links",
            "--hard-links",
            "--stats",
            "--delete",
        ],
        &["--delete-after"],
        &[],
    ),
    recipe(
        "an Arch Linux mirror",
        &[
            "-rlptH",
            "--safe-links",
            "--delay-updates",
            "--timeout=600",
            "--contimeout=60",
            "-q",
        ],
        &["--delete-delay", "--no-motd"],
        &[],
    ),
    recipe(
        "a CPAN mirror",
        &[
            "-av",
            "--bwlimit=1000",
            "--exclude=/indices/mirrors.json",
            "--delete",
        ],
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
            "--delete",
        ],
        &[],
        &[],
    ),
    recipe(
        "a Fedora mirror by lists",
        &[
            "-aSH",
            "-f R .~tmp~",
            "--ignore-missing-args",
            "--delay-updates",
            "-hh",
            "--from0",
            "--files-from=list",
        ],
        &["--delete-delay"],
        &[],
    ),
    recipe(
        "a home directory to a disk",
        &[
            "-aAX",
            "-v",
            "-x",
            "--info=progress2",
            "--exclude={/dev/*,/proc/*}",
            "-F",
            "--delete",
        ],
        &[],
        &[],
    ),
    recipe(
        "a whole system, as wikis have it",
        &[
            "-aAXHv",
            "--numeric-ids",
            "--delete",
            "--exclude=/dev/*",
            "--exclude=/lost+found",
        ],
        &[],
        &[],
    ),
    recipe(
        "a web root before a release",
        &[
            "-azvCi",
            "--chmod=D755,F644",
            "--exclude-from=deploy.exclude",
            "-e",
            "ssh -p 2222",
            "-P",
            "--delete",
        ],
        &["--protect-args"],
        &[],
    ),
    recipe(
        "a backup that keeps what it replaces",
        &[
            "-a",
            "--delete",
            "--backup",
            "--backup-dir=/backup/2026-11-27",
            "--suffix=.old",
        ],
        &["--partial", "--inc-recursive"],
        &[],
    ),
    recipe(
        "increments beside the last state",
        &[
            "-ab",
            "--force",
            "--ignore-errors",
            "--delete-excluded",
            "--backup-dir=../incremental/Friday",
            "--exclude-from=home.exclude",
            "--delete",
        ],
        &[],
        &[],
    ),
    recipe(
        "snapshots in a row of days",
        &["-a", "--relative", "--numeric-ids", "--delete"],
        &[],
        &["--link-dest=../daily.1"],
    ),
    recipe(
        "rsnapshot's defaults",
        &[
            "-ax",
            "--numeric-ids",
            "--relative",
            "--delete",
            "--delete-excluded",
            "--stats",
        ],
        &[],
        &["--link-dest=/snap/hourly.1/"],
    ),
    recipe(
        "a copy of a running virtual machine",
        &["-avh", "--progress", "-S"],
        &["--block-size=65536"],
        &["--inplace"],
    ),
    recipe(
        "moving uploads away",
        &["-a", "--min-size=1", "--bwlimit=5m"],
        &["--partial-dir=.rsync-partial"],
        &["--remove-source-files"],
    ),
    recipe(
        "an Ubuntu releases mirror on a disk station",
        &[
            "-v",
            "--archive",
            "--update",
            "--compress",
            "--bwlimit=20000",
            "--delete",
            "--delay-updates",
            "--timeout=600",
            "--recursive",
            "--cvs-exclude",
            "--safe-links",
            "--exclude-from=arch.exclude",
            "--include=*/",
            "--include=*.iso",
            "--exclude=*",
            "--prune-empty-dirs",
        ],
        &["--delete-after"],
        &["--fuzzy"],
    ),
    recipe(
        "an OpenWrt mirror over IPv6",
        &[
            "-rltz6",
            "--port=9984",
            "--progress",
            "--chmod=Du=rwx,Dg=rx,Do=rx,Fu=rw,Fg=r,Fo=r",
            "--delay-updates",
            "--safe-links",
            "--contimeout=60",
            "--log-file=openwrt.log",
        ],
        &["--delete-after"],
        &[],
    ),
    recipe(
        "an application server to its spare",
        &[
            "-aHAXxv",
            "--numeric-ids",
            "--delete",
            "--progress",
            "-e",
            "ssh -T -c aes128-gcm@openssh.com -o Compression=no -x",
        ],
        &[],
        &[],
    ),
    recipe(
        "documents to a disk, with what was there before",
        &[
            "--archive",
            "--backup",
            "--backup-dir=/media/backup/previous",
            "--progress",
            "--stats",
            "--human-readable",
            "--max-delete=1000",
        ],
        &["--delete-after"],
        &["--fuzzy"],
    ),
    recipe(
        "a release of a web application",
        &[
            "-rlDog",
            "--chown",
            "www-data:root",
            "--delete",
            "--exclude-from=upgrade.exclude",
        ],
        &[],
        &[],
    ),
    recipe(
        "a backup of large files that says little",
        &["-avh", "--progress", "--info=progress2,misc0,name0"],
        &["--partial"],
        &["--link-dest=../last"],
    ),
];

/// What a push with these options is answered.
fn push(options: &[&str]) -> Option<String> {
    let line = ["hasync", "push"].iter().chain(options);
    let line = line.chain(&["src/", "host:dst"]).map(OsString::from);
    parse(line).err().map(|failure| failure.message)
}

/// The list that an option is in, if that is not the one of those that are implemented.
fn listed(option: &str) -> Option<&'static str> {
    let name = option.split('=').next().unwrap_or(option);
    let has = |names: &str| {
        let mut names = names
            .split(", ")
            .map(|name| name.split('=').next().unwrap_or(name));
        names.any(|listed| listed == name)
    };
    let accepted = ACCEPTED.iter().any(|row| has(row.names));
    let refused = REFUSED.iter().any(|row| has(row.names));
    accepted
        .then_some("accepted")
        .or(refused.then_some("refused"))
}

#[test]
fn recipes_parse_and_each_option_is_in_its_list() {
    for Recipe {
        of,
        implemented,
        accepted,
        refused,
    } in RECIPES
    {
        let taken = [*implemented, *accepted].concat();
        assert_eq!(push(&taken), None, "{of}");
        for (options, list) in [
            (implemented, None),
            (accepted, Some("accepted")),
            (refused, Some("refused")),
        ] {
            for option in *options {
                assert_eq!(listed(option), list, "{of}: {option}");
            }
        }
        for option in *refused {
            let name = option.split('=').next().unwrap_or(option);
            let all = [&taken[..], &[*option]].concat();
            let said = push(&all).unwrap_or_else(|| panic!("{of}: {option} is taken"));
            let is_told = said.contains(name) && said.contains("refused");
            assert!(is_told, "{of}: {said}");
        }
    }
}
