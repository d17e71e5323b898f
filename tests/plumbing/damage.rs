//! Signatures, deltas and bases that are not what they should be: told apart, and nothing is
//! changed.

use super::{names, shell, small_delta, verb};
use crate::support::hasync::Reachable;
use crate::support::{Hasync, Rng, TempTree, need_root};

#[test]
fn a_delta_cut_off_anywhere_is_refused() {
    let trees = small_delta();
    let delta = trees.read("delta");
    trees.write("output", "old");
    for len in 0..delta.len() {
        trees.write("short", &delta[..len]);
        let said = format!("cut off after {len} bytes");
        verb(&trees, "patch", &["basis", "short", "output"]).expect_error(12, &["short\"", &said]);
    }
    assert_eq!(trees.read("output"), b"old");
    assert_eq!(names(&trees), ["basis", "delta", "new", "output", "short"]);
}

#[test]
fn a_flipped_bit_or_bytes_after_the_end_are_refused() {
    let trees = small_delta();
    verb(&trees, "signature", &["basis", "signature"]).expect(0);
    for (file, name, others) in [
        ("delta", "patch", ["basis", "bad"]),
        ("signature", "delta", ["bad", "new"]),
    ] {
        let good = trees.read(file);
        let check = |code: i32, bad: &[u8]| {
            trees.write("bad", bad);
            let [first, second] = others;
            verb(&trees, name, &[first, second, "output"]).expect_error(code, &["bad\""]);
            assert!(!trees.path("output").exists());
        };
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            // The ninth byte is the version.
            check(if at == 8 { 2 } else { 12 }, &bad);
        }
        check(12, &[&good[..], b"\n"].concat());
        check(12, b"");
        check(12, b"something else altogether");
    }
    assert_eq!(names(&trees), ["bad", "basis", "delta", "new", "signature"]);
}

#[test]
fn signature_and_delta_are_not_mistaken_for_each_other() {
    let trees = small_delta();
    verb(&trees, "signature", &["basis", "signature"]).expect(0);
    verb(&trees, "patch", &["basis", "signature", "x"])
        .expect_error(12, &["is a signature, not a delta"]);
    verb(&trees, "delta", &["delta", "new", "x"])
        .expect_error(12, &["is a delta, not a signature"]);
}

#[test]
fn a_wrong_basis_changes_nothing() {
    let trees = small_delta();
    trees.write("output", "old");
    let mut same_len = trees.read("basis");
    same_len[4999] ^= 1;
    trees.write("same-len", &same_len);
    let wrong = |basis, words: &[&str]| {
        verb(&trees, "patch", &[basis, "delta", "output"]).expect_error(3, words);
    };
    wrong("new", &["new\" has 5008 bytes", "of 5000"]);
    wrong("same-len", &["same-len\" is not the basis"]);
    assert_eq!(trees.read("output"), b"old");
    assert_eq!(
        names(&trees),
        ["basis", "delta", "new", "output", "same-len"]
    );
}

#[test]
fn what_has_gone_to_standard_output_is_disowned() {
    let trees = TempTree::new();
    let basis = Rng::new(1).bytes(600_000);
    trees.write("basis", &basis);
    trees.write("new", [&basis[..], b"more"].concat());
    verb(&trees, "signature", &["basis", "s"]).expect(0);
    verb(&trees, "delta", &["s", "new", "delta"]).expect(0);
    let mut same_len = basis;
    same_len[0] ^= 1;
    trees.write("same-len", &same_len);
    let line = "hasync patch same-len delta >result";
    shell(&trees, line).expect_error(3, &["same-len\" is not the basis", "throw away"]);
    // Nothing has gone out yet when the length is wrong.
    let done = shell(&trees, "hasync patch new delta >result").expect(3);
    assert!(!done.stderr.contains("throw away"), "{done}");
    assert!(trees.read("result").is_empty());
}

#[test]
fn a_delta_that_ends_in_the_middle_leaves_no_result() {
    let trees = small_delta();
    trees.write("output", "old");
    let line = "head -c 60 delta | hasync patch basis - output";
    shell(&trees, line).expect_error(12, &["standard input", "cut off after 60 bytes"]);
    assert_eq!(trees.read("output"), b"old");
    let line = "hasync delta delta new | hasync patch basis - output";
    let done = shell(&trees, line).expect(12);
    assert_eq!(done.stderr.lines().count(), 2, "each half says why\n{done}");
    assert_eq!(trees.read("output"), b"old");
}

#[test]
fn what_cannot_be_opened_is_named() {
    need_root();
    let reachable = Reachable::new();
    let trees = small_delta();
    verb(&trees, "signature", &["basis", "signature"]).expect(0);
    trees.mkdir("dir");
    for (name, files) in [
        ("signature", vec!["missing", "x"]),
        ("delta", vec!["missing", "new", "x"]),
        ("delta", vec!["signature", "missing", "x"]),
        ("patch", vec!["missing", "delta", "x"]),
        ("patch", vec!["basis", "missing", "x"]),
        ("signature", vec!["basis", "missing/x"]),
    ] {
        verb(&trees, name, &files).expect_error(11, &["missing", "no such file"]);
    }
    verb(&trees, "signature", &["dir", "x"]).expect_error(11, &["dir\"", "is a directory"]);
    for secret in ["basis", "new", "delta", "signature"] {
        trees.chmod(secret, 0o600);
    }
    trees.write("mine", "1");
    let by_nobody = |verb: &str, files: &[&str], secret: &str| {
        let paths = files.iter().map(|file| trees.text(file));
        Hasync::new()
            .arg(verb)
            .args(paths)
            .by_nobody(&reachable)
            .run()
            .expect_error(11, &[&format!("{secret}\""), "permission denied"]);
    };
    by_nobody("signature", &["basis", "x"], "basis");
    by_nobody("delta", &["signature", "mine", "x"], "signature");
    by_nobody("patch", &["basis", "delta", "x"], "basis");
    by_nobody("patch", &["mine", "delta", "x"], "delta");
    by_nobody("signature", &["mine", "x"], "x");
    assert!(!trees.path("x").exists());
}
