//! Sending content: small files packed, large ones as ops. What is read is a state that the file
//! really had: if it changed while it was read, it is read again, and only the same bytes twice in
//! a row (or a file that stood still) are taken.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::deltas::Means;
use super::{HeldDir, Sender};
use crate::delta::{DiffSummary, Op, OpEncoder, diff, whole};
use crate::entry::Time;
use crate::error::Error;
use crate::observer::{Progress, Warning};
use crate::path::RelPath;
use crate::scan::unreadable;
use crate::source::{Layer, open_file};
use crate::wire::{
    DirIndex, FRAME_LEN_MAX, FrameKind, FrameWriter, PACK_HEADER_LEN_MAX, ToReceiver, pack_sum,
    patch_packed, put_packed_header,
};
use crate::work;

/// Files up to this length travel in packs.
const PACKED_LEN_MAX: u64 = 128 * 1024;

/// A frame of content is closed when it has grown to this, in bytes.
const CONTENT_FRAME_LEN: usize = 256 * 1024;

/// Ops that make this many bytes of the file are passed on, however short they are, so that the
/// receiver works while this side reads on.
const RESULT_LEN: u64 = 8 << 20;

/// Files asked for that are sent before the next message is looked at.
const ASKED_MAX: usize = 4096;

/// How often a file that keeps changing is read before it is given up.
const READ_ATTEMPTS: usize = 2;

/// A file whose content the receiver needs.
#[derive(Clone)]
pub(super) struct FileSource {
    held: Arc<HeldDir>,
    at: usize,
    /// The number by which the receiver knows it.
    number: u32,
}

impl FileSource {
    /// The entry at position `at` of a directory, if it has content.
    pub(super) fn new(held: &Arc<HeldDir>, at: usize, number: u32) -> Option<Self> {
        held.dir.entries.file(at)?;
        Some(FileSource {
            held: Arc::clone(held),
            at,
            number,
        })
    }

    pub(super) fn dir(&self) -> DirIndex {
        self.held.dir.index
    }

    /// The directory that it is in, and its position there.
    pub(super) fn place(&self) -> (&Arc<HeldDir>, usize) {
        (&self.held, self.at)
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Whether it is another name of a file before it.
    pub(super) fn is_linked(&self) -> bool {
        self.held.dir.entries.is_linked(self.at)
    }

    /// Its length and its time, as announced.
    fn announced(&self) -> (u64, Time) {
        self.held.dir.entries.file(self.at).unwrap_or_default()
    }

    fn len(&self) -> u64 {
        self.announced().0
    }

    fn layer(&self) -> Option<&Layer> {
        self.held.dir.layers.get(self.held.dir.layer_of(self.at))
    }

    fn name(&self) -> Vec<u8> {
        self.held.dir.entries.name(self.at).unwrap_or_default()
    }

    pub(super) fn path(&self) -> RelPath {
        self.held.dir.path.join(&self.name())
    }

    fn shown(&self) -> String {
        self.layer()
            .map_or_else(String::new, |layer| layer.shown(&self.name()))
    }

    /// The time to send along, if it is not the one announced.
    fn changed_time(&self, found: &Metadata) -> Option<Time> {
        let time = Time::found(found.mtime(), found.mtime_nsec());
        (self.announced().1 != time).then_some(time)
    }
}

/// Keeps the directory of the last file open: files come directory by directory.
#[derive(Default)]
pub(super) struct DirCache(Option<(DirIndex, usize, OwnedFd)>);

impl DirCache {
    fn open(&mut self, file: &FileSource) -> io::Result<File> {
        let layer_number = file.held.dir.layer_of(file.at);
        let layer = file.layer().ok_or(io::ErrorKind::NotFound)?;
        let key = (file.dir(), layer_number);
        if self
            .0
            .as_ref()
            .is_none_or(|(dir, number, _)| (*dir, *number) != key)
        {
            self.0 = Some((key.0, key.1, layer.open()?));
        }
        let (_, _, fd) = self.0.as_ref().ok_or(io::ErrorKind::NotFound)?;
        open_file(fd, layer.on_disk(&file.name()))
    }

