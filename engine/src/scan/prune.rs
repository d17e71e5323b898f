//! Directories without anything but directories below them, which `-m` leaves out: whether one is
//! that is known only when all below it has been looked at, before it is announced itself.

use super::layers::Origin;
use super::{ScannedDir, Scanner};
use crate::filter::Half;
use crate::observer::{Kind, Warning};
use crate::path::RelPath;
use crate::source::Layer;

impl Scanner {
    /// Whether the directory of that name is pushed: something else than a directory is below it,
    /// or a directory that the filters protect. Of one that cannot be read, that is not known. Of
    /// one that is not pushed, gives what could not be examined in it.
    ///
    /// What was found last answers for all that is above it, so that a walk down a chain of
    /// directories costs no more than two.
    pub(super) fn is_worth_it(
        &mut self,
        dir: &ScannedDir,
        name: &[u8],
        origin: Option<&Origin>,
    ) -> Result<(), Vec<Warning>> {
        let path = dir.path.join(name);
        if self.found_below.is_within(&path) {
            return Ok(());
        }
        let layers = origin.map_or_else(|| vec![0], Origin::dirs);
        let layers = layers.iter().filter_map(|&at| dir.layers.get(at));
        let mut rest: Vec<(Layer, RelPath)> = layers
            .map(|layer| (layer.child(name), path.clone()))
            .collect();
        let passed = self.led.len();
        let (mut is_worth_it, mut unlisted) = (false, Vec::new());
        while !is_worth_it && let Some((layer, path)) = rest.pop() {
            is_worth_it = self.ends_here(layer, &path, &mut rest, &mut unlisted);
            if is_worth_it {
                self.found_below = path;
            }
        }
        self.led.back_to(passed);
        is_worth_it.then_some(()).ok_or(unlisted)
    }

    /// Whether the search ends in this directory. If not, those in it are added to the `rest`.
    fn ends_here(
        &mut self,
        mut layer: Layer,
        path: &RelPath,
        rest: &mut Vec<(Layer, RelPath)>,
        unlisted: &mut Vec<Warning>,
    ) -> bool {
        let above = layer.path.parent();
        let rules = self.filter.in_dir(Half::Sender, &layer.root, &above);
        if rules.map_or(true, |rules| rules.protects(&path.as_bytes(), true)) {
            return true;
        }
        let mut dir = ScannedDir::empty(0, 0, path.clone());
        let Ok(entries) = self.try_read_layer(&mut dir, &mut layer, true) else {
            return true;
        };
        unlisted.append(&mut dir.warnings);
        // Directories come last.
        let first = entries.kind_and_len(0);
        if first.is_some_and(|(kind, _)| kind != Kind::Dir) {
            return true;
        }
        for listed in entries.iter_listed() {
            let is_elsewhere = layer.dev.is_some_and(|dev| dev != listed.dev);
            if !(self.options.one_file_system && is_elsewhere) {
                let name = &listed.entry.name;
                rest.push((layer.child(name), path.join(name)));
            }
        }
        false
    }
}
