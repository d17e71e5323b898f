//! `hasync push --tree NAME` and `--all`: pushes of the trees that the configuration names, one
//! after another over one connection, with one line of report for each.

use std::time::{Duration, Instant};

use hasync_engine::generation::{NodeRole, Reconciled, TreeStatus};
use hasync_engine::{
    Action, Change, Comparison, Compression, Connection, Note, Observer, Options, Progress,
    Summary, Warning,
};

use crate::aftermath;
use crate::args::PushArgs;
use crate::brake;
use crate::config::{Brake, Compress, Config, Node, Tree};
use crate::exit::{self, Exit, Failure};
use crate::generations;
use crate::how_far::HowFar;
use crate::memory::Memory;
use crate::numbers::{bytes, commas};
use crate::out::{self, Out};
use crate::peer_link::PeerLink;
use crate::report::{Report, Style};
use crate::role::{self, Role};
use crate::signals;
use crate::state;

/// Pushes the trees that were asked for; the worst end of them is how the run leaves.
pub(crate) fn run(args: &PushArgs) -> Result<Exit, Failure> {
    let config = Config::load_to_act(args.trees.config.as_deref())?;
    refuse(args, &config)?;
    let trees = chosen(args, &config)?;
    let host = match args.operands.as_slice() {
        [] => None,
        [host] => Some(host.as_os_str()),
        [_, word, ..] => {
            let word = hasync_engine::escape(word.as_encoded_bytes());
            return Err(Failure::usage(format!(
                "unexpected word \"{word}\": a named tree has its source in the configuration; \
                 give the host alone, or nothing"
            )));
        }
    };
    let mut link = PeerLink::typed(args, host, &config)?;
    let out = Out::stdout();
    let plan = Plan::typed(args, &config);
    let (interrupted, how_far) = (out.clone(), plan.how_far.clone());
    how_far.begin(trees.len());
    signals::exit_on_signal(move |signal| {
        interrupted.flush();
        out::error(&format!(
            "interrupted by {signal}: {}; a tree is as it was or as it should be, push again to go \
             on (exit {})",
            how_far.shown(),
            Exit::Signal
        ));
    })?;
    let mut worst = Exit::Ok;
    for tree in trees {
        let ended = push(tree, &plan, &mut link, &out);
        if !plan.dry_run && !is_answered(args, &config, tree, ended.as_ref().err()) {
            aftermath::remember(&config, tree, &mut link, ended.as_ref());
        }
        let exit = match ended {
            Ok(pushed) => pushed.exit,
            Err(failure) => {
                out.flush();
                out::error(&format!(
                    "tree {}: {} (exit {})",
                    tree.name, failure.message, failure.exit
                ));
                if exit::is_about_the_way(failure.exit) {
                    worst = exit::worse(worst, failure.exit);
                    break;
                }
                failure.exit
            }
        };
        worst = exit::worse(worst, exit);
    }
    if !plan.dry_run {
        if !exit::is_about_the_way(worst) {
            aftermath::hear(&config, &mut link);
        }
        state::note(&config);
    }
    link.close();
    let written = out.finish();
    if worst == Exit::Ok {
        written?;
    }
    Ok(worst)
}

/// Whether that failure is for nobody but who has typed the push, and nothing of the mirror: this
/// node has no part in pushing the tree, nor the service, or the way was not the mirror's.
fn is_answered(args: &PushArgs, config: &Config, tree: &Tree, failed: Option<&Failure>) -> bool {
    let Some(failure) = failed else { return false };
    let is_usual = args.operands.is_empty() && args.reach.is_usual() && args.timeout.is_none();
    let is_standby = |status: TreeStatus| status.role == NodeRole::Standby;
    let serves = || role::find(config).is_ok_and(|found| found.role == Role::Primary);
    exit::is_about_the_way(failure.exit) && !is_usual
        || tree.on(&config.node).status().is_ok_and(is_standby) && !serves()
}

/// What is the same for all trees of a run.
pub(crate) struct Plan {
    style: Style,
    dry_run: bool,
    checksum: bool,
    whole_file: bool,
    max_delete: Option<u64>,
    compression: Compression,
    timeout: Duration,
    stall: Duration,
    node: Node,
    /// `None` when it was released for once.
    brake: Option<Brake>,
    pub(crate) how_far: HowFar,
}

