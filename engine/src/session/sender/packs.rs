//! Packs: short files, many to a frame, read right into it.

use std::collections::VecDeque;
use std::io;
use std::iter::Peekable;

use super::Sender;
use super::long_file::CONTENT_FRAME_LEN;
use super::not_sent::Terms;
use super::reading::{DirCache, FileSource, Judged, Opened, Reading, read_small};
use crate::error::Error;
use crate::observer::Warning;
use crate::since::Since;
use crate::wire::{
    DirIndex, FrameKind, PACK_HEADER_LEN_MAX, pack_sum, patch_packed, put_packed_header,
};

/// Files up to this length travel in packs.
pub(super) const PACKED_LEN_MAX: u64 = 128 * 1024;

/// Files in one pack, which is then passed on: to make that many takes the receiver longer than to
/// read their bytes, so it had better begin.
const PACKED_FILES_MAX: usize = 2048;

/// How often a file that keeps changing is read before it is given up.
const READ_ATTEMPTS: usize = 2;

/// What did not go into the last pack.
#[derive(Default)]
pub(super) struct PackRest {
    dir: DirIndex,
    /// Content that is not to be compressed with the rest.
    noise: Vec<u8>,
    pub(super) failed: VecDeque<(FileSource, Put)>,
}

/// Why a file did not go into a pack.
pub(super) enum Put {
    /// It has grown too long for one, or its metadata have to go with it.
    ByItself,
    Leased,
    Failed(Warning),
}

impl Sender<'_> {
    /// Sends a pack of the next files.
    pub(super) fn put_pack(
        &mut self,
        rest: &mut Peekable<impl Iterator<Item = FileSource>>,
        pack: &mut PackRest,
    ) -> Result<(), Error> {
        pack.dir = rest.peek().map_or(pack.dir, FileSource::dir);
        let dir = pack.dir.to_le_bytes();
        let (terms, outbox) = (self.terms.clone(), self.outbox.clone());
        // Disks may be slow: nobody waits for them but this.
        let mut frame = outbox.lock().take_out(FrameKind::Pack);
        frame.end().extend_from_slice(&dir);
        let is_small = |file: &FileSource| file.len() <= PACKED_LEN_MAX;
        let mut left = PACKED_FILES_MAX;
        while left > 0
            && frame.payload().len() < CONTENT_FRAME_LEN
            && pack.noise.len() < CONTENT_FRAME_LEN
        {
            let Some(file) = rest.next_if(is_small) else {
                break;
            };
            left -= 1;
            let cache = &mut self.content.cache;
            match put_file(cache, &file, &terms, frame.end()) {
                Ok(at) => {
                    let content = frame.end().get(at.content..).unwrap_or_default();
                    let len = content.len() as u64;
                    if outbox.lock().is_noise(content) {
                        pack.noise.extend(frame.end().drain(at.header..));
                    }
                    self.telling.summary.literal_bytes += len;
                    self.telling.moved_files += 1;
                    self.progress(&file, len, len);
                }
                Err(failed) => pack.failed.push_back((file, failed)),
            }
        }
        match frame.payload().len() > dir.len() {
            true => {
                let sum = pack_sum(&[frame.payload()]);
                frame.end().extend_from_slice(&sum);
            }
            false => frame.clear(),
        }
        let mut writer = outbox.lock();
        writer.put_back(frame)?;
        if left == 0 {
            writer.flush()?;
        }
        drop(writer);
        if pack.noise.len() >= CONTENT_FRAME_LEN {
            self.put_noise(pack)?;
        }
        Ok(())
    }

    /// Sends what does not compress as a pack of its own.
    pub(super) fn put_noise(&self, pack: &mut PackRest) -> Result<(), Error> {
        if pack.noise.is_empty() {
            return Ok(());
        }
        let dir = pack.dir.to_le_bytes();
        let sum = pack_sum(&[&dir, &pack.noise]);
        pack.noise.extend_from_slice(&sum);
        let mut writer = self.outbox.lock();
        writer.put_noise(FrameKind::Pack, &dir, &pack.noise)?;
        pack.noise.clear();
        Ok(())
    }
}

/// Where a file begins in a pack, and its content.
struct At {
    header: usize,
    content: usize,
}

/// Puts one whole file into a pack; nothing of it stays there if that fails.
fn put_file(
    cache: &mut DirCache,
    file: &FileSource,
    terms: &Terms,
    out: &mut Vec<u8>,
) -> Result<At, Put> {
    let header = out.len();
    let result = try_put_file(cache, file, terms, out);
    if result.is_err() {
        out.truncate(header);
    }
    result.map(|content| At { header, content })
}

/// The same; where its content begins.
fn try_put_file(
    cache: &mut DirCache,
    file: &FileSource,
    terms: &Terms,
    out: &mut Vec<u8>,
) -> Result<usize, Put> {
    let not_read = |e: &io::Error| match e.kind() {
        io::ErrorKind::WouldBlock => Put::Leased,
        _ => Put::Failed(file.unreadable(e)),
    };
    let mut opened = cache.open(file).map_err(|e| not_read(&e))?;
    let start = out.len();
    let mut reading = Reading::Quiet;
    for attempt in 0..READ_ATTEMPTS {
        if attempt > 0 {
            opened.before = opened.file.metadata().map_err(|e| not_read(&e))?;
        }
        let since = file.since(&opened, &terms.recast, terms.attributes);
        let mtime = match since.map_err(|e| not_read(&e))? {
            Since::Same => None,
            Since::Touched(mtime) => Some(mtime),
            Since::Other(..) => return Err(Put::ByItself),
        };
        let len = opened.before.len();
        if len > PACKED_LEN_MAX || terms.refuse(file, &opened.before) {
            return Err(Put::ByItself);
        }
        out.truncate(start);
        out.reserve(PACK_HEADER_LEN_MAX + len as usize + 1);
        put_packed_header(out, file.number(), mtime);
        let content_at = out.len();
        let read_len = read_small(&opened.file, len, out).map_err(|e| not_read(&e))?;
        reading = judge(&opened, read_len, out.get(content_at..).unwrap_or_default());
        match reading {
            Reading::Steady => {
                patch_packed(out, content_at);
                return Ok(content_at);
            }
            Reading::OtherLength => break,
            Reading::Quiet | Reading::Changing => {}
        }
    }
    Err(Put::Failed(reading.warning(file)))
}

/// Judges a reading of a short file, which gave this content.
fn judge(opened: &Opened, read_len: u64, content: &[u8]) -> Reading {
    let mut judged = Judged::of(opened, read_len);
    loop {
        match judged {
            Judged::Known(reading) => return reading,
            Judged::Doubtful(doubt) => {
                let mut again = Vec::new();
                let read = read_small(&opened.file, opened.before.len(), &mut again);
                judged = doubt.read_again(opened, read.is_ok() && content == again);
            }
        }
    }
}
