//! Runs: whole frames that travel compressed together. All runs of a direction are one zstd stream,
//! flushed after each run, so that short messages gain from what went before and nothing waits.
//! Only the sender makes runs: what the receiver says is sums and hashes for the most part, which
//! do not compress.

use std::io;
use std::time::Instant;

use zstd::bulk::Compressor;
use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, Operation};
use zstd::zstd_safe::{InBuffer, OutBuffer};

use super::pace::{EFFORTS, Pace};
use crate::error::Error;
use crate::options::Compression;
use crate::refusal::Refusal;

/// Longest run, in bytes of the frames in it.
pub(crate) const RUN_LEN_MAX: usize = 1 << 20;

/// The payload of a run starts with the length of its frames.
pub(crate) const RUN_HEADER_LEN: usize = 3;

/// Binary logarithm of how far back a run refers, in bytes: what a decoder must hold.
const WINDOW_LOG: u32 = 21;

/// Frames beyond this length go plain, so that no run can outgrow a frame: what does not compress
/// gets longer by a few bytes per 128 KiB.
const PACKED_LEN_MAX: usize = RUN_LEN_MAX - (16 << 10);

/// Shorter than this, compression gains nothing over its own overhead.
const PACKED_LEN_MIN: usize = 64;

/// Bytes of a piece of a sample, and how many pieces are taken.
const SAMPLE_PIECE_LEN: usize = 1 << 10;
const SAMPLE_PIECES: usize = 8;

/// zstd's level for samples: the fastest that also looks at how often each byte occurs, which is
/// most of what there is to gain in a short piece of text.
const SAMPLE_LEVEL: i32 = 1;

/// Where that many in a row did not compress, as many go by before the next is looked at.
const UNSEEN_MAX: u32 = 4;

/// The same while the link is too fast for compression: then it is only to know what that would do.
const UNSEEN_WHILE_OFF: u32 = 15;

/// Data whose sample does not shrink to this part of it goes plain.
const WORTHWHILE: f64 = 0.98;

/// Content below this length is not looked at by itself.
const NOISE_LEN_MIN: usize = 4 << 10;

/// Decides what is compressed, and compresses it.
pub(crate) struct Packer {
    encoder: Encoder<'static>,
    level: i32,
    sampler: Sampler,
    /// Absent if everything is to be compressed at one level, however fast the link is.
    pace: Option<Pace>,
    /// How many in a row did not compress.
    noisy: u32,
    /// How many go plain without being looked at.
    unseen: u32,
}

impl Packer {
    /// `None` if nothing is to be compressed.
    pub(crate) fn new(compression: Compression) -> Result<Option<Packer>, Error> {
        let now = Instant::now();
        let (level, pace) = match compression {
            Compression::Never => return Ok(None),
            Compression::Adaptive => (LEVELS[0], Some(Pace::new(now))),
            Compression::Always { level: None } => (LEVELS[0], Some(Pace::always_on(now))),
            Compression::Always { level: Some(level) } => (level, None),
        };
        let failed = |e: io::Error| Error::file("set up compression", &e);
        let mut encoder = Encoder::new(level).map_err(failed)?;
        encoder
            .set_parameter(CParameter::WindowLog(WINDOW_LOG))
            .map_err(failed)?;
        Ok(Some(Packer {
            encoder,
            level,
            sampler: Sampler::new().map_err(failed)?,
            pace,
            noisy: 0,
            unseen: 0,
        }))
    }

    /// Whether `frames` had better go as they are.
    pub(crate) fn goes_plain(&mut self, frames: &[u8]) -> bool {
        if !(PACKED_LEN_MIN..=PACKED_LEN_MAX).contains(&frames.len()) {
            return true;
        }
        if let Some(less) = self.unseen.checked_sub(1) {
            self.unseen = less;
            return true;
        }
        let ratio = self.sampler.ratio(frames);
        let is_off = self.pace.as_mut().is_some_and(|pace| {
            pace.sampled(ratio);
            !pace.is_on()
        });
        if is_off {
            self.unseen = UNSEEN_WHILE_OFF;
            return true;
        }
        if ratio <= WORTHWHILE {
            self.noisy = 0;
            return false;
        }
        self.noisy += 1;
        if self.noisy >= UNSEEN_MAX && !self.link_leaves_time() {
            self.unseen = UNSEEN_MAX;
        }
        true
    }

