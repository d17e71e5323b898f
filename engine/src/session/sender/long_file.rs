//! One long file on its way: as ops, in pieces of about a frame, and with the metadata of the very
//! file that was read.

use std::io;

use super::Sender;
use super::deltas::Means;
use super::not_sent::NotSent;
use super::reading::{Doubt, FileSource, Judged, Opened, Reading, read_past};
use crate::delta::{DiffSummary, Op, OpEncoder, SourceOps, is_mostly_hole};
use crate::error::Error;
use crate::session::outbox::Outbox;
use crate::since::Since;
use crate::wire::{FRAME_LEN_MAX, FrameKind, ToReceiver};

/// A frame of content is closed when it has grown to this, in bytes.
pub(super) const CONTENT_FRAME_LEN: usize = 256 * 1024;

/// Ops that make this many bytes of the file are passed on, however short they are, so that the
/// receiver works while this side reads on.
const RESULT_LEN: u64 = 8 << 20;

/// Bytes read again at once.
const REREAD_LEN: u64 = 4 << 20;

/// A file, and how far it is.
pub(super) struct LongFile {
    file: FileSource,
    /// How it is sent again if it changed and then stands still, for good then.
    once_more: Option<Means>,
    /// Its lease has been waited for.
    was_leased: bool,
    state: State,
}

enum State {
    Begins(Means),
    Sends(Box<Flow>),
    /// All of it is on its way, but the file has changed meanwhile.
    Rereads(Box<Flow>, DiffSummary, Doubt),
}

struct Flow {
    opened: Opened,
    tells_holes: bool,
    ops: SourceOps,
    frames: OpFrames,
}

enum Next {
    On(State),
    End(Reading),
}

impl LongFile {
    pub(super) fn new(file: FileSource, means: Means) -> Self {
        LongFile {
            file,
            once_more: Some(means.once_more()),
            was_leased: matches!(means, Means::Opened(_)),
            state: State::Begins(means),
        }
    }
}

