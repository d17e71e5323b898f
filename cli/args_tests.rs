//! Tests of what a command line is read as.

#![allow(clippy::unwrap_used, clippy::panic)]

use hasync_engine::Compression;

use super::filter_words::FilterWord;
use super::trees::TreeArgs;
use super::*;

fn words(line: &[&str]) -> Vec<OsString> {
    ["hasync"].iter().chain(line).map(OsString::from).collect()
}

fn push(line: &str) -> PushArgs {
    let mut all = vec!["push"];
    all.extend(line.split_whitespace());
    all.extend(["src/", "host:dst"]);
    match parse(words(&all)).unwrap() {
        Typed::Verb(Verb::Push(args)) => *args,
        other => panic!("not a push: {other:?}"),
    }
}

fn refusal(line: &[&str]) -> String {
    let failure = parse(words(line)).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(!failure.message.contains('\n'));
    failure.message
}

/// The letters of `-a` that are on, in rsync's order.
fn letters(args: &PushArgs) -> String {
    let switches = [
        ('r', args.recursive),
        ('l', args.links),
        ('p', args.perms),
        ('t', args.times),
        ('g', args.group),
        ('o', args.owner),
        ('d', args.devices),
        ('s', args.specials),
    ];
    switches
        .iter()
        .filter(|(_, on)| *on)
        .map(|(letter, _)| letter)
        .collect()
}

#[test]
fn the_definition_is_sound() {
    command().debug_assert();
}

#[test]
fn archive_is_its_letters() {
    assert_eq!(letters(&push("")), "");
    assert_eq!(letters(&push("-a")), "rlptgods");
    assert_eq!(letters(&push("-rt -D")), "rtds");
    assert_eq!(letters(&push("--archive")), letters(&push("-rlptgoD")));
}

#[test]
fn the_last_word_about_a_switch_counts() {
    assert_eq!(letters(&push("-a --no-o")), "rlptgds");
    assert_eq!(letters(&push("-a --no-owner --no-g")), "rlptds");
    assert_eq!(letters(&push("-a --no-D")), "rlptgo");
    assert_eq!(letters(&push("-a --no-D --specials")), "rlptgos");
    assert_eq!(letters(&push("--no-o -a")), "rlptgods");
    assert_eq!(letters(&push("-a --no-perms -p")), "rlptgods");
    assert!(!push("-W --no-whole-file").whole_file);
    assert!(push("--no-W -W").whole_file);
    assert_eq!(push("-ii --no-i").itemize_changes, 0);
    assert_eq!(push("-ii").itemize_changes, 2);
    assert_eq!(push("-vv --no-v").verbose, 0);
    assert_eq!(push("-v -v").verbose, 2);
    assert!(push("--fsync --no-fsync").no_fsync);
    assert!(!push("--no-fsync --fsync").no_fsync);
}

#[test]
fn what_was_switched_on_is_taken_back() {
    let on = push("-b --delay-updates --insecure-links");
    assert!(on.backup && on.atomic && on.follow_untrusted);
    let off = push(
        "-b --no-backup --atomic --no-delay-updates --insecure-links --no-insecure-links \
         --timeout=5 --no-timeout --bwlimit=9 --no-bwlimit --contimeout=5 --no-contimeout",
    );
    assert!(!off.backup && !off.atomic && !off.follow_untrusted);
    assert!(off.timeout.is_none() && off.bwlimit.is_none() && off.reach.contimeout.is_none());
    let again = push("--no-timeout --timeout=5 --no-bwlimit --bwlimit=9 --no-backup -b");
    assert!(again.timeout == Some(5) && again.bwlimit.is_some() && again.backup);
}

#[test]
fn a_wrong_value_is_told_with_what_would_be_right() {
    for (word, part) in [
        ("--bwlimit=fast", "number"),
        ("--max-size=1.5Q", "number of bytes"),
        ("--info=nmae", "name"),
        ("--compress-choice=lz5", "zstd"),
        ("--usermap=1", "colon"),
    ] {
        let message = refusal(&["push", word, "a", "b:c"]);
        let why = message.rsplit(": ").next().unwrap();
        assert!(why.contains(part), "{word}: {message}");
    }
}

