//! All integration tests, in one binary. They run the real program, most of them as root,
//! against a real sshd, real file systems and rsync 3.5.0. `tests/run.sh` runs them.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

/// ACLs, extended attributes and capabilities, compared by other programs.
mod attributes;

/// Default ACLs of the target apply to what is made there.
mod acls;
/// A push does not change what it reads, by whatever path or peer it would.
mod apart;
/// Times of the last access: mirrored when asked for, else nobody's business.
mod atimes;
/// Rules about names of attributes, beside rsync.
mod attribute_rules;
/// Nothing but attributes differs, between two nodes.
mod attributes_alone;
/// What is replaced or removed is kept when that is asked for, in the target.
mod backups;
/// The delete brake of named trees.
mod brake;
/// A confined receiver sets all metadata, though not by name.
mod by_name;
/// The command line: usage, version, unknown options, paths that make no sense.
mod command_line;
/// The configuration file: what is understood, what is refused with its line.
mod config;
/// Commits cut off by kills and power cuts are whole after recovery.
mod crashes;
/// Trees as deep as anybody can make them in a moment.
mod deep_trees;
/// Symlinks on the way to a destination, a served root, a tree and a source.
mod destinations;
/// What goes wrong on disks: full, read-only, forbidden, missing, changing under our hands.
mod disk_trouble;
/// Two nodes that were promoted apart, and the ways out.
mod diverged;
/// Hand-overs, crashes, partitions and losses, played to the repaired pair.
mod drills;
/// The example files for admins: configuration, crontab, haresources, systemd units.
mod examples;
/// The filter language, beside rsync.
mod filters;
/// The first configuration: what is asked, refused, and printed to be typed.
mod first_file;
/// A local user exchanges directories and symlinks under a push.
mod flippers;
/// Before a promotion the peer is asked for the service, newer data and its last push.
mod freshness;
/// Disks without room, for bytes, names or owners.
mod full_disks;
/// What `~` means, under init and cron too.
mod home;
/// Who may know whom in the engine, and how large a file, a function and a struct may be.
mod house;
/// Pushes that are killed or cut off, and the next push that repairs.
mod interrupted;
/// The service that follows keepalived, without a keepalived.
mod keepalived;
/// What generations replaced is listed and copied out.
mod kept;
/// A push without a name leaves the files of a group as they are.
mod kept_groups;
/// A push without a name does not get into a tree with a name.
mod kept_trees;
/// What a key may do: bound to roots and trees, without deletions, devices or setuid.
mod keys;
/// Large files that change in place: device writes, memory.
mod large_files;
/// Where symlinks lead a push, at either end.
mod led;
/// The recipe replayed: cycles, switchovers, failovers between two nodes.
mod lifecycle;
/// What goes wrong between the nodes: refused, unknown, silent, garbage, cut at any byte.
mod link_trouble;
/// What SRC has, listed as rsync lists it.
mod list_only;
/// Each connection to its own server has a process, and a flood of them locks nobody out.
mod listen;
/// A reader of the target never misses a name and never sees half a file.
mod live_names;
/// The manual pages format, and name tests that exist.
mod manual;
/// More names, hard links and deletions than fit into memory.
mod many;
/// File systems mounted inside the source and the target.
mod mounts;
/// Trees of the configuration: pushed by name, promoted, looked at, undone.
mod named_trees;
/// By no option of a push does a narrowed key get more than it may.
mod narrowed;
/// Notices arrive by every way that the configuration names.
mod notices;
/// The resource agent of Pacemaker, action by action.
mod ocf;
mod ocf_handover;
/// ACLs and extended attributes that are seldom met.
mod odd_attributes;
/// Damaged times, names too long for most, symlinks to nothing: what they cost.
mod odd_entries;
/// One option at a time.
mod options;
/// Random and hand-picked pushes compared with rsync 3.5.0.
mod oracle;
/// What others say arrives harmless wherever it goes.
mod others_words;
/// A node that is its own peer, and a machine that was cloned with its state.
mod own_node;
/// Pairs where something is there already, or in the way.
mod pairing;
/// ACLs and attributes that are not mirrored, and what is said of them.
mod passed_over;
/// What is kept of the past, and what goes of it.
mod past;
/// Files of filter rules in each directory, beside rsync.
mod per_dir_filters;
/// Deltas carried as files: `hasync signature`, `delta` and `patch`.
mod plumbing;
/// Every kind of entry and attribute arrives as it was.
mod preserved;
/// The state of a node is private, and no failover waits for a lock or a notice.
mod private_state;
/// The `/usr` and `/etc` of this machine, with all that they can have, compared by other programs.
mod real_trees;
/// Removals that do not succeed, or not wholly, and what is said of them.
mod removal;
/// How a node knows whether it is primary.
mod role;
/// A second implementation of the protocol on either end.
mod second;
/// What of the sources is pushed, and what symlinks stand for.
mod selection;
/// Each state has one sentence and one next step, and the step repairs it.
mod sentences;
/// File systems of every kind as targets, by every way of pushing.
mod situations;
/// First copy, update and delete over a real sshd, on loopback and between two nodes.
mod ssh;
/// One record of a node's state, for programs and for monitors without rights.
mod state;
/// A stop of the mirror succeeds in time, whatever stands in its way.
mod stop;
/// A stranger's first hour, from the README alone.
mod stranger;
/// Fixtures.
mod support;
/// A local user exchanges entries under a push.
mod swapped;
/// A receiver that has been taken over gets nowhere.
mod taken_over;
/// House rules of the repository, checked on every tracked file.
mod tidy;
/// What goes wrong around two nodes: status says it in a sentence, the next cycle repairs it.
mod trouble;
/// What a configuration names to be run or believed is root's or one's own.
mod trusted_config;
/// A second push of an unchanged tree sends and writes nothing.
mod unchanged;
/// Where /proc is missing, a push does what it does elsewhere.
mod without_proc;
/// The words of rsync: formats, names, and what it reads from the environment.
mod wording;
/// What a verb writes goes through no symlink that a local user has planted.
mod written;
