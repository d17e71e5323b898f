//! Sending content: small files packed, large ones as ops, each with the metadata of the very file
//! that was read.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};

use super::Sender;
use super::deltas::Means;
use super::reading::{DirCache, FileSource, Reading, read_past, read_small};
use crate::delta::{DiffSummary, Op, OpEncoder, diff, is_mostly_hole, whole, whole_file};
use crate::error::Error;
use crate::observer::{Progress, Warning};
use crate::policy::Powers;
use crate::since::Since;
use crate::wire::{
    FRAME_LEN_MAX, FrameKind, FrameWriter, PACK_HEADER_LEN_MAX, ToReceiver, pack_sum, patch_packed,
    put_packed_header,
};
use crate::work;

/// Files up to this length travel in packs.
const PACKED_LEN_MAX: u64 = 128 * 1024;

/// A frame of content is closed when it has grown to this, in bytes.
const CONTENT_FRAME_LEN: usize = 256 * 1024;

/// Files in one pack, which is then passed on: to make that many takes the receiver longer than to
/// read their bytes, so it had better begin.
const PACKED_FILES_MAX: usize = 2048;

/// Ops that make this many bytes of the file are passed on, however short they are, so that the
/// receiver works while this side reads on.
const RESULT_LEN: u64 = 8 << 20;

/// Files asked for that are sent before the next message is looked at.
const ASKED_MAX: usize = 4096;

/// How often a file that keeps changing is read before it is given up.
const READ_ATTEMPTS: usize = 2;

/// Why a file's content was not sent.
pub(super) enum NotSent {
    /// The source could not be read: this file's misfortune.
    Source(Warning),
    /// Somebody has a lease on it.
    Leased,
    /// The link broke: everybody's.
    Link(Error),
}

impl From<Error> for NotSent {
    fn from(error: Error) -> Self {
        NotSent::Link(error)
    }
}

/// What a file must comply with to be sent.
#[derive(Clone, Copy)]
struct Terms {
    powers: Powers,
    hard_links: bool,
}

impl Terms {
    /// Whether other entries are to be linked to what this file is no longer.
    fn refuse(self, file: &FileSource, opened: &Metadata) -> bool {
        self.hard_links && file.has_left_its_links(opened, self.powers)
    }
}

