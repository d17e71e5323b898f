//! What counts where in a tree: the files of rules that are looked for in its directories, each
//! read when what is in its directory is judged, and remembered for the directories below.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::file::{Named, clean, read_at, read_in};
use super::in_force::{Block, InForce, Sought};
use super::list::{ListCause, ListError, RuleList};
use super::rule::{FilterRule, PerDir};
use super::segment::Base;
use super::terms::{Half, MAX_PER_DIR};
use crate::fs::Root;
use crate::path::{RelPath, Shown};

/// Directories that are remembered, besides those above the last one.
const KNOWN_MAX: usize = 4096;

/// Bytes in the patterns that were read for these: compiled, each is some sixteen.
const KNOWN_TEXT_MAX: usize = 4 << 20;

/// The rules of a filter, and what they come to in the directories of the trees.
#[derive(Debug)]
pub(super) struct Places {
    top: Block,
    /// What the rules look for themselves, before anything has been read.
    sought: Vec<Sought>,
    /// Where no path of a root matters, and no file is looked for, this counts everywhere.
    everywhere: Option<Arc<InForce>>,
    known: Mutex<Known>,
}

/// What counts in the directories that are remembered.
#[derive(Debug, Default)]
struct Known {
    /// With the bytes in the patterns that were read there.
    rules: HashMap<(usize, RelPath), (Arc<InForce>, usize)>,
    text_len: usize,
}

impl Known {
    fn add(&mut self, key: usize, dir: &RelPath, (rules, text_len): (&Arc<InForce>, usize)) {
        if self.rules.len() >= KNOWN_MAX || self.text_len + text_len > KNOWN_TEXT_MAX {
            // What is above is asked for again and again, and must stay what it was.
            self.rules
                .retain(|(_, known), _| known.is_root() || dir.is_within(known));
            self.text_len = self.rules.values().map(|(_, len)| len).sum();
        }
        let here = (Arc::clone(rules), text_len);
        let before = self.rules.insert((key, dir.clone()), here);
        self.text_len += text_len;
        self.text_len -= before.map_or(0, |(_, len)| len);
    }
}

/// A directory whose rules are looked for.
#[derive(Clone, Copy)]
struct Place<'a> {
    half: Half,
    root: &'a Root,
    dir: &'a RelPath,
}

impl Default for Places {
    fn default() -> Self {
        Places::new(&[])
    }
}

impl Places {
    pub(super) fn new(rules: &[FilterRule]) -> Self {
        let mut sought = Vec::new();
        let top = Block::new(rules, &Base::Root, &mut sought);
        let is_simple = sought.is_empty() && !rules.iter().any(FilterRule::is_of_full_paths);
        let everywhere = InForce::new(&top, Vec::new(), Arc::default());
        Places {
            everywhere: everywhere.filter(|_| is_simple).map(Arc::new),
            top,
            sought,
            known: Mutex::default(),
        }
    }

    /// What counts for what is named of the entries of `root`: no file is looked for.
    pub(super) fn around(&self, root: &Root) -> Arc<InForce> {
        if let Some(everywhere) = &self.everywhere {
            return Arc::clone(everywhere);
        }
        let mut here = clean(root.path()).as_os_str().as_bytes().to_vec();
        here.push(b'/');
        let begin = here.iter().position(|&b| b != b'/').unwrap_or(here.len());
        let here = here.get(begin..).unwrap_or_default().into();
        Arc::new(InForce::new(&self.top, self.sought.clone(), here).unwrap_or_default())
    }

