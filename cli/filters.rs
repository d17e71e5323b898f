//! The filter options, in the order typed, as the engine's list of rules; reads the files that
//! they name.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use hasync_engine::filter::{
    Files, FilterRule, Form, ListCause, ListError, RuleLine, RuleList, Sense,
};
use hasync_engine::open_file;

use crate::args::FilterWord;
use crate::exit::Failure;

/// The most bytes read from one file of patterns.
const MAX_FILE_LEN: u64 = 16 * 1024 * 1024;

/// The rules that `-F` stands for, the first time and the second.
const PER_DIR: [&str; 2] = [": /.rsync-filter", "- .rsync-filter"];

/// The rules that `-C` stands for, behind all others.
const CVS: [&str; 2] = [":C", "-C"];

/// What was typed about filters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// The options that hold or name rules, in their order.
    pub(crate) words: &'a [FilterWord],
    /// `-C`: what CVS leaves out is left out, behind all other rules.
    pub(crate) cvs: bool,
    /// `--delete-excluded`
    pub(crate) deletes_excluded: bool,
    /// `-0`: zero bytes end the rules in files.
    pub(crate) zeros: bool,
}

/// The rules that are asked for, first match first.
pub(crate) fn rules(asked: Asked<'_>) -> Result<Vec<FilterRule>, Failure> {
    let mut list = RuleList::new(asked.zeros);
    let mut per_dir = PER_DIR.iter();
    for word in asked.words {
        let parse = |rule: &[u8]| RuleLine::parse(rule);
        let (option, line) = match word {
            FilterWord::Exclude(text) => {
                let line = RuleLine::parse_arg(text.as_bytes(), Sense::Exclude);
                ("--exclude", line)
            }
            FilterWord::Include(text) => {
                let line = RuleLine::parse_arg(text.as_bytes(), Sense::Include);
                ("--include", line)
            }
            FilterWord::Filter(text) => ("--filter", parse(text.as_bytes())),
            FilterWord::PerDir => match per_dir.next() {
                Some(rule) => ("-F", parse(rule.as_bytes())),
                None => continue,
            },
            FilterWord::ExcludeFrom(file) => {
                add_file(&mut list, "--exclude-from", file, Sense::Exclude)?;
                continue;
            }
            FilterWord::IncludeFrom(file) => {
                add_file(&mut list, "--include-from", file, Sense::Include)?;
                continue;
            }
        };
        let line = line.map_err(|cause| Failure::usage(format!("{option}: {cause}")))?;
        let added = list.add(line, &mut FilterFiles);
        added.map_err(|cause| failure(option, &cause))?;
    }
    for rule in CVS.iter().filter(|_| asked.cvs) {
        let line = RuleLine::parse(rule.as_bytes());
        let line = line.map_err(|cause| Failure::usage(format!("-C: {cause}")))?;
        let added = list.add(line, &mut FilterFiles);
        added.map_err(|cause| failure("-C", &cause))?;
    }
    let rules = list.into_rules();
    if asked.deletes_excluded {
        return Ok(rules.into_iter().map(FilterRule::hiding).collect());
    }
    Ok(rules)
}

fn add_file(list: &mut RuleList, option: &str, file: &Path, sense: Sense) -> Result<(), Failure> {
    let name = file.as_os_str().as_bytes();
    let added = list.add_file(name, &Form::patterns(sense), &mut FilterFiles);
    added.map_err(|cause| failure(option, &cause))
}

fn failure(option: &str, e: &ListError) -> Failure {
    let ListError { file, cause } = e;
    match (file, cause) {
        (Some(file), ListCause::Unreadable(cause)) => {
            Failure::cannot(format!("read {file} of {option}"), cause)
        }
        (Some(_), _) => Failure::usage(format!("{option} {e}")),
        (None, _) => Failure::usage(format!("{option}: {e}")),
    }
}

/// The files that rules name, and what this user says to CVS.
pub(crate) struct FilterFiles;