impl Sender<'_> {
    fn terms(&self) -> Terms {
        Terms {
            powers: self.fields.powers,
            hard_links: self.options.hard_links,
        }
    }

    /// Sends the files asked for that lie in one directory.
    pub(super) fn send_asked(&mut self) -> Result<(), Error> {
        let files = self.files.take(ASKED_MAX);
        self.send_files(&mut files.into_iter())
    }

    /// Sends files of one directory, whole: small ones in packs, large ones one by one.
    pub(super) fn send_files(
        &mut self,
        files: &mut dyn Iterator<Item = FileSource>,
    ) -> Result<(), Error> {
        let mut cache = DirCache::default();
        let mut files = files.peekable();
        // Of a pack, what is not to be compressed with the rest.
        let (mut noise, mut dir) = (Vec::new(), [0; 8]);
        while let Some(first) = files.peek() {
            if first.len() > PACKED_LEN_MAX {
                if let Some(file) = files.next() {
                    self.send_large(&mut cache, &file, &Means::Whole)?;
                }
                continue;
            }
            self.make_room()?;
            let (mut misfortunes, terms) = (Vec::new(), self.terms());
            // Nobody else here puts anything, and the pings do not pass through here.
            let outbox = self.outbox.clone();
            let mut writer = outbox.lock();
            dir = first.dir().to_le_bytes();
            writer.begin(FrameKind::Pack);
            writer.payload().extend_from_slice(&dir);
            let is_small = |file: &FileSource| file.len() <= PACKED_LEN_MAX;
            let mut left = PACKED_FILES_MAX;
            while left > 0
                && writer.open_payload().len() < CONTENT_FRAME_LEN
                && noise.len() < CONTENT_FRAME_LEN
            {
                let Some(file) = files.next_if(is_small) else {
                    break;
                };
                left -= 1;
                match put_file(&mut cache, &file, terms, &mut writer, &mut noise) {
                    Ok(len) => {
                        self.summary.literal_bytes += len;
                        self.moved_files += 1;
                        self.progress(&file, len, len);
                    }
                    Err(failed) => misfortunes.push((file, failed)),
                }
            }
            if writer.open_payload().len() > dir.len() {
                let sum = pack_sum(&[writer.open_payload()]);
                writer.payload().extend_from_slice(&sum);
                writer.finish()?;
            } else {
                writer.discard();
            }
            if left == 0 {
                writer.flush()?;
            }
            if noise.len() >= CONTENT_FRAME_LEN {
                put_noise(&mut writer, &dir, &mut noise)?;
            }
            drop(writer);
            for (file, failed) in misfortunes {
                match failed {
                    Put::Failed(warning) => self.skip(&file, &warning)?,
                    Put::Leased => self.put_off(&file),
                    Put::ByItself => self.send_large(&mut cache, &file, &Means::Whole)?,
                }
            }
        }
        if noise.is_empty() {
            return Ok(());
        }
        let mut writer = self.outbox.lock();
        put_noise(&mut writer, &dir, &mut noise)
    }

    /// Sends one file as ops, if it can be read.
    pub(super) fn send_large(
        &mut self,
        cache: &mut DirCache,
        file: &FileSource,
        means: &Means,
    ) -> Result<(), Error> {
        let result = self.try_send(cache, file, means);
        self.sent(file, result)
    }

    /// Sends it as often as there is hope.
    pub(super) fn try_send(
        &mut self,
        cache: &mut DirCache,
        file: &FileSource,
        means: &Means,
    ) -> Result<Reading, NotSent> {
        match self.send_ops(cache, file, means)? {
            // It changed, but now it stands still: once more, this time for good.
            Reading::Quiet => self.send_ops(cache, file, means.once_more()),
            reading => Ok(reading),
        }
    }

    /// What follows from the last attempt.
    pub(super) fn sent(
        &mut self,
        file: &FileSource,
        result: Result<Reading, NotSent>,
    ) -> Result<(), Error> {
        match result {
            Ok(Reading::Steady) => Ok(()),
            Ok(reading) => self.skip(file, &reading.warning(file)),
            Err(NotSent::Source(warning)) => self.skip(file, &warning),
            Err(NotSent::Leased) => {
                self.put_off(file);
                Ok(())
            }
            Err(NotSent::Link(e)) => Err(e),
        }
    }

    /// One attempt.
    fn send_ops(
        &mut self,
        cache: &mut DirCache,
        file: &FileSource,
        means: &Means,
    ) -> Result<Reading, NotSent> {
        let opened;
        let (source, before) = match means {
            Means::Plan(_, compared) => (compared.comparison.file(), &compared.before),
            Means::Opened(source, before) => (source, before),
            Means::Whole | Means::Dense | Means::Signature(_) => {
                opened = cache.open(file).map_err(|e| match e.kind() {
                    io::ErrorKind::WouldBlock => NotSent::Leased,
                    _ => NotSent::Source(file.unreadable(&e)),
                })?;
                (&opened.0, &opened.1)
            }
        };
        let len = before.len();
        let since = self.may_send(file, before)?;
        self.say(&ToReceiver::FileBegin {
            dir: file.dir(),
            entry: file.number(),
            len,
            since,
        })?;
        let means = if is_mostly_hole(before) {
            means.for_holes()
        } else {
            means
        };
        let summary = match self.stream_ops(file, source, len, means) {
            Ok(summary) => summary,
            Err(not_sent) => {
                if matches!(not_sent, NotSent::Source(_)) {
                    self.say(&ToReceiver::FileEnd { sum: None })?;
                }
                return Err(not_sent);
            }
        };
        let past = if summary.source_len == len {
            read_past(source, len)
        } else {
            0
        };
        let reading = Reading::of(source, before, summary.source_len + past, || {
            same_again(source, len, means, &summary)
        });
        let steady = reading == Reading::Steady;
        let sum = steady.then(|| *summary.sum.as_bytes());
        self.say(&ToReceiver::FileEnd { sum })?;
        if steady {
            let (literal, matched) = (summary.literal_bytes, summary.matched_bytes);
            let summary = &mut self.summary;
            summary.literal_bytes = summary.literal_bytes.saturating_add(literal);
            summary.matched_bytes = summary.matched_bytes.saturating_add(matched);
            self.moved_files += 1;
            self.progress(file, len, 0);
        }
        Ok(reading)
    }

    /// Whether a file may be sent as what it has turned out to be; with what metadata then.
    fn may_send(&self, file: &FileSource, opened: &Metadata) -> Result<Since, NotSent> {
        let (len, max, terms) = (opened.len(), self.len_max, self.terms());
        if len > max {
            return Err(NotSent::Source(file.warning(format_args!(
                "has {len} bytes, and on the target a file can have no more than {max}; the \
                 target keeps what it has"
            ))));
        }
        if terms.refuse(file, opened) {
            return Err(NotSent::Source(file.warning(format_args!(
                "is another file than the one that was listed, which has more names; push again"
            ))));
        }
        let since = file.since(opened, terms.powers);
        if let Since::Other(meta) = since {
            self.announce_ids(meta.uid, meta.gid)?;
        }
        Ok(since)
    }

    fn stream_ops(
        &mut self,
        file: &FileSource,
        source: &File,
        len: u64,
        means: &Means,
    ) -> Result<DiffSummary, NotSent> {
        let outbox = self.outbox.clone();
        let mut encoder = OpEncoder::default();
        let mut link_error = None;
        let mut frame = Vec::with_capacity(CONTENT_FRAME_LEN + FRAME_LEN_MAX / 2);
        let (mut offset, mut unsent) = (0, 0);
        let mut sink = |op: Op<'_>| {
            let literal = encoder.encode_head(op, &mut frame);
            unsent += op.output_len();
            let frame_len = frame.len() + literal.len();
            if frame_len < CONTENT_FRAME_LEN && unsent < RESULT_LEN {
                frame.extend_from_slice(literal);
                return Ok(());
            }
            let result = self.make_room().and_then(|()| {
                let mut writer = outbox.lock();
                writer.put(FrameKind::Data, &frame, literal)?;
                if frame_len < CONTENT_FRAME_LEN {
                    // Little to send, much to do for the receiver.
                    writer.flush()?;
                }
                Ok(())
            });
            frame.clear();
            offset += unsent;
            self.progress(file, offset, std::mem::take(&mut unsent));
            result.map_err(|e| {
                link_error = Some(e);
                io::Error::other("link")
            })
        };
        let result = match means {
            Means::Whole | Means::Opened(..) => whole_file(source, len, &mut sink),
            Means::Dense => whole(source.take(len), &mut sink),
            Means::Signature(index) => diff(source.take(len), index, &mut sink),
            Means::Plan(plan, _) => plan.emit(source, &mut sink),
        };
        if let Some(e) = link_error {
            return Err(NotSent::Link(e));
        }
        let summary = result.map_err(|e| NotSent::Source(file.unreadable(&e)))?;
        if !frame.is_empty() {
            outbox.lock().put(FrameKind::Data, &frame, &[])?;
        }
        Ok(summary)
    }

    /// Leaves a file out; what the target has of it stays.
    pub(super) fn skip(&mut self, file: &FileSource, warning: &Warning) -> Result<(), Error> {
        let (dir, entry) = (file.dir(), file.number());
        self.say(&ToReceiver::FileSkipped { dir, entry })?;
        self.delta_sources.remove(&(dir, entry));
        self.warn(warning);
        Ok(())
    }

    fn progress(&mut self, file: &FileSource, file_offset: u64, more: u64) {
        self.moved_bytes = self.moved_bytes.saturating_add(more);
        let path = file.path();
        self.observer.progress(&Progress {
            path: &path.shown(),
            file_offset,
            file_len: file.len(),
            total_bytes: self.moved_bytes,
            total_len: self.summary.total_len,
            wanted_len: self.summary.transferred_len,
            link_bytes: self.outbox.written_bytes() - self.written_before,
            file_count: self.moved_files,
            to_check: self.seen - self.checked,
            seen: self.seen,
            scanning: self.scanning,
        });
    }
}

