//! What a push tells a person while it runs: which events become lines, and where they go.
//! Lists go to standard output, anything that went wrong to standard error.

use std::io::IsTerminal;
use std::time::Instant;

use hasync_engine::{
    Action, Change, IdKind, NotMirrored, Note, Observer, Progress, Summary, Warning, escape,
};

use crate::args::PushArgs;
use crate::bar::Bar;
use crate::events;
use crate::exit::{Exit, Failure};
use crate::format::Format;
use crate::itemize::{itemized, kept, named, up_to_date};
use crate::log_file::LogFile;
use crate::numbers::Human;
use crate::origins::Origins;
use crate::out::{self, Out};
use crate::progress::{Meter, TotalMeter};
use crate::reach::told_by;
use crate::stats;

/// Which lines were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// `-v`: what changes is named.
    pub(crate) names: bool,
    /// And what is deleted.
    pub(crate) deletions: bool,
    /// The list is announced.
    pub(crate) announces: bool,
    /// The two closing lines.
    pub(crate) closes: bool,
    /// `-vv`: also what `-u` leaves alone.
    pub(crate) newer: bool,
    /// `-ii`, `-vv`: also what is as it should be.
    pub(crate) unchanged: bool,
    /// Nothing about entries of a type that is left out.
    pub(crate) hides_odd: bool,
    /// `-vv`: also mount points that `-xx` leaves out.
    pub(crate) mounts: bool,
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
    /// `--json`: objects in place of lines.
    pub(crate) json: bool,
    /// `-q`: nothing but errors.
    pub(crate) quiet: bool,
    /// `-r`: rsync announces its list only then.
    pub(crate) recursive: bool,
    /// `-n`: said in the closing lines.
    pub(crate) dry_run: bool,
    /// The letter of moved content: `<` to another host, `>` within this one.
    pub(crate) sent_letter: u8,
    /// `-h`
    pub(crate) human: Human,
}

/// Prints the events of one push.
pub(crate) struct Report {
    out: Out,
    style: Style,
    /// `--out-format`, in place of names and itemized lines.
    format: Option<Format>,
    log: Option<LogFile>,
    origins: Origins,
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
    /// What the command line asks for.
    pub(crate) fn typed(args: &PushArgs) -> Self {
        let verbose = args.verbose > 0;
        let mut style = Style {
            names: verbose,
            deletions: verbose,
            announces: verbose,
            closes: verbose,
            mounts: args.verbose > 1,
            newer: args.verbose > 1,
            unchanged: args.verbose > 1 || args.itemize_changes > 1,
            itemize: args.itemize_changes > 0,
            stats: args.stats,
            progress: args.progress,
            json: args.json,
            quiet: args.quiet,
            recursive: args.recursive,
            dry_run: args.dry_run,
            human: args.human,
            sent_letter: b'<',
            ..Style::default()
        };
        for word in &args.info {
            word.apply(&mut style);
        }
        style
    }

    /// With a bar, if this is a terminal and nothing else is printed on it.
    pub(crate) fn or_bar(self) -> Self {
        let lists = self.lists() || self.announces || self.total_progress || self.json;
        Style {
            bar: !lists && !self.quiet && std::io::stdout().is_terminal(),
            ..self
        }
    }

    /// Whether changes are named at all.
    fn lists(self) -> bool {
        (self.names || self.itemize || self.progress) && !self.quiet
    }
}

impl Report {
    /// Begins the report of a push to `target`, on another `host` or here, that begins now.
    pub(crate) fn begin(out: Out, style: Style, host: Option<&str>, target: &[u8]) -> Self {
        let announces = style.announces || style.progress || style.total_progress;
        if style.recursive && announces && !style.quiet && !style.json {
            out.write(b"sending incremental file list\n");
        }
        let end = target.iter().rposition(|byte| *byte != b'/').unwrap_or(0);
        let target = escape(target.get(..=end).unwrap_or(target)).into_owned();
        if style.json {
            out.json_line(&events::begin(&target, style.dry_run));
        }
        Report {
            out,
            style,
            format: None,
            log: None,
            origins: Origins::default(),
            target,
            host: host.map(str::to_owned),
            meter: Meter::new(style.human),
            total: TotalMeter::new(style.human),
            bar: Bar::default(),
            began: Instant::now(),
        }
    }

    /// The same, with changes told in another format, and in a log as well.
    pub(crate) fn with(mut self, format: Option<Format>, log: Option<LogFile>) -> Self {
        self.style.names |= format.is_some();
        self.style.deletions |= format.is_some();
        (self.format, self.log) = (format, log);
        self
    }

