//! The filter options, in the order typed, as the engine's list of rules; reads the files that
//! they name.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hasync_engine::filter::{Filter, FilterRule, Sense};
use hasync_engine::{escape, open_file};

use crate::args::FilterWord;
use crate::exit::{self, Exit, Failure};

/// The most bytes read from one file of patterns.
const MAX_FILE_LEN: u64 = 16 * 1024 * 1024;

/// The rules that `words` ask for, first match first.
pub(crate) fn rules(words: &[FilterWord]) -> Result<Vec<FilterRule>, Failure> {
    let mut filter = Filter::default();
    for word in words {
        match word {
            FilterWord::Exclude(pattern) => filter
                .add_arg(Sense::Exclude, pattern.as_bytes())
                .map_err(|cause| Failure::usage(format!("--exclude: {cause}")))?,
            FilterWord::Include(pattern) => filter
                .add_arg(Sense::Include, pattern.as_bytes())
                .map_err(|cause| Failure::usage(format!("--include: {cause}")))?,
            FilterWord::ExcludeFrom(file) => add_file(&mut filter, Sense::Exclude, file)?,
            FilterWord::IncludeFrom(file) => add_file(&mut filter, Sense::Include, file)?,
        }
    }
    Ok(filter.rules().to_vec())
}

fn add_file(filter: &mut Filter, sense: Sense, file: &Path) -> Result<(), Failure> {
    let option = match sense {
        Sense::Exclude => "--exclude-from",
        Sense::Include => "--include-from",
    };
    let name = escape(file.as_os_str().as_bytes());
    let contents = read(file).map_err(|cause| {
        Failure::new(
            Exit::FileIo,
            format!(
                "cannot read \"{name}\" of {option}: {}",
                exit::cause(&cause)
            ),
        )
    })?;
    filter
        .add_file(sense, &contents)
        .map_err(|cause| Failure::usage(format!("{option} \"{name}\": {cause}")))
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

    fn patterns(words: &[FilterWord]) -> Vec<(Sense, String)> {
        let rules = rules(words).unwrap();
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
        let failure = rules(&[FilterWord::ExcludeFrom("/nonexistent/rules".into())]).unwrap_err();
        assert_eq!(failure.exit, Exit::FileIo);
        assert!(
            failure.message.contains("/nonexistent/rules"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn a_prefix_alone_is_refused() {
        let failure = rules(&[FilterWord::Exclude("+ ".into())]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.message.starts_with("--exclude: "),
            "{}",
            failure.message
        );
    }
}