    /// What counts for the entries of the directory at `dir`. A half that reads its tree from the
    /// root on has read that first; otherwise names were given of what is in the root, and the
    /// root's own file does not count.
    pub(super) fn in_dir(
        &self,
        half: Half,
        root: &Root,
        dir: &RelPath,
    ) -> io::Result<Arc<InForce>> {
        if let Some(everywhere) = &self.everywhere {
            return Ok(Arc::clone(everywhere));
        }
        let key = std::ptr::from_ref(root).addr();
        let mut missing = vec![dir.clone()];
        let mut rules = loop {
            let Some(last) = missing.last() else {
                return Ok(self.around(root));
            };
            if let Some((known, _)) = self.lock().rules.get(&(key, last.clone())) {
                missing.pop();
                break Arc::clone(known);
            }
            match last.split() {
                Some((above, _)) => missing.push(above),
                None => {
                    let is_entered = half == Half::Receiver || dir.is_root();
                    if !is_entered {
                        missing.pop();
                    }
                    break self.around(root);
                }
            }
        };
        while let Some(dir) = missing.pop() {
            let dir = &dir;
            let (entered, text_len) = self.enter(Place { half, root, dir }, &rules)?;
            rules = entered;
            self.lock().add(key, dir, (&rules, text_len));
        }
        Ok(rules)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What counts in a directory, where this counts in the one above; and how many bytes the
    /// patterns have that were read for it.
    fn enter(&self, place: Place<'_>, above: &Arc<InForce>) -> io::Result<(Arc<InForce>, usize)> {
        let mut sought = above.sought.clone();
        let (mut is_new, mut text_len) = (false, 0);
        for sought in sought.iter_mut().filter(|sought| sought.files.stays) {
            is_new |= !sought.found.is_empty();
            sought.found.clear();
        }
        let mut at = 0;
        while let Some(Sought {
            files, is_begun, ..
        }) = sought.get_mut(at)
        {
            let files = Arc::clone(files);
            let shown = match at < self.sought.len() {
                true => Shown(files.file_name()).to_string(),
                // Its name stands in a file.
                false => "a file of rules that is named in another".to_owned(),
            };
            if !std::mem::replace(is_begun, true) {
                is_new = true;
                text_len += look_above(place, (at, &files, &shown), &mut sought)?;
            }
            if let Some(contents) = read_in(place.root, place.dir, files.file_name())? {
                is_new = true;
                let base = below(place.dir);
                let found = (&*contents, &*shown);
                text_len += take(place, (at, &files), found, &base, &mut sought)?;
            }
            at += 1;
        }
        if !is_new {
            return Ok((Arc::clone(above), 0));
        }
        let rules = InForce::new(&self.top, sought, Arc::clone(&above.here));
        let rules = rules.ok_or_else(|| wrong("more rules count in it than a filter holds"))?;
        Ok((Arc::new(rules), text_len))
    }
}

/// Reads the files of the directories above the first of the transfer, from the one on that the
/// rule names. The receiver looks at nothing above its root. Returns how many bytes their patterns
/// have.
fn look_above(
    place: Place<'_>,
    (at, files, shown): (usize, &PerDir, &str),
    sought: &mut Vec<Sought>,
) -> io::Result<usize> {
    let Some(from) = files.begins_in().filter(|_| !files.stays) else {
        return Ok(0);
    };
    let mut text_len = 0;
    let own = clean(&place.root.path_of(place.dir));
    let from = clean(&own.join(OsStr::from_bytes(from)));
    let mut dirs: Vec<&Path> = own.ancestors().skip(1).collect();
    dirs.retain(|dir| dir.starts_with(&from));
    let root = clean(place.root.path());
    for dir in dirs.into_iter().rev() {
        let (contents, base) = match (dir.strip_prefix(&root), root.strip_prefix(dir)) {
            (Ok(dir), _) => {
                let dir = RelPath::of(dir.as_os_str().as_bytes());
                let contents = read_in(place.root, &dir, files.file_name())?;
                (contents, below(&dir))
            }
            (_, Ok(way)) if place.half == Half::Sender => {
                let file = dir.join(OsStr::from_bytes(files.file_name()));
                let way = way.as_os_str().as_bytes();
                (read_at(&file)?, Base::Above([way, b"/"].concat()))
            }
            _ => continue,
        };
        if let Some(contents) = contents {
            text_len += take(place, (at, files), (&contents, shown), &base, sought)?;
        }
    }
    Ok(text_len)
}

/// Where patterns begin with a slash in a file of this directory.
fn below(dir: &RelPath) -> Base {
    match dir.len() {
        0 => Base::Root,
        len => Base::Below(len + 1),
    }
}

/// Takes in what a file says that was sought by this number. Returns how many bytes its patterns
/// have.
fn take(
    place: Place<'_>,
    (at, files): (usize, &PerDir),
    (contents, shown): (&[u8], &str),
    base: &Base,
    sought: &mut Vec<Sought>,
) -> io::Result<usize> {
    let Place { half, root, dir } = place;
    let mut list = RuleList::new(files.form.zeros);
    let read = (contents, shown);
    list.add_contents(read, &files.form, &mut Named { half, root, dir })
        .map_err(refused)?;
    let is_cleared = list.is_cleared();
    let block = Block::new(&list.into_rules(), base, sought);
    if sought.len() > MAX_PER_DIR {
        return Err(wrong("rules look for files of too many names"));
    }
    let text_len = block.text_len();
    if let Some(sought) = sought.get_mut(at) {
        if is_cleared {
            sought.found.clear();
        }
        sought.found.insert(0, Arc::new(block));
    }
    Ok(text_len)
}

fn refused(e: ListError) -> io::Error {
    match e.cause {
        // Whether there is a file of that name outside of the tree is nobody's business.
        ListCause::Unreadable(_) => {
            wrong(&format!("{} cannot be read", e.file.unwrap_or_default()))
        }
        _ => io::Error::new(io::ErrorKind::InvalidData, e),
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::filter::written::RuleLine;

    #[test]
    fn what_is_remembered_of_long_files_is_bounded_and_counts_all_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let rules = |n: usize| {
            let class = |at: usize| format!("- {at}[a-z]{}\n", "x".repeat(200));
            let many: String = (0..1900).map(class).collect();
            format!("- only{n}\n{many}")
        };
        std::fs::write(temp.path().join(".r"), "- everywhere\n").unwrap();
        for n in 0..24 {
            let dir = temp.path().join(format!("d{n}/deep"));
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(temp.path().join(format!("d{n}/.r")), rules(n)).unwrap();
        }
        let root = Root::open(temp.path()).unwrap();
        let mut list = RuleList::new(false);
        let top = &RelPath::root();
        let (half, root) = (Half::Receiver, &root);
        let line = RuleLine::parse(b": .r").unwrap();
        list.add(
            line,
            &mut Named {
                half,
                root,
                dir: top,
            },
        )
        .unwrap();
        let places = Places::new(&list.into_rules());
        for n in (0..24).chain(0..24) {
            for dir in [format!("d{n}"), format!("d{n}/deep")] {
                let dir = RelPath::parse(dir.as_bytes()).unwrap();
                let here = places.in_dir(half, root, &dir).unwrap();
                for (name, counts) in [
                    (format!("only{n}"), true),
                    ("everywhere".to_owned(), true),
                    (format!("only{}", n + 1), false),
                ] {
                    let path = [&*dir.as_bytes(), b"/", name.as_bytes()].concat();
                    assert_eq!(here.protects(&path, false), counts, "{dir:?} {name}");
                }
                let known = places.lock();
                let held = known.rules.values().map(|(_, len)| len);
                assert_eq!(held.sum::<usize>(), known.text_len);
                assert!(known.text_len <= KNOWN_TEXT_MAX, "{}", known.text_len);
                assert!(known.text_len > 0);
            }
        }
    }
}
