//! The words of `--info` that mean something here: `progress`, `progress2` and `stats`, with
//! rsync's levels. The others are refused rather than ignored.

use super::push::PushArgs;

/// One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// 0 is none, 1 a line for each file, 2 one line for all.
    Progress(u8),
    /// 0 is none.
    Stats(u8),
}

/// Reads one word. The error is for clap, which names the option and the word.
pub(crate) fn parse(typed: &str) -> Result<Word, String> {
    let typed = typed.to_ascii_lowercase();
    let name = typed.trim_end_matches(|c: char| c.is_ascii_digit());
    let level = match typed.get(name.len()..).unwrap_or_default() {
        "" => Ok(1),
        digits => digits.parse(),
    };
    match (name, level) {
        ("progress", Ok(level @ 0..=2)) => Ok(Word::Progress(level)),
        ("stats", Ok(level @ 0..=3)) => Ok(Word::Stats(level)),
        _ => Err("the words are progress, progress2 and stats, or with a 0 for none".to_owned()),
    }
}

/// Enters the words that were typed; the last one about a thing counts.
pub(super) fn apply(args: &mut PushArgs) {
    for word in &args.info {
        match *word {
            Word::Progress(level) => {
                args.progress = level == 1;
                args.total_progress = level == 2;
            }
            Word::Stats(level) => args.stats = level > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_levels() {
        assert_eq!(parse("progress2"), Ok(Word::Progress(2)));
        assert_eq!(parse("PROGRESS"), Ok(Word::Progress(1)));
        assert_eq!(parse("stats0"), Ok(Word::Stats(0)));
        for wrong in [
            "",
            "2",
            "progress3",
            "progress99",
            "flist",
            "name0",
            "progress2x",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
