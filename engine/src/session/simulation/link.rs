//! A link that exists only here: each way carries whole frames, which take a while, wait for a
//! stalled link, and never arrive once it has been cut.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::chance::Chance;

/// Bytes of a frame before its payload.
const HEADER_LEN: usize = 4;

/// What somebody has written and nobody has taken.
#[derive(Clone, Default)]
pub(super) struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Bytes {
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Takes the first frame, if it is whole.
    fn take_frame(&self) -> Option<Vec<u8>> {
        let mut bytes = self.0.lock().unwrap();
        let &[a, b, c, _] = bytes.first_chunk::<HEADER_LEN>()?;
        let len = HEADER_LEN + u32::from_le_bytes([a, b, c, 0]) as usize;
        let rest = (bytes.len() >= len).then(|| bytes.split_off(len))?;
        Some(std::mem::replace(&mut *bytes, rest))
    }
}

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// There is never less than is read: whole frames are put here, and then read.
impl Read for Bytes {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.0.lock().unwrap();
        let len = room.len().min(bytes.len());
        room[..len].copy_from_slice(&bytes[..len]);
        bytes.drain(..len);
        Ok(len)
    }
}

/// What happens to the frames of one way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// A frame takes up to this.
    pub(super) delay: Duration,
    /// One in so many stalls the link for up to this.
    pub(super) stalls_one_in: usize,
    pub(super) stall: Duration,
    /// So many arrive.
    pub(super) cut_after: usize,
}

/// One way of the link.
pub(super) struct Way {
    /// The writing half writes here.
    pub(super) written: Bytes,
    /// What has arrived is read from here.
    pub(super) arrived: Bytes,
    weather: Weather,
    on_the_way: VecDeque<(Instant, Vec<u8>)>,
    pub(super) frames: usize,
}

impl Way {
    pub(super) fn new(weather: Weather) -> Self {
        Way {
            written: Bytes::default(),
            arrived: Bytes::default(),
            weather,
            on_the_way: VecDeque::new(),
            frames: 0,
        }
    }

    /// Takes over what has been written by now.
    pub(super) fn carry(&mut self, now: Instant, chance: &mut Chance) {
        while let Some(frame) = self.written.take_frame() {
            let mut arrives = now + part(self.weather.delay, chance);
            if chance.one_in(self.weather.stalls_one_in) {
                arrives += part(self.weather.stall, chance);
            }
            let before = self.on_the_way.back().map_or(now, |(at, _)| *at);
            self.on_the_way.push_back((arrives.max(before), frame));
        }
    }

    /// When the next frame arrives.
    pub(super) fn next(&self) -> Option<Instant> {
        self.on_the_way.front().map(|(at, _)| *at)
    }

    /// Lets the next frame arrive, if it is time; `false` if the link is cut here.
    pub(super) fn arrive(&mut self) -> bool {
        let frame = self.on_the_way.pop_front();
        if self.frames == self.weather.cut_after {
            return false;
        }
        self.frames += 1;
        let (_, bytes) = frame.unwrap();
        self.arrived.write_all(&bytes).unwrap();
        true
    }

    /// Bytes that have been written and have not arrived.
    pub(super) fn carried_len(&self) -> usize {
        let frames = self.on_the_way.iter().map(|(_, frame)| frame.len());
        self.written.len() + frames.sum::<usize>()
    }
}

fn part(all: Duration, chance: &mut Chance) -> Duration {
    all * chance.below(1001) as u32 / 1000
}
