//! The house rules that a machine can check, over every file that git tracks: a Rust file says
//! first what it is for, is short, has short lines; nothing is left unfinished; no text names a
//! place that exists on one machine only.

use std::fs;
use std::path::Path;
use std::process::Command;

const MAX_COLUMNS: usize = 100;
const MAX_LINES: usize = 600;

/// Files with one of these endings are text that people write.
const TEXT_ENDINGS: [&str; 9] = [
    ".rs", ".py", ".toml", ".md", ".sh", ".yml", ".service", ".timer", ".ci/run",
];

/// What no text holds. Written in halves, or this file would be the first to break the rule.
const UNFINISHED: [&str; 3] = [
    concat!("to", "do!"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

#[test]
fn every_tracked_file_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join(".git").exists() {
        println!("skipped: not a git checkout, so there is no list of tracked files");
        return;
    }
    let listing = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root)
        .output()
        .expect("git runs");
    assert!(
        listing.status.success(),
        "{}",
        String::from_utf8_lossy(&listing.stderr)
    );
    let listing = String::from_utf8(listing.stdout).expect("tracked paths are UTF-8");
    let is_text = |path: &&str| TEXT_ENDINGS.iter().any(|ending| path.ends_with(ending));
    let (mut found, mut rust_files) = (Vec::new(), 0);
    for path in listing.split('\0').filter(is_text) {
        // A file that is deleted but not committed yet is tracked still.
        if let Ok(text) = fs::read_to_string(root.join(path)) {
            rust_files += usize::from(path.ends_with(".rs"));
            found.extend(faults(path, &text));
        }
    }
    assert!(rust_files > 0, "git lists no Rust file");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// What is wrong with one file, a line for each fault.
fn faults(path: &str, text: &str) -> Vec<String> {
    let is_rust = path.ends_with(".rs");
    // A manual for system administrators may well name the home of root.
    let machine_paths = &MACHINE_PATHS[..if path.ends_with(".md") { 1 } else { 2 }];
    let mut found = Vec::new();
    if is_rust && !text.starts_with("//!") {
        found.push(format!(
            "{path}:1: does not open with `//!` and what the file is for"
        ));
    }
    let line_count = text.lines().count();
    if is_rust && line_count > MAX_LINES {
        found.push(format!(
            "{path}: {line_count} lines, more than {MAX_LINES}: split it"
        ));
    }
    if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
        found.push(format!(
            "{path}:{line_count}: does not end with exactly one newline"
        ));
    }
    for (index, line) in text.split('\n').enumerate() {
        let mut say = |fault: &str| found.push(format!("{path}:{}: {fault}", index + 1));
        if is_rust && line.chars().count() > MAX_COLUMNS {
            say(&format!("more than {MAX_COLUMNS} columns"));
        }
        if line.contains('\t') {
            say("a tab");
        }
        if line.ends_with([' ', '\r']) {
            say("blanks at the end of the line");
        }
        if let Some(word) = UNFINISHED.iter().find(|word| holds_alone(line, word)) {
            say(&format!("`{word}`: finish it or leave it out"));
        }
        if let Some(place) = machine_paths.iter().find(|place| names_place(line, place)) {
            say(&format!("`{place}` is a place on one machine"));
        }
    }
    found
}

/// Whether `word` stands in `line` on its own: `mktemp` templates are rows of the letter X.
fn holds_alone(line: &str, word: &str) -> bool {
    let is_joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (
            line[..start].chars().next_back(),
            line[start + word.len()..].chars().next(),
        );
        !is_joined(before) && !is_joined(after)
    })
}

/// Whether `line` names something below the directory `place`, not merely one of that name
/// within a longer path.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.}*".contains(c))
    })
}

#[test]
fn each_fault_is_found() {
    let check = |path: &str, text: &str, expected: usize| {
        let found = faults(path, text);
        assert_eq!(found.len(), expected, "{path} {text:?}: {found:?}");
    };
    let [todo, fixme, xs] = UNFINISHED;
    let [workshop, home] = MACHINE_PATHS;
    check("a.rs", "//! A.\n\nfn a() {}\n", 0);
    check("a.md", "# A\n", 0);
    check("a.rs", "fn a() {}\n", 1);
    check("a.rs", "//! A.", 1);
    check("a.rs", "//! A.\n\n", 1);
    check("a.rs", &format!("//! {}\n", "é".repeat(MAX_COLUMNS - 4)), 0);
    check("a.rs", &format!("//! {}\n", "é".repeat(MAX_COLUMNS - 3)), 1);
    check("a.rs", &"//! A.\n".repeat(MAX_LINES), 0);
    check("a.rs", &"//! A.\n".repeat(MAX_LINES + 1), 1);
    check("a.toml", "a\tb \nc\r\n", 3);
    for unfinished in [
        format!("{todo}()"),
        format!("# {fixme}: later"),
        format!("{xs} why"),
    ] {
        check("a.sh", &format!("{unfinished}\n"), 1);
    }
    check("a.sh", &format!("mktemp a.{xs}{xs}\n"), 0);
    check("a.sh", &format!("cd {workshop}main\ncat '{home}a'\n"), 2);
    check("a.sh", &format!("cd target{workshop}main\n"), 0);
    check("a.md", &format!("{home}.ssh and {workshop}a\n"), 1);
}
