//! The property: a push by hasync gives the tree, the `-i` lines and the exit code that
//! rsync 3.5.0 gives for the same options, and `-n -i` prints what the real run then does.
//! `HASYNC_ORACLE_SEED=N` runs one case again and shows it; `HASYNC_ORACLE_CASES=N` runs N,
//! `HASYNC_ORACLE_FROM=N` begins with that one, and `HASYNC_ORACLE_SHOWN=N` goes on until so many
//! have failed.

mod attributes;
mod capabilities;
mod chosen;
mod deviations;
mod generate;
mod linked;
mod looks;
mod metadata;
mod options;
mod scenes;
mod shapes;
mod unlisted;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::support::hasync::FakeRsh;
use crate::support::process::Finished;
use crate::support::xattrs::OfTree;
use crate::support::{Hasync, Snapshot, TempTree, need_root, rounds, rsync, xattrs};
use generate::Case;
use unlisted::Stopped;

/// Failures shown before a campaign gives up.
const SHOWN_FAILURES: usize = 3;

/// Bounds the entries of a seed's case.
fn size(seed: u64) -> usize {
    3 + usize::try_from(seed % 29).unwrap()
}

/// With some options rsync often comes to grief, so that there is nothing to compare with: it sets
/// the permissions of a symlink, enters what is no directory, or ends at the first name too long
/// for its suffix. One of so many seeds keeps those that begin so.
fn thin(case: &mut Case, seed: u64, kept: &[(&str, u64)]) {
    for (option, one_of) in kept {
        if !seed.is_multiple_of(*one_of) {
            case.options.retain(|given| !given.starts_with(option));
        }
    }
}

#[test]
fn random_pushes_equal_rsync() {
    campaign("oracle against rsync", 160, |seed| {
        let mut case = Case::of(seed, size(seed));
        thin(&mut case, seed, &[("-K", 2), ("--ignore-existing", 2)]);
        case
    });
}

#[test]
fn random_attributes_equal_rsync() {
    campaign("oracle of attributes", 60, attributes::case);
}

/// Checks the cases of so many seeds, 5,000 in the soak.
fn campaign(name: &str, normal: usize, make: fn(u64) -> Case) {
    need_root();
    assert!(
        rsync::is_the_oracle(),
        "rsync 3.5.0 is needed: run tests/run.sh"
    );
    if let Ok(seed) = std::env::var("HASYNC_ORACLE_SEED") {
        let seed = seed.parse().unwrap();
        let failure =
            check(&make(seed), seed, true).expect("rsync hung or broke: nothing to compare with");
        assert!(failure.is_empty(), "{failure}");
        return;
    }
    let shown_max = number_in("HASYNC_ORACLE_SHOWN").unwrap_or(SHOWN_FAILURES);
    let count = number_in("HASYNC_ORACLE_CASES").unwrap_or_else(|| rounds(name, normal, 5_000));
    let mut failures = Vec::new();
    let first = number_in("HASYNC_ORACLE_FROM").unwrap_or(0);
    let (mut cases, mut broken) = (0, 0);
    for seed in first as u64..count as u64 {
        cases += 1;
        let Some(failure) = check(&make(seed), seed, false) else {
            println!("seed {seed}: rsync hung or broke, nothing to compare with");
            broken += 1;
            continue;
        };
        if !failure.is_empty() {
            println!("=== HASYNC_ORACLE_SEED={seed}\n{failure}");
            failures.push(format!("HASYNC_ORACLE_SEED={seed}"));
        }
        if failures.len() >= shown_max {
            break;
        }
    }
    assert!(failures.is_empty(), "not as rsync: {}", failures.join(" "));
    assert!(
        broken <= cases / 100 + 1,
        "rsync broke in {broken} of {cases}"
    );
}

fn number_in(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn every_deviation_is_told_in_the_manual() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/cli/manual/hasync-rsync.md");
    let page = std::fs::read_to_string(path).unwrap_or_default();
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for deviation in deviations::LIST {
        let told = page.contains(deviation.sentence);
        assert!(
            told,
            "hasync-rsync.md lacks ({}): {}",
            deviation.name, deviation.sentence
        );
    }
}