    /// Opens a regular file, and tells what it was then.
    pub(super) fn open_known(&mut self, file: &FileSource) -> io::Result<(File, Metadata)> {
        let source = self.open(file)?;
        let before = metadata(&source)?;
        Ok((source, before))
    }
}

/// Why a file's content was not sent.
enum NotSent {
    /// The source could not be read: this file's misfortune.
    Source(Warning),
    /// The link broke: everybody's.
    Link(Error),
}

impl From<Error> for NotSent {
    fn from(error: Error) -> Self {
        NotSent::Link(error)
    }
}

impl Sender<'_> {
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
            let mut misfortunes = Vec::new();
            // Nobody else here puts anything, and the pings do not pass through here.
            let outbox = self.outbox.clone();
            let mut writer = outbox.lock();
            dir = first.dir().to_le_bytes();
            writer.begin(FrameKind::Pack);
            writer.payload().extend_from_slice(&dir);
            let is_small = |file: &FileSource| file.len() <= PACKED_LEN_MAX;
            while writer.open_payload().len() < CONTENT_FRAME_LEN && noise.len() < CONTENT_FRAME_LEN
            {
                let Some(file) = files.next_if(is_small) else {
                    break;
                };
                match put_file(&mut cache, &file, &mut writer, &mut noise) {
                    Ok(len) => {
                        self.summary.literal_bytes += len;
                        self.moved_files += 1;
                        self.progress(&file, len, len);
                    }
                    Err(Put::TooLong) => misfortunes.push((file, None)),
                    Err(Put::Failed(warning)) => misfortunes.push((file, Some(warning))),
                }
            }
            if writer.open_payload().len() > dir.len() {
                let sum = pack_sum(&[writer.open_payload()]);
                writer.payload().extend_from_slice(&sum);
                writer.finish()?;
            } else {
                writer.discard();
            }
            if noise.len() >= CONTENT_FRAME_LEN {
                put_noise(&mut writer, &dir, &mut noise)?;
            }
            drop(writer);
            for (file, warning) in misfortunes {
                match warning {
                    Some(warning) => self.skip(&file, &warning)?,
                    None => {
                        self.send_large(&mut cache, &file, &Means::Whole)?;
                    }
                }
            }
        }
        if noise.is_empty() {
            return Ok(());
        }
        let mut writer = self.outbox.lock();
        put_noise(&mut writer, &dir, &mut noise)
    }

    /// Sends one file as ops; `false` if it could not be read.
    pub(super) fn send_large(
        &mut self,
        cache: &mut DirCache,
        file: &FileSource,
        means: &Means,
    ) -> Result<bool, Error> {
        for attempt in 1..=READ_ATTEMPTS {
            // A plan is for the state of the file in which it was compared.
            let means = if attempt > 1 && matches!(means, Means::Plan(..)) {
                &Means::Whole
            } else {
                means
            };
            match self.send_ops(cache, file, means) {
                Ok(true) => return Ok(true),
                Ok(false) if attempt < READ_ATTEMPTS => {}
                Ok(false) => self.skip(file, &changed(file))?,
                Err(NotSent::Source(warning)) => {
                    self.skip(file, &warning)?;
                    break;
                }
                Err(NotSent::Link(e)) => return Err(e),
            }
        }
        Ok(false)
    }

    /// One attempt; `false` if the file changed while it was read.
    fn send_ops(
        &mut self,
        cache: &mut DirCache,
        file: &FileSource,
        means: &Means,
    ) -> Result<bool, NotSent> {
        let not_read = |e: &io::Error| NotSent::Source(unreadable("read", &file.shown(), e));
        let opened;
        let (source, before) = if let Means::Plan(_, compared) = means {
            (compared.comparison.file(), &compared.before)
        } else {
            opened = cache.open_known(file).map_err(|e| not_read(&e))?;
            (&opened.0, &opened.1)
        };
        let len = before.len();
        let begin = ToReceiver::FileBegin {
            dir: file.dir(),
            entry: file.number,
            len,
            mtime: file.changed_time(before),
        };
        self.say(&begin)?;
        let summary = match self.stream_ops(file, source, len, means) {
            Ok(summary) => summary,
            Err(not_sent) => {
                if matches!(not_sent, NotSent::Source(_)) {
                    self.say(&ToReceiver::FileEnd { sum: None })?;
                }
                return Err(not_sent);
            }
        };
        let steady = summary.source_len == len
            && (stood_still(before, source) || same_again(source, len, &summary));
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
        Ok(steady)
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
            Means::Whole => whole(source.take(len), &mut sink),
            Means::Signature(index) => diff(source.take(len), index, &mut sink),
            Means::Plan(plan, _) => plan.emit(source, &mut sink),
        };
        if let Some(e) = link_error {
            return Err(NotSent::Link(e));
        }
        let summary = result.map_err(|e| NotSent::Source(unreadable("read", &file.shown(), &e)))?;
        if !frame.is_empty() {
            outbox.lock().put(FrameKind::Data, &frame, &[])?;
        }
        Ok(summary)
    }

    fn skip(&mut self, file: &FileSource, warning: &Warning) -> Result<(), Error> {
        self.say(&ToReceiver::FileSkipped {
            dir: file.dir(),
            entry: file.number,
        })?;
        if !warning.vanished {
            self.deletable = false;
        }
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
    /// It has grown too long for one.
    TooLong,
    Failed(Warning),
}

