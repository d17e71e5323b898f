//! `hasync push --list-only`: what the sources hold, in rsync's form. No other host is asked.

use std::ffi::OsString;

use hasync_engine::{Options, SourceEntry, Summary, escape, list_source};

use crate::args::PushArgs;
use crate::exit::{self, Exit, Failure};
use crate::format::permissions;
use crate::numbers::Human;
use crate::out::{self, Out};
use crate::target;
use crate::times::slashed;

/// The operands with a target, which a list does not need.
pub(crate) fn operands(args: &PushArgs) -> Vec<OsString> {
    let mut operands = args.operands.clone();
    if let [_] = &operands[..] {
        operands.push(".".into());
    }
    operands
}

/// Lists the sources.
pub(crate) fn run(args: &PushArgs, options: &Options) -> Result<Exit, Failure> {
    if args.json {
        return Err(Failure::usage(
            "--list-only has no form for programs; push with -n --json",
        ));
    }
    let operands = operands(args);
    let (sources, _) = target::parse(&operands)?;
    let out = Out::stdout();
    let mut summary = Summary::default();
    let mut show = |entry: &SourceEntry<'_>| {
        if !args.quiet {
            out.write(line(entry, args.human, args.atimes > 0).as_bytes());
        }
    };
    let mut warn = |warning: &hasync_engine::Warning| {
        summary.vanished |= warning.vanished;
        summary.partial |= !warning.vanished;
        out::error(&warning.message);
    };
    list_source(sources, options, &mut show, &mut warn).map_err(Failure::from)?;
    let (exit, line) = exit::of_summary(&summary);
    let written = out.finish();
    if let Some(line) = line {
        out::error(&line);
        return Ok(exit);
    }
    written.map(|()| exit)
}

fn line(entry: &SourceEntry<'_>, human: Human, with_atimes: bool) -> String {
    let width = if human == Human::Plain { 11 } else { 14 };
    let len = human.bytes(entry.len);
    let atime = entry.atime_secs.map(|secs| slashed(secs, ' '));
    // Directories have none, and an empty column.
    let atime = with_atimes.then(|| format!("{:>20}", atime.unwrap_or_default()));
    let link = entry.link.map(|link| format!(" -> {}", escape(link)));
    format!(
        "{}{} {len:>width$} {}{} {}{}\n",
        char::from(entry.letter),
        permissions(entry.kind, entry.mode),
        slashed(entry.mtime_secs, ' '),
        atime.unwrap_or_default(),
        escape(entry.path),
        link.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use hasync_engine::Kind;

    #[test]
    fn lines_look_as_rsync_writes_them() {
        let entry = |letter, kind, mode, len, path, link| SourceEntry {
            path,
            letter,
            kind,
            mode,
            len,
            mtime_secs: 1_500_000_000,
            atime_secs: None,
            link,
        };
        let big = entry(b'-', Kind::File, 0o4755, 123_456, b"big".as_slice(), None);
        for (entry, human, shown) in [
            (
                big,
                Human::Grouped,
                "-rwsr-xr-x        123,456 2017/07/14 02:40:00 big\n",
            ),
            (
                big,
                Human::Plain,
                "-rwsr-xr-x      123456 2017/07/14 02:40:00 big\n",
            ),
            (
                big,
                Human::Units1000,
                "-rwsr-xr-x        123.46K 2017/07/14 02:40:00 big\n",
            ),
            (
                entry(
                    b'l',
                    Kind::Symlink,
                    0o777,
                    1,
                    b"a\nb".as_slice(),
                    Some(b"f".as_slice()),
                ),
                Human::Grouped,
                "lrwxrwxrwx              1 2017/07/14 02:40:00 a\\#012b -> f\n",
            ),
            (
                entry(b'd', Kind::Dir, 0o1777, 4096, b".".as_slice(), None),
                Human::Grouped,
                "drwxrwxrwt          4,096 2017/07/14 02:40:00 .\n",
            ),
        ] {
            assert_eq!(line(&entry, human, false), shown);
        }
    }
}