/// Runs the case of a seed with both programs; says what differed, or nothing. `None` if rsync has
/// hung or broken.
fn check(case: &Case, seed: u64, verbose: bool) -> Option<String> {
    let trees = match case.far {
        true => attributes::scratch(seed),
        false => TempTree::new(),
    };
    let sources = case.make_sources(trees.root());
    for name in ["by-rsync", "by-hasync"] {
        case.make_target(&trees.path(name));
    }
    let expected = run_rsync(case, &sources, &trees)?;
    let before = Snapshot::of(&trees.path("by-hasync"));
    let attributes_before = xattrs::of(&trees.path("by-hasync"));
    // Half of them as one atomic commit: the result must be the same.
    let is_atomic = seed % 2 == 1 && !case.has("-K");
    let atomic: &[&str] = if is_atomic { &["--atomic"] } else { &[] };
    let dry = run_hasync(case, &sources, &trees, &[&["-n"], atomic].concat());
    let mut out = String::new();
    let after_dry = Snapshot::of(&trees.path("by-hasync"));
    if after_dry.entries != before.entries {
        writeln!(out, "-n changed the target:\n{}", before.diff(&after_dry)).unwrap();
    }
    if xattrs::of(&trees.path("by-hasync")) != attributes_before {
        writeln!(out, "-n changed ACLs or attributes of the target").unwrap();
    }
    let real = run_hasync(case, &sources, &trees, atomic);
    if deviations::keeps_older_backup(&real) {
        return Some(String::new());
    }
    if dry.stdout != real.stdout || dry.code != real.code {
        let (dry, real) = (format!("{dry}"), format!("{real}"));
        writeln!(out, "-n differs from the real run:\n{dry}--- real\n{real}").unwrap();
    }
    out += &compare_runs(
        case,
        &sources,
        (&before, &attributes_before),
        &expected,
        &real,
    );
    out += &compare_trees(case, &sources, &before, &trees);
    let linked = linked(case, &sources);
    out += &attributes::diff(case, (&before, &attributes_before), &trees, &linked);
    // The metadata that rsync could not set differ again, and the times that it has set to 1969.
    let comes_again = case.has("-K") || case.has("-u") && deviations::loses_times(case);
    if out.is_empty() && expected.code == 0 && !comes_again {
        out += &compare_second_runs(case, &sources, &before, &trees);
    }
    if verbose {
        println!("rsync {expected}\nhasync {real}");
        for (index, spec) in case.sources.iter().enumerate() {
            println!("source {index}:\n{}", generate::listing(spec));
        }
        println!("target:\n{}", generate::listing(&case.target));
    }
    if out.is_empty() {
        return Some(out);
    }
    let slash = if case.slash { "with" } else { "without" };
    let sources = sources.len();
    Some(format!(
        "{out}options {:?}, {sources} words of sources {slash} a slash, {:?}\n",
        case.options, case.chosen
    ))
}

/// What rsync printed and left, with the deviations that its command line can express.
struct Expected {
    code: i32,
    lines: Vec<Vec<u8>>,
    shown: String,
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

fn run_rsync(case: &Case, sources: &[String], trees: &TempTree) -> Option<Expected> {
    let rsh = match case.far {
        true => attributes::rsh(trees),
        false => FakeRsh::plain(),
    };
    let target = trees.path("by-rsync");
    let run = |stopped: Option<Stopped>, kept: &[String], dry: &[&str]| {
        let mut options = deviations::rsync_options(case, stopped);
        options.splice(0..0, kept.to_vec());
        options.push("-i".into());
        options.extend(dry.iter().map(|&word| word.to_owned()));
        let options = placed(options.iter(), trees, "by-rsync");
        rsync::push(&rsh, &options, sources, &target)
    };
    // rsync's own dry run tells whether the limit would be passed.
    let dry = run(None, &[], &["-n"])?;
    let stopped = dry.stderr.contains("Deletions stopped due to --max-delete");
    // Nor is anything deleted where a symlink leads to nothing that should be followed.
    let unlisted = dry.stderr.contains("symlink has no referent") && !case.has("--ignore-errors");
    let why = match unlisted {
        true => Some(Stopped::Unlisted),
        false => stopped.then_some(Stopped::MaxDelete),
    };
    let kept = match case.has("--ignore-errors") {
        true => unlisted::protections(&dry, sources),
        false => Vec::new(),
    };
    let done = run(why, &kept, &[])?;
    if deviations::rsync_broke(case, &done) {
        println!("{done}");
        return None;
    }
    let code = deviations::exit_code(done.code, stopped);
    Some(Expected {
        code,
        lines: comparable(&done),
        shown: done.to_string(),
    })
}

/// The options with the directories that they name for a case.
fn placed<'a>(
    options: impl Iterator<Item = &'a String>,
    trees: &TempTree,
    target: &str,
) -> Vec<String> {
    let root = trees.root().display().to_string();
    let placed = |option: &String| {
        let option = option.replace("ROOT", &root);
        option.replace("OUT", &format!("{target}.out"))
    };
    options.map(placed).collect()
}