    /// The same, with entries named as they are in the sources.
    pub(crate) fn of(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// Prints what is said at the end; the push leaves with `exit`, and perhaps a line about it.
    pub(crate) fn end(&mut self, summary: &Summary, exit: Exit, line: Option<&str>) {
        let (style, elapsed) = (self.style, self.began.elapsed());
        let mut text = self.end_line();
        if let Some(log) = &mut self.log {
            log.end(summary);
        }
        if style.json {
            let event = events::summary(summary, elapsed.as_secs_f64(), exit, line);
            return self.out.json_line(&event);
        }
        if style.stats && !style.quiet {
            text.push('\n');
            text.push_str(&stats::counts(summary, style.human));
        }
        if (style.closes || style.stats) && !style.quiet {
            text.push('\n');
            text.push_str(&stats::totals(summary, style.human, elapsed, style.dry_run));
        }
        self.out.write(text.as_bytes());
    }

    /// The push was ended by a failure.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        if self.style.json {
            let event = events::failure(failure.exit, &failure.message);
            self.out.json_line(&event);
        }
        if let Some(log) = &mut self.log {
            log.say(&failure.message);
        }
    }

    /// Whether everything was logged that was to be.
    pub(crate) fn finish_log(&mut self) -> Result<(), Failure> {
        self.log.as_mut().map_or(Ok(()), LogFile::finish)
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
        if let Some(log) = &mut self.log {
            log.say(message);
        }
        let end = self.end_line();
        self.out.write(end.as_bytes());
        // In a log that holds both streams, the line belongs behind what came before it.
        self.out.flush();
        out::error(message);
    }

    /// The name of a change as the source has it, if that is another.
    fn with_slash(&self, change: &Change<'_>) -> Option<Vec<u8>> {
        (change.action != Action::Delete)
            .then(|| self.origins.with_slash(change.path))
            .flatten()
    }

    fn warning_event(&self, message: &str, vanished: bool) {
        if self.style.json {
            self.out.json_line(&events::warning(message, vanished));
        }
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
        let line = format!("created directory {}", self.target);
        if self.style.json {
            self.out.json_line(&events::note(&line));
        } else if self.style.lists() {
            self.line(line.into_bytes());
        }
    }

    fn change(&mut self, change: &Change<'_>) {
        let style = self.style;
        if style.json {
            let event = events::change(change, style.sent_letter);
            self.out.json_line(&event);
        }
        let slashed = self.with_slash(change);
        let change = &named_by(change, slashed.as_deref());
        if let Some(log) = &mut self.log {
            log.change(change, style.sent_letter, &self.origins);
        }
        if style.json {
            return;
        }
        let is_hidden = change.action == Action::Delete && !style.deletions && !style.itemize;
        if !style.lists() || is_hidden {
            return;
        }
        let line = match (change.action, &self.format) {
            (Action::KeepNewer, _) => style.newer.then(|| kept(change)),
            (_, Some(format)) if !format.tells(change) => None,
            (_, Some(format)) => Some(format.line(change, style.sent_letter, &self.origins)),
            _ if style.itemize => Some(itemized(change, style.sent_letter)),
            // Such a file is named when its content moves, right above that line.
            (Action::Transfer, _) if style.progress && !style.dry_run => None,
            (Action::Delete, _) => named(change),
            _ => named(change).filter(|_| style.names || style.progress),
        };
        if let Some(line) = line {
            self.line(line);
        }
    }

    fn wants_unchanged(&self) -> bool {
        self.style.unchanged && !self.style.quiet
    }

    fn unchanged(&mut self, entry: &Change<'_>) {
        let style = self.style;
        if style.json {
            return self.out.json_line(&events::unchanged(entry));
        }
        let slashed = self.with_slash(entry);
        let entry = &named_by(entry, slashed.as_deref());
        let line = match &self.format {
            Some(format) => Some(format.line(entry, style.sent_letter, &self.origins)),
            None if style.itemize => Some(itemized(entry, style.sent_letter)),
            None => up_to_date(entry),
        };
        if let Some(line) = line {
            self.line(line);
        }
    }

    fn warn(&mut self, warning: &Warning) {
        self.warning_event(&warning.message, warning.vanished);
        self.tell(&warning.message);
    }

    fn told(&mut self, warning: &Warning) {
        let message = told_by(self.host.as_deref(), warning.message.clone());
        self.warning_event(&message, warning.vanished);
        self.tell(&message);
    }

    fn note(&mut self, note: &Note<'_>) {
        if self.style.quiet {
            return;
        }
        let line = match note {
            Note::SkippedNonRegular(_) if self.style.hides_odd => return,
            Note::SkippedUnsafe(..) if !self.style.names => return,
            Note::SkippedMount(_) if !self.style.mounts => return,
            Note::SkippedMount(path) => {
                format!("[sender] skipping mount-point dir {}", escape(path))
            }
            Note::SkippedUnsafe(path, target) => {
                let (path, target) = (escape(path), escape(target));
                format!("ignoring unsafe symlink \"{path}\" -> \"{target}\"")
            }
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
            Note::NoSuchAccount(kind, name) => {
                let kind = match kind {
                    IdKind::User => "user",
                    IdKind::Group => "group",
                };
                let name = escape(name.as_bytes());
                let line = format!("the receiver has no {kind} {name}: nobody is mapped to it");
                return self.tell(&line);
            }
            Note::DevicesNotMade => {
                return self.tell("with this key no devices are made: they are left out");
            }
            Note::NotAsked(found) => return self.tell(&not_asked(*found)),
            Note::NotSettable(found) => {
                let count = found.capabilities.max(found.others);
                return self.tell(&format!(
                    "the receiver has no right to set capabilities or other attributes: at least \
                     {count} of the entries are mirrored without them"
                ));
            }
            Note::DeletedFirst(starved) => format!(
                "the target is nearly full: deletions went first, as {starved} entries had no \
                 room; those are pushed again"
            ),
            Note::SetuidNotKept => {
                return self.tell("with this key no setuid or setgid bits of files are kept");
            }
        };
        if self.style.json {
            return self.out.json_line(&events::note(&line));
        }
        self.line(line.into_bytes());
    }

    fn progress(&mut self, progress: &Progress<'_>) {
        if self.style.quiet || self.style.json {
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

fn named_by<'a>(change: &Change<'a>, path: Option<&'a [u8]>) -> Change<'a> {
    Change {
        path: path.unwrap_or(change.path),
        ..*change
    }
}

/// What was found and not asked for, in one line.
fn not_asked(found: NotMirrored) -> String {
    let entries = |count: u64, one: &str, more: &str| match count {
        0 => None,
        1 => Some(format!("1 entry has {one}")),
        count => Some(format!("{count} entries have {more}")),
    };
    let acls = entries(found.acls, "an ACL", "ACLs").map(|said| (said, "-A"));
    let capabilities = entries(found.capabilities, "a capability", "capabilities");
    let all = [acls, capabilities.map(|said| (said, "-X"))];
    let (said, options): (Vec<String>, Vec<&str>) = all.into_iter().flatten().unzip();
    let (said, options) = (said.join(", "), options.join(" "));
    format!("{said}: not mirrored without {options}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::tests::Caught;
    use hasync_engine::{Differences, Facts, Kind};

    fn silent() -> Style {
        Style {
            recursive: true,
            sent_letter: b'<',
            ..Style::default()
        }
    }

    fn verbose() -> Style {
        Style {
            names: true,
            deletions: true,
            announces: true,
            closes: true,
            ..silent()
        }
    }

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
                facts: Facts::default(),
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
        let summary = Summary {
            total_len: 3,
            ..Summary::default()
        };
        report.end(&summary, Exit::Ok, None);
        out.flush();
        caught.text()
    }

    #[test]
    fn without_letters_only_what_was_skipped_is_said() {
        assert_eq!(printed(silent()), "skipping non-regular file \"dev\"\n");
    }

    #[test]
    fn verbose_names_and_sums_up() {
        let text = printed(Style {
            dry_run: true,
            ..verbose()
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
            ..silent()
        });
        let list = "created directory /dst\nskipping non-regular file \"dev\"\n\
                    <f+++++++++ a\n.f+++++++++ b\n";
        assert_eq!(text, list);
    }

    #[test]
    fn stats_alone_print_counts_and_totals() {
        let text = printed(Style {
            stats: true,
            ..silent()
        });
        assert!(text.contains("\n\nNumber of files: 0\n"), "{text}");
        assert!(text.contains("\n\nsent 0 bytes"), "{text}");
    }

    #[test]
    fn progress_names_files_above_their_lines() {
        let text = printed(Style {
            progress: true,
            ..silent()
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
            itemize: true,
            stats: true,
            progress: true,
            ..verbose()
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
