//! Rules about names of extended attributes (modifier `x`). What one excludes on either side is not
//! sent; what one excludes on the receiving side is, on an entry that stays there, neither compared
//! nor removed. An entry that is made anew has none of those.

use std::sync::Arc;

use super::rule::FilterRule;
use super::segment::{Base, Question, Segment};
use super::terms::{Sense, Side, Subject};

/// Those among the rules of a push.
#[derive(Clone, Debug, Default)]
pub(crate) struct AttributeRules(Option<Arc<Segment>>);

impl AttributeRules {
    pub(crate) fn of(rules: &[FilterRule]) -> Self {
        let patterns = rules.iter().filter_map(|rule| match rule {
            FilterRule::Pattern(pattern) if pattern.subject == Subject::Attribute => Some(pattern),
            _ => None,
        });
        let segment = Segment::new(patterns, Base::Root);
        AttributeRules((segment.size().0 > 0).then(|| Arc::new(segment)))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether an attribute of that name is passed over on that side.
    pub(crate) fn exclude(&self, side: Side, name: &[u8]) -> bool {
        let asked = Question {
            path: name,
            is_dir: false,
            side,
            is_doomed: false,
            here: b"",
        };
        let decided = self.0.as_ref().and_then(|segment| segment.decide(&asked));
        decided == Some(Sense::Exclude)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::filter::RuleLine;

    #[test]
    fn the_first_rule_for_a_name_decides_and_those_for_files_do_not() {
        let rules = |lines: &[&str]| {
            let rule = |line: &&str| match RuleLine::parse(line.as_bytes()).unwrap() {
                RuleLine::Rule(pattern) => FilterRule::Pattern(pattern),
                other => unreachable!("{line}: {other:?}"),
            };
            let rules: Vec<FilterRule> = lines.iter().map(rule).collect();
            AttributeRules::of(&rules)
        };
        for (lines, side, name, excluded) in [
            (&["- user.*"][..], Side::Sender, "user.a", false),
            (&["-x user.*"], Side::Sender, "user.a", true),
            (&["-x user.*"], Side::Receiver, "user.a", true),
            (&["-x user.*"], Side::Receiver, "trusted.a", false),
            (
                &["+x user.keep", "-x user.*"],
                Side::Sender,
                "user.keep",
                false,
            ),
            (
                &["+x user.keep", "-x user.*"],
                Side::Sender,
                "user.other",
                true,
            ),
            (&["-x! user.*"], Side::Sender, "security.selinux", true),
            (&["-x! user.*"], Side::Sender, "user.a", false),
            (&["-sx user.a"], Side::Sender, "user.a", true),
            (&["-sx user.a"], Side::Receiver, "user.a", false),
        ] {
            let found = rules(lines).exclude(side, name.as_bytes());
            assert_eq!(found, excluded, "{lines:?} {side:?} {name}");
        }
        assert!(rules(&["- user.*"]).is_empty());
    }
}
