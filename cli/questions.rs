//! Questions to the person at the terminal. A script has nobody to ask: it is told the options
//! that answer in its place.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::exit::Failure;

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

/// Whether the answer is yes; anything else is no.
pub(crate) fn confirm(question: &str, options: &str) -> Result<bool, Failure> {
    let answer = ask(question, options)?;
    Ok(["y", "yes"].contains(&answer.to_ascii_lowercase().as_str()))
}
