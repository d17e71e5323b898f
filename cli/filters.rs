//! The filter options, in the order typed, as the engine's list of rules; reads the files that
//! they name.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use hasync_engine::filter::{CVS, Filter, FilterRule, Form, RuleLine, Sense};
use hasync_engine::{escape, open_file};

use crate::args::FilterWord;
use crate::exit::{self, Exit, Failure};

/// The most bytes read from one file of patterns.
const MAX_FILE_LEN: u64 = 16 * 1024 * 1024;

/// How deep files may name further ones.
const DEPTH_MAX: usize = 16;

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
    let mut filter = Filter::default();
    for word in asked.words {
        let (option, line) = match word {
            FilterWord::Exclude(text) => {
                let line = RuleLine::parse_arg(text.as_bytes(), Sense::Exclude);
                ("--exclude", line)
            }
            FilterWord::Include(text) => {
                let line = RuleLine::parse_arg(text.as_bytes(), Sense::Include);
                ("--include", line)
            }
            FilterWord::Filter(text) => ("--filter", RuleLine::parse(text.as_bytes())),
            FilterWord::ExcludeFrom(file) => {
                let form = Form::patterns(Sense::Exclude);
                add_file(&mut filter, "--exclude-from", file, &form, (asked.zeros, 0))?;
                continue;
            }
            FilterWord::IncludeFrom(file) => {
                let form = Form::patterns(Sense::Include);
                add_file(&mut filter, "--include-from", file, &form, (asked.zeros, 0))?;
                continue;
            }
        };
        let line = line.map_err(|cause| Failure::usage(format!("{option}: {cause}")))?;
        add(&mut filter, option, line, (asked.zeros, 0))?;
    }
    if asked.cvs {
        add_cvs(&mut filter, "-C")?;
    }
    let rules = filter.rules().to_vec();
    if asked.deletes_excluded {
        return Ok(rules.into_iter().map(FilterRule::hiding).collect());
    }
    Ok(rules)
}

/// Adds a rule, and what it names; the last says whether zero bytes end rules in files, and how
/// many files have led here.
fn add(
    filter: &mut Filter,
    option: &str,
    line: RuleLine,
    (zeros, depth): (bool, usize),
) -> Result<(), Failure> {
    match line {
        RuleLine::Nothing => {}
        RuleLine::Clear => filter.clear(),
        RuleLine::Rule(rule) => push(filter, option, rule)?,
        RuleLine::Cvs => add_cvs(filter, option)?,
        RuleLine::Merge(merge) if merge.per_dir => {
            return Err(Failure::usage(format!(
                "{option}: a file of rules in each directory (dir-merge) is not there yet; write \
                 the rules into one file, and use merge"
            )));
        }
        RuleLine::Merge(merge) => {
            if merge.excludes_itself {
                let name = merge.name.rsplit(|byte| *byte == b'/').next();
                let rule = FilterRule::exclude(name.unwrap_or(&merge.name));
                push(
                    filter,
                    option,
                    rule.map_err(|e| Failure::usage(e.to_string()))?,
                )?;
            }
            let file = Path::new(OsStr::from_bytes(&merge.name));
            add_file(filter, option, file, &merge.form, (zeros, depth))?;
        }
    }
    Ok(())
}

fn push(filter: &mut Filter, option: &str, rule: FilterRule) -> Result<(), Failure> {
    let pushed = filter.push(rule);
    pushed.map_err(|cause| Failure::usage(format!("{option}: {cause}")))
}

/// What CVS leaves out: everywhere, by the user's own list, and by the environment's. None of it
/// is worth keeping a directory that goes.
fn add_cvs(filter: &mut Filter, option: &str) -> Result<(), Failure> {
    let form = Form {
        words: true,
        clears: true,
        perishable: true,
        ..Form::patterns(Sense::Exclude)
    };
    let mut lists = vec![CVS.as_bytes().to_vec()];
    let home = std::env::var_os("HOME").map(PathBuf::from);
    if let Some(file) = home.map(|home| home.join(".cvsignore"))
        && let Ok(list) = read(&file)
    {
        lists.push(list);
    }
    lists.extend(std::env::var_os("CVSIGNORE").map(OsString::into_vec));
    for list in lists {
        let rules = RuleLine::of_file(&form, &list);
        let rules = rules.map_err(|cause| Failure::usage(format!("{option}: {cause}")))?;
        for line in rules {
            add(filter, option, line, (false, 0))?;
        }
    }
    Ok(())
}

fn add_file(
    filter: &mut Filter,
    option: &str,
    file: &Path,
    form: &Form,
    (zeros, depth): (bool, usize),
) -> Result<(), Failure> {
    let name = escape(file.as_os_str().as_bytes());
    if depth == DEPTH_MAX {
        return Err(Failure::usage(format!(
            "{option} \"{name}\": more than {DEPTH_MAX} files of rules name one another; write \
             the rules into one"
        )));
    }
    let contents = read(file).map_err(|cause| {
        let why = exit::cause(&cause);
        Failure::new(
            Exit::FileIo,
            format!("cannot read \"{name}\" of {option}: {why}"),
        )
    })?;
    let form = Form {
        zeros: zeros && !form.words,
        ..form.clone()
    };
    let of_file =
        |cause: &dyn std::fmt::Display| Failure::usage(format!("{option} \"{name}\": {cause}"));
    let lines = RuleLine::of_file(&form, &contents).map_err(|cause| of_file(&cause))?;
    for line in lines {
        match line {
            RuleLine::Rule(rule) => filter.push(rule).map_err(|cause| of_file(&cause))?,
            line => add(filter, option, line, (zeros, depth + 1))?,
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, std::io::Error> {
    let mut contents = Vec::new();
    let limited = |input: &mut dyn Read, contents: &mut Vec<u8>| {
        let len = input.take(MAX_FILE_LEN + 1).read_to_end(contents)?;
        if len as u64 > MAX_FILE_LEN {
            return Err(std::io::Error::other(format!(
                "longer than {MAX_FILE_LEN} bytes"
            )));
        }
        Ok(())
    };
    if file.as_os_str() == "-" {
        limited(&mut std::io::stdin().lock(), &mut contents)?;
    } else {
        // Its text decides what is deleted: nobody else puts another file in its place.
        let mut opened = open_file(file, &mut |_| Ok(()))?;
        limited(&mut opened, &mut contents)?;
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(words: &[FilterWord]) -> Result<Vec<FilterRule>, Failure> {
        rules(Asked {
            words,
            ..Asked::default()
        })
    }

    fn patterns(words: &[FilterWord]) -> Vec<(Sense, String)> {
        let rules = of(words).unwrap();
        let text = |rule: &FilterRule| String::from_utf8(rule.pattern().to_vec()).unwrap();
        rules
            .iter()
            .map(|rule| (rule.sense(), text(rule)))
            .collect()
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
        let expected = [
            (Sense::Include, "*/"),
            (Sense::Exclude, "*.bak"),
            (Sense::Include, "keep.o"),
            (Sense::Exclude, "*.o"),
        ];
        assert_eq!(
            patterns(&words),
            expected.map(|(sense, text)| (sense, text.to_owned()))
        );
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
        let found: Vec<&str> = found.iter().map(|(_, text)| &**text).collect();
        assert_eq!(found, ["a", "b", "c"]);
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
        let has = |pattern: &[u8]| found.iter().any(|rule| rule.pattern() == pattern);
        assert!(has(b"*.o") && has(b".git/") && has(b"*~"));
    }
}
