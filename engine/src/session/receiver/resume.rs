//! A push that breaks off leaves what it has staged for the next one, which takes from there what
//! it would otherwise ask for.

use std::fs::File;

use super::Receiver;
use crate::entry::{Entry, Time};
use crate::error::Error;
use crate::fs::{Attrs, set_fd_attrs};
use crate::session::bases::EXCHANGE_LEN_MIN;

impl Receiver {
    /// The push has failed.
    pub(super) fn leave_staged(mut self, cause: &Error) {
        let (content, dirs) = (&mut self.content, &self.dirs);
        self.site.leave_staged(cause, || {
            let part = content.break_off(dirs, may_be_basis);
            let begun = dirs.begun();
            let begun = begun.map(|(begun, path)| (begun.staged.slot(), path.clone()));
            begun.chain(part).collect()
        });
    }
}

/// Whether a part of a large file is worth keeping. It is given a time that the file will hardly
/// have, and it has another length: nothing takes it for the whole.
fn may_be_basis(part: &File, whole: &Entry) -> bool {
    let len = part.metadata().map_or(0, |metadata| metadata.len());
    let attrs = Attrs {
        mtime: Some(Time { secs: 0, nanos: 1 }),
        ..Attrs::default()
    };
    (EXCHANGE_LEN_MIN..whole.len()).contains(&len) && set_fd_attrs(part, &attrs).is_ok()
}
