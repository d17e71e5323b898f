//! The verbs, by what one wants: the help lists them so, and every other list of them is made from
//! this one.

use clap::Command;

/// What one wants, and the verbs for it.
pub(super) const GROUPS: [(&str, &[&str]); 6] = [
    ("Mirror", &["push", "cycle", "serve", "plan"]),
    ("Look", &["status", "check", "log", "diverged", "role"]),
    ("Go back", &["undo", "kept"]),
    (
        "Fail over",
        &[
            "mirror",
            "ocf",
            "keepalived",
            "promote",
            "demote",
            "recover",
            "adopt",
        ],
    ),
    (
        "Set up",
        &[
            "demo",
            "init",
            "pair",
            "check-config",
            "help",
            "man",
            "completions",
        ],
    ),
    ("Carry by hand", &["signature", "delta", "patch"]),
];

/// All verbs, in the order of the help.
pub(super) fn verbs() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|(_, verbs)| verbs.iter().copied())
}

/// Has the help list the verbs by group.
pub(super) fn by_group(command: Command) -> Command {
    let width = verbs().map(str::len).max().unwrap_or_default();
    let mut template = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (wish, verbs) in GROUPS {
        template.push_str(&format!("\n{wish}:\n"));
        for verb in verbs {
            let found = command.find_subcommand(verb);
            let about = found.and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            template.push_str(&format!("  {verb:width$}  {about}\n"));
        }
    }
    template.push_str("\nOptions:\n{options}{after-help}");
    command.help_template(template)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_verb_stands_in_one_group_with_a_line_that_fits() {
        let command = super::super::command();
        let there: BTreeSet<&str> = command
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
            .map(Command::get_name)
            .collect();
        assert_eq!(verbs().collect::<BTreeSet<_>>(), there);
        assert_eq!(verbs().count(), there.len());
        let help = command.clone().render_help().to_string();
        for (wish, _) in GROUPS {
            assert!(help.contains(&format!("\n{wish}:\n")), "{help}");
        }
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