    /// Whether looking at data costs nothing.
    fn link_leaves_time(&self) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.effort() > 0)
    }

    /// Whether the content of one file had better not be mixed with others': noise among text
    /// spoils the statistics by which the text is encoded. Where there is nothing but noise, files
    /// are not looked at one by one.
    pub(crate) fn is_noise(&mut self, content: &[u8]) -> bool {
        content.len() >= NOISE_LEN_MIN
            && self.pace.as_ref().is_none_or(Pace::is_on)
            && (self.noisy < UNSEEN_MAX || self.link_leaves_time())
            && is_even(content)
            && self.sampler.ratio(content) > WORTHWHILE
    }

    /// Takes note that noise is about to go plain.
    pub(crate) fn passes_noise(&mut self) {
        self.noisy += 1;
        if let Some(pace) = &mut self.pace {
            pace.sampled(1.0);
        }
    }

    /// Appends the payload of the run of `frames`, which must not [go plain](Self::goes_plain).
    pub(crate) fn pack(&mut self, frames: &[u8], payload: &mut Vec<u8>) -> Result<(), Error> {
        let start = Instant::now();
        let failed = |e: io::Error| Error::file("compress", &e);
        payload.reserve(RUN_HEADER_LEN + zstd::zstd_safe::compress_bound(frames.len()));
        payload.extend_from_slice(&(frames.len() as u32).to_le_bytes()[..RUN_HEADER_LEN]);
        let unlevelled = self
            .pace
            .as_ref()
            .and_then(|pace| LEVELS.get(pace.effort()));
        let level = unlevelled.copied().unwrap_or(self.level);
        if level != self.level {
            // Only between two zstd frames can it change.
            append(payload, |output| self.encoder.finish(output, true)).map_err(failed)?;
            self.encoder.reinit().map_err(failed)?;
            self.encoder
                .set_parameter(CParameter::CompressionLevel(level))
                .map_err(failed)?;
            self.level = level;
        }
        let mut input = InBuffer::around(frames);
        while input.pos() < frames.len() {
            payload.reserve(ROOM_LEN);
            let at = payload.len();
            let mut output = OutBuffer::around_pos(&mut *payload, at);
            self.encoder.run(&mut input, &mut output).map_err(failed)?;
        }
        append(payload, |output| self.encoder.flush(output)).map_err(failed)?;
        if let Some(pace) = &mut self.pace {
            pace.packed(frames.len(), start.elapsed());
        }
        Ok(())
    }

    /// Takes note that nothing could be put since `start`, because the link had not taken enough.
    pub(crate) fn waited(&mut self, start: Instant) {
        if let Some(pace) = &mut self.pace {
            pace.waited(start.elapsed());
        }
    }

    /// Takes note that the link has just taken `wire_len` bytes, which stand for `plain_len` bytes
    /// of frames, since `start`.
    pub(crate) fn written(&mut self, plain_len: usize, wire_len: usize, start: Instant) {
        if let Some(pace) = &mut self.pace {
            pace.written(plain_len, wire_len, start, Instant::now());
            if pace.is_on() {
                self.unseen = self.unseen.min(UNSEEN_MAX);
            }
        }
    }
}

