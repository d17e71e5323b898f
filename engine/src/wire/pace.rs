//! Whether compressing pays, and how much of it, by what the link, the compressor and the source of
//! the data achieve.
//! Time is an argument; the data is judged by `run`.
//!
//! A push starts compressed, which a slow link needs at once and a fast one hardly feels. After
//! each stretch of the stream the rates are compared: a link that is waited for carries what it
//! can, so its rate is known; one that is not waited for carries more than was asked of it.

use std::time::{Duration, Instant};

/// Bytes on the wire, and time, after which there is something to judge by. What is handed to a
/// link goes into buffers at first: a megabyte or two tell nothing of its rate.
const STRETCH_LEN: u64 = 4 << 20;
const STRETCH_TIME: Duration = Duration::from_millis(500);

/// The same while data goes plain over a link that was not waited for yet, or only once, while its
/// buffers got full: they may have hidden that it is slow, which plain data soon shows.
const PROBE_LEN: u64 = 1 << 20;
const PROBED: u32 = 2;

/// Part of the time spent waiting beyond which the link is the bottleneck.
const WAITED: f64 = 0.4;

/// How much faster compression must promise to be before it is taken up.
const PROMISE: f64 = 1.15;

/// How hard there is time to compress: an index of this, which says about how many times as long as
/// the quickest level each takes.
const COSTS: [f64; EFFORTS] = [1.0, 3.0, 6.0];
pub(crate) const EFFORTS: usize = 3;

/// Part of the time that the link leaves which a harder level may take, and part from which on it
/// has taken too much.
const SPENDABLE: f64 = 0.85;
const SPENT: f64 = 0.95;

/// Part of the time spent waiting below which the link may have idled.
const HARDLY_WAITED: f64 = 0.05;

/// A peer that is waited for may itself be what is slow, on a link that is not. From this rate on
/// the wire, in bytes per second, it is tried how much it takes plain: after one stretch, and each
/// time compression still wins, after twice as many.
const DOUBTED_RATE: f64 = 40e6;

/// Stretches after which a link that is no longer waited for may have become faster.
const FORGOTTEN_AFTER: u32 = 64;

/// Whether to compress, for one push.
#[derive(Debug)]
pub(crate) struct Pace {
    on: bool,
    /// Compression is not in question, only how hard.
    always: bool,
    /// An index of [`COSTS`].
    effort: usize,
    /// Stretches compressed since plain ones were last tried, and how many are due.
    undoubted: u32,
    undoubted_max: u32,
    stretch: Stretch,
    /// Bytes per second on the wire, from when the link was last waited for.
    link_rate: Option<f64>,
    /// Stretches since.
    link_rate_age: u32,
    /// Stretches in which it was, at most [`PROBED`].
    waited_count: u32,
    /// Bytes of data per second of compressing at the quickest; not all of it may be compressed.
    packing_rate: Option<f64>,
    /// Bytes of data per second when most of it was last compressed.
    packed_rate: Option<f64>,
    /// What the data compresses to, by samples.
    ratio: f64,
}

/// What happened since the last judgement.
#[derive(Debug)]
struct Stretch {
    start: Instant,
    plain_bytes: u64,
    wire_bytes: u64,
    packed_bytes: u64,
    packing: Duration,
    waiting: Duration,
}

