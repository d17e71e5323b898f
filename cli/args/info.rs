//! The words of `--info`, with rsync's levels. Some name what is never said here, and are taken
//! without a word.

use crate::report::Style;

/// One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    what: What,
    /// 0 is none.
    level: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    All,
    Help,
    Deletions,
    List,
    Mounts,
    Names,
    Odd,
    Progress,
    Skipped,
    Stats,
    /// Nothing that is told here.
    Unsaid,
}

const WORDS: [(&str, What); 16] = [
    ("help", What::Help),
    ("all", What::All),
    ("none", What::All),
    ("backup", What::Unsaid),
    ("copy", What::Unsaid),
    ("del", What::Deletions),
    ("flist", What::List),
    ("misc", What::Unsaid),
    ("mount", What::Mounts),
    ("name", What::Names),
    ("nonreg", What::Odd),
    ("progress", What::Progress),
    ("remove", What::Unsaid),
    ("skip", What::Skipped),
    ("stats", What::Stats),
    ("symsafe", What::Unsaid),
];

/// The highest level of any word.
const LEVEL_MAX: u8 = 4;

/// Reads one word. The error is for clap, which names the option and the word.
pub(crate) fn parse(typed: &str) -> Result<Word, String> {
    let typed = typed.to_ascii_lowercase();
    let name = typed.trim_end_matches(|c: char| c.is_ascii_digit());
    // As with rsync, a higher one is the highest.
    let level = match typed.get(name.len()..).unwrap_or_default() {
        "" => u8::from(name != "none"),
        digits => digits
            .parse()
            .map_or(LEVEL_MAX, |level: u8| level.min(LEVEL_MAX)),
    };
    match WORDS.iter().find(|(word, _)| *word == name) {
        Some((_, what)) => Ok(Word { what: *what, level }),
        None => {
            let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
            Err(format!(
                "the words are {}, each with a level or 0",
                words.join(" ")
            ))
        }
    }
}

/// What the words are, if that is asked for among these.
pub(super) fn help(asked: &[Word]) -> Option<String> {
    let is_help = |word: &Word| word.what == What::Help;
    asked.iter().any(is_help).then(|| {
        let told = WORDS.iter().filter(|(_, what)| *what != What::Help);
        let line = |(word, what): &(&str, What)| format!("  {word:<10}{}\n", what.text());
        let lines: String = told.map(line).collect();
        format!("The words of --info, each with a level behind it, or 0 for none of it:\n{lines}")
    })
}

impl What {
    fn text(self) -> &'static str {
        match self {
            What::All => "all that follow, or none of them",
            What::Help => "these words",
            What::Deletions => "names of what is deleted",
            What::List => "that the file list is sent",
            What::Names => "names of what changes; name2: of what stays as it is too",
            What::Odd => "names of what is left out for its type",
            What::Progress => "how each file gets on; progress2: all files at once",
            What::Skipped => "names of files that are newer in DST",
            What::Stats => "bytes at the end; stats2: counts as well",
            What::Mounts => "names of mount points that -xx leaves out",
            What::Unsaid => "taken, and never said",
        }
    }
}

impl Word {
    /// Enters the word; of several about a thing the last counts.
    pub(crate) fn apply(self, style: &mut Style) {
        let (is_on, is_more) = (self.level > 0, self.level > 1);
        match self.what {
            What::All => {
                let others = WORDS.iter().filter(|(_, what)| *what != What::All);
                for (_, what) in others {
                    Word {
                        what: *what,
                        ..self
                    }
                    .apply(style);
                }
            }
            What::Deletions => style.deletions = is_on,
            What::List => style.announces = is_on,
            What::Names => (style.names, style.unchanged) = (is_on, is_more),
            What::Odd => style.hides_odd = !is_on,
            What::Progress => {
                style.progress = self.level == 1;
                style.total_progress = is_more;
            }
            What::Skipped => style.newer = is_on,
            What::Mounts => style.mounts = is_on,
            What::Stats => (style.closes, style.stats) = (is_on, is_more),
            What::Help | What::Unsaid => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn style(words: &str) -> Style {
        let mut style = Style::default();
        for word in words.split(',') {
            parse(word).unwrap().apply(&mut style);
        }
        style
    }

    #[test]
    fn words_have_levels() {
        assert!(style("progress2").total_progress && !style("progress2").progress);
        assert!(style("PROGRESS").progress);
        assert!(style("stats2").stats && !style("stats1").stats && style("stats").closes);
        assert!(style("name2").unchanged && !style("name").unchanged && style("name").names);
        assert!(style("del").deletions && !style("all,del0").deletions);
        assert!(style("skip").newer && style("flist").announces && style("nonreg0").hides_odd);
        assert_eq!(style("all,none"), style("nonreg0"));
        assert!(help(&[parse("name").unwrap()]).is_none());
        let told = help(&[parse("name").unwrap(), parse("help").unwrap()]).unwrap();
        assert!(
            WORDS[1..]
                .iter()
                .all(|(word, _)| told.contains(&format!("  {word} ")))
        );
        let highest = "progress99999999999999999999";
        assert!(style(highest).total_progress && style("stats9").stats);
        for wrong in ["", "2", "lists", "progress2x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
