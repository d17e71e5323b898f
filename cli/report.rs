//! What a push tells a person while it runs: which events become lines, and where they go.
//! Lists go to standard output, anything that went wrong to standard error.

use std::io::IsTerminal;
use std::time::Instant;

use hasync_engine::{Action, Change, Note, Observer, Progress, Summary, Warning, escape};

use crate::bar::Bar;
use crate::itemize::{itemized, kept, named};
use crate::out::{self, Out};
use crate::progress::{Meter, TotalMeter};
use crate::reach::told_by;
use crate::stats;

/// Which lines were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// `-v`: names, and the two closing lines.
    pub(crate) verbose: bool,
    /// `-vv`: also what `-u` leaves alone.
    pub(crate) newer: bool,
    /// `-i`: itemized lines in place of names.
    pub(crate) itemize: bool,
    /// `--stats`: counts at the end.
    pub(crate) stats: bool,
    /// `--progress`: a line per file whose content moves, below its name.
    pub(crate) progress: bool,
    /// `--info=progress2`: one line for the whole push.
    pub(crate) total_progress: bool,
    /// A bar while the push lasts: on a terminal, where no list is asked for.
    pub(crate) bar: bool,
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
    /// The target, as it was typed.
    target: String,
    /// The host that the receiver's words come from, if it is another.
    host: Option<String>,
    meter: Meter,
    total: TotalMeter,
    bar: Bar,
    began: Instant,
}

impl Style {
    /// With a bar, if this is a terminal and nothing else is printed on it.
    pub(crate) fn or_bar(self) -> Self {
        let lists = self.verbose || self.itemize || self.progress || self.total_progress;
        Style {
            bar: !lists && !self.quiet && std::io::stdout().is_terminal(),
            ..self
        }
    }
}

impl Report {
    /// Begins the report of a push to `target`, on another `host` or here, that begins now.
    pub(crate) fn begin(out: Out, style: Style, host: Option<&str>, target: &[u8]) -> Self {
        let announces = style.verbose || style.progress || style.total_progress;
        if style.recursive && announces && !style.quiet {
            out.write(b"sending incremental file list\n");
        }
        let end = target.iter().rposition(|byte| *byte != b'/').unwrap_or(0);
        Report {
            out,
            style,
            target: escape(target.get(..=end).unwrap_or(target)).into_owned(),
            host: host.map(str::to_owned),
            meter: Meter::default(),
            total: TotalMeter::default(),
            bar: Bar::default(),
            began: Instant::now(),
        }
    }

    /// Prints what is said at the end.
    pub(crate) fn end(&mut self, summary: &Summary) {
        let style = self.style;
        let mut text = self.end_line();
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
        let style = self.style;
        (style.verbose || style.itemize || style.progress) && !style.quiet
    }

    /// What has to be printed before a line that shows how something gets on is left.
    fn end_line(&mut self) -> String {
        format!(
            "{}{}{}",
            self.meter.end_line(),
            self.total.end_line(self.began.elapsed()),
            self.bar.clear()
        )
    }

    /// One line on standard error.
    fn tell(&mut self, message: &str) {
        let end = self.end_line();
        self.out.write(end.as_bytes());
        // In a log that holds both streams, the line belongs behind what came before it.
        self.out.flush();
        out::error(message);
    }

    fn draw(&self, text: Option<String>) {
        if let Some(text) = text {
            self.out.write(text.as_bytes());
            self.out.flush();
        }
    }

    fn line(&mut self, mut line: Vec<u8>) {
        line.push(b'\n');
        line.splice(0..0, self.end_line().bytes());
        self.out.write(&line);
    }
}

impl Observer for Report {
    fn created_root(&mut self) {
        if self.lists() {
            self.line(format!("created directory {}", self.target).into_bytes());
        }
    }

    fn change(&mut self, change: &Change<'_>) {
        if !self.lists() {
            return;
        }
        let style = self.style;
        let line = match change.action {
            Action::KeepNewer => style.newer.then(|| kept(change)),
            _ if style.itemize => Some(itemized(change, style.sent_letter)),
            // Such a file is named when its content moves, right above that line.
            Action::Transfer if style.progress && !style.dry_run => None,
            _ => named(change),
        };
        if let Some(line) = line {
            self.line(line);
        }
    }

    fn warn(&mut self, warning: &Warning) {
        self.tell(&warning.message);
    }

    fn told(&mut self, warning: &Warning) {
        let message = told_by(self.host.as_deref(), warning.message.clone());
        self.tell(&message);
    }