impl Plan {
    /// What a cycle does: as the configuration has it, reporting a line for each tree or nothing.
    pub(crate) fn of(config: &Config, quiet: bool) -> Self {
        Plan {
            style: Style {
                quiet,
                recursive: true,
                sent_letter: b'<',
                ..Style::default()
            },
            dry_run: false,
            checksum: false,
            whole_file: false,
            max_delete: None,
            compression: match config.peer.compress {
                Compress::Auto => Compression::Adaptive,
                Compress::Zstd => Compression::Always { level: None },
                Compress::None => Compression::Never,
            },
            timeout: config.peer.timeout.map_or(Duration::ZERO, |time| time.0),
            stall: config.peer.stall(),
            node: config.node.clone(),
            brake: Some(config.brake),
            how_far: HowFar::default(),
        }
    }

    /// The same, with what was typed.
    fn typed(args: &PushArgs, config: &Config) -> Self {
        let plan = Plan::of(config, args.quiet);
        let limit = |limit| u64::try_from(limit).unwrap_or(0);
        Plan {
            style: Style {
                recursive: plan.style.recursive,
                sent_letter: plan.style.sent_letter,
                ..Style::typed(args)
            }
            .or_bar(),
            dry_run: args.dry_run,
            checksum: args.checksum,
            whole_file: args.whole_file,
            max_delete: args.max_delete.map(limit),
            compression: match args.compress.wish {
                Compression::Adaptive => plan.compression,
                typed => typed,
            },
            timeout: args
                .timeout
                .map_or(plan.timeout, |seconds| Duration::from_secs(seconds.into())),
            brake: plan.brake.filter(|_| !args.trees.no_brake),
            ..plan
        }
    }

    /// The same, for a list of all that differs.
    pub(crate) fn listing(self, checksum: bool) -> Self {
        Plan {
            style: Style {
                itemize: true,
                dry_run: true,
                ..self.style
            },
            dry_run: true,
            checksum,
            brake: None,
            ..self
        }
    }

    /// What a push of the tree does.
    fn options(&self, tree: &Tree) -> Options {
        Options {
            dry_run: self.dry_run,
            // The few files of a group that were made apart are equal all the same.
            checksum: self.checksum || tree.options.checksum || tree.is_group(),
            brake: self.brake.map(|brake| hasync_engine::Brake {
                percent: brake.percent.0,
                entries: brake.entries,
            }),
            whole_file: self.whole_file,
            compression: self.compression,
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            stall: self.stall,
            ..tree.options.clone()
        }
    }
}

/// How the push of one tree ended.
pub(crate) struct Pushed {
    pub(crate) exit: Exit,
    /// What was said about it if it did not end well.
    pub(crate) line: Option<String>,
    pub(crate) sent_bytes: u64,
    /// The peer had data that may be nowhere else, which it keeps apart now; in a line.
    pub(crate) kept: Option<String>,
    /// The peer's tree had been written to by somebody else, which the push replaced; in a line.
    pub(crate) written: Option<String>,
}

/// Pushes one tree and reports it.
pub(crate) fn push(
    tree: &Tree,
    plan: &Plan,
    link: &mut PeerLink,
    out: &Out,
) -> Result<Pushed, Failure> {
    plan.how_far.enter(&tree.name);
    let pushed = push_one(tree, plan, link, out);
    plan.how_far.leave(pushed.is_ok());
    pushed
}

