//! `hasync push`: what the typed options mean, and the course of one push.

use std::ffi::OsString;

use std::time::Duration;

use hasync_engine::{
    self as engine, Backup, Compression, Differences, Duplex, FilterRule, Options, QuickCheck,
};
use hasync_transport::Throttle;

use crate::args::{FilterWord, PushArgs};
use crate::backup;
use crate::environment;
use crate::exit::{self, Exit, Failure};
use crate::filters::{self, Asked};
use crate::list_only;
use crate::log_file::LogFile;
use crate::origins::Origins;
use crate::out::{self, Out};
use crate::push_trees;
use crate::reach::{self, Reach};
use crate::report::{Report, Style};
use crate::selection;
use crate::signals;
use crate::target::{self, Target};

/// Runs one push to its end.
pub(crate) fn run(args: &PushArgs) -> Result<Exit, Failure> {
    if args.trees.any() {
        return push_trees::run(args);
    }
    if args.trees.config.is_some() || args.trees.no_brake {
        return Err(Failure::usage(
            "--config and --no-brake go with --tree or --all; SRC and DST need no configuration",
        ));
    }
    if args.list_only {
        let operands = list_only::operands(args);
        let (_, target) = target::parse(&operands)?;
        return list_only::run(args, &options(args, &target)?);
    }
    let plan = Plan::new(args)?;
    let out = Out::stdout();
    let interrupted = out.clone();
    signals::exit_on_signal(move |signal| {
        interrupted.flush();
        out::error(&format!(
            "interrupted by {signal}; no entry is half-written, push again to complete the mirror \
             (exit {})",
            Exit::Signal
        ));
    })?;

    let log = args.log_file.as_deref();
    let log = log.map(|path| LogFile::open(path, args.log_file_format.as_ref()));
    let log = log.transpose()?;
    let link = reach::open(&plan.target, &plan.reach)?;
    let (host, path) = (plan.target.host(), plan.target.path());
    let format = args.out_format.clone();
    let origins = match &args.selection.files_from {
        Some(_) => Origins::listed(),
        None => Origins::new(plan.sources, args.selection.relative),
    };
    let report = Report::begin(out.clone(), plan.style, host, path);
    let mut report = report.with(format, log).of(origins);
    let duplex = Duplex {
        reader: link.reader,
        writer: match plan.bytes_per_s {
            Some(bytes_per_s) => Box::new(Throttle::new(link.writer, bytes_per_s)),
            None => link.writer,
        },
    };
    let outcome = engine::push(
        duplex,
        plan.sources,
        plan.target.path(),
        &plan.options,
        &mut report,
    );
    match outcome {
        Ok(summary) => {
            reach::close(link.control);
            let (exit, line) = exit::of_summary(&summary);
            report.end(&summary, exit, line.as_deref());
            let written = out.finish().and_then(|()| report.finish_log());
            if let Some(line) = line {
                out::error(&line);
            }
            // A report that could not be written matters less than an incomplete mirror.
            if exit == Exit::Ok {
                written.map(|()| exit)
            } else {
                Ok(exit)
            }
        }
        Err(error) => {
            let failure = reach::explain(error, link.control, &plan.target);
            report.failed(&failure);
            out.flush();
            Err(failure)
        }
    }
}

/// What a command line asks for.
struct Plan<'a> {
    sources: &'a [OsString],
    target: Target,
    options: Options,
    style: Style,
    reach: Reach,
    /// The limit on what is handed to the link.
    bytes_per_s: Option<u64>,
}

impl<'a> Plan<'a> {
    fn new(args: &'a PushArgs) -> Result<Self, Failure> {
        environment::check(args.no_iconv)?;
        let (sources, target) = target::parse(&args.operands)?;
        selection::check(&args.selection, sources, args.atomic)?;
        let options = options(args, &target)?;
        let style = Style {
            sent_letter: match target {
                Target::Local(_) => b'>',
                Target::Remote { .. } => b'<',
            },
            ..Style::typed(args)
        }
        .or_bar();
        Ok(Plan {
            sources,
            target,
            options,
            style,
            reach: Reach::new(args)?,
            bytes_per_s: args.bwlimit.and_then(|rate| rate.0),
        })
    }
}

