//! How far a push of several trees has come, for who has to say so when a signal ends it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hasync_engine::Progress;

use crate::numbers::bytes;

/// Shared by the push and the thread that hears signals.
#[derive(Clone, Debug, Default)]
pub(crate) struct HowFar(Arc<Mutex<Course>>);

#[derive(Debug, Default)]
struct Course {
    tree_count: usize,
    done: Vec<String>,
    current: Option<Current>,
}

/// The tree that is being pushed.
#[derive(Debug)]
struct Current {
    tree: String,
    sent_len: u64,
    /// What is to be sent, as far as it is known; `None` while the trees are compared.
    wanted_len: Option<u64>,
}

impl HowFar {
    /// So many trees are to be pushed.
    pub(crate) fn begin(&self, tree_count: usize) {
        *self.course() = Course {
            tree_count,
            ..Course::default()
        };
    }

    /// The push of that tree begins.
    pub(crate) fn enter(&self, tree: &str) {
        self.course().current = Some(Current {
            tree: tree.to_owned(),
            sent_len: 0,
            wanted_len: None,
        });
    }

    /// It goes on.
    pub(crate) fn advance(&self, progress: &Progress<'_>) {
        if let Some(current) = &mut self.course().current {
            current.sent_len = progress.total_bytes;
            current.wanted_len = (!progress.scanning).then_some(progress.wanted_len);
        }
    }

    /// It is over, well or not.
    pub(crate) fn leave(&self, is_done: bool) {
        let mut course = self.course();
        let current = course.current.take();
        course
            .done
            .extend(current.filter(|_| is_done).map(|current| current.tree));
    }

    /// How far it is, in words.
    pub(crate) fn shown(&self) -> String {
        let course = self.course();
        let mut words = format!(
            "{} of {} trees are pushed",
            course.done.len(),
            course.tree_count
        );
        if !course.done.is_empty() {
            words.push_str(&format!(" ({})", course.done.join(", ")));
        }
        if let Some(Current {
            tree,
            sent_len,
            wanted_len,
        }) = &course.current
        {
            let of = wanted_len.map_or_else(String::new, |len| format!(" of {}", bytes(len)));
            let sent = bytes(*sent_len);
            words.push_str(&format!(
                "; {sent}{of} of {tree} are sent, and nothing of it shows"
            ));
        }
        words
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(total_bytes: u64, wanted_len: u64, scanning: bool) -> Progress<'static> {
        Progress {
            path: b"a",
            file_offset: 0,
            file_len: 0,
            total_len: 0,
            wanted_len,
            link_bytes: 0,
            total_bytes,
            file_count: 0,
            to_check: 0,
            seen: 0,
            scanning,
        }
    }

    #[test]
    fn it_says_what_is_there_and_what_is_on_its_way() {
        let how_far = HowFar::default();
        how_far.begin(3);
        assert_eq!(how_far.shown(), "0 of 3 trees are pushed");
        how_far.enter("conf");
        how_far.leave(true);
        how_far.enter("mail");
        how_far.leave(false);
        how_far.enter("html");
        how_far.advance(&progress(2_000_000, 3_000_000, true));
        let shown = how_far.shown();
        assert!(
            shown.starts_with("1 of 3 trees are pushed (conf); 2"),
            "{shown}"
        );
        assert!(
            shown.ends_with(" of html are sent, and nothing of it shows"),
            "{shown}"
        );
        assert!(
            !shown.contains(" of 3."),
            "what is wanted is not known yet: {shown}"
        );
        how_far.advance(&progress(2_000_000, 9_000_000, false));
        assert!(how_far.shown().contains(" of 9"), "{}", how_far.shown());
    }
}