/// Sends what does not compress of a directory's files as a pack of its own.
fn put_noise(writer: &mut FrameWriter, dir: &[u8], noise: &mut Vec<u8>) -> Result<(), Error> {
    let sum = pack_sum(&[dir, noise]);
    noise.extend_from_slice(&sum);
    writer.put_noise(FrameKind::Pack, dir, noise)?;
    noise.clear();
    Ok(())
}

/// Why a file did not go into a pack.
enum Put {
    /// It has grown too long for one, or its metadata have to go with it.
    ByItself,
    Leased,
    Failed(Warning),
}

/// Puts one whole file into the open pack, or if it does not compress into `noise`; nothing of it
/// stays in either if that fails.
fn put_file(
    cache: &mut DirCache,
    file: &FileSource,
    terms: Terms,
    writer: &mut FrameWriter,
    noise: &mut Vec<u8>,
) -> Result<u64, Put> {
    let start = writer.payload().len();
    let result = try_put_file(cache, file, terms, writer.payload());
    match result {
        Ok(len) => {
            let content_at = writer.payload().len() - len as usize;
            writer.take_noise(start, content_at, noise);
        }
        Err(_) => writer.payload().truncate(start),
    }
    result
}

fn try_put_file(
    cache: &mut DirCache,
    file: &FileSource,
    terms: Terms,
    out: &mut Vec<u8>,
) -> Result<u64, Put> {
    let not_read = |e: &io::Error| match e.kind() {
        io::ErrorKind::WouldBlock => Put::Leased,
        _ => Put::Failed(file.unreadable(e)),
    };
    let (source, mut before) = cache.open(file).map_err(|e| not_read(&e))?;
    let start = out.len();
    let mut reading = Reading::Quiet;
    for attempt in 0..READ_ATTEMPTS {
        if attempt > 0 {
            before = source.metadata().map_err(|e| not_read(&e))?;
        }
        let mtime = match file.since(&before, terms.powers) {
            Since::Same => None,
            Since::Touched(mtime) => Some(mtime),
            Since::Other(_) => return Err(Put::ByItself),
        };
        let len = before.len();
        if len > PACKED_LEN_MAX || terms.refuse(file, &before) {
            return Err(Put::ByItself);
        }
        out.truncate(start);
        out.reserve(PACK_HEADER_LEN_MAX + len as usize + 1);
        put_packed_header(out, file.number(), mtime);
        let content_at = out.len();
        let read_len = read_small(&source, len, out).map_err(|e| not_read(&e))?;
        reading = Reading::of(&source, &before, read_len, || {
            let mut again = Vec::new();
            let read = read_small(&source, len, &mut again);
            read.is_ok() && out.get(content_at..) == Some(&again)
        });
        match reading {
            Reading::Steady => {
                patch_packed(out, content_at);
                return Ok(len);
            }
            Reading::OtherLength => break,
            Reading::Quiet | Reading::Changing => {}
        }
    }
    Err(Put::Failed(reading.warning(file)))
}

/// Whether a second reading gives the same sum.
fn same_again(source: &File, len: u64, means: &Means, summary: &DiffSummary) -> bool {
    let sum = if means.tells_holes() {
        let read = whole_file(source, len, &mut |_| Ok(()));
        read.ok().map(|again| (again.source_len, again.sum))
    } else {
        let (mut hasher, mut source) = (blake3::Hasher::new(), source);
        let read = source.rewind().and_then(|()| {
            Ok(hasher
                .update_reader(work::Counted(source.take(len)))?
                .count())
        });
        read.ok().map(|read| (read, hasher.finalize()))
    };
    sum == Some((len, summary.sum))
}
