//! What a wrong word on the command line is answered: clap's many forms of an error as one line of
//! ours, or as the help that was asked for.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{Typed, command, groups, nearest};
use crate::exit::{Exit, Failure};

/// What clap calls an error may be a wish for help.
pub(super) fn answer(error: &clap::Error, words: &[OsString]) -> Result<Typed, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Ok(Typed::Help(error.to_string(), Exit::Ok))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Ok(Typed::Help(error.to_string(), Exit::Usage))
        }
        _ => {
            let mut failure = usage(error, words);
            if words
                .get(1)
                .is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"))
            {
                failure
                    .message
                    .push_str("; options follow the verb: hasync push OPTIONS ...");
            }
            Err(failure)
        }
    }
}

/// clap's answer to `words` as one line of ours.
pub(super) fn usage(error: &clap::Error, words: &[OsString]) -> Failure {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let word = context(ContextKind::InvalidArg).unwrap_or_default();
    let line = match error.kind() {
        ErrorKind::UnknownArgument if is_after_dashes(&word, words) => {
            format!("unexpected '{word}' after '--', where nothing is expected; leave '--' out")
        }
        ErrorKind::UnknownArgument if word.starts_with('-') => {
            let hint = near(&word, words)
                .map_or_else(String::new, |near| format!("; did you mean {near}?"));
            format!("unknown option '{word}'{hint}")
        }
        ErrorKind::UnknownArgument => format!("unexpected word '{word}'"),
        ErrorKind::InvalidSubcommand => {
            let verb = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            let verbs: Vec<&str> = groups::verbs().collect();
            format!("unknown verb '{verb}'; the verbs are {}", verbs.join(", "))
        }
        ErrorKind::MissingRequiredArgument if word.contains("SRC") => {
            "a push needs at least one source and a destination".to_owned()
        }
        ErrorKind::MissingRequiredArgument => format!("{word} must be given too"),
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).as_deref() == Some("") => {
            format!("{word} needs a value")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue).unwrap_or_default();
            let known = context(ContextKind::ValidValue);
            let known = known.filter(|known| !known.is_empty());
            let why = std::error::Error::source(error).map(ToString::to_string);
            let why = known.map(|known| format!("it is one of {known}")).or(why);
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            format!("invalid value '{value}' for {word}{why}")
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    };
    Failure::usage(line)
}

/// Whether a word stands after `--` alone, where the verb in `words` takes none.
fn is_after_dashes(word: &str, words: &[OsString]) -> bool {
    let Some(at) = words.iter().position(|word| word == "--") else {
        return false;
    };
    let whole = command();
    let Some(verb) = words.get(1).and_then(|verb| whole.find_subcommand(verb)) else {
        return false;
    };
    let takes_words = verb.get_positionals().next().is_some();
    // Before the dashes it would be right.
    let mut longs = verb.get_arguments().filter_map(clap::Arg::get_long);
    let is_option = longs.any(|long| word.strip_prefix("--") == Some(long));
    let is_it = |other: &OsString| {
        let other = other.to_string_lossy();
        other == word || other.split('=').next() == Some(word)
    };
    !takes_words && (is_option || !words.iter().take(at).any(is_it))
}

/// The option of the verb in `words` that is nearest to one that it does not have.
fn near(option: &str, words: &[OsString]) -> Option<String> {
    let whole = command();
    let verb = whole.find_subcommand(words.get(1)?)?;
    nearest::option(verb, option)
}
