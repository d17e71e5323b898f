//! The beginning of a push: what the hello asks for is checked and opened, and answered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Receiver;
use super::apart::refuse_shared;
use super::backups;
use super::content::Content;
use super::dirs::Dirs;
use super::door::{Door, Real};
use super::full::Full;
use super::links::Links;
use super::local::Locals;
use super::named::Named;
use super::new_dirs::NewDirs;
use super::private::refuse_not_private;
use super::removals::Removals;
use super::rules::Rules;
use super::site::Site;
use super::threshold::{Threshold, Trusted};
use super::unnamed::{may_be_interrupted, recover_unnamed, refuse_kept};
use super::voice::Voice;
use crate::change::{Commit, Elsewhere, clean_leftovers};
use crate::compare::{Decision, LinkState};
use crate::digest::{Fields, asked_attributes};
use crate::entry::Entry;
use crate::error::{Error, ErrorKind};
use crate::filter::{Filter, Half};
use crate::fs::{Abilities, Follow, Inherited, Inodes, Root, len_max, settable};
use crate::history::{Interrupted, Room, Store};
use crate::ids::{IdMap, look_up, settable_groups};
use crate::lineage::claim::Claim;
use crate::links::LinkRules;
use crate::members::Members;
use crate::mounted::MountedBelow;
use crate::observer::Action;
use crate::options::{BackupPlace, Options};
use crate::path::RelPath;
use crate::policy::{Powers, ServePolicy};
use crate::read_ahead::ReadAhead;
use crate::reader::Reader;
use crate::refusal::Refusal;
use crate::session::bases::Bases;
use crate::session::outbox::Outbox;
use crate::session::place::Trail;
use crate::target::{Found, Target, names_dir};
use crate::wire::{Hello, HelloReply, ToSender, Verdict, Want};

impl Receiver {
    /// Begins what the hello asks for.
    pub(super) fn start(
        mut hello: Hello,
        outbox: &Outbox,
        policy: &ServePolicy,
        threshold: &mut Threshold,
        threaded: bool,
    ) -> Result<Self, Error> {
        let filter = Filter::from_rules(hello.options.filters.clone())
            .map_err(|error| Error::peer(Refusal::Filter { error }))?;
        let claim = hello.claim.take();
        check(&hello.options, claim.as_ref(), policy)?;
        let (mut named, target, elsewhere) =
            find((&hello, &filter), claim, policy, outbox, threshold)?;
        // A tree with a name shares no file with a group.
        let members = match named {
            Some(_) => Members::default(),
            None => Members::of(&policy.trees),
        };
        let Hello {
            options,
            digest_key,
            readable,
            accounts,
            ..
        } = hello;
        let root = target.root;
        if let Some(root) = root.as_deref().filter(|_| options.may_lead()) {
            root.follow_below(Follow::Beneath);
        }
        let privileged = rustix::process::geteuid().is_root();
        let powers = Powers::new(options.acts_as_root(privileged), policy.rights)
            .with(readable.within(settable()));
        let asked = asked_attributes(&options, powers);
        let abilities = |root: &Root| Abilities::of(root, asked);
        let of_root = root.as_deref().and_then(abilities).unwrap_or_default();
        let find_mounted = |root: &Arc<Root>| MountedBelow::find(root, of_root, asked);
        let mounted = root.as_ref().map(find_mounted).unwrap_or_default();
        if let Some(root) = root.as_deref().filter(|_| options.atomic) {
            refuse_not_private(root, of_root, &mounted, named.is_some())?;
        }
        let settable = settable_groups(&*policy.accounts)?;
        let settable_ids: Vec<u32> = settable.iter().map(|&(id, _)| id).collect();
        let mut own_groups = settable_ids.clone();
        own_groups.push(rustix::process::getegid().as_raw());
        let reply = HelloReply {
            powers,
            settable_groups: settable,
            keeps: of_root.keeps,
            mounted: mounted.clone(),
            len_max: root.as_deref().map_or(u64::MAX, len_max),
            rename: target.rename,
            created_root: target.created,
            runs: true,
            accounts: look_up(&accounts, &*policy.accounts)?,
        };
        let voice = Voice::new(outbox, named.is_some());
        voice.say(&ToSender::HelloReply(Box::new(reply)))?;
        outbox.lock().flush()?;
        let left = match &root {
            // If it cannot be found, it is sent again.
            Some(root) if options.atomic && !options.dry_run => {
                Interrupted::claim(root).unwrap_or_default()
            }
            _ => Interrupted::default(),
        };
        let reader = Reader {
            filter: filter.clone(),
            half: Half::Receiver,
            // Which directory goes is judged now.
            inodes: match options.hard_links {
                true => Inodes::All,
                false => Inodes::OfDirs,
            },
            links: LinkRules::kept(),
            scope: asked,
            alike: named
                .as_mut()
                .and_then(|named| named.remembered(asked, &options)),
            with_atimes: options.atimes,
            is_quiet: options.reads_quietly(),
            summed: options.summed(),
        };
        let ahead = match threaded {
            true => ReadAhead::new(reader),
            false => ReadAhead::without_threads(reader),
        };
        let bases = root
            .as_ref()
            .map(|root| Bases::start(Arc::clone(root), outbox.clone(), threaded));
        let door = match root {
            Some(root) if !options.dry_run => Door::Real(Box::new(Real {
                commit: Commit::new(Arc::clone(&root), &options).keeping(elsewhere),
                room: Arc::new(Room::new(&root, named.as_ref().map(|n| n.tree.clone()))),
                root,
                is_new: target.created,
            })),
            root => Door::Dry(root),
        };
        let fields = Fields::new(&options, powers, settable_ids, of_root.keeps, digest_key);
        let rules = Rules {
            fields: fields.with_mounted(mounted),
            options,
            filter,
            ids: IdMap::new(Arc::clone(&policy.accounts)),
            rights: policy.rights,
            own_groups,
            umask: crate::umask::umask(),
            others: HashMap::new(),
            members,
        };
        let removals = Removals::new(&rules.options, named.as_ref());
        let full = Full::default();
        let site = Site {
            rules,
            door,
            voice,
            full,
            spared: HashSet::new(),
        };
        Ok(Receiver {
            locals: Locals::new(&site, ahead, policy.held_entries),
            site,
            named,
            trail: Trail::default(),
            dirs: Dirs::default(),
            new_dirs: NewDirs::default(),
            links: Links::default(),
            removals,
            content: Content::new(bases),
            left,
        })
    }

