//! `hasync signature`, `delta` and `patch`: what comes out is the new file, whichever way the
//! pieces are carried, or one line that says why not, and then nothing has changed.

mod damage;
mod outputs;

use std::process::Command;

use crate::support::process::Running;
use crate::support::{Finished, Hasync, Rng, TempTree, rounds};

fn run(arguments: &[&str]) -> Finished {
    Hasync::new().args(arguments).run()
}

/// `hasync VERB` with files of `trees`; `-` stays what it is.
fn verb(trees: &TempTree, verb: &str, files: &[&str]) -> Finished {
    let paths = files.iter().map(|&file| match file {
        "-" => file.to_owned(),
        _ => trees.text(file),
    });
    Hasync::new().arg(verb).args(paths).run()
}

/// A shell line in the directory of `trees`, `hasync` being the program under test.
fn shell(trees: &TempTree, line: &str) -> Finished {
    let mut command = Command::new("sh");
    let function = "hasync() { \"$PROGRAM\" \"$@\"; }";
    command
        .args(["-c", &format!("{function}; {line}")])
        .env("PROGRAM", Hasync::program())
        .current_dir(trees.root());
    Running::start(command).finish()
}

/// The names in the directory of `trees`, sorted.
fn names(trees: &TempTree) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(trees.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// `basis`, `new`, and `delta` from one to the other, small and with copies and literals.
fn small_delta() -> TempTree {
    let trees = TempTree::new();
    let basis = Rng::new(3).bytes(5000);
    let new = [&basis[..3000], b"inserted", &basis[3000..]].concat();
    trees.write("basis", &basis);
    trees.write("new", &new);
    verb(&trees, "signature", &["basis", "signature"]).expect(0);
    verb(&trees, "delta", &["signature", "new", "delta"]).expect(0);
    std::fs::remove_file(trees.path("signature")).unwrap();
    trees
}

/// A file of `len` bytes with parts that repeat and parts that are zero.
fn content(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut content = Vec::new();
    while content.len() < len {
        let part = 1 + rng.below(20_000);
        match rng.below(4) {
            0 => content.resize(content.len() + part, 0),
            1 if !content.is_empty() => {
                let from = rng.below(content.len());
                content.extend_from_within(from..(from + part).min(content.len()));
            }
            _ => content.extend(rng.bytes(part)),
        }
    }
    content.truncate(len);
    content
}

fn edited(rng: &mut Rng, basis: &[u8]) -> Vec<u8> {
    let mut new = basis.to_vec();
    for _ in 0..rng.below(6) {
        let at = rng.below(new.len() + 1);
        let end = (at + rng.below(10_000)).min(new.len());
        let len = rng.below(10_000);
        match rng.below(4) {
            0 => drop(new.drain(at..end)),
            1 => drop(new.splice(at..at, rng.bytes(len))),
            2 => drop(new.splice(at..end, vec![0; end - at])),
            _ => new.extend_from_within(at..end),
        }
    }
    new
}

#[test]
fn round_trips_of_random_files() {
    for seed in 0..rounds("plumbing round trips", 25, 1000) as u64 {
        let mut rng = Rng::new(seed);
        let len = *rng.pick(&[0, 1, 1023, 1024, 70_000, 400_000, 3_000_000]);
        let basis = content(&mut rng, len);
        let new = if rng.chance(15) {
            content(&mut rng, 100_000)
        } else {
            edited(&mut rng, &basis)
        };
        let trees = TempTree::new();
        trees.write("basis", &basis);
        trees.write("new", &new);
        let block_len = format!("--block-len={}", 1024 << rng.below(8));
        let mut sign = vec!["signature"];
        if rng.chance(50) {
            sign.push(&block_len);
        }
        let (from, to) = (trees.text("basis"), trees.text("signature"));
        sign.extend([from.as_str(), to.as_str()]);
        run(&sign).expect(0);
        verb(&trees, "delta", &["signature", "new", "delta"]).expect(0);
        verb(&trees, "patch", &["basis", "delta", "result"]).expect(0);
        assert!(trees.read("result") == new, "seed {seed}");
        assert_eq!(
            names(&trees),
            ["basis", "delta", "new", "result", "signature"]
        );
    }
}

#[test]
fn pipes_carry_what_files_do() {
    let trees = small_delta();
    for line in [
        "hasync signature basis | hasync delta - new | hasync patch basis - > result",
        "hasync signature basis - | hasync delta - new - | hasync patch basis - result",
        "hasync signature - <basis >s && hasync delta s - <new >d && \
         hasync patch basis d - >result",
        "cat basis | hasync signature - | sh -c 'cat >s'; cat new | hasync delta s - d; \
         cat d | hasync patch basis - - | cat >result",
        "mkfifo p; cat new >p & hasync signature basis s; hasync delta s p d; \
         hasync patch basis d result",
    ] {
        shell(&trees, line).expect(0);
        assert!(trees.read("result") == trees.read("new"), "{line}");
        shell(&trees, "rm -f s d p result").expect(0);
    }
}

#[test]
fn a_small_change_makes_a_small_delta() {
    let trees = TempTree::new();
    let mut rng = Rng::new(1);
    let basis = rng.bytes(8 << 20);
    let mut new = [b"front", &basis[..]].concat();
    new[5_000_000] ^= 1;
    trees.write("basis", &basis);
    trees.write("new", &new);
    verb(&trees, "signature", &["basis", "s"]).expect(0);
    verb(&trees, "delta", &["s", "new", "d"]).expect(0);
    let len_of = |name| std::fs::metadata(trees.path(name)).unwrap().len();
    assert!(len_of("d") < 3 * 8192, "{}", len_of("d"));
    assert!(len_of("s") < 30_000, "{}", len_of("s"));
}

#[test]
fn holes_stay_holes() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let trees = TempTree::new();
    let sparse = |name: &str, len: u64, marks: &[u64]| {
        let file = std::fs::File::create(trees.path(name)).unwrap();
        file.set_len(len).unwrap();
        for &at in marks {
            file.write_all_at(b"mark", at).unwrap();
        }
    };
    sparse("basis", 64 << 20, &[0, 20 << 20]);
    sparse("new", (96 << 20) + 5, &[0, (20 << 20) + 3, 70 << 20]);
    verb(&trees, "signature", &["basis", "s"]).expect(0);
    verb(&trees, "delta", &["s", "new", "d"]).expect(0);
    verb(&trees, "patch", &["basis", "d", "result"]).expect(0);
    assert!(trees.read("result") == trees.read("new"));
    let allocated = std::fs::metadata(trees.path("result")).unwrap().blocks() * 512;
    assert!(allocated < 1 << 20, "{allocated} bytes are allocated");
}

#[test]
fn words_that_make_no_sense_are_usage_errors() {
    let trees = small_delta();
    trees.mkdir("dir");
    let cases: [(&str, &[&str], &str); 7] = [
        ("delta", &["-", "-"], "standard input"),
        ("patch", &["-", "delta", "x"], "regular file"),
        ("patch", &["dir", "delta", "x"], "regular file"),
        ("signature", &[], "BASIS"),
        ("delta", &["delta"], "NEW"),
        ("patch", &["basis"], "DELTA"),
        ("patch", &["basis", "delta", "x", "y"], "unexpected"),
    ];
    for (name, files, word) in cases {
        verb(&trees, name, files).expect_error(1, &[word]);
    }
    for block_len in ["1000", "512", "8388608", "x", "-1"] {
        let option = format!("--block-len={block_len}");
        run(&["signature", &option, &trees.text("basis")]).expect_error(1, &["--block-len"]);
    }
    let on_a_terminal = format!("{} signature basis", Hasync::program().display());
    let line = format!("script -qec '{on_a_terminal}' /dev/null");
    let done = shell(&trees, &line).expect(1);
    assert!(done.stdout_text().contains("terminal"), "{done}");
}
