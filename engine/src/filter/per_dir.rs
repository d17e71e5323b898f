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

/// The rules of a filter, and what they come to in the directories of the trees.
#[derive(Debug)]
pub(super) struct Places {
    top: Block,
    /// What the rules look for themselves, before anything has been read.
    sought: Vec<Sought>,
    /// Where no path of a root matters, and no file is looked for, this counts everywhere.
    everywhere: Option<Arc<InForce>>,
    known: Mutex<HashMap<(usize, RelPath), Arc<InForce>>>,
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
            if let Some(known) = self.lock().get(&(key, last.clone())) {
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
            rules = self.enter(Place { half, root, dir }, &rules)?;
            self.remember(key, dir, &rules);
        }
        Ok(rules)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(usize, RelPath), Arc<InForce>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, key: usize, dir: &RelPath, rules: &Arc<InForce>) {
        let mut known = self.lock();
        if known.len() >= KNOWN_MAX {
            // What is above is asked for again and again, and must stay what it was.
            known.retain(|(_, known), _| known.is_root() || dir.is_within(known));
        }
        known.insert((key, dir.clone()), Arc::clone(rules));
    }

    /// What counts in a directory, where this counts in the one above.
    fn enter(&self, place: Place<'_>, above: &Arc<InForce>) -> io::Result<Arc<InForce>> {
        let mut sought = above.sought.clone();
        let mut is_new = false;
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
                look_above(place, (at, &files, &shown), &mut sought)?;
            }
            if let Some(contents) = read_in(place.root, place.dir, files.file_name())? {
                is_new = true;
                let base = below(place.dir);
                let found = (&*contents, &*shown);
                take(place, (at, &files), found, &base, &mut sought)?;
            }
            at += 1;
        }
        if !is_new {
            return Ok(Arc::clone(above));
        }
        let rules = InForce::new(&self.top, sought, Arc::clone(&above.here));
        let rules = rules.ok_or_else(|| wrong("more rules count in it than a filter holds"))?;
        Ok(Arc::new(rules))
    }
}

/// Reads the files of the directories above the first of the transfer, from the one on that the
/// rule names. The receiver looks at nothing above its root.
fn look_above(
    place: Place<'_>,
    (at, files, shown): (usize, &PerDir, &str),
    sought: &mut Vec<Sought>,
) -> io::Result<()> {
    let Some(from) = files.begins_in().filter(|_| !files.stays) else {
        return Ok(());
    };
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
            take(place, (at, files), (&contents, shown), &base, sought)?;
        }
    }
    Ok(())
}

/// Where patterns begin with a slash in a file of this directory.
fn below(dir: &RelPath) -> Base {
    match dir.len() {
        0 => Base::Root,
        len => Base::Below(len + 1),
    }
}

/// Takes in what a file says that was sought by this number.
fn take(
    place: Place<'_>,
    (at, files): (usize, &PerDir),
    (contents, shown): (&[u8], &str),
    base: &Base,
    sought: &mut Vec<Sought>,
) -> io::Result<()> {
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
    if let Some(sought) = sought.get_mut(at) {
        if is_cleared {
            sought.found.clear();
        }
        sought.found.insert(0, Arc::new(block));
    }
    Ok(())
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
