//! What keepalived says of its VRRP instances, a line each, and what that asks for.

use std::collections::BTreeMap;

/// What the mirror should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Started,
    Stopped,
}

impl Wanted {
    /// The action of `hasync mirror`.
    pub(super) fn action(self) -> &'static str {
        match self {
            Wanted::Started => "start",
            Wanted::Stopped => "stop",
        }
    }

    /// The same for messages.
    pub(super) fn shown(self) -> String {
        format!("hasync mirror {}", self.action())
    }
}

/// The newest state of each instance that counts.
pub(super) struct States {
    /// The only one that does, if one was named.
    only: Option<String>,
    is_master: BTreeMap<String, bool>,
    /// Something was heard, even if all of it is deleted by now.
    has_heard: bool,
}

impl States {
    pub(super) fn of(only: Option<&str>) -> Self {
        States {
            only: only.map(str::to_owned),
            is_master: BTreeMap::new(),
            has_heard: false,
        }
    }

    /// Takes a line in: `INSTANCE "NAME" STATE PRIORITY`. Groups, priorities and states that say
    /// nothing of who has the address change nothing.
    pub(super) fn heard(&mut self, line: &str) {
        let Some((name, state)) = instance(line) else {
            return;
        };
        if self.only.as_ref().is_some_and(|only| only != name) {
            return;
        }
        match state {
            "MASTER" => drop(self.is_master.insert(name.to_owned(), true)),
            "BACKUP" | "FAULT" | "STOP" => drop(self.is_master.insert(name.to_owned(), false)),
            "DELETED" => drop(self.is_master.remove(name)),
            _ => return,
        }
        self.has_heard = true;
    }

    /// The service is here while all instances are; `None` while nothing was heard.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let is_here = !self.is_master.is_empty() && self.is_master.values().all(|is| *is);
        self.has_heard.then_some(match is_here {
            true => Wanted::Started,
            false => Wanted::Stopped,
        })
    }
}

/// The name and the state in a line about an instance.
fn instance(line: &str) -> Option<(&str, &str)> {
    let named = line.strip_prefix("INSTANCE ")?.trim_start();
    let (name, rest) = match named.strip_prefix('"') {
        Some(quoted) => quoted.rsplit_once('"')?,
        None => named.split_once(' ')?,
    };
    Some((name, rest.split_whitespace().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_state_of_each_instance_counts() {
        use Wanted::{Started, Stopped};
        let only = Some("HA");
        for (only, lines, expected) in [
            (None, &[][..], None),
            (None, &["INSTANCE \"HA\" MASTER 100"], Some(Started)),
            (None, &["INSTANCE \"HA\" BACKUP 100"], Some(Stopped)),
            (None, &["INSTANCE \"HA\" FAULT 100"], Some(Stopped)),
            (
                None,
                &["INSTANCE \"HA\" MASTER 1", "INSTANCE \"HA\" STOP 1"],
                Some(Stopped),
            ),
            (
                None,
                &["INSTANCE \"HA\" MASTER 1", "INSTANCE \"HA\" DELETED 1"],
                Some(Stopped),
            ),
            (
                None,
                &["INSTANCE \"HA\" BACKUP 1", "INSTANCE \"HA\" MASTER 1"],
                Some(Started),
            ),
            // Without a priority, or quotes; a name with spaces.
            (None, &["INSTANCE \"HA\" MASTER"], Some(Started)),
            (None, &["INSTANCE HA MASTER 100"], Some(Started)),
            (
                Some("a \"b\" c"),
                &["INSTANCE \"a \"b\" c\" MASTER 100"],
                Some(Started),
            ),
            // Groups and priorities are nobody's state.
            (None, &["GROUP \"HA\" MASTER 100"], None),
            (
                None,
                &["INSTANCE \"HA\" MASTER 1", "GROUP \"G\" BACKUP 0"],
                Some(Started),
            ),
            (
                None,
                &[
                    "INSTANCE \"HA\" MASTER 1",
                    "INSTANCE \"HA\" MASTER_PRIORITY 9",
                ],
                Some(Started),
            ),
            (
                None,
                &[
                    "INSTANCE \"HA\" BACKUP 1",
                    "INSTANCE \"HA\" MASTER_PRIORITY 9",
                ],
                Some(Stopped),
            ),
            (
                None,
                &[
                    "INSTANCE \"HA\" MASTER 1",
                    "INSTANCE \"HA\" MASTER_RX_LOWER_PRI 1",
                ],
                Some(Started),
            ),
            // Several: the service is where all are.
            (
                None,
                &["INSTANCE \"HA\" MASTER 1", "INSTANCE \"HA6\" BACKUP 1"],
                Some(Stopped),
            ),
            (
                None,
                &["INSTANCE \"HA\" MASTER 1", "INSTANCE \"HA6\" MASTER 1"],
                Some(Started),
            ),
            (
                only,
                &["INSTANCE \"HA\" MASTER 1", "INSTANCE \"HA6\" BACKUP 1"],
                Some(Started),
            ),
            (only, &["INSTANCE \"HA6\" MASTER 1"], None),
            // Rubbish.
            (
                None,
                &[
                    "",
                    "INSTANCE",
                    "INSTANCE \"HA",
                    "INSTANCE \"HA\"",
                    "MASTER",
                    "\u{0}",
                ],
                None,
            ),
        ] {
            let mut states = States::of(only);
            lines.iter().for_each(|line| states.heard(line));
            assert_eq!(states.wanted(), expected, "{lines:?}");
        }
    }
}