impl Files for FilterFiles {
    fn read(&mut self, name: &[u8]) -> io::Result<Vec<u8>> {
        read(Path::new(OsStr::from_bytes(name)), MAX_FILE_LEN)
    }

    /// `~/.cvsignore`, if it can be read, and `$CVSIGNORE`.
    fn cvs(&mut self) -> Vec<Vec<u8>> {
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cvsignore"));
        let file = home.and_then(|file| read(&file, MAX_FILE_LEN).ok());
        let typed = std::env::var_os("CVSIGNORE").map(OsString::into_vec);
        file.into_iter().chain(typed).collect()
    }
}

/// Reads a file that says what is pushed or deleted, at most so many bytes; `-` is stdin. Nobody
/// else puts another file in its place.
pub(crate) fn read(file: &Path, len_max: u64) -> io::Result<Vec<u8>> {
    match file.as_os_str() == "-" {
        true => limited(&mut io::stdin().lock(), len_max),
        false => limited(&mut open_file(file, &mut |_| Ok(()))?, len_max),
    }
}

fn limited(input: &mut dyn Read, len_max: u64) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    let len = input.take(len_max + 1).read_to_end(&mut contents)?;
    if len as u64 > len_max {
        return Err(io::Error::other(format!("longer than {len_max} bytes")));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::exit::Exit;

    fn of(words: &[FilterWord]) -> Result<Vec<FilterRule>, Failure> {
        rules(Asked {
            words,
            ..Asked::default()
        })
    }

    fn patterns(words: &[FilterWord]) -> Vec<String> {
        let rules = of(words).unwrap();
        rules.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_and_files_make_one_list_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules");
        std::fs::write(&file, "# comment\n\n*.bak\n+ keep.o\n").unwrap();
        let words = [
            FilterWord::Include("*/".into()),
            FilterWord::ExcludeFrom(file),
            FilterWord::Exclude("*.o".into()),
        ];
        assert_eq!(patterns(&words), ["+ */", "- *.bak", "+ keep.o", "- *.o"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let failure = of(&[FilterWord::ExcludeFrom("/nonexistent/rules".into())]).unwrap_err();
        assert_eq!(failure.exit, Exit::FileIo);
        assert!(
            failure.message.contains("/nonexistent/rules"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn a_prefix_alone_is_refused() {
        let failure = of(&[FilterWord::Exclude("+ ".into())]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.message.starts_with("--exclude: "),
            "{}",
            failure.message
        );
    }

    #[test]
    fn files_name_further_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("outer"), format!("- a\n. {}\n- c\n", path("inner"))).unwrap();
        std::fs::write(path("inner"), "H b\n").unwrap();
        let found = patterns(&[FilterWord::Filter(
            format!("merge {}", path("outer")).into(),
        )]);
        assert_eq!(found, ["- a", "-s b", "- c"]);
        std::fs::write(path("inner"), format!(". {}\n", path("inner"))).unwrap();
        let failure = of(&[FilterWord::Filter(format!(". {}", path("inner")).into())]).unwrap_err();
        assert!(failure.message.contains("16 files"), "{}", failure.message);
    }

    #[test]
    fn no_text_of_a_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shadow");
        std::fs::write(&file, "root:secret:1\n").unwrap();
        let word = FilterWord::Filter(format!(". {}", file.display()).into());
        let failure = of(&[word]).unwrap_err();
        assert!(failure.message.contains("line 1: "), "{}", failure.message);
        assert!(!failure.message.contains("secret"), "{}", failure.message);
    }

    #[test]
    fn cvs_leaves_out_what_builds_leave_behind() {
        let asked = Asked {
            cvs: true,
            ..Asked::default()
        };
        let found = rules(asked).unwrap();
        let has = |rule: &str| found.iter().any(|found| found.to_string() == rule);
        assert!(has("-p *.o") && has("-p .git/") && has("-p *~") && has(":C .cvsignore"));
    }
}
