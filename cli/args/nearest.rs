//! The option that somebody meant who typed one that is not there.

use clap::Command;

/// The long option of `verb` that is nearest to `typed`, with its dashes; `None` if none is near.
/// What would be refused is not offered, nor what was typed itself, and a negation only to who
/// typed one.
pub(super) fn option(verb: &Command, typed: &str) -> Option<String> {
    let typed = typed.strip_prefix("--")?;
    let typed = typed.split('=').next().unwrap_or(typed);
    let is_sensible = |name: &&str| {
        *name != typed
            && name.starts_with("no-") == typed.starts_with("no-")
            && !super::lists::is_refused(name)
    };
    let names = verb.get_arguments().flat_map(|arg| {
        let visible = arg.get_long().into_iter();
        visible.chain(arg.get_all_aliases().unwrap_or_default())
    });
    let rated = names
        .filter(is_sensible)
        .filter_map(|name| Some((distance(typed, name)?, name)));
    let (_, name) = rated.min()?;
    Some(format!("--{name}"))
}

/// How far a word is from a name; `None` if it is another word altogether. Who typed the beginning
/// of a name stopped short of it, all others slipped: a letter in three may be wrong.
fn distance(typed: &str, name: &str) -> Option<usize> {
    if typed.len() >= BEGINNING_LEN && name.starts_with(typed) {
        return Some(0);
    }
    let slips = slips(typed.as_bytes(), name.as_bytes());
    (slips <= typed.len().min(name.len()).div_ceil(3)).then_some(slips)
}

/// The least of a name that stands for it.
const BEGINNING_LEN: usize = 3;

/// Letters left out, put in, taken for another, or exchanged with their neighbour.
fn slips(from: &[u8], to: &[u8]) -> usize {
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut least = (rows[i][j] + usize::from(a != b))
                .min(rows[i][j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && from[i - 1] == *b && to[j - 1] == *a {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_a_finger_is_one() {
        for (typed, name, expected) in [
            ("delete", "delete", 0),
            ("delte", "delete", 1),
            ("deelte", "delete", 1),
            ("delett", "delete", 1),
            ("ab", "", 2),
        ] {
            assert_eq!(
                slips(typed.as_bytes(), name.as_bytes()),
                expected,
                "{typed}"
            );
        }
    }
}
