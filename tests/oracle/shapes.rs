//! Hand-picked pushes that random ones rarely meet: how SRC and DST are named, single
//! files, hard-link groups in every state, and every change of kind, each against rsync.

use super::deviations::{self, NOW};
use super::linked;
use super::scenes::{
    attributes, contents, excluded, full_dirs, kinds, linked_over_dir, linked_stale, links, setgid,
    small,
};
use super::{comparable, compare_lines};
use crate::support::hasync::FakeRsh;
use crate::support::{Finished, Hasync, Snapshot, TempTree, need_root, rsync};

/// One push: how the trees are made, then the options, the SRCs and the DST by name.
pub(super) struct Shape {
    pub(super) what: &'static str,
    pub(super) make: fn(&TempTree),
    pub(super) options: &'static [&'static str],
    pub(super) sources: &'static [&'static str],
    pub(super) target: &'static str,
}

/// Sources lie under `s`, `s2`; targets under `d`.
const SHAPES: &[Shape] = &[
    shape(
        "dir with slash, target missing",
        small,
        &["-a"],
        &["s/"],
        "new",
    ),
    shape(
        "dir without slash, target missing",
        small,
        &["-a"],
        &["s"],
        "new",
    ),
    shape(
        "dir without slash, target there",
        small,
        &["-a"],
        &["s"],
        "d",
    ),
    shape(
        "target missing, with slash",
        small,
        &["-a"],
        &["s/"],
        "new/",
    ),
    shape("dot inside", small, &["-a"], &["s/."], "d"),
    shape("double slash", small, &["-a"], &["s//"], "d"),
    shape("parent by dots", small, &["-a"], &["s/dir/.."], "new"),
    shape("two levels missing", small, &["-a"], &["s/"], "new/er"),
    shape("file to missing name", small, &["-a"], &["s/a"], "name"),
    shape("file to missing dir", small, &["-a"], &["s/a"], "name/"),
    shape("file into dir", small, &["-a"], &["s/a"], "d"),
    shape(
        "file to new name in dir",
        small,
        &["-a"],
        &["s/a"],
        "d/name",
    ),
    shape("file over older file", small, &["-a"], &["s/a"], "d/older"),
    shape("file over symlink", small, &["-a"], &["s/a"], "d/dangling"),
    shape("file over fifo", small, &["-a"], &["s/a"], "d/fifo"),
    shape(
        "file over symlink to dir",
        small,
        &["-a"],
        &["s/a"],
        "d/to-dir",
    ),
    shape(
        "dir over symlink to dir",
        small,
        &["-a"],
        &["s/"],
        "d/to-dir",
    ),
    shape(
        "dir over dangling symlink",
        small,
        &["-a"],
        &["s/"],
        "d/dangling",
    ),
    shape(
        "file under missing parent",
        small,
        &["-a"],
        &["s/a"],
        "d/no/name",
    ),
    shape(
        "two files to missing dir",
        small,
        &["-a"],
        &["s/a", "s/b"],
        "new",
    ),
    shape(
        "two files over a file",
        small,
        &["-a"],
        &["s/a", "s/b"],
        "d/older",
    ),
    shape("dir over a file", small, &["-a"], &["s/"], "d/older"),
    shape(
        "file into a file with slash",
        small,
        &["-a"],
        &["s/a"],
        "d/older/",
    ),
    shape("file and dir", small, &["-a"], &["s/a", "s/dir"], "new"),
    shape("same dir twice", small, &["-a"], &["s/", "s/"], "new"),
    shape("same file twice", small, &["-a"], &["s/a", "s/a"], "d"),
    shape("contents and dir", small, &["-a"], &["s/", "s"], "new"),
    shape("dir without -r", small, &["-lt"], &["s"], "d"),
    shape("contents without -r", small, &["-lt"], &["s/"], "d"),
    shape("file without -r", small, &["-t"], &["s/a"], "d"),
    shape(
        "delete with single file",
        small,
        &["-a", "--delete"],
        &["s/a"],
        "d",
    ),
    shape(
        "delete with named dirs",
        small,
        &["-a", "--delete"],
        &["s/dir", "s2/dir"],
        "d",
    ),
    shape(
        "delete with contents",
        small,
        &["-a", "--delete"],
        &["s/"],
        "d",
    ),
    shape(
        "delete with a union",
        small,
        &["-a", "--delete"],
        &["s/", "s2/"],
        "d",
    ),
    shape("union, first wins", small, &["-a"], &["s/", "s2/"], "d"),
    shape("union, other order", small, &["-a"], &["s2/", "s/"], "d"),
    shape(
        "exclude names the source",
        small,
        &["-a", "--exclude=s"],
        &["s"],
        "new",
    ),
    shape(
        "exclude below the source",
        small,
        &["-a", "--exclude=/s/a"],
        &["s"],
        "new",
    ),
    shape(
        "exclude from the root",
        small,
        &["-a", "--exclude=/a"],
        &["s/"],
        "new",
    ),
    shape(
        "exclude a single file",
        small,
        &["-a", "--exclude=a"],
        &["s/a"],
        "new",
    ),
    shape("no specials, no links", kinds, &["-rt"], &["s/"], "d"),
    shape(
        "no specials, no links, delete",
        kinds,
        &["-rt", "--delete"],
        &["s/"],
        "d",
    ),
    shape("kinds change", kinds, &["-a"], &["s/"], "d"),
    shape(
        "kinds change, delete",
        kinds,
        &["-a", "--delete"],
        &["s/"],
        "d",
    ),
    shape("kinds change, -u", kinds, &["-au"], &["s/"], "d"),
    shape(
        "full dirs in the way",
        full_dirs,
        &["-a", "--delete"],
        &["s/"],
        "d",
    ),
    shape(
        "full dirs in the way, no delete",
        full_dirs,
        &["-a"],
        &["s/"],
        "d",
    ),
    shape(
        "full dirs in the way, partly excluded",
        full_dirs,
        &["-a", "--delete", "--exclude=x"],
        &["s/"],
        "d",
    ),
    shape(
        "full dirs hidden by a pattern",
        full_dirs,
        &["-a", "--exclude=file/"],
        &["s/"],
        "d",
    ),
    shape(
        "full dirs hidden by a pattern, delete",
        full_dirs,
        &["-a", "--delete", "--exclude=file/"],
        &["s/"],
        "d",
    ),
    shape(
        "excluded inside deleted",
        excluded,
        &["-a", "--delete", "--exclude=*.o"],
        &["s/"],
        "d",
    ),
    shape("links, none there", links, &["-aH"], &["s/none/"], "new"),
    shape("links in every state", links, &["-aH"], &["s/"], "d"),
    shape("links in every state, -c", links, &["-aHc"], &["s/"], "d"),
    shape(
        "links in every state, no -t",
        links,
        &["-rlH"],
        &["s/"],
        "d",
    ),
    shape(
        "links in every state, delete",
        links,
        &["-aH", "--delete"],
        &["s/"],
        "d",
    ),
    shape(
        "links, the first over a full dir",
        linked_over_dir,
        &["-aH", "--delete"],
        &["s/"],
        "d",
    ),
    shape(
        "links, the first stale",
        linked_stale,
        &["-aH"],
        &["s/"],
        "d",
    ),
    shape("links without -H", links, &["-a"], &["s/"], "e"),
    shape("attributes only", attributes, &["-a"], &["s/"], "d"),
    shape("attributes, no -p", attributes, &["-rltgoD"], &["s/"], "d"),
    shape(
        "attributes, no -o -g",
        attributes,
        &["-rlptD"],
        &["s/"],
        "d",
    ),
    shape("setgid by the push", setgid, &["-rlpt"], &["s/"], "d"),
    shape("setgid, no -p", setgid, &["-rlt"], &["s/"], "d"),
    shape("attributes, no -t", attributes, &["-rlpgoD"], &["s/"], "d"),
    shape("attributes, new", attributes, &["-rltgoD"], &["s/"], "new"),
    shape("contents", contents, &["-a"], &["s/"], "d"),
    shape("contents, -c", contents, &["-ac"], &["s/"], "d"),
    shape("contents, -u", contents, &["-au"], &["s/"], "d"),
    shape("contents, -c without -t", contents, &["-rc"], &["s/"], "d"),
    shape("contents without -t", contents, &["-rl"], &["s/"], "d"),
    shape("contents, -W", contents, &["-aW"], &["s/"], "d"),
];