/// Puts one whole file into the open pack, or if it does not compress into `noise`; nothing of it
/// stays in either if that fails.
fn put_file(
    cache: &mut DirCache,
    file: &FileSource,
    writer: &mut FrameWriter,
    noise: &mut Vec<u8>,
) -> Result<u64, Put> {
    let start = writer.payload().len();
    let result = try_put_file(cache, file, writer.payload());
    match result {
        Ok(len) => {
            let content_at = writer.payload().len() - len as usize;
            writer.take_noise(start, content_at, noise);
        }
        Err(_) => writer.payload().truncate(start),
    }
    result
}

fn try_put_file(cache: &mut DirCache, file: &FileSource, out: &mut Vec<u8>) -> Result<u64, Put> {
    let not_read = |e: &io::Error| Put::Failed(unreadable("read", &file.shown(), e));
    let mut source = cache.open(file).map_err(|e| not_read(&e))?;
    let start = out.len();
    for _ in 0..READ_ATTEMPTS {
        let before = metadata(&source).map_err(|e| not_read(&e))?;
        if before.len() > PACKED_LEN_MAX {
            return Err(Put::TooLong);
        }
        out.truncate(start);
        out.reserve(PACK_HEADER_LEN_MAX + before.len() as usize + 1);
        put_packed_header(out, file.number, file.changed_time(&before));
        let content_at = out.len();
        let read = read_up_to(&mut source, before.len(), out).map_err(|e| not_read(&e))?;
        if read == before.len() && stood_still(&before, &source) {
            patch_packed(out, content_at);
            return Ok(read);
        }
        source.seek(SeekFrom::Start(0)).map_err(|e| not_read(&e))?;
        let mut again = Vec::new();
        read_up_to(&mut source, read, &mut again).map_err(|e| not_read(&e))?;
        if read == before.len() && out.get(content_at..) == Some(&again) {
            patch_packed(out, content_at);
            return Ok(read);
        }
        source.seek(SeekFrom::Start(0)).map_err(|e| not_read(&e))?;
    }
    Err(Put::Failed(changed(file)))
}

fn read_up_to(source: &mut File, len: u64, out: &mut Vec<u8>) -> io::Result<u64> {
    let start = out.len();
    out.resize(start + len as usize, 0);
    let mut filled = start;
    while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    out.truncate(filled);
    Ok((filled - start) as u64)
}

/// Metadata of an open source file, which must still be a regular one.
fn metadata(source: &File) -> io::Result<Metadata> {
    let metadata = source.metadata()?;
    if metadata.is_file() {
        Ok(metadata)
    } else {
        Err(io::Error::other("it is not a regular file any more"))
    }
}

/// Whether nobody has written to the file since `before`.
fn stood_still(before: &Metadata, source: &File) -> bool {
    let stamp = |m: &Metadata| {
        (
            m.len(),
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec(),
        )
    };
    source
        .metadata()
        .is_ok_and(|after| stamp(&after) == stamp(before))
}

/// Whether a second reading gives the same bytes. If so, the file had exactly this content at the
/// moment between the two: appending to a log does not disturb what was there.
fn same_again(source: &File, len: u64, summary: &DiffSummary) -> bool {
    let mut source = source;
    if source.seek(SeekFrom::Start(0)).is_err() {
        return false;
    }
    let mut hasher = blake3::Hasher::new();
    let read = hasher.update_reader(work::Counted(source.take(len)));
    read.is_ok_and(|hasher| hasher.count() == len && hasher.finalize() == summary.sum)
}

fn changed(file: &FileSource) -> Warning {
    let shown = file.shown();
    let message = format!(
        "{shown} keeps changing while it is read; the target keeps what it has, push again later"
    );
    Warning {
        vanished: false,
        message,
    }
}
