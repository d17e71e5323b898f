//! The rules of the engine's house: who may know whom, and how large a room may be. A file imports
//! no file that leads back to it, but for a module and its own children. What breaks a rule today
//! stands in a list below, with the reason; an entry that is needed no more fails the test, so the
//! lists only get shorter.

mod exceptions;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use exceptions::{CIRCLES, LONG_FILES, LONG_FUNCTIONS, WIDE_STRUCTS};

const FILE_LINES_MAX: usize = 500;
const FN_LINES_MAX: usize = 70;
const STRUCT_FIELDS_MAX: usize = 16;

/// One file of the engine, without its tests.
struct Source {
    /// Below `engine/src`.
    path: String,
    /// Names from the crate's root down to this module.
    module: Vec<String>,
    line_count: usize,
    /// Up to the tests.
    text: String,
}

#[test]
fn no_file_of_the_engine_leads_back_to_itself() {
    let sources = sources();
    let circles = circles(&imports(&sources));
    assert_excepted(&circles, CIRCLES);
}

#[test]
fn files_functions_and_structs_of_the_engine_are_small() {
    let (mut files, mut functions, mut structs) = (Vec::new(), Vec::new(), Vec::new());
    for source in sources() {
        if source.line_count > FILE_LINES_MAX {
            files.push(source.path.clone());
        }
        let named = |name: &str| format!("{} {name}", source.path);
        let long = blocks(&source.text, "fn ").filter(|(_, body)| body.len() > FN_LINES_MAX);
        functions.extend(long.map(|(name, _)| named(&name)));
        let wide = blocks(&source.text, "struct ").filter(|(_, body)| is_wide(body));
        structs.extend(wide.map(|(name, _)| named(&name)));
    }
    assert_excepted(&files, LONG_FILES);
    assert_excepted(&functions, LONG_FUNCTIONS);
    assert_excepted(&structs, WIDE_STRUCTS);
}

/// Each record on disk has the fields that the protocol lists, in order.
#[test]
fn the_protocol_lists_the_fields_of_records() {
    const RECORDS: [(&str, &str, &str); 12] = [
        ("fs/alike.rs", "Memory", "Memory"),
        ("lineage/record.rs", "NodeRecord", "NodeRecord"),
        ("lineage/record.rs", "Own", "Own"),
        ("lineage/record.rs", "Peer", "Peer"),
        ("lineage/generation.rs", "Partial", "Partial"),
        ("clock.rs", "AsOf", "AsOf"),
        ("history/journal.rs", "Journal", "Journal"),
        ("history/journal.rs", "Rest", "Rest"),
        ("change/op.rs", "SessionPlace", "Session"),
        ("change/op.rs", "Slot", "Slot"),
        ("fs/inode.rs", "Inode", "Inode"),
        ("fs/attrs.rs", "Attrs", "Attrs"),
    ];
    let protocol = include_str!("../engine/PROTOCOL.md");
    let sources = sources();
    for (path, name, listed_as) in RECORDS {
        let source = sources.iter().find(|source| source.path == path).unwrap();
        let (_, body) = blocks(&source.text, "struct ")
            .find(|(found, _)| found == name)
            .unwrap();
        let fields = body.iter().filter_map(|line| {
            let (field, _) = line.trim().split_once(": ")?;
            let field = field.rsplit(' ').next()?;
            (!line.trim().starts_with(['/', '#'])).then(|| field.to_owned())
        });
        let row = format!("\n| `{listed_as}` | ");
        let (_, row) = protocol.split_once(&row).unwrap();
        // What explains a field stands in parentheses, and what explains all behind a colon.
        let row = row.lines().next().unwrap().split("`: ").next().unwrap();
        let (mut listed, mut depth) = (Vec::new(), 0);
        for (at, part) in row.split('`').enumerate() {
            if at % 2 == 0 {
                depth += part.matches('(').count();
                depth -= part.matches(')').count();
            } else if depth == 0 {
                listed.push(part.split(':').next().unwrap().to_owned());
            }
        }
        assert_eq!(listed, fields.collect::<Vec<_>>(), "{listed_as}");
    }
}