impl Stretch {
    fn new(start: Instant) -> Self {
        Stretch {
            start,
            plain_bytes: 0,
            wire_bytes: 0,
            packed_bytes: 0,
            packing: Duration::ZERO,
            waiting: Duration::ZERO,
        }
    }
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Pace {
            on: true,
            always: false,
            effort: 0,
            undoubted: 0,
            undoubted_max: 1,
            stretch: Stretch::new(now),
            link_rate: None,
            link_rate_age: 0,
            waited_count: 0,
            packing_rate: None,
            packed_rate: None,
            ratio: 1.0,
        }
    }

    /// For a push that is to be compressed however fast the link is.
    pub(crate) fn always_on(now: Instant) -> Self {
        Pace {
            always: true,
            ..Pace::new(now)
        }
    }

    #[cfg(test)]
    pub(crate) fn with_effort(effort: usize) -> Self {
        Pace {
            effort,
            ..Pace::always_on(Instant::now())
        }
    }

    /// How much harder than at the quickest the link leaves time to compress: below [`EFFORTS`].
    pub(crate) fn effort(&self) -> usize {
        self.effort
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// A sample of the data got this long, as a part of its length.
    pub(crate) fn sampled(&mut self, ratio: f64) {
        self.ratio += (ratio - self.ratio) / 8.0;
    }

    /// Compressing `plain_len` bytes took this long.
    pub(crate) fn packed(&mut self, plain_len: usize, took: Duration) {
        self.stretch.packed_bytes += plain_len as u64;
        self.stretch.packing += took;
    }

    /// The link was waited for, this long.
    pub(crate) fn waited(&mut self, took: Duration) {
        self.stretch.waiting += took;
    }

    /// The link took `wire_len` bytes, which stand for `plain_len`, between `start` and `end`.
    pub(crate) fn written(
        &mut self,
        plain_len: usize,
        wire_len: usize,
        start: Instant,
        end: Instant,
    ) {
        let stretch = &mut self.stretch;
        stretch.plain_bytes += plain_len as u64;
        stretch.wire_bytes += wire_len as u64;
        stretch.waiting += end.saturating_duration_since(start);
        let took = end.saturating_duration_since(stretch.start);
        let is_probe = !self.on && self.waited_count < PROBED;
        let stretch_len = if is_probe { PROBE_LEN } else { STRETCH_LEN };
        if stretch.wire_bytes >= stretch_len || took >= STRETCH_TIME {
            self.judge(took);
            self.stretch = Stretch::new(end);
        }
    }

    fn judge(&mut self, took: Duration) {
        let stretch = &self.stretch;
        let (took, waiting) = (took.as_secs_f64(), stretch.waiting.as_secs_f64());
        let packing = stretch.packing.as_secs_f64();
        // What the quickest level would have taken, and the time that it would have left.
        let quick = packing / COSTS.get(self.effort).unwrap_or(&1.0);
        let spare = waiting + packing - quick;
        if stretch.packed_bytes > 0 && quick > 0.0 {
            self.packing_rate = Some(stretch.plain_bytes as f64 / quick);
        }
        let rate = stretch.plain_bytes as f64 / took;
        let wire_rate = stretch.wire_bytes as f64 / took;
        if stretch.packed_bytes > stretch.plain_bytes / 2 {
            self.packed_rate = Some(rate);
        }
        let source_rate = stretch.plain_bytes as f64 / (took - waiting - packing).max(1e-6);
        let leaves_time = spare > WAITED * took;
        let is_waited_for = leaves_time && waiting > HARDLY_WAITED * took;
        if is_waited_for {
            self.link_rate = Some(wire_rate);
            self.link_rate_age = 0;
            self.waited_count = PROBED.min(self.waited_count + 1);
        } else {
            self.link_rate_age += 1;
            if self.link_rate_age > FORGOTTEN_AFTER {
                self.link_rate = None;
            }
        }
        let was_hard = self.effort > 0;
        if !leaves_time {
            self.effort = 0;
        } else if stretch.packed_bytes > 0 {
            self.effort = affordable(quick, spare, self.effort);
        }
        self.on = self.always
            || match (self.on, self.link_rate, self.packing_rate) {
                // Nothing of this stretch was compressed, or there was hardly anything to send: it
                // tells nothing about compression.
                (true, _, None) => true,
                (true, _, _)
                    if stretch.packed_bytes == 0 || stretch.wire_bytes < STRETCH_LEN / 16 =>
                {
                    true
                }
                (true, Some(link_rate), _) if is_waited_for => {
                    self.undoubted += 1;
                    let is_doubted =
                        link_rate > DOUBTED_RATE && self.undoubted >= self.undoubted_max;
                    if is_doubted {
                        self.undoubted = 0;
                        self.undoubted_max = self.undoubted_max.saturating_mul(2);
                    }
                    !is_doubted
                }
                // Compressing less hard comes first.
                (true, ..) if was_hard => true,
                (true, Some(link_rate), _) => rate > source_rate.min(link_rate),
                (true, None, _) => false,
                (false, Some(link_rate), Some(packing_rate)) if is_waited_for => {
                    let busy_rate = 1.0 / (1.0 / source_rate + 1.0 / packing_rate);
                    // What compression achieved last says more than what it promises.
                    let achieved = self.packed_rate.is_none_or(|achieved| achieved > rate);
                    achieved && busy_rate.min(link_rate / self.ratio) > PROMISE * link_rate
                }
                (false, _, _) => false,
            };
        if !self.on {
            self.effort = 0;
        }
    }
}

