//! The ops of a source file, made piece by piece, so that whoever sends them can do something else
//! in between.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::emit::{DiffSummary, Emitter, Sink};
use super::exchange::{Plan, Planned};
use super::index::IndexedSignature;
use super::search::{Search, Whole};
use super::sparse::WholeFile;
use crate::work;

/// Ops that have not been made yet. Errors are those of reading the source, and of the sink.
pub(crate) struct SourceOps(Way);

enum Way {
    Whole(WholeFile),
    Dense(Whole<FileReader>),
    Search(Box<Search<Arc<IndexedSignature>, FileReader>>),
    Plan(Box<Planned<Box<Plan>, Arc<File>>>),
}

impl SourceOps {
    /// The first `len` bytes of a file as they are; holes are told by their length.
    pub(crate) fn whole(file: Arc<File>, len: u64) -> io::Result<Self> {
        Ok(SourceOps(Way::Whole(WholeFile::new(file, len)?)))
    }

    /// The same without holes, as [`whole`](super::whole) does.
    pub(crate) fn dense(file: Arc<File>, len: u64) -> Self {
        SourceOps(Way::Dense(Whole::new(FileReader::new(file, len))))
    }

    /// The first `len` bytes of a file, with what is in a basis copied, as [`diff`](super::diff)
    /// does.
    pub(crate) fn search(file: Arc<File>, len: u64, signature: Arc<IndexedSignature>) -> Self {
        let (reader, emitter) = (FileReader::new(file, len), Emitter::default());
        let search = Search::new(reader, u64::MAX, signature, emitter);
        SourceOps(Way::Search(Box::new(search)))
    }

    /// As [`Plan::emit`] does.
    pub(crate) fn plan(file: Arc<File>, plan: Box<Plan>) -> io::Result<Self> {
        Ok(SourceOps(Way::Plan(Box::new(Planned::new(plan, file)?))))
    }

    /// Reads on, a few hundred kB or a few blocks, and passes on the ops that come of it. The
    /// summary says that this was the end.
    pub(crate) fn step(&mut self, sink: &mut Sink<'_>) -> io::Result<Option<DiffSummary>> {
        let goes_on = match &mut self.0 {
            Way::Whole(whole) => whole.step(sink),
            Way::Dense(whole) => whole.step(sink),
            Way::Search(search) => search.step(sink),
            Way::Plan(planned) => planned.step(sink),
        };
        if goes_on? {
            return Ok(None);
        }
        let summary = match &mut self.0 {
            Way::Whole(whole) => whole.finish(sink),
            Way::Dense(whole) => whole.finish(sink),
            Way::Search(search) => search.finish(sink),
            Way::Plan(planned) => planned.finish(sink),
        };
        summary.map(Some)
    }
}

/// Reads the beginning of a file.
struct FileReader {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl FileReader {
    fn new(file: Arc<File>, len: u64) -> Self {
        FileReader {
            file,
            at: 0,
            end: len,
        }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        let read = self
            .file
            .read_at(buffer.get_mut(..len).unwrap_or_default(), self.at)?;
        work::did(read as u64);
        self.at += read as u64;
        Ok(read)
    }
}