    fn note(&mut self, note: &Note<'_>) {
        if self.style.quiet {
            return;
        }
        let line = match note {
            Note::SkippedDir(path) => format!("skipping directory {}", escape(path)),
            Note::SkippedNonRegular(path) => {
                format!("skipping non-regular file \"{}\"", escape(path))
            }
            Note::NotEmpty(path) => {
                format!("cannot delete non-empty directory: {}", escape(path))
            }
            Note::OwnersNotKept => {
                return self.tell("the receiver does not run as root: owners are not kept");
            }
            Note::DevicesNotMade => {
                return self.tell("with this key no devices are made: they are left out");
            }
            Note::DeletedFirst(starved) => format!(
                "the target is nearly full: deletions went first, as {starved} entries had no room; \
                 those are pushed again"
            ),
            Note::SetuidNotKept => {
                return self.tell("with this key no setuid or setgid bits of files are kept");
            }
        };
        self.line(line.into_bytes());
    }

    fn progress(&mut self, progress: &Progress<'_>) {
        if self.style.quiet {
            return;
        }
        if self.style.bar {
            let drawn = self.bar.progress(progress, self.began.elapsed());
            self.draw(drawn);
        }
        if self.style.total_progress {
            let drawn = self.total.draw(progress, self.began.elapsed());
            self.draw(drawn);
        }
        if !self.style.progress {
            return;
        }
        if self.meter.is_new(progress.path) {
            self.line(escape(progress.path).as_bytes().to_vec());
        }
        let drawn = self.meter.draw(progress, self.began.elapsed());
        self.draw(drawn);
    }

    fn compared(&mut self, seen: u64, to_check: u64) {
        if self.style.bar {
            let drawn = self.bar.compared(seen, to_check, self.began.elapsed());
            self.draw(drawn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::tests::Caught;
    use hasync_engine::{Differences, Kind};

    const SILENT: Style = Style {
        verbose: false,
        newer: false,
        itemize: false,
        stats: false,
        progress: false,
        total_progress: false,
        bar: false,
        quiet: false,
        recursive: true,
        dry_run: false,
        sent_letter: b'<',
    };

    /// What is printed for a small push under `style`, up to the closing lines.
    fn printed(style: Style) -> String {
        let caught = Caught::default();
        let out = caught.out();
        let mut report = Report::begin(out.clone(), style, None, b"/dst/");
        report.created_root();
        report.note(&Note::SkippedNonRegular(b"dev"));
        let new = Differences {
            new: true,
            ..Differences::default()
        };
        for (path, action) in [(&b"a"[..], Action::Transfer), (b"b", Action::Attributes)] {
            report.change(&Change {
                path,
                kind: Kind::File,
                action,
                differences: new,
                link: None,
                len: 3,
            });
        }
        report.progress(&Progress {
            path: b"a",
            file_offset: 3,
            file_len: 3,
            total_len: 0,
            wanted_len: 0,
            link_bytes: 0,
            total_bytes: 3,
            file_count: 1,
            to_check: 0,
            seen: 1,
            scanning: false,
        });
        report.end(&Summary {
            total_len: 3,
            ..Summary::default()
        });
        out.flush();
        caught.text()
    }

    #[test]
    fn without_letters_only_what_was_skipped_is_said() {
        assert_eq!(printed(SILENT), "skipping non-regular file \"dev\"\n");
    }

    #[test]
    fn verbose_names_and_sums_up() {
        let text = printed(Style {
            verbose: true,
            dry_run: true,
            ..SILENT
        });
        let list = "sending incremental file list\ncreated directory /dst\n\
                    skipping non-regular file \"dev\"\na\n\nsent 0 bytes  received 0 bytes  ";
        assert!(text.starts_with(list), "{text}");
        assert!(
            text.ends_with("total size is 3  speedup is 3.00 (DRY RUN)\n"),
            "{text}"
        );
        assert!(!text.contains("Number of files"), "{text}");
    }

    #[test]
    fn itemize_alone_prints_its_lines_and_nothing_else() {
        let text = printed(Style {
            itemize: true,
            ..SILENT
        });
        let list = "created directory /dst\nskipping non-regular file \"dev\"\n\
                    <f+++++++++ a\n.f+++++++++ b\n";
        assert_eq!(text, list);
    }

    #[test]
    fn stats_alone_print_counts_and_totals() {
        let text = printed(Style {
            stats: true,
            ..SILENT
        });
        assert!(text.contains("\n\nNumber of files: 0\n"), "{text}");
        assert!(text.contains("\n\nsent 0 bytes"), "{text}");
    }

    #[test]
    fn progress_names_files_above_their_lines() {
        let text = printed(Style {
            progress: true,
            ..SILENT
        });
        assert!(
            text.starts_with("sending incremental file list\n"),
            "{text}"
        );
        assert!(text.contains("\na\n\r              3 100%"), "{text}");
        assert!(text.ends_with("(xfr#1, to-chk=0/1)\n"), "{text}");
    }

    #[test]
    fn quiet_outranks_every_list() {
        let loud = Style {
            verbose: true,
            itemize: true,
            stats: true,
            progress: true,
            ..SILENT
        };
        assert_eq!(
            printed(Style {
                quiet: true,
                ..loud
            }),
            ""
        );
    }
}