/// Exactly what is excepted has been found.
fn assert_excepted(found: &[String], excepted: &[(&str, &str)]) {
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let excepted: BTreeSet<&str> = excepted.iter().map(|(what, _)| *what).collect();
    let new: Vec<_> = found.difference(&excepted).collect();
    assert!(new.is_empty(), "against the rules of the house: {new:#?}");
    let gone: Vec<_> = excepted.difference(&found).collect();
    assert!(
        gone.is_empty(),
        "mended, so strike it off the list: {gone:#?}"
    );
}

fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/src");
    let mut sources = Vec::new();
    let mut dirs = vec![top.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if ["tests", "lies", "simulation"].contains(&name) {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(source(&top, &path));
            }
        }
    }
    assert!(sources.len() > 100, "the engine's sources are found");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn source(top: &Path, path: &PathBuf) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let path = path.strip_prefix(top).unwrap().to_str().unwrap();
    let stem = path.trim_end_matches(".rs").trim_end_matches("mod");
    let names = stem.split('/').filter(|name| !["", "lib"].contains(name));
    let product = text.split("\n#[cfg(test)]\n").next().unwrap();
    Source {
        path: path.to_owned(),
        module: names.map(str::to_owned).collect(),
        line_count: text.lines().count(),
        text: product.to_owned(),
    }
}

/// The name of each item of a kind, and its lines from the one that names it to the one that ends
/// it, which `rustfmt` indents alike.
fn blocks<'a>(text: &'a str, kind: &'a str) -> impl Iterator<Item = (String, Vec<&'a str>)> {
    const BEFORE: [&str; 4] = ["pub", "const", "async", "unsafe"];
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len()).filter_map(move |at| {
        let line = lines[at];
        let (before, after) = line.split_once(kind)?;
        let is_item = |word: &str| BEFORE.iter().any(|prefix| word.starts_with(prefix));
        if !before.split_whitespace().all(is_item) {
            return None;
        }
        let name = after.split(|c: char| !c.is_alphanumeric() && c != '_');
        let indent = &line[..line.len() - line.trim_start().len()];
        let rest = lines[at..].iter().copied();
        let is_last = |line: &str| {
            line.strip_prefix(indent)
                .is_some_and(|line| line.starts_with('}') || line.ends_with(';'))
        };
        let is_one_line = line.contains('{') && line.ends_with('}');
        let last = if is_one_line {
            0
        } else {
            rest.clone().position(is_last)?
        };
        let length = last + 1;
        Some((name.clone().next()?.to_owned(), rest.take(length).collect()))
    })
}

fn is_wide(body: &[&str]) -> bool {
    let first = |line: &&&str| {
        line.trim_start()
            .split([':', '('])
            .next()
            .map(str::to_owned)
    };
    let indent = body[0].len() - body[0].trim_start().len() + 4;
    let is_field = |line: &&&str| {
        let starts = line.len() - line.trim_start().len() == indent;
        starts && line.contains(": ") && first(line).is_some_and(|word| !word.starts_with("//"))
    };
    body.iter().filter(is_field).count() > STRUCT_FIELDS_MAX
}

/// Which file imports which, by position.
fn imports(sources: &[Source]) -> Vec<(String, BTreeSet<usize>)> {
    let positions = sources.iter().enumerate();
    let files: BTreeMap<&[String], usize> = positions.map(|(at, s)| (&*s.module, at)).collect();
    let handed_on: Vec<BTreeMap<String, Vec<String>>> = sources.iter().map(handed_on).collect();
    let lead = |mut path: Vec<String>| -> Option<usize> {
        // What a module hands on is in one of its children, or that hands it on itself.
        for _ in 0..10 {
            let known = (0..=path.len())
                .rev()
                .find(|&len| files.contains_key(&path[..len]))?;
            let at = files[&path[..known]];
            let target = path.get(known).and_then(|name| handed_on[at].get(name));
            let Some(target) = target else {
                return Some(at);
            };
            path = [target, &path[known + 1..]].concat();
        }
        None
    };
    let of_file = |(at, source): (usize, &Source)| {
        let targets = paths(source).into_iter().filter_map(&lead);
        let is_own = |other: &Source| {
            other.module.starts_with(&source.module) || source.module.starts_with(&other.module)
        };
        let others = targets.filter(|&to| to != at && !is_own(&sources[to]));
        (source.path.clone(), others.collect())
    };
    sources.iter().enumerate().map(of_file).collect()
}

