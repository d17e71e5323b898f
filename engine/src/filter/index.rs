//! Which rules a path may match, by how it ends: of hundreds of rules a few are tried.

use std::collections::HashMap;

use super::matcher::{End, Matcher};

/// Places of rules, in order, by what ends the paths that they match.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    len: usize,
    /// By the whole last component.
    names: HashMap<Vec<u8>, Vec<usize>>,
    /// By the last byte.
    bytes: HashMap<u8, Vec<usize>>,
    /// Whatever the end.
    others: Vec<usize>,
}

impl Index {
    /// Adds the next rule; one that is negated matches whatever the end.
    pub(super) fn add(&mut self, matcher: &Matcher, negated: bool) {
        let at = self.len;
        self.len += 1;
        match matcher.end() {
            _ if negated => self.others.push(at),
            End::Name(name) => self.names.entry(name.to_vec()).or_default().push(at),
            End::Byte(byte) => self.bytes.entry(byte).or_default().push(at),
            End::Anything => self.others.push(at),
            End::Nothing => {}
        }
    }

    /// The first rule that `decides`, of those that `path` may match.
    pub(super) fn first(&self, path: &[u8], decides: impl Fn(usize) -> bool) -> Option<usize> {
        let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
        let lists = [
            self.names.get(name),
            path.last().and_then(|byte| self.bytes.get(byte)),
            Some(&self.others),
        ];
        let mut first: Option<usize> = None;
        for list in lists.into_iter().flatten() {
            let earlier = |at: &&usize| first.is_none_or(|first| **at < first);
            let found = list.iter().take_while(earlier).find(|at| decides(**at));
            first = found.copied().or(first);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::super::{Filter, FilterRule, Half, Pattern, Sense};

    proptest! {
        #[test]
        fn finds_what_trying_every_rule_finds(
            patterns in prop::collection::vec("[+-][!]?[/]?[ab*?.]{1,3}[/]?[ab*]{0,3}", 1..30),
            paths in prop::collection::vec("[ab.]{1,2}(/[ab.]{1,3}){0,2}", 1..20),
        ) {
            let mut all = Vec::new();
            let mut each: Vec<(Filter, Sense)> = Vec::new();
            for pattern in &patterns {
                let (sense, rest) = match pattern.strip_prefix('+') {
                    Some(rest) => (Sense::Include, rest),
                    None => (Sense::Exclude, pattern.get(1..).unwrap()),
                };
                let (negated, rest) = match rest.strip_prefix('!') {
                    Some(rest) => (true, rest),
                    None => (false, rest),
                };
                let one = Pattern::new(Sense::Exclude, rest.as_bytes()).unwrap();
                let one = Pattern { negated, ..one };
                let rule = FilterRule::Pattern(one.clone());
                each.push((Filter::from_rules(vec![rule]).unwrap(), sense));
                all.push(FilterRule::Pattern(Pattern { sense, ..one }));
            }
            let filter = Filter::from_rules(all).unwrap();
            for path in &paths {
                let (path, is_dir) = (path.as_bytes(), path.len() % 2 == 0);
                let hits = |one: &&(Filter, Sense)| one.0.passes_over(Half::Sender, path, is_dir);
                let expected = each.iter().find(hits).is_some_and(|one| one.1 == Sense::Exclude);
                prop_assert_eq!(filter.passes_over(Half::Sender, path, is_dir), expected);
            }
        }
    }
}