/// The hardest effort that goes into the time that the link leaves, where the quickest level takes
/// `quick` and leaves `spare` and `now` is the present effort.
fn affordable(quick: f64, spare: f64, now: usize) -> usize {
    let fits = |&(effort, cost): &(usize, f64)| {
        let part = if effort > now { SPENDABLE } else { SPENT };
        quick * (cost - 1.0) < part * spare
    };
    let efforts = COSTS.into_iter().enumerate();
    efforts.rev().find(fits).map_or(0, |(effort, _)| effort)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A push whose parts take the time that their rates, in MB/s, say.
    struct Push {
        pace: Pace,
        now: Instant,
        source: f64,
        packer: f64,
        link: f64,
        /// What the peer can take of the data, compressed or not.
        peer: f64,
        ratio: f64,
        /// Bytes on their way, and how many there may be.
        in_buffers: f64,
        buffers: f64,
    }

    const PIECE: usize = 256 << 10;
    const BUFFERED: f64 = 2e6;

    impl Push {
        fn new(source: f64, packer: f64, link: f64, ratio: f64) -> Self {
            let now = Instant::now();
            let pace = Pace::new(now);
            Push {
                pace,
                now,
                source,
                packer,
                link,
                peer: 1e6,
                ratio,
                in_buffers: 0.0,
                buffers: BUFFERED,
            }
        }

        fn pass(&mut self, bytes: f64, rate: f64) -> Duration {
            let took = Duration::from_secs_f64(bytes / (rate * 1e6));
            self.now += took;
            let drained = took.as_secs_f64() * self.drain_rate() * 1e6;
            self.in_buffers = (self.in_buffers - drained).max(0.0);
            took
        }

        /// On the wire, of the link or of the peer.
        fn drain_rate(&self) -> f64 {
            let on_wire = if self.pace.is_on() { self.ratio } else { 1.0 };
            self.link.min(self.peer * on_wire)
        }

        /// Sends `mb` megabytes; gives the part of them that was compressed.
        fn send(&mut self, mb: usize) -> f64 {
            let count = mb * 1_000_000 / PIECE;
            let mut packed = 0;
            for _ in 0..count {
                self.pass(PIECE as f64, self.source);
                self.pace.sampled(self.ratio);
                let mut wire = PIECE as f64;
                if self.pace.is_on() {
                    packed += 1;
                    let took = self.pass(wire, self.packer / COSTS[self.pace.effort()]);
                    self.pace.packed(PIECE, took);
                    wire *= self.ratio;
                }
                let start = self.now;
                self.in_buffers += wire;
                if self.in_buffers > self.buffers {
                    self.pass(self.in_buffers - self.buffers, self.drain_rate());
                }
                self.pace.written(PIECE, wire as usize, start, self.now);
            }
            f64::from(packed) / count as f64
        }
    }

    #[test]
    fn a_slow_link_is_compressed_for_from_the_start() {
        for link in [1.0, 12.0, 60.0] {
            let packed = Push::new(2000.0, 250.0, link, 0.4).send(100);
            assert!(packed > 0.9, "{packed} at {link} MB/s");
        }
    }

    #[test]
    fn a_fast_link_soon_carries_plain_data() {
        for link in [500.0, 700.0, 1200.0, 10_000.0] {
            let mut push = Push::new(2000.0, 250.0, link, 0.4);
            push.send(50);
            let packed = push.send(2000);
            assert!(packed < 0.02, "{packed} at {link} MB/s");
        }
    }

    #[test]
    fn a_link_as_fast_as_the_compressor_can_use_settles() {
        let mut push = Push::new(2000.0, 250.0, 117.0, 0.4);
        push.send(50);
        let packed = push.send(1000);
        assert!(packed > 0.85, "{packed}");
    }

    #[test]
    fn a_peer_that_is_slow_however_it_gets_the_data_gets_it_plain() {
        let mut push = Push::new(2000.0, 300.0, 1000.0, 0.6);
        push.peer = 150.0;
        push.send(50);
        let packed = push.send(500);
        assert!(packed < 0.05, "{packed}");
    }

    #[test]
    fn the_slower_the_link_the_more_time_it_leaves() {
        for (link, expected) in [(1.0, 2), (12.0, 2), (20.0, 1), (117.0, 0), (700.0, 0)] {
            let mut push = Push::new(2000.0, 250.0, link, 0.4);
            push.send(100);
            assert_eq!(push.pace.effort(), expected, "{link} MB/s");
            push.send(100);
            assert_eq!(push.pace.effort(), expected, "it stays at {link} MB/s");
        }
    }

    #[test]
    fn buffers_do_not_hide_a_slow_link_for_long() {
        let mut push = Push::new(200.0, 100.0, 12.0, 0.4);
        push.buffers = 4e6;
        let packed = push.send(100);
        assert!(packed > 0.97, "{packed}");
        let mut push = Push::new(150.0, 20.0, 12.0, 0.5);
        push.buffers = 2e6;
        let packed = push.send(100);
        assert!(packed > 0.95, "{packed}");
    }

    #[test]
    fn a_compressor_that_becomes_slow_is_asked_for_less_and_not_turned_off() {
        let mut push = Push::new(2000.0, 250.0, 12.0, 0.4);
        push.send(100);
        push.packer = 60.0;
        assert!(push.send(100) > 0.95);
        assert_eq!(push.pace.effort(), 0);
        push.packer = 250.0;
        assert!(push.send(100) > 0.95);
        assert_eq!(push.pace.effort(), 2);
    }

    #[test]
    fn what_is_compressed_harder_does_not_take_longer() {
        for link in [1.0, 6.0, 12.0, 20.0, 40.0, 60.0] {
            let mut push = Push::new(2000.0, 250.0, link, 0.4);
            let start = push.now;
            push.send(200);
            let took = (push.now - start).as_secs_f64();
            // What is left in the buffers is no part of it.
            let at_best = (200.0 * 0.4 - BUFFERED / 1e6) / link;
            assert!(took < 1.05 * at_best, "{took} s at {link} MB/s");
        }
    }

    #[test]
    fn a_source_that_is_slower_than_the_link_is_left_alone() {
        let mut push = Push::new(30.0, 250.0, 117.0, 0.4);
        push.send(50);
        let packed = push.send(500);
        assert!(packed < 0.05, "{packed}");
    }

    #[test]
    fn a_link_that_becomes_slow_is_compressed_for() {
        let mut push = Push::new(2000.0, 250.0, 700.0, 0.4);
        push.send(200);
        push.link = 10.0;
        push.send(20);
        assert!(push.send(50) > 0.95);
        push.link = 700.0;
        push.send(1000);
        assert!(push.send(500) < 0.05);
    }

    #[test]
    fn what_does_not_compress_is_not_tried() {
        let mut push = Push::new(2000.0, 250.0, 10.0, 1.0);
        push.send(100);
        push.pace.on = false;
        assert!(push.send(200) < 0.01);
    }
}