fn run_hasync(case: &Case, sources: &[String], trees: &TempTree, more: &[&str]) -> Finished {
    let target = trees.path("by-hasync");
    let push = Hasync::push(more)
        .arg("-i")
        .args(placed(case.options.iter(), trees, "by-hasync"))
        .args(deviations::more_options(case));
    if !case.far {
        return push.args(sources).arg(target).run();
    }
    let rsh = attributes::rsh(trees);
    let target = format!("host:{}", target.display());
    push.args(rsh.options()).args(sources).arg(target).run()
}

/// Lines with the direction letter of a push.
fn comparable(run: &Finished) -> Vec<Vec<u8>> {
    let said = run.lines().into_iter();
    let compared = said.filter(|line| !deviations::is_unsaid(line));
    compared
        .map(|mut line| {
            if line.first() == Some(&b'>') {
                line[0] = b'<';
            }
            line
        })
        .collect()
}

fn compare_runs(
    case: &Case,
    sources: &[String],
    before: (&Snapshot, &OfTree),
    expected: &Expected,
    real: &Finished,
) -> String {
    let mut out = String::new();
    if real.code != expected.code {
        writeln!(
            out,
            "exit {} instead of {}\n{real}--- rsync\n{expected}",
            real.code, expected.code
        )
        .unwrap();
    }
    let linked = linked(case, sources);
    let forgive = |lines| {
        let lines = linked::without_linked(&linked, lines);
        let lines = looks::without_second_looks(case, lines);
        let lines = capabilities::without_letters_of_capabilities(before, lines);
        let lines = deviations::without_modes_beside_acls(case, lines);
        let lines = deviations::without_letters_of_devices(lines);
        let lines = options::without_letters_of_rules(case, lines);
        deviations::without_owner_letters(case, before.0, lines)
    };
    let (theirs, ours) = (forgive(expected.lines.clone()), forgive(comparable(real)));
    out += &compare_lines(&theirs, &ours);
    if out.is_empty() {
        let in_order = |lines| linked::without_replaced(before.0, lines);
        out += &compare_order(&in_order(theirs), &in_order(ours));
    }
    out
}

/// What differs first in the order of the itemized lines, deletions apart. What is passed over is
/// said as it is found.
fn compare_order(expected: &[Vec<u8>], ours: &[Vec<u8>]) -> String {
    let is_change = |line: &&Vec<u8>| {
        !line.starts_with(b"*") && line.get(11) == Some(&b' ') && !line.starts_with(b"skipping ")
    };
    let mut both = expected
        .iter()
        .filter(is_change)
        .zip(ours.iter().filter(is_change));
    let differs = both.find(|(expected, ours)| expected != ours);
    differs.map_or_else(String::new, |(expected, ours)| {
        let (expected, ours) = (expected.escape_ascii(), ours.escape_ascii());
        format!("rsync says {expected}\nwhere hasync says {ours}\n")
    })
}

fn compare_lines(expected: &[Vec<u8>], ours: &[Vec<u8>]) -> String {
    let mut balance: BTreeMap<&[u8], i32> = BTreeMap::new();
    for line in expected {
        *balance.entry(line).or_default() -= 1;
    }
    for line in ours {
        *balance.entry(line).or_default() += 1;
    }
    let mut out = String::new();
    for (line, count) in balance.into_iter().filter(|(_, count)| *count != 0) {
        let who = if count < 0 {
            "rsync says "
        } else {
            "hasync says"
        };
        writeln!(out, "only {who}: {}", line.escape_ascii()).unwrap();
    }
    out
}

