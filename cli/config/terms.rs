//! Where the configurations of the two nodes differ: key by key, by sums of what is written. What
//! each node has for itself is left out: who it is, and how it reaches the other one.

use hasync_engine::Term;

/// Keys of `[peer]` that are about both nodes.
const OF_BOTH: [&str; 2] = ["hosts", "check"];

/// The terms of a file.
pub(super) fn of(text: &str) -> Vec<Term> {
    let Ok(file) = toml::from_str::<toml::Table>(text) else {
        return Vec::new();
    };
    let mut terms = Vec::new();
    for (section, value) in &file {
        match (section.as_str(), value) {
            ("node", _) => {}
            ("tree", toml::Value::Array(trees)) => {
                for tree in trees.iter().filter_map(toml::Value::as_table) {
                    let name = tree.get("name").and_then(toml::Value::as_str);
                    for (key, value) in tree.iter().filter(|(key, _)| *key != "name") {
                        terms.push(term(name, key.clone(), value));
                    }
                }
            }
            (section, toml::Value::Table(keys)) => {
                let is_shared = |key: &str| section != "peer" || OF_BOTH.contains(&key);
                for (key, value) in keys.iter().filter(|(key, _)| is_shared(key)) {
                    terms.push(term(None, format!("[{section}] {key}"), value));
                }
            }
            _ => {}
        }
    }
    terms.sort();
    terms
}

fn term(tree: Option<&str>, key: String, value: &toml::Value) -> Term {
    let value = serde_json::to_vec(value).unwrap_or_default();
    Term::new(tree.map(str::to_owned), key, &value)
}

/// The places where they differ, each in a few words.
pub(crate) fn differences(here: &[Term], there: &[Term]) -> Vec<String> {
    let has = |terms: &[Term], name: &Option<String>| terms.iter().any(|one| one.tree == *name);
    let same = |one: &Term, other: &Term| one.tree == other.tree && one.key == other.key;
    let mut found = Vec::new();
    let sides = [(here, there, "here"), (there, here, "there")];
    for (own, other, side) in sides {
        for one in own {
            let line = match other.iter().find(|two| same(one, two)) {
                Some(two) if two.sum == one.sum || side == "there" => continue,
                Some(_) => one.key.clone(),
                None if !has(other, &one.tree) && one.tree.is_some() => {
                    format!("it is {side} alone, or not for the key")
                }
                None => format!("{} is {side} alone", one.key),
            };
            found.push(match &one.tree {
                Some(tree) => format!("tree {tree}: {line}"),
                None => line,
            });
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
        [node]
        name = \"foo0\"
        [peer]
        hosts = { foo0 = \"1\", foo1 = \"2\" }
        identity = \"/k\"
        [role]
        address = \"10.0.0.100\"
        [[tree]]
        name = \"html\"
        path = \"/srv/html\"
        filters = [\"- a\", \"- b\"]
        undo = { keep = 3 }
        [[tree]]
        name = \"mail\"
        path = \"/srv/mail\"
    ";

    #[test]
    fn each_difference_is_told_where_it_is() {
        for (old, new, expected) in [
            ("", "", ""),
            // What is each node's own, and what says the same in another way.
            ("foo0\"\n", "foo1\"\n", ""),
            ("/k", "/other", ""),
            ("[role]", "# remark\n[role]", ""),
            ("{ keep = 3 }", "{keep=3}", ""),
            ("= \"2\"", "= \"3\"", "[peer] hosts"),
            ("0.100", "0.101", "[role] address"),
            (
                "[role]\n        address",
                "[role]\n        command",
                "[role] address is here alone; [role] command is there alone",
            ),
            ("/srv/html", "/data/html", "tree html: path"),
            ("\"- a\", \"- b\"", "\"- b\", \"- a\"", "tree html: filters"),
            ("keep = 3", "keep = 5", "tree html: undo"),
            (
                "/srv/html\"",
                "/srv/html\"\ndelete = true",
                "tree html: delete is there alone",
            ),
            (
                "\"mail\"",
                "\"post\"",
                "tree mail: it is here alone, or not for the key; tree post: it is there alone, or \
                 not for the key",
            ),
            (
                "[role]",
                "[brake]\n        percent = 5\n        [role]",
                "[brake] percent is there alone",
            ),
        ] {
            let other = FILE.replacen(old, new, 1);
            let found = differences(&of(FILE), &of(&other)).join("; ");
            assert_eq!(found, expected, "{old} {new}");
        }
    }
}