#[test]
fn short_options_combine() {
    let args = push("-naurvlicHSWx");
    assert!(args.dry_run && args.update && args.itemize_changes == 1 && args.checksum);
    assert!(args.hard_links && args.sparse && args.whole_file && args.one_file_system == 1);
    assert_eq!(args.verbose, 1);
    assert_eq!(letters(&args), "rlptgods");
    assert_eq!(push("-ave ssh").reach.rsh, Some("ssh".into()));
    assert_eq!(push("-essh").reach.rsh, Some("ssh".into()));
}

#[test]
fn long_options_take_their_value_either_way() {
    assert_eq!(push("--max-delete=5").max_delete, Some(5));
    assert_eq!(push("--max-delete 5").max_delete, Some(5));
    assert_eq!(push("--max-delete=-1").max_delete, Some(-1));
    assert_eq!(
        push("--rsync-path=/opt/hasync").reach.remote_bin.unwrap(),
        "/opt/hasync"
    );
    assert_eq!(
        push("--remote-bin /opt/hasync").reach.remote_bin.unwrap(),
        "/opt/hasync"
    );
    assert!(push("").reach.remote_bin.is_none());
    assert_eq!(push("--port=2222 --timeout=9").reach.port, Some(2222));
}

#[test]
fn options_may_follow_operands() {
    let args = match parse(words(&["push", "a", "b:c", "-a", "--", "-d"])).unwrap() {
        Typed::Verb(Verb::Push(args)) => args,
        other => panic!("not a push: {other:?}"),
    };
    assert!(args.archive);
    assert_eq!(args.operands, ["a", "b:c", "-d"]);
}

#[test]
fn filters_keep_their_order_across_options() {
    let args = push("--include=a --exclude-from=f --exclude b --include c --exclude=d");
    let expected = [
        FilterWord::Include("a".into()),
        FilterWord::ExcludeFrom("f".into()),
        FilterWord::Exclude("b".into()),
        FilterWord::Include("c".into()),
        FilterWord::Exclude("d".into()),
    ];
    assert_eq!(args.filter.words, expected);
}

#[test]
fn an_unknown_option_is_named() {
    assert!(refusal(&["push", "--bogus", "a", "b:c"]).starts_with("unknown option '--bogus'"));
    assert!(refusal(&["push", "-avQ", "a", "b:c"]).starts_with("unknown option '-Q'"));
    assert!(refusal(&["push", "--no-delete", "a", "b:c"]).starts_with("unknown option"));
    assert!(refusal(&["serve", "--bogus"]).starts_with("unknown option '--bogus'"));
    assert!(refusal(&["-av", "a", "b:c"]).contains("options follow the verb"));
    assert!(refusal(&["pull"]).starts_with("unknown verb 'pull'"));
}

#[test]
fn the_nearest_sensible_option_is_offered() {
    for (typed, near) in [
        ("--delte", Some("--delete")),
        ("--recurse", Some("--recursive")),
        ("--dryrun", Some("--dry-run")),
        ("--itemize", Some("--itemize-changes")),
        ("--excludefrom=x", Some("--exclude-from")),
        ("--bw-limit=3", Some("--bwlimit")),
        ("--no-onwer", Some("--no-owner")),
        ("--numeric-id", Some("--numeric-ids")),
        ("--partial-dirs=x", Some("--partial-dir")),
        ("--timeouts=9", Some("--timeout")),
        // Nothing is like it, or only what would be refused.
        ("--zebra", None),
        ("--daemons", None),
        ("--in-place", None),
        ("--no-x-at-all-like-this", None),
    ] {
        let message = refusal(&["push", typed, "a", "b:c"]);
        let hint = near.map(|near| format!("; did you mean {near}?"));
        assert!(message.starts_with("unknown option '"), "{message}");
        match hint {
            Some(hint) => assert!(message.ends_with(&hint), "{message}"),
            None => assert!(!message.contains("did you mean"), "{message}"),
        }
    }
    assert!(refusal(&["serve", "--rooot", "/x"]).ends_with("did you mean --root?"));
    assert!(refusal(&["serve", "--rooot=/x", "--", "--rooot"]).ends_with("did you mean --root?"));
}