/// Has all that `step` has left appended to `out`.
fn append(
    out: &mut Vec<u8>,
    mut step: impl FnMut(&mut OutBuffer<'_, Vec<u8>>) -> io::Result<usize>,
) -> io::Result<()> {
    loop {
        out.reserve(ROOM_LEN);
        let at = out.len();
        if step(&mut OutBuffer::around_pos(out, at))? == 0 {
            return Ok(());
        }
    }
}

/// Tells from little of the data whether the rest will compress.
struct Sampler {
    compressor: Compressor<'static>,
    out: Vec<u8>,
}

impl Sampler {
    fn new() -> io::Result<Sampler> {
        Ok(Sampler {
            compressor: Compressor::new(SAMPLE_LEVEL)?,
            out: Vec::with_capacity(zstd::zstd_safe::compress_bound(SAMPLE_PIECE_LEN)),
        })
    }

    /// About how long `bytes` get, as a part of their length. Each piece counts by itself: one of
    /// noise must not hide one of text.
    fn ratio(&mut self, bytes: &[u8]) -> f64 {
        let step = (bytes.len() / SAMPLE_PIECES).max(SAMPLE_PIECE_LEN);
        let (mut len, mut got) = (0, 0);
        for piece in bytes.chunks(step).take(SAMPLE_PIECES) {
            let piece = piece.get(..SAMPLE_PIECE_LEN).unwrap_or(piece);
            self.out.clear();
            let packed = self.compressor.compress_to_buffer(piece, &mut self.out);
            len += piece.len();
            got += packed.unwrap_or(piece.len()).min(piece.len());
        }
        got as f64 / len.max(1) as f64
    }
}

/// Whether all bytes are about equally frequent in a few pieces of `content`, as they are in noise
/// and hardly in anything that compresses.
fn is_even(content: &[u8]) -> bool {
    let mut counts = [0_u32; 256];
    let step = (content.len() / EVEN_PIECES).max(SAMPLE_PIECE_LEN);
    let mut len = 0;
    for piece in content.chunks(step).take(EVEN_PIECES) {
        let piece = piece.get(..SAMPLE_PIECE_LEN).unwrap_or(piece);
        len += piece.len();
        for &byte in piece {
            if let Some(count) = counts.get_mut(usize::from(byte)) {
                *count += 1;
            }
        }
    }
    let squares: f64 = counts.iter().map(|&count| f64::from(count).powi(2)).sum();
    let len = len as f64;
    squares < UNEVEN * (len * len / 256.0 + len)
}

/// Pieces of the length of a sample's, and by how much more than in noise the squares of the counts
/// may add up to.
const EVEN_PIECES: usize = 4;
const UNEVEN: f64 = 1.2;

/// The frames of runs that arrived.
#[derive(Default)]
pub(crate) struct Unpacker {
    decoder: Option<Decoder<'static>>,
    frames: Vec<u8>,
}

impl Unpacker {
    /// Decompresses the payload of a run. What it stands for is bounded before anything is
    /// allocated for it.
    pub(crate) fn unpack(&mut self, payload: &[u8]) -> Result<(), Error> {
        let Some((&[a, b, c], packed)) = payload.split_first_chunk::<RUN_HEADER_LEN>() else {
            return Err(Error::peer(Refusal::RunWithoutLength));
        };
        let len = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        if len == 0 || len > RUN_LEN_MAX {
            let max = RUN_LEN_MAX;
            return Err(Error::peer(Refusal::RunLen { len, max }));
        }
        let damaged = |e: io::Error| {
            let why = e.to_string();
            Error::peer(Refusal::RunDamaged { why })
        };
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => {
                let mut decoder = Decoder::new().map_err(damaged)?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(WINDOW_LOG))
                    .map_err(damaged)?;
                none.insert(decoder)
            }
        };
        self.frames.clear();
        // With room for a byte more than there may be, nothing too long stays behind unseen.
        self.frames.resize(len + 1, 0);
        let (mut read, mut made) = (0, 0);
        while read < packed.len() || made < len {
            let (input, room) = (packed.get(read..), self.frames.get_mut(made..));
            let (input, room) = (input.unwrap_or_default(), room.unwrap_or_default());
            let step = decoder.run_on_buffers(input, room).map_err(damaged)?;
            read += step.bytes_read;
            made += step.bytes_written;
            if made > len || step.bytes_read + step.bytes_written == 0 {
                return Err(Error::peer(Refusal::RunOtherLen { len }));
            }
        }
        self.frames.truncate(len);
        Ok(())
    }

    /// The frames of the last run.
    pub(crate) fn frames(&self) -> &[u8] {
        &self.frames
    }
}

/// Levels without a wish, by effort: zstd's own default, and those for when there is time. Beyond
/// them text takes many times as long for a few percent.
const LEVELS: [i32; EFFORTS] = [3, 6, 9];

