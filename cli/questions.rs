//! Questions to the person at the terminal. A script has nobody to ask: it is told the options
//! that answer in its place.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::exit::Failure;
use crate::out;

/// How often one question is asked.
const TRIES_MAX: usize = 10;

/// Whether anybody is there to answer.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// The answer to a question, without blanks around it. `options` answer it in a script.
pub(crate) fn ask(question: &str, options: &str) -> Result<String, Failure> {
    if !can_ask() {
        return Err(Failure::usage(format!(
            "nobody is at the terminal to be asked \"{question}\"; give {options}"
        )));
    }
    let failed = |e: io::Error| Failure::cannot("ask at the terminal", &e);
    let mut terminal = io::stderr();
    write!(terminal, "{question} ")
        .and_then(|()| terminal.flush())
        .map_err(failed)?;
    let mut answer = String::new();
    match io::stdin().lock().read_line(&mut answer).map_err(failed)? {
        0 => Err(Failure::usage("the question was not answered")),
        _ => Ok(answer.trim().to_owned()),
    }
}

/// An answer that makes sense: whoever gives another one is told why, and asked again.
pub(crate) fn ask_until<T>(
    question: &str,
    options: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Failure> {
    for _ in 0..TRIES_MAX {
        match parse(&ask(question, options)?) {
            Ok(answer) => return Ok(answer),
            Err(why) => out::error(&why),
        }
    }
    Err(Failure::usage(format!(
        "none of {TRIES_MAX} answers to \"{question}\" made sense; give {options}"
    )))
}

/// Whether the answer is yes; anything else is no.
pub(crate) fn confirm(question: &str, options: &str) -> Result<bool, Failure> {
    let answer = ask(question, options)?;
    Ok(["y", "yes"].contains(&answer.to_ascii_lowercase().as_str()))
}