    /// Judges the root itself; the answer is a verdict on entry 0 of directory 0.
    pub(super) fn root_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        if self.trail.next() > 0 {
            return Err(Error::peer(Refusal::LateRootEntry));
        }
        entry.check().map_err(Error::peer)?;
        let scope = self.site.rules.fields.attributes();
        let local = match self.site.door.root_listed(scope) {
            Ok(local) => local,
            Err(e) => {
                self.site.warn_of("examine", &RelPath::root(), &e)?;
                return self.say_root(Vec::new());
            }
        };
        // A new one has what the directory that holds it passes on, and passes that on itself.
        let inherited = match local {
            None => self.site.inherited(&RelPath::root()),
            Some(_) => Inherited::default(),
        };
        let rules = &self.site.rules;
        let judge = rules.judge();
        let decision = judge.decide(&rules.ids, entry, local.as_ref(), LinkState::NotLinked);
        let changed = match decision {
            Decision::SetAttrs { differences, attrs } => {
                Some((Action::Attributes, differences, attrs))
            }
            Decision::Make {
                action,
                differences,
            } => Some((
                action,
                differences,
                judge.made_attrs(&rules.ids, entry, None, inherited),
            )),
            Decision::Keep | Decision::KeepNewer | Decision::Skip => None,
        };
        let mut verdicts = Vec::new();
        if let Some((action, differences, attrs)) = changed {
            self.site.door.set_root_attrs(attrs)?;
            verdicts.push(Verdict {
                entry: 0,
                action,
                differences,
                want: Want::Nothing,
            });
        }
        self.say_root(verdicts)
    }

    fn say_root(&self, verdicts: Vec<Verdict>) -> Result<(), Error> {
        self.site.say(&ToSender::Verdicts {
            dir: 0,
            verdicts,
            last: true,
        })
    }
}