#[test]
fn a_word_after_dashes_is_not_offered_to_who_typed_it() {
    for (line, word) in [
        (&["serve", "--", "--root", "/x"][..], "--root"),
        (&["serve", "--", "--root=/x"], "--root"),
        (&["serve", "--root", "/x", "--", "--tree", "html"], "--tree"),
        (&["serve", "--", "--no-delete"], "--no-delete"),
        (&["serve", "--root=/x", "--", "--root=/y"], "--root"),
        (&["serve", "--", "--rooot"], "--rooot"),
        (&["serve", "--", "/x"], "/x"),
        (&["check-config", "--", "--peer"], "--peer"),
    ] {
        let message = refusal(line);
        assert!(message.contains(word), "{message}");
        assert!(
            message.contains("after '--', where nothing is"),
            "{message}"
        );
        assert!(!message.contains("did you mean"), "{message}");
    }
    // Where words are taken, there may be too many of them.
    for line in [
        &["undo", "html", "--", "--to"][..],
        &["delta", "a", "b", "--", "--x", "--y"],
    ] {
        let message = refusal(line);
        assert!(!message.contains("did you mean"), "{message}");
    }
}

#[test]
fn help_is_two_screens_and_all_of_it_has_every_option() {
    let help = |line: &[&str]| match parse(words(line)).unwrap() {
        Typed::Help(text, Exit::Ok) => text,
        other => panic!("not help: {other:?}"),
    };
    let short = help(&["push", "--help"]);
    assert_eq!(help(&["push", "-h"]), short);
    assert!(short.lines().count() <= 2 * 24, "{short}");
    let wide = short.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None);
    let all = help(&["push", "--help=all"]);
    let command = command();
    let push = command.find_subcommand("push").unwrap();
    for arg in push
        .get_arguments()
        .filter(|arg| !arg.get_id().as_str().starts_with("no_"))
    {
        for long in arg
            .get_long()
            .into_iter()
            .chain(arg.get_visible_aliases().unwrap_or_default())
        {
            assert!(all.contains(&format!("--{long}")), "{long}");
        }
    }
}

#[test]
fn wrong_values_are_named() {
    assert!(refusal(&["push", "--port=0", "a", "b:c"]).contains("'0' for --port"));
    assert!(refusal(&["push", "--max-delete=x", "a", "b"]).contains("'x' for --max-delete"));
    assert!(refusal(&["push", "-a"]).contains("at least one source"));
    assert!(refusal(&["push", "--exclude"]).contains("--exclude"));
    let listen = refusal(&["serve", "--listen", "127.0.0.1:0", "--root", "/srv"]);
    assert!(listen.contains("--authorized-keys"), "{listen}");
}

#[test]
fn help_and_version_are_no_failure() {
    for line in [
        &["--help"][..],
        &["--version"],
        &["push", "--help"],
        &["serve", "--help"],
    ] {
        match parse(words(line)).unwrap() {
            Typed::Help(text, exit) => {
                assert_eq!(exit, Exit::Ok, "{line:?}");
                assert!(text.contains("hasync"), "{line:?}");
            }
            other => panic!("not help: {other:?}"),
        }
    }
    assert!(matches!(
        parse(words(&[])).unwrap(),
        Typed::Help(_, Exit::Usage)
    ));
}

#[test]
fn every_visible_option_has_a_help_line() {
    for verb in command().get_subcommands() {
        for arg in verb.get_arguments().filter(|arg| !arg.is_hide_set()) {
            assert!(
                arg.get_help().is_some(),
                "{} of {}",
                arg.get_id(),
                verb.get_name()
            );
        }
    }
}

#[test]
fn every_option_has_a_heading_in_the_help_of_push() {
    let command = command();
    let push = command.find_subcommand("push").unwrap();
    for arg in push.get_opts().filter(|arg| !arg.is_hide_set()) {
        assert!(arg.get_help_heading().is_some(), "{}", arg.get_id());
    }
}

