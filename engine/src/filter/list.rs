//! A list of rules as it comes together: from options and lines, from files that these name, and
//! from what CVS leaves out.

use std::fmt;
use std::io;

use super::error::FilterError;
use super::rule::{FilterRule, Pattern, PerDir};
use super::terms::{Form, MAX_FILTER_LEN, MAX_PER_DIR, MAX_RULES};
use super::written::{Merge, RuleLine};
use crate::path::Shown;

/// How deep files may name further ones.
const DEPTH_MAX: usize = 16;

/// What CVS leaves out everywhere, parted by blanks.
const CVS: &str = "RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo *~ \
                       #* .#* ,* _$* *$ *.old *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj \
                       *.so *.exe *.Z *.elc *.ln core .svn/ .git/ .hg/ .bzr/";

/// How a file is told that another one names.
const LED_TO: &str = "a file of rules that is named in ";

/// Rules in their order, within the limits.
#[derive(Clone, Debug, Default)]
pub struct RuleList {
    rules: Vec<FilterRule>,
    /// The lengths of all patterns together, at most [`MAX_FILTER_LEN`].
    text_len: usize,
    /// A rule has said that all before it count no more.
    is_cleared: bool,
    /// Zero bytes end the lines of files (`-0`).
    zeros: bool,
}

/// Reads the files that rules name.
pub trait Files {
    /// All that is in a file.
    fn read(&mut self, name: &[u8]) -> io::Result<Vec<u8>>;

