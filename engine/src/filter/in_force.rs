//! The rules that count for the entries of one directory.

use std::sync::Arc;

use super::rule::{FilterRule, PerDir};
use super::segment::{Base, Question, Segment};
use super::terms::{Half, MAX_FILTER_LEN, MAX_RULES, Sense, Side, Subject};

/// The rules in force in one directory, the first to match first.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    segments: Vec<Arc<Segment>>,
    /// What is looked for in the directories below.
    pub(super) sought: Vec<Sought>,
    /// The full path of the root, without a slash in front and with one behind.
    pub(super) here: Arc<[u8]>,
    /// Some rules count for one side alone, or not everywhere.
    is_special: bool,
}

/// Files of rules that are looked for, and what those say that count.
#[derive(Clone, Debug)]
pub(super) struct Sought {
    pub(super) files: Arc<PerDir>,
    /// Of the nearest directory first.
    pub(super) found: Vec<Arc<Block>>,
    /// The directories above the transfer have been looked through.
    pub(super) is_begun: bool,
}

/// The rules of one origin, with the places of files that stand among them.
#[derive(Debug, Default)]
pub(super) struct Block {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Rules(Arc<Segment>),
    /// What is sought by this number.
    Sought(usize),
}

impl Sought {
    fn new(files: &PerDir) -> Self {
        Sought {
            files: Arc::new(files.clone()),
            found: Vec::new(),
            is_begun: false,
        }
    }
}

impl Block {
    /// Compiles rules, and adds the files that they look for to those that are sought; whose name
    /// is looked for already is not sought twice.
    pub(super) fn new(rules: &[FilterRule], base: &Base, sought: &mut Vec<Sought>) -> Self {
        let mut parts = Vec::new();
        let mut patterns = Vec::new();
        let together = |patterns: &mut Vec<_>| {
            let segment = Segment::new(patterns.drain(..), base.clone());
            (segment.size().0 > 0).then(|| Part::Rules(Arc::new(segment)))
        };
        for rule in rules {
            match rule {
                FilterRule::Pattern(pattern) if pattern.subject == Subject::Attribute => {}
                FilterRule::Pattern(pattern) => patterns.push(pattern),
                FilterRule::PerDir(files) => {
                    let name = files.file_name();
                    if sought.iter().any(|sought| sought.files.file_name() == name) {
                        continue;
                    }
                    parts.extend(together(&mut patterns));
                    parts.push(Part::Sought(sought.len()));
                    sought.push(Sought::new(files));
                }
            }
        }
        parts.extend(together(&mut patterns));
        Block { parts }
    }

    /// How many bytes its patterns have.
    pub(super) fn text_len(&self) -> usize {
        let lens = self.parts.iter().map(|part| match part {
            Part::Rules(segment) => segment.size().1,
            Part::Sought(_) => 0,
        });
        lens.sum()
    }

    /// Adds the rules in the order in which they count. What is sought by a rule was added behind
    /// that by which its file was found, so that this comes to an end.
    fn put_into(&self, segments: &mut Vec<Arc<Segment>>, sought: &[Sought]) {
        for part in &self.parts {
            match part {
                Part::Rules(segment) => segments.push(Arc::clone(segment)),
                Part::Sought(number) => {
                    let found = sought.get(*number).map(|sought| &sought.found);
                    for block in found.into_iter().flatten() {
                        block.put_into(segments, sought);
                    }
                }
            }
        }
    }
}

impl InForce {
    /// What counts with these rules, and with what has been found of the files that they look for.
    /// `None` if that is more than a filter holds.
    pub(super) fn new(top: &Block, sought: Vec<Sought>, here: Arc<[u8]>) -> Option<Self> {
        let mut segments = Vec::new();
        top.put_into(&mut segments, &sought);
        let sizes = segments.iter().map(|segment| segment.size());
        let (rules, text_len) = sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
        let fits = rules <= MAX_RULES && text_len <= MAX_FILTER_LEN;
        fits.then_some(InForce {
            segments,
            sought,
            here,
            is_special: true,
        })
    }

    /// What leaves a path out for certain, on whatever side the files are that are looked for, and
    /// wherever the root is: what may let something in ends it, what may leave out more does not.
    pub(super) fn certain(rules: &[FilterRule]) -> Self {
        let lets_in = |rule: &&FilterRule| match rule {
            FilterRule::Pattern(pattern) => {
                pattern.subject == Subject::FullPath && pattern.sense == Sense::Include
            }
            FilterRule::PerDir(files) => files.may_include(),
        };
        let known = rules.iter().take_while(|rule| !lets_in(rule));
        let patterns = known.filter_map(|rule| match rule {
            FilterRule::Pattern(pattern) if pattern.subject == Subject::Path => Some(pattern),
            _ => None,
        });
        let patterns: Vec<_> = patterns.collect();
        InForce {
            is_special: !patterns.iter().all(|pattern| pattern.is_plain()),
            segments: vec![Arc::new(Segment::new(patterns, Base::Root))],
            ..InForce::default()
        }
    }

    /// Whether a half passes over `path`, relative to the transfer root and without a leading
    /// slash, when it reads its tree. The sender's are not sent. Of the receiver's nothing is to be
    /// known that is neither sent nor may be deleted.
    ///
    /// Only the path itself is judged: a walk that does not descend into an excluded directory
    /// never asks about what is below it. The transfer root (the empty path) is never excluded.
    pub(crate) fn passes_over(&self, half: Half, path: &[u8], is_dir: bool) -> bool {
        match half {
            Half::Sender => self.excludes(path, is_dir, Side::Sender, false),
            Half::Receiver if !self.is_special => {
                self.excludes(path, is_dir, Side::Receiver, false)
            }
            Half::Receiver => {
                self.excludes(path, is_dir, Side::Sender, false)
                    && self.excludes(path, is_dir, Side::Receiver, false)
            }
        }
    }

    /// Whether what the receiver has at `path` stays, though the source does not have it.
    pub(crate) fn protects(&self, path: &[u8], is_dir: bool) -> bool {
        self.excludes(path, is_dir, Side::Receiver, false)
    }

    /// The same of what is in a directory that is to go: perishable rules do not count there.
    pub(crate) fn protects_below(&self, path: &[u8], is_dir: bool) -> bool {
        self.excludes(path, is_dir, Side::Receiver, true)
    }

    /// Whether everything in the directory at `dir` is excluded for certain, whatever its name.
    pub(super) fn excludes_all_in(&self, dir: &[u8]) -> bool {
        let first = self.segments.first();
        first.is_some_and(|segment| segment.excludes_all_in(dir))
    }

    /// Whether the first rule that counts on `side` and matches excludes.
    fn excludes(&self, path: &[u8], is_dir: bool, side: Side, is_doomed: bool) -> bool {
        if path.is_empty() {
            return false;
        }
        let asked = Question {
            path,
            is_dir,
            side,
            is_doomed,
            here: &self.here,
        };
        let mut said = self
            .segments
            .iter()
            .filter_map(|segment| segment.decide(&asked));
        said.next() == Some(Sense::Exclude)
    }
}