#[test]
fn the_last_word_about_compression_counts() {
    let always = |level| Compression::Always { level: Some(level) };
    let unlevelled = Compression::Always { level: None };
    for (line, expected) in [
        ("-a", Compression::Adaptive),
        ("-az", unlevelled),
        ("--compress", unlevelled),
        ("--compress-choice=zstd", unlevelled),
        ("--zc auto", unlevelled),
        ("--compress-level=7", always(7)),
        ("--zl 0", unlevelled),
        ("--zl=-4", always(-4)),
        ("--zl=999", always(22)),
        ("-z --zl=1", always(1)),
        ("-z --no-compress", Compression::Never),
        ("--no-z", Compression::Never),
        ("--no-z -z", unlevelled),
        ("--no-compress --zl=5", always(5)),
        ("--compress-choice=none", Compression::Never),
        ("--zc=lz4 --zl=3", always(3)),
        ("--old-compress", unlevelled),
        ("--new-compress --no-z", Compression::Never),
        ("-z --zc=none", Compression::Never),
    ] {
        assert_eq!(push(line).compress.wish, expected, "{line}");
    }
    let message = refusal(&["push", "--zc=lz5", "a", "b:c"]);
    assert!(
        message.contains("lz5") && message.contains("zstd"),
        "{message}"
    );
}

#[test]
fn a_rate_that_is_none_is_refused() {
    let bwlimit = |line| push(line).bwlimit.map(|rate| rate.0);
    assert_eq!(bwlimit("-a"), None);
    assert_eq!(bwlimit("--bwlimit=100"), Some(Some(102_400)));
    assert_eq!(bwlimit("--bwlimit=0"), Some(None));
    let message = refusal(&["push", "--bwlimit=fast", "a", "b:c"]);
    assert!(
        message.contains("fast") && message.contains("--bwlimit"),
        "{message}"
    );
}

#[test]
fn the_name_of_a_resource_script_is_its_verb() {
    let mirror = |line: &str| {
        let words = line.split_whitespace().map(OsString::from);
        match parse(words).unwrap() {
            Typed::Verb(Verb::Mirror(args)) => args,
            other => panic!("not a mirror: {other:?}"),
        }
    };
    let script = "/etc/ha.d/resource.d/mirror";
    assert_eq!(mirror(&format!("{script} start")).action, Action::Start);
    let args = mirror(&format!("{script} /x.toml stop"));
    assert_eq!(
        (args.action, args.config),
        (Action::Stop, Some("/x.toml".into()))
    );
    let args = mirror(&format!("{script} --config /x.toml status"));
    assert_eq!(
        (args.action, args.config),
        (Action::Status, Some("/x.toml".into()))
    );
    assert_eq!(mirror("hasync mirror restart").action, Action::Restart);
    assert!(parse(["mirror", "a", "b", "c"].map(OsString::from)).is_err());
}

fn trees(line: &str) -> TreeArgs {
    let all = ["push"].into_iter().chain(line.split_whitespace());
    match parse(words(&all.collect::<Vec<_>>())).unwrap() {
        Typed::Verb(Verb::Push(args)) => args.trees,
        other => panic!("not a push: {other:?}"),
    }
}

#[test]
fn trees_need_no_operands_and_are_named_or_all() {
    let named = trees("--tree html -n --tree mail standby --config /x");
    assert_eq!(named.tree, ["html", "mail"]);
    assert!(named.any() && !named.all && named.refused.is_none());
    assert!(trees("--all").all);
    assert!(!push("").trees.any());
    assert!(refusal(&["push", "--all", "--tree", "x"]).contains("--tree"));
}

#[test]
fn what_the_configuration_decides_is_noted_when_typed_beside_a_tree() {
    for (line, first) in [
        ("--tree t -a", "--archive"),
        ("--all --delete -u", "--delete"),
        ("--all -n -u --delete", "--update"),
        ("--all --no-owner", "--owner"),
        ("--all --no-D", "-D"),
        ("--all --exclude=x", "--exclude"),
        ("--all --no-fsync", "--no-fsync"),
    ] {
        assert_eq!(trees(line).refused.as_deref(), Some(first), "{line}");
    }
    let allowed = "--all -nvqi --stats --progress -c -W -z --bwlimit=1m --timeout=3 --max-delete=9";
    assert_eq!(trees(allowed).refused, None);
}