impl Sender<'_> {
    /// Does one piece; what is left of the file, if anything is.
    pub(super) fn send_long(&mut self, mut long: LongFile) -> Result<Option<LongFile>, Error> {
        let next = match long.state {
            State::Begins(means) => self.begin_long(&long.file, means),
            State::Sends(flow) => self.put_ops(&long.file, flow),
            State::Rereads(flow, sent, doubt) => self.read_again(&long.file, flow, sent, doubt),
        };
        let result = match next {
            Ok(Next::On(state)) => return Ok(Some(LongFile { state, ..long })),
            // It changed, but now it stands still.
            Ok(Next::End(Reading::Quiet)) if long.once_more.is_some() => {
                let state = long.once_more.take().map(State::Begins);
                return Ok(state.map(|state| LongFile { state, ..long }));
            }
            Ok(Next::End(reading)) => Ok(reading),
            // Who takes a lease again and again is not waited for again and again.
            Err(NotSent::Leased) if long.was_leased => Err(NotSent::not_given_up(&long.file)),
            Err(not_sent) => Err(not_sent),
        };
        self.sent(&long.file, result).map(|()| None)
    }

    fn begin_long(&mut self, file: &FileSource, means: Means) -> Result<Next, NotSent> {
        let not_read = |e: &io::Error| NotSent::Source(file.unreadable(e));
        let opened = match &means {
            Means::Plan(_, opened) | Means::Opened(opened) => opened.clone(),
            Means::Whole | Means::Dense | Means::Signature(_) => {
                let opened = self.content.cache.open(file);
                opened.map_err(|e| match e.kind() {
                    io::ErrorKind::WouldBlock => NotSent::Leased,
                    _ => not_read(&e),
                })?
            }
        };
        let len = opened.before.len();
        let since = self.may_send(file, &opened)?;
        self.say(&ToReceiver::FileBegin {
            dir: file.dir(),
            entry: file.number(),
            len,
            since,
        })?;
        // Rolling over the zeros of a hole would take time.
        let rolls = matches!(means, Means::Signature(_)) && !is_mostly_hole(&opened.before);
        let (source, mut tells_holes) = (opened.file.clone(), false);
        let ops = match means {
            Means::Signature(index) if rolls => Ok(SourceOps::search(source, len, index)),
            Means::Dense => Ok(SourceOps::dense(source, len)),
            Means::Plan(plan, _) => SourceOps::plan(source, plan),
            Means::Whole | Means::Opened(_) | Means::Signature(_) => {
                tells_holes = true;
                SourceOps::whole(source, len)
            }
        };
        match ops {
            Ok(ops) => Ok(Next::On(State::Sends(Box::new(Flow {
                opened,
                tells_holes,
                ops,
                frames: OpFrames::default(),
            })))),
            Err(e) => self.give_up(not_read(&e)),
        }
    }

    /// The file that has begun ends without having come.
    fn give_up(&mut self, why: NotSent) -> Result<Next, NotSent> {
        self.say(&ToReceiver::FileEnd { sum: None })?;
        Err(why)
    }

    /// Whether a file may be sent as what it has turned out to be; with what metadata then.
    fn may_send(&self, file: &FileSource, opened: &Opened) -> Result<Since, NotSent> {
        let (len, max, terms) = (opened.before.len(), self.terms.len_max, &self.terms);
        if len > max {
            return Err(NotSent::Source(file.warning(format_args!(
                "has {len} bytes, and on the target a file can have no more than {max}; the \
                 target keeps what it has"
            ))));
        }
        if terms.refuse(file, &opened.before) {
            return Err(NotSent::Source(file.warning(format_args!(
                "is another file than the one that was listed, which has more names; push again"
            ))));
        }
        let since = file.since(opened, &terms.recast, terms.attributes);
        let since = since.map_err(|e| NotSent::Source(file.unreadable(&e)))?;
        if let Since::Other(meta, attributes) = &since {
            self.announce_ids(meta.uid, meta.gid, attributes)?;
        }
        Ok(since)
    }

    /// Reads on until a frame has been put, or the file has ended.
    fn put_ops(&mut self, file: &FileSource, mut flow: Box<Flow>) -> Result<Next, NotSent> {
        let Flow { ops, frames, .. } = &mut *flow;
        let sent = loop {
            match ops.step(&mut |op| frames.put(op, &self.outbox)) {
                Ok(None) if frames.moved == 0 => {}
                sent => break sent,
            }
        };
        if let Some(e) = frames.broken.take() {
            return Err(NotSent::Link(e));
        }
        let (offset, moved) = frames.take_moved();
        self.progress(file, offset, moved);
        let sent = match sent {
            Err(e) => return self.give_up(NotSent::Source(file.unreadable(&e))),
            Ok(None) => return Ok(Next::On(State::Sends(flow))),
            Ok(Some(sent)) => sent,
        };
        frames.end(&self.outbox)?;
        let (source, len) = (&flow.opened.file, flow.opened.before.len());
        let past = match sent.source_len == len {
            true => read_past(source, len),
            false => 0,
        };
        let judged = Judged::of(&flow.opened, sent.source_len + past);
        self.judged(file, flow, sent, judged)
    }

    fn judged(
        &mut self,
        file: &FileSource,
        mut flow: Box<Flow>,
        sent: DiffSummary,
        judged: Judged,
    ) -> Result<Next, NotSent> {
        let reading = match judged {
            Judged::Known(reading) => reading,
            Judged::Doubtful(doubt) => {
                let (source, len) = (flow.opened.file.clone(), flow.opened.before.len());
                let again = match flow.tells_holes {
                    true => SourceOps::whole(source, len),
                    false => Ok(SourceOps::dense(source, len)),
                };
                match again {
                    Ok(ops) => flow.ops = ops,
                    Err(e) => return self.give_up(NotSent::Source(file.unreadable(&e))),
                }
                return Ok(Next::On(State::Rereads(flow, sent, doubt)));
            }
        };
        let steady = reading == Reading::Steady;
        let sum = steady.then(|| *sent.sum.as_bytes());
        self.say(&ToReceiver::FileEnd { sum })?;
        if steady {
            let summary = &mut self.telling.summary;
            summary.literal_bytes = summary.literal_bytes.saturating_add(sent.literal_bytes);
            summary.matched_bytes = summary.matched_bytes.saturating_add(sent.matched_bytes);
            self.telling.moved_files += 1;
            self.progress(file, flow.opened.before.len(), 0);
        }
        Ok(Next::End(reading))
    }

    /// Reads the file once more, to compare its sum.
    fn read_again(
        &mut self,
        file: &FileSource,
        mut flow: Box<Flow>,
        sent: DiffSummary,
        doubt: Doubt,
    ) -> Result<Next, NotSent> {
        let mut read_len = 0;
        let again = loop {
            let again = flow.ops.step(&mut |op| {
                read_len += op.output_len();
                Ok(())
            });
            if read_len >= REREAD_LEN || !matches!(again, Ok(None)) {
                break again;
            }
        };
        let is_same = match again {
            Ok(None) => return Ok(Next::On(State::Rereads(flow, sent, doubt))),
            Ok(Some(again)) => {
                (again.source_len, again.sum) == (flow.opened.before.len(), sent.sum)
            }
            Err(_) => false,
        };
        let judged = doubt.read_again(&flow.opened, is_same);
        self.judged(file, flow, sent, judged)
    }
}

/// Ops on their way into frames.
#[derive(Default)]
struct OpFrames {
    encoder: OpEncoder,
    frame: Vec<u8>,
    /// Bytes of the file that the ops in the frame make, those that frames put make, and of the
    /// latter the ones that nobody has been told of.
    unsent: u64,
    sent: u64,
    moved: u64,
    /// Why nothing can be put any more.
    broken: Option<Error>,
}

impl OpFrames {
    fn put(&mut self, op: Op<'_>, outbox: &Outbox) -> io::Result<()> {
        if self.frame.capacity() == 0 {
            self.frame.reserve(CONTENT_FRAME_LEN + FRAME_LEN_MAX / 2);
        }
        let literal = self.encoder.encode_head(op, &mut self.frame);
        self.unsent += op.output_len();
        let frame_len = self.frame.len() + literal.len();
        if frame_len < CONTENT_FRAME_LEN && self.unsent < RESULT_LEN {
            self.frame.extend_from_slice(literal);
            return Ok(());
        }
        let mut writer = outbox.lock();
        let mut result = writer.put(FrameKind::Data, &self.frame, literal);
        if frame_len < CONTENT_FRAME_LEN {
            // Little to send, much to do for the receiver.
            result = result.and_then(|()| writer.flush());
        }
        self.frame.clear();
        self.sent += self.unsent;
        self.moved += std::mem::take(&mut self.unsent);
        result.map_err(|e| {
            self.broken = Some(e);
            io::Error::other("link")
        })
    }

    /// How far the file is, and how much further than when this was last asked.
    fn take_moved(&mut self) -> (u64, u64) {
        (self.sent, std::mem::take(&mut self.moved))
    }

    fn end(&mut self, outbox: &Outbox) -> Result<(), Error> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let frame = std::mem::take(&mut self.frame);
        outbox.lock().put(FrameKind::Data, &frame, &[])
    }
}
