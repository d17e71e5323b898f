//! What a push tells a person while it runs: which events become lines, and where they go.
//! Lists go to standard output, anything that went wrong to standard error.

use std::time::{Duration, Instant};

use hasync_engine::{Change, Observer, Progress, Summary, Warning};

use crate::itemize::{itemized, named};
use crate::out::{self, Out};
use crate::progress::Meter;
use crate::stats;

/// Which lines were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// `-v`: names, and the two closing lines.
    pub(crate) verbose: bool,
    /// `-i`: itemized lines in place of names.
    pub(crate) itemize: bool,
    /// `--stats`: counts at the end.
    pub(crate) stats: bool,
    /// `--progress`: a line per file whose content moves, below its name.
    pub(crate) progress: bool,
    /// `-q`: nothing but errors.
    pub(crate) quiet: bool,
    /// `-r`: rsync announces its list only then.
    pub(crate) recursive: bool,
    /// `-n`: said in the closing lines.
    pub(crate) dry_run: bool,
    /// The letter of moved content: `<` to another host, `>` within this one.
    pub(crate) sent_letter: u8,
}

/// Prints the events of one push.
pub(crate) struct Report {
    out: Out,
    style: Style,
    meter: Meter,
    began: Instant,
}

impl Report {
    /// Begins the report of a push that begins now.
    pub(crate) fn begin(out: Out, style: Style) -> Self {
        if style.recursive && (style.verbose || style.progress) && !style.quiet {
            out.write(b"sending incremental file list\n");
        }
        Report {
            out,
            style,
            meter: Meter::default(),
            began: Instant::now(),
        }
    }

    /// Prints what is said at the end.
    pub(crate) fn end(&mut self, summary: &Summary) {
        let style = self.style;
        let mut text = self.meter.end_line().to_owned();
        if style.stats && !style.quiet {
            text.push('\n');
            text.push_str(&stats::counts(summary));
        }
        if (style.verbose || style.stats) && !style.quiet {
            text.push('\n');
            text.push_str(&stats::totals(summary, self.began.elapsed(), style.dry_run));
        }
        self.out.write(text.as_bytes());
    }

    /// Whether changes are named at all.
    fn lists(&self) -> bool {
        self.style.verbose || self.style.itemize || self.style.progress
    }

    fn line(&mut self, mut line: Vec<u8>) {
        line.push(b'\n');
        line.splice(0..0, self.meter.end_line().bytes());
        self.out.write(&line);
    }
}

impl Observer for Report {
    fn change(&mut self, change: &Change<'_>) {
        if self.style.quiet || !self.lists() {
            return;
        }
        let line = if self.style.itemize {
            Some(itemized(change, self.style.sent_letter))
        } else {
            named(change)
        };
        if let Some(line) = line {
            self.line(line);
        }
    }

    fn warn(&mut self, warning: &Warning) {
        if warning.harmless && self.style.quiet {
            return;
        }
        let end = self.meter.end_line();
        self.out.write(end.as_bytes());
        // In a log that holds both streams, the error belongs behind what came before it.
        self.out.flush();
        out::error(&warning.message);
    }

    fn note(&mut self, note: &str) {
        let asked_for = !note.starts_with("created directory ") || self.lists();
        if asked_for && !self.style.quiet {
            self.line(note.replace('\n', "\\#012").into_bytes());
        }
    }

    fn progress(&mut self, progress: &Progress<'_>) {
        if !self.style.progress || self.style.quiet {
            return;
        }
        if let Some(text) = self.meter.draw(progress, self.now()) {
            self.out.write(text.as_bytes());
            self.out.flush();
        }
    }
}

impl Report {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}