fn push_one(tree: &Tree, plan: &Plan, link: &mut PeerLink, out: &Out) -> Result<Pushed, Failure> {
    let began = Instant::now();
    let known = Memory::recall(&plan.node.state).trees.remove(&tree.name);
    if plan.brake.is_some() {
        brake::look(tree, known.as_ref())?;
    }
    let options = Options {
        max_delete: plan.max_delete.or(tree.options.max_delete),
        ..plan.options(tree)
    };
    let mut course = Course::begin(tree, plan, link.host(), out);
    let (sources, named) = (tree.sources(), tree.on(&plan.node));
    let pushed =
        link.push(|connection| connection.push_tree(&sources, &named, &options, &mut course));
    let summary = match pushed {
        Err(refused) if matches!(refused.exit, Exit::Fenced | Exit::Diverged) && !plan.dry_run => {
            reconcile(tree, plan, &options, link, out, refused)?;
            link.push(|connection| connection.push_tree(&sources, &named, &options, &mut course))?
        }
        pushed => pushed?,
    };
    let (exit, mut line) = exit::of_summary(&summary);
    if let (Exit::Partial, Some((first, count))) = (exit, &course.first_problem) {
        line = Some(exit::partial_line(*count, first));
    }
    course.report.end(&summary, exit, None);
    if let (Exit::DeleteLimit, None, Some(brake)) = (exit, plan.max_delete, &plan.brake) {
        line = Some(brake::stopped_line(tree, brake, summary.deletions_stopped));
    }
    if !plan.style.quiet {
        let line = course.line(tree, &summary, plan.dry_run, began.elapsed());
        out.say(&line);
        out.flush();
    }
    let sealed = summary.sealed.as_deref();
    let kept = sealed.filter(|sealed| sealed.pinned).map(|sealed| {
        format!(
            "generation {} replaced what only the peer had; the peer keeps that until `hasync undo \
             {} --forget {}` there",
            sealed.head.shown(),
            tree.name,
            sealed.head.number
        )
    });
    let written = sealed.filter(|sealed| sealed.written.count > 0);
    let written = written.map(|sealed| {
        let (written, number) = (&sealed.written, sealed.head.number);
        format!(
            "generation {number} replaced {} entries that had been written on the peer since the \
             one before: {}; `hasync kept {} --extract {number} DIR` there copies them out",
            written.count,
            generations::first_paths(&written.lines, written.count),
            tree.name,
        )
    });
    let told = [&kept, &written].into_iter().flatten();
    for line in told.filter(|_| !plan.style.quiet) {
        out.say(&format!("{}: {line}", tree.name));
        out.flush();
    }
    if let Some(line) = &line {
        out::error(&format!("tree {}: {line}", tree.name));
    }
    if matches!(exit, Exit::Ok | Exit::Vanished) && !plan.dry_run {
        let seen = brake::seen(tree, &summary);
        if known != Some(seen) {
            Memory::change(&plan.node.state, |memory| {
                memory.trees.insert(tree.name.clone(), seen);
            })?;
        }
    }
    Ok(Pushed {
        exit,
        line,
        sent_bytes: summary.sent_bytes,
        kept,
        written,
    })
}

/// Finds out whether a refusal has to stand: not where the peer has nothing to lose.
fn reconcile(
    tree: &Tree,
    plan: &Plan,
    options: &Options,
    link: &mut PeerLink,
    out: &Out,
    refused: Failure,
) -> Result<(), Failure> {
    let (sources, named) = (tree.sources(), tree.on(&plan.node));
    let options = Options {
        brake: None,
        ..options.clone()
    };
    let name = &tree.name;
    let line = match link.push(|connection| connection.reconcile(&sources, &named, &options)) {
        Ok(Reconciled::Equal(head)) => format!(
            "{name}: both nodes have the same data, compared by content, and go on as generation \
             {}",
            head.shown()
        ),
        Ok(Reconciled::Risen(head)) => format!(
            "{name}: the peer has nothing to lose, this node goes on as generation {}, epoch {}",
            head.shown(),
            head.epoch
        ),
        Ok(Reconciled::Empty) => {
            let message = format!("{}; {} is empty", refused.message, tree.dir().display());
            return Err(Failure::new(Exit::DeleteLimit, message));
        }
        // Why it could not be found out matters less than the refusal.
        Ok(Reconciled::No) | Err(_) => return Err(refused),
    };
    if !plan.style.quiet {
        out.say(&line);
        out.flush();
    }
    Ok(())
}

/// Compares the tree with the peer's, which has to be ready to receive it, and changes nothing.
pub(crate) fn compare(tree: &Tree, plan: &Plan, link: &mut PeerLink) -> Result<Summary, Failure> {
    let options = Options {
        dry_run: true,
        brake: None,
        ..plan.options(tree)
    };
    let (sources, named) = (tree.sources(), tree.on(&plan.node));
    let tried = |connection: &mut Connection| {
        connection.push_tree(&sources, &named, &options, &mut Unheard)
    };
    link.push(tried)
}

/// Lists what differs between the tree here and the peer's, however the nodes stand. Returns how
/// they stand, and the counts of what is not as here and of what is there alone.
pub(crate) fn list(
    tree: &Tree,
    plan: &Plan,
    link: &mut PeerLink,
    out: &Out,
) -> Result<(Comparison, u64, u64), Failure> {
    let mut course = Course::begin(tree, plan, link.host(), out);
    let options = plan.options(tree);
    let (sources, named) = (tree.sources(), tree.on(&plan.node));
    let found =
        link.push(|connection| connection.compare_tree(&sources, &named, &options, &mut course))?;
    course
        .report
        .end(&found.summary, exit::of_summary(&found.summary).0, None);
    Ok((found, course.changed, course.deleted))
}

