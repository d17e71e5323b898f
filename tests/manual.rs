//! The manual pages: they format without a warning, fit a terminal of 80 columns, and the tests
//! and files that the page on security names are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use walkdir::WalkDir;

use crate::support::{Hasync, TempTree};

const COLUMNS: usize = 80;

#[test]
fn every_page_formats_and_fits_a_terminal() {
    let dir = TempTree::new();
    Hasync::new()
        .args(["man", &dir.text("man")])
        .run()
        .expect(0);
    let mut pages = 0;
    for page in WalkDir::new(dir.path("man")) {
        let page = page.unwrap().into_path();
        if !page.is_file() {
            continue;
        }
        pages += 1;
        let formatted = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-P", "cat", "-l"])
            .arg(&page)
            .env("MANWIDTH", COLUMNS.to_string())
            .output()
            .unwrap();
        let warnings = String::from_utf8_lossy(&formatted.stderr).into_owned();
        assert!(
            formatted.status.success() && warnings.is_empty(),
            "{}: {warnings}",
            page.display()
        );
        let text = String::from_utf8(formatted.stdout).unwrap();
        let wide: Vec<&str> = text
            .lines()
            .filter(|line| line.chars().count() > COLUMNS)
            .collect();
        // The example of the configuration keeps its lines.
        let is_example = page.ends_with("hasync.toml.5");
        assert!(wide.is_empty() || is_example, "{page:?}: {wide:#?}");
    }
    assert!(pages > 10, "{pages} pages");
}

#[test]
fn the_tests_and_files_that_the_page_on_security_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("cli/manual/hasync-security.md")).unwrap();
    let spans: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let is_file = |span: &&&str| {
        let tops = ["cli/", "engine/", "transport/"];
        tops.iter().any(|top| span.starts_with(top))
    };
    let files: Vec<_> = spans.iter().filter(is_file).collect();
    assert!(files.len() > 40, "{files:?}");
    let missing: Vec<_> = files
        .iter()
        .filter(|file| !root.join(file).exists())
        .collect();
    assert!(missing.is_empty(), "no such file: {missing:#?}");
    let is_test = |name: &&&str| {
        name.matches('_').count() > 1
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let named: Vec<_> = spans.iter().filter(is_test).collect();
    assert!(named.len() > 20, "{named:?}");
    let mut tests = BTreeSet::new();
    for top in ["cli", "engine", "tests", "transport"] {
        let files = WalkDir::new(root.join(top)).into_iter().map(Result::unwrap);
        for file in files.filter(|file| file.path().extension().is_some_and(|ext| ext == "rs")) {
            let text = fs::read_to_string(file.path()).unwrap();
            let functions = text.lines().filter_map(|line| {
                let name = line.trim_start().strip_prefix("fn ")?;
                Some(name.split('(').next()?.to_owned())
            });
            tests.extend(functions);
        }
    }
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !tests.contains(***name))
        .collect();
    assert!(missing.is_empty(), "no such test: {missing:#?}");
}

/// Without man, and by every name that somebody may have seen.
#[test]
fn help_shows_each_page() {
    let help = |words: &[&str]| Hasync::new().arg("help").args(words).run();
    for (topics, words) in [
        (
            &["ha", "hasync-ha", "hasync-ha(7)", "ha(7)"][..],
            &["hasync-ha(7): ", "UNDER PACEMAKER", "crm_mon"][..],
        ),
        (
            &["toml", "hasync.toml", "hasync.toml(5)"],
            &["last_push = "],
        ),
        (&["security"], &["stopped by", "WHAT A KEY MAY DO"]),
        (&["push", "hasync-push", "hasync-push(8)"], &["--delete"]),
        (&["pair"], &["--root <DIR>", "WITHOUT SSHD"]),
        (&["delta"], &["delta SIGNATURE NEW", "hasync-delta(7): "]),
        (&["hasync", "hasync(8)"], &["Fail over:", "  ha "]),
    ] {
        for topic in topics {
            let text = help(&[topic]).expect(0).stdout_text();
            for word in words {
                assert!(text.contains(word), "help {topic}: no {word:?} in\n{text}");
            }
        }
    }
    assert_eq!(help(&[]).expect(0).stdout, help(&["hasync"]).stdout);
    help(&["nonsense"]).expect_error(1, &["'nonsense'", "ha, trees, toml"]);
}