    /// What CVS leaves out for this user, besides what it leaves out everywhere.
    fn cvs(&mut self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

/// Why something does not come into the list.
#[derive(Debug)]
pub struct ListError {
    /// The file that it is about, as far as it may be told: what a file says, nobody is told.
    pub file: Option<String>,
    /// What is wrong.
    pub cause: ListCause,
}

/// What is wrong with an addition to a list.
#[derive(Debug)]
pub enum ListCause {
    /// A rule.
    Rule(FilterError),
    /// The file cannot be read.
    Unreadable(io::Error),
    /// Files name one another too often.
    TooDeep,
}

/// Where a line stands: in which file, as far as it may be told, on which line, and how many files
/// led to it.
#[derive(Clone, Copy, Default)]
struct Within<'a> {
    file: Option<(&'a str, usize)>,
    depth: usize,
}

impl RuleList {
    /// An empty list; zero bytes end the lines of its files, if that is said.
    #[must_use]
    pub fn new(zeros: bool) -> Self {
        RuleList {
            zeros,
            ..RuleList::default()
        }
    }

    /// The rules, as they travel to the peer.
    #[must_use]
    pub fn into_rules(self) -> Vec<FilterRule> {
        self.rules
    }

    /// Whether what came before this list counts no more.
    pub(super) fn is_cleared(&self) -> bool {
        self.is_cleared
    }

    /// Appends a rule: it decides only where no earlier one does. Files that are looked for already
    /// are not looked for twice.
    pub fn push(&mut self, rule: FilterRule) -> Result<(), FilterError> {
        rule.check()?;
        let text_len = self.text_len + rule.text_len();
        if self.rules.len() >= MAX_RULES || text_len > MAX_FILTER_LEN {
            return Err(FilterError::TooMany);
        }
        if let FilterRule::PerDir(files) = &rule {
            if self.looks_for(files.file_name()) {
                return Ok(());
            }
            if self.per_dir().count() >= MAX_PER_DIR {
                return Err(FilterError::TooMany);
            }
        }
        self.text_len = text_len;
        self.rules.push(rule);
        Ok(())
    }

    fn looks_for(&self, name: &[u8]) -> bool {
        self.per_dir().any(|files| files.file_name() == name)
    }

    fn per_dir(&self) -> impl Iterator<Item = &PerDir> {
        self.rules.iter().filter_map(|rule| match rule {
            FilterRule::PerDir(files) => Some(files),
            FilterRule::Pattern(_) => None,
        })
    }

    fn clear(&mut self) {
        self.rules.clear();
        (self.text_len, self.is_cleared) = (0, true);
    }

    /// Adds what a line asks for, which was an option or stands in the configuration.
    pub fn add(&mut self, line: RuleLine, files: &mut dyn Files) -> Result<(), ListError> {
        self.take(line, files, Within::default())
    }

    /// Adds the rules of a file.
    pub fn add_file(
        &mut self,
        name: &[u8],
        form: &Form,
        files: &mut dyn Files,
    ) -> Result<(), ListError> {
        self.merge(name, form, files, Within::default())
    }

    /// Adds the rules that have been read from a file, which is told as `shown`.
    pub(super) fn add_contents(
        &mut self,
        (contents, shown): (&[u8], &str),
        form: &Form,
        files: &mut dyn Files,
    ) -> Result<(), ListError> {
        self.lines(contents, (shown, 1), form, files)
    }

    fn take(
        &mut self,
        line: RuleLine,
        files: &mut dyn Files,
        within: Within<'_>,
    ) -> Result<(), ListError> {
        let wrong = |cause| ListError {
            file: within.file.map(|(file, _)| file.to_owned()),
            cause: ListCause::Rule(match within.file {
                Some((_, number)) => FilterError::at_line(cause, number),
                None => cause,
            }),
        };
        match line {
            RuleLine::Nothing => {}
            RuleLine::Clear => self.clear(),
            RuleLine::Rule(pattern) => self.push(FilterRule::Pattern(pattern)).map_err(wrong)?,
            RuleLine::Cvs(form) => self.add_cvs(&form, files).map_err(wrong)?,
            RuleLine::Merge(merge) => {
                if merge.excludes_itself {
                    let name = merge.name.rsplit(|byte| *byte == b'/').next();
                    let rule = FilterRule::exclude(name.unwrap_or(&merge.name));
                    rule.and_then(|rule| self.push(rule)).map_err(wrong)?;
                }
                let zeros = self.zeros || merge.form.zeros;
                let form = Form {
                    zeros,
                    ..merge.form.clone()
                };
                if merge.per_dir {
                    let merge = Merge { form, ..merge };
                    let rule = FilterRule::PerDir(merge.into_per_dir());
                    self.push(rule).map_err(wrong)?;
                } else {
                    self.merge(&merge.name, &form, files, within)?;
                }
            }
        }
        Ok(())
    }

    fn merge(
        &mut self,
        name: &[u8],
        form: &Form,
        files: &mut dyn Files,
        within: Within<'_>,
    ) -> Result<(), ListError> {
        // A name that stands in a file is not told either.
        let shown = match within.file {
            None => Shown(name).to_string(),
            Some((file, _)) if file.starts_with(LED_TO) => file.to_owned(),
            Some((file, _)) => format!("{LED_TO}{file}"),
        };
        let fails = |cause| ListError {
            file: Some(shown.clone()),
            cause,
        };
        if within.depth == DEPTH_MAX {
            return Err(fails(ListCause::TooDeep));
        }
        let read = files.read(name);
        let contents = read.map_err(|cause| fails(ListCause::Unreadable(cause)))?;
        let form = Form {
            zeros: self.zeros || form.zeros,
            ..form.clone()
        };
        self.lines(&contents, (&shown, within.depth + 1), &form, files)
    }

    fn lines(
        &mut self,
        contents: &[u8],
        (shown, depth): (&str, usize),
        form: &Form,
        files: &mut dyn Files,
    ) -> Result<(), ListError> {
        let lines = RuleLine::of_file(form, contents).map_err(|cause| ListError {
            file: Some(shown.to_owned()),
            cause: ListCause::Rule(cause),
        })?;
        lines.into_iter().try_for_each(|(number, line)| {
            let file = Some((shown, number));
            self.take(line, files, Within { file, depth })
        })
    }

    /// What CVS leaves out: everywhere, which is worth keeping no directory that goes, and for this
    /// user. A `!` there forgets what comes before it of these alone.
    fn add_cvs(&mut self, form: &Form, files: &mut dyn Files) -> Result<(), FilterError> {
        let everywhere = Form {
            perishable: true,
            ..form.clone()
        };
        let mut found: Vec<Pattern> = Vec::new();
        let own = files.cvs().into_iter().map(|list| (list, form.clone()));
        let lists = std::iter::once((CVS.as_bytes().to_vec(), everywhere)).chain(own);
        for (list, form) in lists {
            for (_, line) in RuleLine::of_file(&form.cvs(), &list)? {
                match line {
                    RuleLine::Rule(pattern) => found.push(pattern),
                    RuleLine::Clear => found.clear(),
                    _ => {}
                }
            }
        }
        let mut rules = found.into_iter().map(FilterRule::Pattern);
        rules.try_for_each(|rule| self.push(rule))
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or("the list of rules");
        match &self.cause {
            ListCause::Rule(cause) if self.file.is_none() => write!(f, "{cause}"),
            ListCause::Rule(cause) => write!(f, "{file}: {cause}"),
            ListCause::Unreadable(cause) => {
                write!(f, "cannot read {file}: {}", crate::error::describe(cause))
            }
            ListCause::TooDeep => write!(
                f,
                "{file}: more than {DEPTH_MAX} files of rules name one another; write the rules \
                 into one"
            ),
        }
    }
}

impl std::error::Error for ListError {}
