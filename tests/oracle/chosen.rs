//! What of a source a case names: on the command line under `-R`, or in a list.

use std::path::Path;

use super::generate::{Kind, Spec};
use crate::support::Rng;

/// Paths of a source, some with a slash at their end.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// They are in a list (`--files-from`), not on the command line (`-R`).
    pub(super) listed: bool,
    pub(super) paths: Vec<Vec<u8>>,
    /// One of them is not there.
    pub(super) misses: bool,
    pub(super) more: Option<&'static str>,
}

impl Chosen {
    pub(super) fn of(rng: &mut Rng, source: &Spec) -> Self {
        let listed = rng.chance(50);
        let is_typed = |path: &&Vec<u8>| !path.is_empty() && (listed || path.is_ascii());
        let all: Vec<&Vec<u8>> = source.keys().filter(is_typed).collect();
        let mut chosen = Chosen {
            listed,
            paths: Vec::new(),
            misses: false,
            more: None,
        };
        for _ in 0..rng.below(4) + 1 {
            if all.is_empty() {
                break;
            }
            let path = *rng.pick(&all);
            let is_dir = source[path].kind == Kind::Dir;
            let end: &[u8] = match rng.below(10) {
                0..4 if is_dir => b"/",
                4 if is_dir => b"/.",
                _ => b"",
            };
            let begin: &[u8] = match rng.below(12) {
                0 if listed => b"/",
                1 if listed => b"./",
                2 if listed => b"../",
                3 if listed => b"dir/../",
                _ => b"",
            };
            chosen.paths.push([begin, path, end].concat());
        }
        if rng.chance(15) {
            chosen.misses = true;
            let missing: &[&[u8]] = &[b"none", b"a/none", b"older", b"dir/older/x"];
            chosen.paths.push(rng.pick::<&[u8]>(missing).to_vec());
        }
        if listed && rng.chance(20) {
            chosen.more = Some(*rng.pick::<&str>(&["--no-R", "-r"]));
        }
        chosen
    }

    /// Names nothing twice, nor by what it is in, if that matters.
    pub(super) fn without_repetitions(mut self, matters: bool) -> Self {
        let is_in = |a: &[u8], b: &[u8]| a.starts_with(b) || a.ends_with(b);
        let mut kept: Vec<Vec<u8>> = Vec::new();
        self.paths.retain(|path| {
            let end = path.strip_suffix(b"/.").or(path.strip_suffix(b"/"));
            let bare = [end.unwrap_or(path), b"/"].concat();
            let is_new = !kept.iter().any(|k| is_in(k, &bare) || is_in(&bare, k));
            kept.push(bare);
            !matters || is_new
        });
        self
    }

    /// The words that push them; a list lies beside the source.
    pub(super) fn arguments(&self, root: &Path) -> Vec<String> {
        let shown = root.display();
        let more = self.more.map(str::to_owned);
        if self.listed {
            let list = root.with_extension("list");
            std::fs::write(&list, self.paths.join(&0)).unwrap();
            let option = format!("--files-from={}", list.display());
            let words = std::iter::once(option).chain(more);
            return words.chain([format!("{shown}/")]).collect();
        }
        let typed = |path: &Vec<u8>| format!("{shown}/./{}", String::from_utf8_lossy(path));
        let paths = self.paths.iter().map(typed);
        ["-R".to_owned()].into_iter().chain(paths).collect()
    }
}