/// All that a file names of its crate: full paths.
fn paths(source: &Source) -> Vec<Vec<String>> {
    let uses = uses(&source.text).into_iter().map(|(_, path)| path);
    let code = source
        .text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let inline = code.flat_map(|line| {
        let starts = line.match_indices("crate::").map(|(at, _)| &line[at..]);
        starts.map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
    });
    uses.chain(inline)
        .filter_map(|path| full(source, &path))
        .collect()
}

/// What a module hands on under a name, and from where.
fn handed_on(source: &Source) -> BTreeMap<String, Vec<String>> {
    let public = uses(&source.text)
        .into_iter()
        .filter(|(is_public, _)| *is_public);
    let named = public.filter_map(|(_, path)| {
        let path = full(source, &path)?;
        Some((path.last()?.clone(), path))
    });
    named.collect()
}

/// The `use` items of a file, one path each, and whether others may use them from here.
fn uses(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let code: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .collect();
    for item in code.join(" ").split(';') {
        let Some(at) = item
            .find("use ")
            .filter(|&at| at == 0 || item[..at].ends_with(' '))
        else {
            continue;
        };
        let is_public = item[..at]
            .trim_end()
            .rsplit(' ')
            .next()
            .is_some_and(|word| word.starts_with("pub"));
        expand("", item[at + 4..].trim(), &mut |path| {
            found.push((is_public, path));
        });
    }
    found
}

/// Takes the braces of a `use` apart.
fn expand(before: &str, tree: &str, give: &mut dyn FnMut(String)) {
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return give(format!("{before}{path}"));
    };
    let before = format!("{before}{}", &tree[..open]);
    let inside = tree[open + 1..].trim_end().trim_end_matches('}');
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inside[start..at].trim();
                if !part.is_empty() {
                    expand(&before, part, give);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// A path from the crate's root; `None` if it leads to another crate.
fn full(source: &Source, path: &str) -> Option<Vec<String>> {
    let mut words = path.split("::").peekable();
    let mut full = match words.next()? {
        "crate" => Vec::new(),
        "self" => source.module.clone(),
        "super" => source.module.split_last()?.1.to_vec(),
        // A child of this module, as `pub use child::Name` has it; other crates are found nowhere.
        first => [&source.module[..], &[first.to_owned()]].concat(),
    };
    while words.next_if_eq(&"super").is_some() {
        full.pop();
    }
    full.extend(
        words
            .filter(|word| !["self", "*", ""].contains(word))
            .map(str::to_owned),
    );
    Some(full)
}

/// The sets of files that lead to each other, each as the sorted names in one line.
fn circles(imports: &[(String, BTreeSet<usize>)]) -> Vec<String> {
    let reached = |from: usize| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            next.extend(imports[at].1.iter().copied().filter(|&to| seen.insert(to)));
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..imports.len()).map(reached).collect();
    let mut found = BTreeSet::new();
    for at in (0..imports.len()).filter(|&at| reached[at].contains(&at)) {
        let circle =
            (0..imports.len()).filter(|&to| reached[at].contains(&to) && reached[to].contains(&at));
        let names: Vec<&str> = circle.map(|at| imports[at].0.as_str()).collect();
        found.insert(names.join(" "));
    }
    found.into_iter().collect()
}

#[test]
fn each_kind_of_import_is_followed() {
    let file = |path: &str, text: &str| Source {
        path: path.to_owned(),
        module: path
            .split('/')
            .filter(|name| *name != "mod")
            .map(str::to_owned)
            .collect(),
        line_count: 0,
        text: text.to_owned(),
    };
    let sources = [
        file(
            "a/mod",
            "mod b;\npub(crate) use b::{B, other::Other as Else};",
        ),
        file("a/b", "use super::X;\nuse crate::{c::C, d::{self, D}};"),
        file("c", "fn f() { crate::a::B::new() }"),
        file("d", "//! crate::c::C\nuse std::fs;"),
    ];
    let found = circles(&imports(&sources));
    // `c` names what `a` hands on from `a/b`; that `a/b` and `a` know each other does not count.
    assert_eq!(found, ["a/b c"]);
}