/// For a push of which only the end counts.
struct Unheard;

impl Observer for Unheard {
    fn change(&mut self, _change: &Change<'_>) {}
    fn warn(&mut self, _warning: &Warning) {}
    fn note(&mut self, _note: &Note<'_>) {}
}

/// Counts what a push changes, and passes everything on to its report.
struct Course {
    report: Report,
    how_far: HowFar,
    changed: u64,
    deleted: u64,
    /// What was said first about an entry that was not mirrored, and how many were not.
    first_problem: Option<(String, u64)>,
}

impl Course {
    fn begin(tree: &Tree, plan: &Plan, host: Option<&str>, out: &Out) -> Self {
        let dir = tree.dir().as_os_str().as_encoded_bytes();
        Course {
            report: Report::begin(out.clone(), plan.style, host, dir),
            how_far: plan.how_far.clone(),
            changed: 0,
            deleted: 0,
            first_problem: None,
        }
    }

    fn problem(&mut self, warning: &Warning) {
        if !warning.vanished {
            let first = || (warning.message.clone(), 0);
            self.first_problem.get_or_insert_with(first).1 += 1;
        }
    }

    /// The one line about a tree.
    fn line(&self, tree: &Tree, summary: &Summary, dry_run: bool, took: Duration) -> String {
        let name = &tree.name;
        let seconds = took.as_secs_f64();
        let entries = commas(summary.entries.total());
        let sealed = summary.sealed.as_deref();
        let generation = sealed.map_or_else(String::new, |sealed| {
            format!("generation {}, ", sealed.head.shown())
        });
        if self.changed == 0 && self.deleted == 0 {
            return format!(
                "{name}: unchanged, {generation}{entries} entries compared in {seconds:.2} s"
            );
        }
        let (changed, deleted) = (commas(self.changed), commas(self.deleted));
        if dry_run {
            return format!(
                "{name}: would change {changed} of {entries} entries, delete {deleted}"
            );
        }
        let sent = bytes(summary.sent_bytes);
        format!(
            "{name}: {generation}{changed} of {entries} entries changed, {deleted} deleted, \
             {sent} sent in {seconds:.2} s"
        )
    }
}

impl Observer for Course {
    fn change(&mut self, change: &Change<'_>) {
        match change.action {
            Action::Delete => self.deleted += 1,
            Action::KeepNewer => {}
            _ => self.changed += 1,
        }
        self.report.change(change);
    }

    fn warn(&mut self, warning: &Warning) {
        self.problem(warning);
        self.report.warn(warning);
    }

    fn told(&mut self, warning: &Warning) {
        self.problem(warning);
        self.report.told(warning);
    }

    fn created_root(&mut self) {
        self.report.created_root();
    }

    fn note(&mut self, note: &Note<'_>) {
        self.report.note(note);
    }

    fn progress(&mut self, progress: &Progress<'_>) {
        self.how_far.advance(progress);
        self.report.progress(progress);
    }

    fn compared(&mut self, seen: u64, to_check: u64) {
        self.report.compared(seen, to_check);
    }
}

/// What does not go with named trees.
fn refuse(args: &PushArgs, config: &Config) -> Result<(), Failure> {
    let Some(option) = &args.trees.refused else {
        return Ok(());
    };
    Err(Failure::usage(match option.as_str() {
        "--update" => "-u leaves newer files on the standby alone, so that it is not equal \
                       afterwards: named trees refuse it; leave it out"
            .to_owned(),
        "--no-fsync" => "--no-fsync does not go with named trees: a generation is durable or it \
                         is none; leave it out"
            .to_owned(),
        option => format!(
            "{option} does not go with --tree or --all: what is mirrored of a tree is \
             decided in {}",
            config.shown_file()
        ),
    }))
}

fn chosen<'a>(args: &PushArgs, config: &'a Config) -> Result<Vec<&'a Tree>, Failure> {
    if args.trees.all {
        let all = config.in_push_order();
        if all.is_empty() {
            let file = config.shown_file();
            let message = format!("{file} names no tree; add a [[tree]] with name and path");
            return Err(Failure::new(Exit::Config, message));
        }
        return Ok(all);
    }
    for name in &args.trees.tree {
        config.tree(name)?;
    }
    let wanted = |tree: &&Tree| args.trees.tree.contains(&tree.name);
    Ok(config.in_push_order().into_iter().filter(wanted).collect())
}
