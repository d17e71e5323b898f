//! Test: PROTOCOL.md names every limit that the code enforces, with its value.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where each constant that looks like a limit has to be in the document, or among [`OWN`].
const ROOMS: [&str; 3] = ["wire", "session", "spill"];

/// Limits of what a half does by itself: no peer can tell whether it keeps to them.
const OWN: [&str; 26] = [
    "leases.rs BREAK_TIME_MAX",
    "pack.rs PACK_HEADER_LEN_MAX",
    "run.rs PACKED_LEN_MAX",
    "run.rs UNSEEN_MAX",
    "answer.rs ENTRY_LEN_MAX",
    "answer.rs POSITION_LEN_MAX",
    "bases.rs THREADS_MAX",
    "content.rs ASKED_MAX",
    "full.rs UNPLACED_LEN_MAX",
    "packs.rs PACKED_FILES_MAX",
    "packs.rs PACKED_LEN_MAX",
    "inbox.rs EASY_LEN_MAX",
    "links.rs NUMBER_LEN_MAX",
    "links.rs TAKEN_MAX",
    "drive.rs HANDLED_MAX",
    "deltas.rs PREPARED_MAX",
    "deltas.rs UNSETTLED_MAX",
    "connection.rs WORKERS_MAX",
    "patience.rs WAIT_MAX",
    "reader.rs NUMBER_LEN_MAX",
    "bare.rs DIRS_MAX",
    "report.rs REPLACEMENTS_MAX",
    "told.rs VERDICT_LEN_MAX",
    "window.rs ENTRIES_MAX",
    "writer.rs WAITING_LEN_MAX",
    "writer.rs SPARE_MAX",
];

/// The constants of a file, with their expressions.
fn constants(file: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let product = text.split("#[cfg(test)]\nmod tests {").next();
    let constant = |text: &str| {
        let (name, rest) = text.split_once(": ")?;
        let is_name = |b: u8| b.is_ascii_uppercase() || b == b'_';
        let (_, value) = rest.split_once(" = ")?;
        let (value, _) = value.split_once(';')?;
        let is_constant = name.bytes().all(is_name);
        is_constant.then(|| (name.to_owned(), value.to_owned()))
    };
    let constants = product.unwrap_or_default().split("const ").skip(1);
    constants.filter_map(constant).collect()
}

fn says_limit(name: &str) -> bool {
    ["MAX", "LIMIT", "WINDOW_LOG"]
        .iter()
        .any(|word| name.contains(word))
}

/// The value of an expression of integers, durations in milliseconds, and other limits.
fn value(expression: &str, known: &BTreeMap<String, u64>) -> Option<u64> {
    let fold = |operator: &str, apply: fn(u64, u64) -> Option<u64>| -> Option<u64> {
        let mut parts = expression
            .split(operator)
            .map(|part| value(part.trim(), known));
        let first = parts.next()??;
        parts.try_fold(first, |sum, part| apply(sum, part?))
    };
    for (unit, in_ms) in [("secs", 1000), ("millis", 1)] {
        let inner = expression.strip_prefix(&format!("Duration::from_{unit}("));
        if let Some(inner) = inner.and_then(|inner| inner.strip_suffix(')')) {
            return Some(value(inner, known)? * in_ms);
        }
    }
    if expression.contains("<<") {
        return fold("<<", |a, b| a.checked_shl(u32::try_from(b).ok()?));
    }
    if expression.contains('+') {
        return fold("+", u64::checked_add);
    }
    if expression.contains('*') {
        return fold("*", u64::checked_mul);
    }
    let number = expression.replace('_', "").parse().ok();
    number.or_else(|| known.get(expression).copied())
}

/// The rows of the table of limits: file, name, value.
fn told() -> Vec<(String, String, u64)> {
    let document = include_str!("../PROTOCOL.md");
    let (_, table) = document.split_once("\n## 12. Limits\n").unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let (file, name) = cells.next()?.strip_suffix('`')?.split_once("` `")?;
        let told = cells.next()?.replace(',', "").parse().ok()?;
        Some((file.to_owned(), name.to_owned(), told))
    };
    table.lines().filter_map(row).collect()
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["lies", "simulation"].contains(&&*name) {
            rust_files(&path, found);
        } else if name.ends_with(".rs") && !["tests.rs", "fuzzing.rs"].contains(&&*name) {
            found.push(path);
        }
    }
}

#[test]
fn the_document_tells_every_limit() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (told, mut wrong) = (told(), Vec::new());
    let known: BTreeMap<String, u64> = told
        .iter()
        .map(|(_, name, value)| (name.clone(), *value))
        .collect();
    for (file, name, told) in &told {
        let found = constants(&source.join(file));
        let found = found.iter().find(|(limit, _)| limit == name);
        match found.and_then(|(_, expression)| value(expression, &known)) {
            Some(value) if value == *told => {}
            value => wrong.push(format!("{file} {name}: {told} told, {value:?} there")),
        }
    }
    let mut files = Vec::new();
    let rooms = ROOMS.map(|room| source.join(room));
    rooms.iter().for_each(|room| rust_files(room, &mut files));
    for path in &files {
        let file = path
            .strip_prefix(&source)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let found = constants(path).into_iter().map(|(name, _)| name);
        for name in found.filter(|name| says_limit(name)) {
            let is_told = told
                .iter()
                .any(|(place, limit, _)| (place, limit) == (&file, &name));
            let of_own = format!("{} {name}", path.file_name().unwrap().to_string_lossy());
            if !is_told && !OWN.contains(&&*of_own) {
                wrong.push(format!("{file} {name} is not told"));
            }
        }
    }
    assert!(told.len() > 20, "{told:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