fn compare_trees(case: &Case, sources: &[String], before: &Snapshot, trees: &TempTree) -> String {
    let linked = linked(case, sources);
    let rsync = deviations::with_now(Snapshot::of(&trees.path("by-rsync")));
    let hasync = deviations::with_now(Snapshot::of(&trees.path("by-hasync")));
    let promised = |mut tree: Snapshot| {
        if case.has("-H") {
            let unmade = linked::links_to_dirs(sources, &rsync);
            tree.entries
                .retain(|path, entry| entry.kind == 'd' || !unmade.contains(path));
            for backup in linked::backups_of(case, &linked, false) {
                tree.entries.remove(&backup);
            }
            let contents = linked::contents(sources);
            linked::forgive_contents(&contents, &rsync, &mut tree);
            if case.has("--existing") {
                tree.entries
                    .retain(|path, _| !linked::is_removed(path, &linked, before, &rsync));
            }
        }
        deviations::without_unpromised(case, tree, before, &rsync, &linked)
    };
    let (mut left, mut right) = (promised(rsync.clone()), promised(hasync));
    for dir in linked::dirs_of_backups(case, before) {
        let [left, right] = [&mut left, &mut right].map(|tree| tree.entries.get_mut(&dir));
        if let (Some(theirs), Some(ours)) = (left, right) {
            ours.mode = theirs.mode;
        }
    }
    let mut diff = left.diff(&right);
    let others = linked::backups_of(case, &linked, true);
    let [left, right] = ["by-rsync.out", "by-hasync.out"].map(|out| {
        let mut kept = kept(&trees.path(out));
        others
            .iter()
            .for_each(|path| drop(kept.entries.remove(path)));
        // Nor is the way to them one.
        if !others.is_empty() && kept.entries.values().all(|entry| entry.kind == 'd') {
            kept.entries.clear();
        }
        kept
    });
    diff += &left.diff(&right);
    if case.has("-U") && !case.keeps_backups() {
        let [left, right] = ["by-rsync", "by-hasync"].map(|name| atimes(&trees.path(name)));
        for (path, atime) in left {
            if right.get(&path).is_some_and(|ours| *ours != atime) {
                writeln!(
                    diff,
                    "{}: times of access {atime} != {}",
                    path.display(),
                    right[&path]
                )
                .unwrap();
            }
        }
    }
    if diff.is_empty() {
        diff
    } else {
        format!("trees differ (rsync, hasync):\n{diff}")
    }
}

/// What backups are outside of the target. Directories have the times of the run.
fn kept(out: &Path) -> Snapshot {
    let entries = BTreeMap::new();
    let found = out.exists().then(|| Snapshot::of(out));
    let found = found.unwrap_or(Snapshot { entries });
    found.map(|_, entry| {
        if entry.kind == 'd' {
            entry.mtime = deviations::NOW;
        }
    })
}

/// When what is no directory and no symlink was read last.
fn atimes(root: &Path) -> BTreeMap<PathBuf, i64> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    let read = entries.filter(|entry| !entry.file_type().is_dir() && !entry.path_is_symlink());
    // rsync's own reading of rules is told by those.
    let read = read.filter(|entry| !options::RULE_FILES.iter().any(|f| entry.file_name() == *f));
    let atime = |entry: walkdir::DirEntry| {
        let path = entry.path().strip_prefix(root).unwrap().to_owned();
        (path, entry.metadata().unwrap().atime())
    };
    read.map(atime).collect()
}

/// The members of link groups, when the push keeps them linked.
fn linked(case: &Case, sources: &[String]) -> BTreeSet<Vec<u8>> {
    if case.has("-H") {
        linked::paths_of_linked(sources)
    } else {
        BTreeSet::new()
    }
}

/// What is left to do after a push that succeeded is the same for both, mostly nothing.
fn compare_second_runs(
    case: &Case,
    sources: &[String],
    before: &Snapshot,
    trees: &TempTree,
) -> String {
    let lost = attributes::lost_groups(before, trees);
    let Some(mut expected) = run_rsync(case, sources, trees) else {
        return String::new();
    };
    expected.lines = deviations::without_modes_beside_acls(case, expected.lines);
    let target = xattrs::of(&trees.path("by-rsync"));
    expected.lines = deviations::without_acls_set_again(case, (&target, &lost), expected.lines);
    expected.lines = looks::without_times_of_backups(case, expected.lines);
    let by_hasync = trees.path("by-hasync");
    let before = (&Snapshot::of(&by_hasync), &xattrs::of(&by_hasync));
    let second = run_hasync(case, sources, trees, &[]);
    if deviations::keeps_older_backup(&second) {
        return String::new();
    }
    let out = compare_runs(case, sources, before, &expected, &second);
    if out.is_empty() {
        out
    } else {
        format!("in the second run:\n{out}")
    }
}
