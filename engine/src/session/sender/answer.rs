//! What the receiver's prints of a directory leave to be said: computed at once, and said in parts,
//! as the link takes them.

use crate::digest::{EntryPrint, Fields, IdView};
use crate::entries::EntryList;
use crate::entry::Entry;
use crate::scan::ScannedDir;
use crate::session::{MESSAGE_LEN, prints};
use crate::wire::{DirIndex, ToReceiver};

/// Bytes of an entry on the wire besides its name, targets and attributes, at most.
const ENTRY_LEN_MAX: usize = 96;

/// Bytes of the position of a print on the wire at most.
const POSITION_LEN_MAX: usize = 5;

/// The answer to the prints of one directory.
pub(super) struct Answer {
    /// Positions of the source's entries that the receiver does not have as they are.
    pub(super) positions: Vec<u32>,
    /// Positions of the receiver's prints that are none of the source's: runs from one to before
    /// another.
    unmatched: Vec<(u32, u32)>,
    /// What the full prints of all other entries add up to.
    matched: [u8; 8],
    /// How much has been said: entries, runs and positions of the run under way.
    said_entries: usize,
    said_runs: usize,
    said_of_run: u32,
}

impl Answer {
    pub(super) fn to(
        dir: &ScannedDir,
        fields: &Fields,
        print_len: u8,
        prints: &[EntryPrint],
    ) -> Self {
        let fields = fields.at(&dir.path);
        let mut theirs: Vec<u32> = (0..prints.len() as u32).collect();
        let print_at = |&at: &u32| prints.get(at as usize).copied().unwrap_or_default();
        theirs.sort_unstable_by_key(print_at);
        // Of equal ones the first counts for all.
        let mut is_ours = vec![false; theirs.len()];
        let mut positions = Vec::new();
        let mut matched: EntryPrint = 0;
        let (mut entries, mut numbers) = (dir.entries.walk(), 0_u32..);
        while let Some((entry, at)) = entries.next().zip(numbers.next()) {
            let full = fields.print(entry, &IdView::Sender);
            let print = prints::cut(full, print_len);
            let first = theirs.partition_point(|at| print_at(at) < print);
            let found = theirs.get(first).is_some_and(|at| print_at(at) == print);
            // Unmirrored entries have no print; the receiver must know of them every time.
            if entry.is_unmirrored() || !found {
                positions.push(at);
            } else if let Some(is_ours) = is_ours.get_mut(first) {
                *is_ours = true;
                matched = matched.wrapping_add(full);
            }
        }
        Answer {
            positions,
            unmatched: runs_of_others(&theirs, &is_ours, print_at),
            matched: matched.to_le_bytes(),
            said_entries: 0,
            said_runs: 0,
            said_of_run: 0,
        }
    }

    /// How many prints take as much memory as is held of them.
    pub(super) fn held_prints(&self) -> usize {
        self.unmatched.len()
    }

    /// What is to be said next.
    pub(super) fn next_part(&mut self, dir: DirIndex, entries: &EntryList) -> ToReceiver {
        let rest = self.positions.get(self.said_entries..).unwrap_or_default();
        let rest = rest.iter().filter_map(|&at| entries.get(at as usize));
        let entries = take_part(&mut rest.peekable());
        self.said_entries += entries.len();
        let unmatched = if entries.is_empty() {
            self.next_positions()
        } else {
            Vec::new()
        };
        ToReceiver::Entries {
            dir,
            last: entries.is_empty() && self.said_runs == self.unmatched.len(),
            entries,
            unmatched,
            matched: self.matched,
        }
    }

    fn next_positions(&mut self) -> Vec<u32> {
        let mut positions = Vec::new();
        while let Some(&(start, end)) = self.unmatched.get(self.said_runs) {
            let room = MESSAGE_LEN / POSITION_LEN_MAX - positions.len();
            let from = start + self.said_of_run;
            let to = end.min(from.saturating_add(room as u32));
            positions.extend(from..to);
            if to < end {
                self.said_of_run = to - start;
                break;
            }
            self.said_runs += 1;
            self.said_of_run = 0;
        }
        positions
    }
}

/// The runs of positions whose prints are none of ours; `theirs` are all positions, by print.
fn runs_of_others(
    theirs: &[u32],
    is_ours: &[bool],
    print_at: impl Fn(&u32) -> EntryPrint,
) -> Vec<(u32, u32)> {
    let mut is_matched = vec![false; theirs.len()];
    for (group, is_ours) in
        theirs
            .chunk_by(|a, b| print_at(a) == print_at(b))
            .scan(0, |first, group| {
                let is_ours = is_ours.get(*first).copied().unwrap_or_default();
                *first += group.len();
                Some((group, is_ours))
            })
    {
        for &at in group.iter().filter(|_| is_ours) {
            if let Some(is_matched) = is_matched.get_mut(at as usize) {
                *is_matched = true;
            }
        }
    }
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for (at, _) in (0_u32..).zip(&is_matched).filter(|(_, matched)| !**matched) {
        match runs.last_mut() {
            Some((_, end)) if *end == at => *end += 1,
            _ => runs.push((at, at + 1)),
        }
    }
    runs
}

/// As many entries as go into one message.
pub(super) fn take_part(rest: &mut std::iter::Peekable<impl Iterator<Item = Entry>>) -> Vec<Entry> {
    let mut part = Vec::new();
    let mut len = 0;
    while let Some(entry) = rest.next_if(|_| len < MESSAGE_LEN) {
        let links = entry.symlink_target().map_or(0, <[u8]>::len)
            + entry.link_to.as_ref().map_or(0, Vec::len);
        let attributes = entry.attributes.as_bytes().len();
        len += entry.name.len() + links + attributes + ENTRY_LEN_MAX;
        part.push(entry);
    }
    part
}