/// Refuses what makes no sense, or more than the peer may have.
fn check(options: &Options, claim: Option<&Claim>, policy: &ServePolicy) -> Result<(), Error> {
    if options.keep_dirlinks && options.atomic {
        let message = "-K does not go with an atomic push: symlinks of the target could lead \
                       elsewhere by the time that a commit which was cut off is brought to its end";
        return Err(Error::new(ErrorKind::Usage, message));
    }
    if !options.dry_run && claim.is_some_and(|claim| claim.compares) {
        return Err(Error::peer(Refusal::ComparesForReal));
    }
    if let Some(backup) = &options.backup {
        backup.check().map_err(Error::peer)?;
        // A tree with a name keeps all that it has where it is.
        if claim.is_some() && matches!(backup.place, BackupPlace::Elsewhere(_)) {
            return Err(Error::peer(Refusal::Backup));
        }
    }
    policy.allow(options, claim.map(|claim| claim.tree.as_str()))
}

/// Finds the target, and what backups are kept in besides. Brings a commit to its end there that
/// was cut off.
fn find(
    (hello, filter): (&Hello, &Filter),
    claim: Option<Claim>,
    policy: &ServePolicy,
    outbox: &Outbox,
    threshold: &mut Threshold,
) -> Result<(Option<Named>, Target, Option<Elsewhere>), Error> {
    let dry_run = hello.options.dry_run;
    let (named, found, names_dir) = match claim {
        Some(claim) => {
            // What is kept of it may have been pushed with other options.
            threshold.cross(&[], Trusted::Settable)?;
            let (named, found) = Named::begin(claim, dry_run, policy, outbox)?;
            (Some(named), found, true)
        }
        None => {
            if hello.options.mkpath && !dry_run {
                let judge = |found: &Found| refuse_kept(found, false, policy);
                Found::make_way(&hello.destination, policy, judge)?;
            }
            let found = match hello.options.mkpath && dry_run {
                true => Found::after_way(&hello.destination, policy)?,
                false => Found::destination(&hello.destination, policy)?,
            };
            refuse_kept(&found, hello.single, policy)?;
            (None, found, names_dir(&hello.destination))
        }
    };
    if named.is_some() && !hello.options.atomic {
        return Err(Error::peer(Refusal::NamedNotAtomic));
    }
    let led = (&found, hello.single && !names_dir);
    let rules = (&hello.options, filter);
    refuse_shared(&hello.whereabouts, led, rules, named.is_some())?;
    let target = found.into_target(hello.single, names_dir, dry_run)?;
    let root = target.root.as_deref();
    let kept = root.filter(|_| !target.created);
    let kept = kept.map(|root| backups::find(root, &hello.options, policy));
    let kept = kept.transpose()?.flatten();
    let held = kept.as_ref().map(|kept| &*kept.held);
    let trusted = match &target.root {
        Some(root) if may_be_interrupted(root) => Trusted::Settable,
        _ => Trusted::of(hello),
    };
    threshold.cross(&root.into_iter().chain(held).collect::<Vec<_>>(), trusted)?;
    if let Some(root) = &target.root
        && named.is_none()
        && !dry_run
    {
        recover_unnamed(root, hello.options.atomic)?;
    }
    if let Some(kept) = kept.as_ref().filter(|kept| kept.rest.is_root() && !dry_run) {
        // What was left there takes space, and stands in nobody's way.
        let needed = || Store::sessions_needed(&kept.held);
        let _ = clean_leftovers(&kept.held, &RelPath::root(), needed);
    }
    Ok((named, target, kept))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::filter::{FilterRule, MAX_FILTER_LEN, MAX_RULES};
    use crate::overlap::Whereabouts;
    use crate::path::PATH_LEN_MAX;
    use crate::wire::{FRAME_LEN_MAX, ToReceiver, encode};

    #[test]
    fn the_longest_hello_is_one_frame() {
        // Claims are far shorter than that.
        let claim_len = 32 << 10;
        let pattern = vec![b'p'; MAX_FILTER_LEN / MAX_RULES];
        let rule = FilterRule::exclude(&pattern).unwrap();
        let filters = vec![rule; MAX_RULES];
        assert!(Filter::from_rules(filters.clone()).is_ok());
        let hello = Hello {
            options: Options {
                filters,
                ..Options::archive()
            },
            destination: vec![b'd'; PATH_LEN_MAX],
            single: false,
            digest_key: [0; 32],
            claim: None,
            whereabouts: Whereabouts::default(),
            readable: crate::namespaces::Namespaces::ALL,
            accounts: Vec::new(),
        };
        let mut bytes = Vec::new();
        encode(&ToReceiver::Hello(Box::new(hello)), &mut bytes).unwrap();
        assert!(bytes.len() + claim_len < FRAME_LEN_MAX, "{}", bytes.len());
    }
}