fn options(args: &PushArgs, target: &Target) -> Result<Options, Failure> {
    if args.delete && !args.recursive && !args.selection.dirs {
        return Err(Failure::usage(
            "--delete does not work without --recursive (-r) or --dirs (-d)",
        ));
    }
    if args.ignore_existing && args.hard_links {
        return Err(Failure::usage(
            "--ignore-existing does not go with -H: a new name could only be linked to a file that \
             stays other than the source's; leave one of them out",
        ));
    }
    let backup = backup::asked(args, target)?;
    let filters = rules(args, backup.as_ref().filter(|_| args.delete))?;
    Ok(Options {
        recursive: args.recursive,
        links: args.links,
        perms: args.perms,
        times: args.times,
        owner: args.owner,
        group: args.group,
        devices: args.devices,
        specials: args.specials,
        acls: args.acls,
        xattrs: args.xattrs,
        hard_links: args.hard_links,
        sparse: args.sparse,
        delete: args.delete,
        force: args.force,
        ignore_errors: args.ignore_errors,
        ignore_missing: args.ignore_missing_args || args.selection.delete_missing_args,
        mkpath: args.mkpath,
        quick_check: quick_check(args),
        window_s: window_s(args),
        existing: args.existing,
        ignore_existing: args.ignore_existing,
        lengths: lengths(args),
        // Each backup changes the time of the directory that it is in.
        omit_dir_times: args.omit_dir_times || backup.as_ref().is_some_and(Backup::is_beside),
        omit_link_times: args.omit_link_times,
        executability: args.executability,
        atimes: args.atimes > 0,
        open_noatime: args.open_noatime,
        super_user: args.given.acts_as,
        backup,
        modes: args.given.modes.clone(),
        owner_maps: args.given.maps.clone(),
        // rsync's habit: below zero is zero.
        max_delete: args
            .max_delete
            .map(|limit| u64::try_from(limit).unwrap_or(0)),
        brake: None,
        follow_untrusted: args.follow_untrusted,
        dry_run: args.dry_run,
        checksum: args.checksum,
        recheck: None,
        update: args.update,
        // Within one host a delta reads the old file to save writing to a pipe: no gain.
        whole_file: args.whole_file || (matches!(target, Target::Local(_)) && !args.no_whole_file),
        one_file_system: args.one_file_system > 0,
        omit_mounts: args.one_file_system > 1,
        numeric_ids: args.numeric_ids,
        fsync: !args.no_fsync,
        atomic: args.atomic,
        filters,
        timeout_ms: args.timeout.map_or(0, |seconds| u64::from(seconds) * 1000),
        // Who pushes by hand sees whether it gets on; the default limit is there for all else.
        stall: Duration::ZERO,
        lossy: Differences::default(),
        lossless: args.ha,
        compression: match (args.compress.wish, target) {
            // There is no link to wait for.
            (Compression::Adaptive, Target::Local(_)) => Compression::Never,
            (wish, _) => wish,
        },
        ..selection::options(&args.selection, args.filter.from0)?
    })
}

/// The rules that are typed, with those that keep backups from being deleted.
fn rules(args: &PushArgs, kept: Option<&Backup>) -> Result<Vec<FilterRule>, Failure> {
    let suffix = kept.filter(|_| !args.filter.delete_excluded);
    let suffix = suffix.and_then(backup::protected_suffix);
    let words: Vec<FilterWord> = args.filter.words.iter().cloned().chain(suffix).collect();
    let typed = filters::rules(Asked {
        words: &words,
        cvs: args.filter.cvs_exclude,
        deletes_excluded: args.filter.delete_excluded,
        zeros: args.filter.from0,
    })?;
    let first: Vec<FilterWord> = kept.and_then(backup::protected_dir).into_iter().collect();
    let mut rules = filters::rules(Asked {
        words: &first,
        ..Asked::default()
    })?;
    rules.extend(typed);
    if args.selection.old_dirs {
        let below = FilterRule::exclude(b"/*/*").map_err(|e| Failure::usage(e.to_string()))?;
        rules.push(match args.filter.delete_excluded {
            true => below.hiding(),
            false => below,
        });
    }
    Ok(rules)
}

/// rsync's habit: `--size-only` outranks `-I`.
fn quick_check(args: &PushArgs) -> QuickCheck {
    match (args.size_only, args.ignore_times) {
        (true, _) => QuickCheck::Lengths,
        (false, true) => QuickCheck::Nothing,
        (false, false) => QuickCheck::Times,
    }
}

/// Seconds that do not count; below zero every nanosecond does, as without the option.
fn window_s(args: &PushArgs) -> Option<u32> {
    let window_s = u64::try_from(args.modify_window?).ok()?;
    Some(u32::try_from(window_s).unwrap_or(u32::MAX))
}

/// The lengths of files that are looked at, if not all are.
fn lengths(args: &PushArgs) -> Option<(u64, u64)> {
    let (least, most) = (args.min_size, args.max_size);
    (least.is_some() || most.is_some()).then(|| (least.unwrap_or(0), most.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::args::{self, Typed, Verb};

    fn typed(line: &str) -> PushArgs {
        let words = ["hasync", "push"]
            .into_iter()
            .chain(line.split_whitespace());
        match args::parse(words.map(OsString::from)).unwrap() {
            Typed::Verb(Verb::Push(args)) => *args,
            other => panic!("not a push: {other:?}"),
        }
    }

    fn check(line: &str, test: impl Fn(&Plan<'_>) -> bool) {
        let args = typed(line);
        assert!(test(&Plan::new(&args).unwrap()), "{line}");
    }

    #[test]
    fn whole_files_are_the_default_within_one_host() {
        check("-a s /dst", |plan| plan.options.whole_file);
        check("-a --no-whole-file s /dst", |plan| !plan.options.whole_file);
        check("-a s host:/dst", |plan| !plan.options.whole_file);
        check("-aW s host:/dst", |plan| plan.options.whole_file);
    }

    #[test]
    fn a_delete_limit_below_zero_is_zero() {
        check("-r --delete --max-delete=-1 s d", |plan| {
            plan.options.max_delete == Some(0)
        });
        check("-r --delete s d", |plan| plan.options.max_delete.is_none());
    }

    #[test]
    fn delete_needs_recursion() {
        let failure = Plan::new(&typed("--delete s d")).err().unwrap();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(Plan::new(&typed("-r --delete --no-r s d")).is_err());
    }

    #[test]
    fn content_goes_out_to_another_host_and_in_within_one() {
        check("-ai s host:/dst", |plan| plan.style.sent_letter == b'<');
        check("-ai s /dst", |plan| plan.style.sent_letter == b'>');
    }

    #[test]
    fn seconds_become_milliseconds_and_the_disk_is_flushed_unless_told() {
        check("-a --timeout=3 s d", |plan| plan.options.timeout_ms == 3000);
        check("-a s d", |plan| {
            plan.options.timeout_ms == 0 && plan.options.fsync
        });
        check("-a --no-fsync s d", |plan| !plan.options.fsync);
    }
}