const fn shape(
    what: &'static str,
    make: fn(&TempTree),
    options: &'static [&'static str],
    sources: &'static [&'static str],
    target: &'static str,
) -> Shape {
    Shape {
        what,
        make,
        options,
        sources,
        target,
    }
}

#[test]
fn hand_picked_pushes_equal_rsync() {
    need_root();
    assert!(
        rsync::is_the_oracle(),
        "rsync 3.5.0 is needed: run tests/run.sh"
    );
    let failures: Vec<String> = SHAPES.iter().filter_map(check).collect();
    assert!(
        failures.is_empty(),
        "{} differ\n{}",
        failures.len(),
        failures.join("\n")
    );
}

pub(super) fn check(shape: &Shape) -> Option<String> {
    let (theirs, ours) = (TempTree::new(), TempTree::new());
    for trees in [&theirs, &ours] {
        (shape.make)(trees);
        if trees.path("d").exists() {
            trees.mtime("d", 1_500_000_000, 0);
        }
    }
    // Both run where their trees are, with the same relative names.
    let options = [shape.options, &["-i"]].concat();
    let target = |trees: &TempTree| format!("{}/{}", trees.root().display(), shape.target);
    let rsh = FakeRsh::plain();
    let sources = |trees: &TempTree| -> Vec<String> {
        shape
            .sources
            .iter()
            .map(|source| format!("{}/{source}", trees.root().display()))
            .collect()
    };
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    let expected = rsync::push(
        &rsh,
        &options,
        &sources(&theirs),
        std::path::Path::new(&target(&theirs)),
    )?;
    let push = |dry: &[&str]| {
        Hasync::push(dry)
            .args(&options)
            .args(sources(&ours))
            .arg(target(&ours))
            .run()
    };
    let (dry, real) = (push(&["-n"]), push(&[]));

    let mut out = String::new();
    let code = deviations::exit_code(expected.code, false);
    if real.code != code {
        out += &format!("exit {} instead of {code}\n", real.code);
    }
    if dry.stdout != real.stdout || dry.code != real.code {
        out += &format!("-n differs:\n{dry}");
    }
    let in_place = |lines: Vec<Vec<u8>>, trees: &TempTree| -> Vec<Vec<u8>> {
        let root = trees.root().display().to_string();
        let text = |line: &Vec<u8>| {
            String::from_utf8_lossy(line)
                .replace(&root, "")
                .into_bytes()
        };
        lines.iter().map(text).collect()
    };
    let forgive = |run: &Finished, trees: &TempTree| {
        let linked = linked::paths_of_linked(&sources(trees));
        let hard_links = shape.options[0].contains('H');
        let lines = in_place(comparable(run), trees);
        if hard_links {
            linked::without_linked(&linked, lines)
        } else {
            lines
        }
    };
    out += &compare_lines(&forgive(&expected, &theirs), &forgive(&real, &ours));
    let seen = |trees: &TempTree| deviations::with_now(Snapshot::of(trees.root()));
    let (left, right) = (seen(&theirs), seen(&ours));
    let keeps_times = shape
        .options
        .iter()
        .any(|o| o.starts_with("-a") || (!o.starts_with("--") && o.contains('t')));
    let forgive = |tree: Snapshot| {
        let rsync = left.clone();
        tree.map(|path, entry| {
            let is_now = rsync
                .entries
                .get(path)
                .is_some_and(|theirs| theirs.mtime == NOW);
            let outside = matches!(path, b"" | b"d") && !shape.sources[0].ends_with('/');
            if !keeps_times && entry.linked_to.is_some() {
                entry.mtime = NOW;
            }
            if entry.kind == 'd' && (!keeps_times || is_now || outside) {
                entry.mtime = NOW;
            }
        })
    };
    let diff = forgive(left.clone()).diff(&forgive(right));
    if !diff.is_empty() {
        out += &format!("trees differ (rsync, hasync):\n{diff}");
    }
    if out.is_empty() {
        return None;
    }
    let what = (shape.what, shape.options, shape.sources, shape.target);
    Some(format!(
        "=== {what:?}\n{out}--- hasync stderr: {}",
        real.stderr
    ))
}