/// What the encoder is given at least to write to.
const ROOM_LEN: usize = 8 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn packed(packer: &mut Packer, frames: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        packer.pack(frames, &mut payload).unwrap();
        payload
    }

    fn packer() -> Packer {
        let always = Compression::Always { level: Some(3) };
        Packer::new(always).unwrap().unwrap()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut reader = blake3::Hasher::new().finalize_xof();
        let mut bytes = vec![0; len];
        reader.fill(&mut bytes);
        bytes
    }

    #[test]
    fn runs_of_one_stream_come_back() {
        let (mut packer, mut unpacker) = (packer(), Unpacker::default());
        let text = b"one line of a log like another\n".repeat(30_000);
        for frames in [
            &text[..100],
            &text,
            &text[..70],
            &noise(300_000),
            &text[7..],
        ] {
            let payload = packed(&mut packer, frames);
            unpacker.unpack(&payload).unwrap();
            assert!(unpacker.frames() == frames);
        }
    }

    #[test]
    fn a_change_of_level_goes_unnoticed() {
        let unlevelled = Compression::Always { level: None };
        let mut packer = Packer::new(unlevelled).unwrap().unwrap();
        let mut unpacker = Unpacker::default();
        let text = b"one line of a log like another\n".repeat(20_000);
        for effort in [0, 1, 1, 2, 0] {
            packer.pace = Some(Pace::with_effort(effort));
            let payload = packed(&mut packer, &text);
            unpacker.unpack(&payload).unwrap();
            assert!(unpacker.frames() == text);
        }
    }

    #[test]
    fn a_run_gains_from_those_before() {
        let mut packer = packer();
        let message = noise(200);
        let first = packed(&mut packer, &message).len();
        let second = packed(&mut packer, &message).len();
        assert!(first > 200 && second < 40, "{first} {second}");
    }

    #[test]
    fn what_does_not_compress_is_recognised() {
        let goes_plain = |frames: &[u8]| packer().goes_plain(frames);
        assert!(goes_plain(&noise(256 << 10)));
        assert!(goes_plain(&vec![0; RUN_LEN_MAX]));
        let text = b"some text, and some more, ".repeat(10_000);
        assert!(!goes_plain(&text));
        let mut mixed = noise(200_000);
        mixed.extend(b"and a fifth of it is text. ".repeat(2_000));
        assert!(!goes_plain(&mixed));
        let mut packer = packer();
        for _ in 0..100 {
            assert!(packer.goes_plain(&noise(64 << 10)));
        }
        let seen_again = (0..16).position(|_| !packer.goes_plain(&text));
        assert!(seen_again.is_some_and(|at| at <= UNSEEN_MAX as usize));
    }

    #[test]
    fn while_the_link_is_waited_for_everything_is_looked_at() {
        let unlevelled = Compression::Always { level: None };
        let mut packer = Packer::new(unlevelled).unwrap().unwrap();
        packer.pace = Some(Pace::with_effort(1));
        let text = b"some text, and some more, ".repeat(10_000);
        for _ in 0..20 {
            assert!(packer.goes_plain(&noise(64 << 10)));
            assert!(packer.goes_plain(&noise(64 << 10)));
            assert!(!packer.goes_plain(&text));
        }
        for _ in 0..20 {
            assert!(packer.goes_plain(&noise(64 << 10)));
        }
        assert!(!packer.goes_plain(&text));
    }

    #[test]
    fn a_file_of_noise_is_told_from_others() {
        let mut packer = packer();
        for len in [NOISE_LEN_MIN, 10_000, 128 << 10] {
            assert!(packer.is_noise(&noise(len)), "{len}");
        }
        assert!(!packer.is_noise(&noise(NOISE_LEN_MIN - 1)), "too short");
        assert!(!packer.is_noise(&b"some text, and some more, ".repeat(1000)));
        let counting: Vec<u8> = (0..20_000).map(|at| at as u8).collect();
        assert!(!packer.is_noise(&counting), "even and compressible");
        for _ in 0..UNSEEN_MAX {
            packer.passes_noise();
        }
        assert!(!packer.is_noise(&noise(10_000)), "so is everything");
        assert!(!packer.goes_plain(&b"some text, and some more, ".repeat(1000)));
        assert!(packer.is_noise(&noise(10_000)), "not everything");
        let mut half = noise(20_000);
        half.extend(b"and text. ".repeat(2000));
        assert!(!packer.is_noise(&half));
    }

    #[test]
    fn text_without_repetitions_is_recognised_too() {
        let letters = b"eeeetttaaoooiiinnnsshhrrddlucm  ";
        let bytes = noise(256 << 10);
        let text: Vec<u8> = bytes.iter().map(|b| letters[usize::from(b % 32)]).collect();
        assert!(!packer().goes_plain(&text));
    }

    #[test]
    fn even_what_does_not_compress_fits_a_frame() {
        let payload_len = packed(&mut packer(), &noise(PACKED_LEN_MAX)).len();
        assert!(payload_len <= super::super::FRAME_LEN_MAX);
    }

    #[test]
    fn a_run_that_lies_about_its_length_is_refused() {
        let frames = vec![7; 50_000];
        let honest = packed(&mut packer(), &frames);
        let claim = |len: u32| {
            let mut payload = honest.clone();
            payload[..3].copy_from_slice(&len.to_le_bytes()[..3]);
            Unpacker::default().unpack(&payload)
        };
        assert!(claim(50_000).is_ok());
        for len in [0, 1, 49_999, 50_001, RUN_LEN_MAX as u32, 0xff_ffff] {
            assert!(claim(len).is_err(), "{len}");
        }
    }

    #[test]
    fn cut_and_damaged_runs_are_refused() {
        let honest = packed(&mut packer(), &noise(3000));
        for cut in 0..honest.len() {
            assert!(Unpacker::default().unpack(&honest[..cut]).is_err(), "{cut}");
        }
        // Magic and header of the stream.
        for at in [3, 4, 5, 6] {
            let mut damaged = honest.clone();
            damaged[at] ^= 0x41;
            assert!(Unpacker::default().unpack(&damaged).is_err(), "{at}");
        }
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        let mut encoder = Encoder::new(3).unwrap();
        encoder.set_parameter(CParameter::WindowLog(25)).unwrap();
        let mut payload = vec![100, 0, 0];
        payload.reserve(1000);
        let mut output = OutBuffer::around_pos(&mut payload, 3);
        encoder
            .run(&mut InBuffer::around(&[1; 100]), &mut output)
            .unwrap();
        encoder.flush(&mut output).unwrap();
        assert!(Unpacker::default().unpack(&payload).is_err());
    }
}
