//! What a peer may push to and what it may have done there: by the options of `hasync serve`, and
//! narrowed by those of the `hasync serve` that a key's line in authorized_keys forces on it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use hasync_engine::{Rights, ServePolicy, ServedRoot, escape};

use crate::args::{ServeArgs, parse_serve};
use crate::config;
use crate::reach;

/// What one peer is confined to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Directories that destinations must be in; empty means anywhere.
    pub(super) roots: Vec<PathBuf>,
    /// Trees that can be pushed by name, and then nothing else can; `None` means any.
    pub(super) trees: Option<Vec<String>>,
    pub(super) rights: Rights,
    /// How long it may be silent.
    pub(super) silence: Duration,
}

impl Limits {
    /// By these options; `roots` are theirs.
    pub(super) fn new(args: &ServeArgs, roots: Vec<PathBuf>) -> Limits {
        Limits {
            roots,
            trees: (!args.tree.is_empty()).then(|| args.tree.clone()),
            rights: Rights {
                deletes: !args.no_delete,
                devices: !args.no_devices,
                setuid: !args.no_setuid,
            },
            silence: reach::silence(args.timeout),
        }
    }

    /// Narrowed by the `words` behind a forced `hasync serve`, or why they make no sense here,
    /// where `config` names the configuration. They can take away alone.
    pub(super) fn narrowed(
        &self,
        words: &[String],
        config: Option<&Path>,
    ) -> Result<Limits, String> {
        let args = parse_serve(words).map_err(|failure| failure.message)?;
        if args.listen.is_some() {
            return Err("--listen is no restriction".to_owned());
        }
        let own = config.unwrap_or(Path::new(config::DEFAULT_FILE));
        let other = args.config.config.as_deref();
        if other.is_some_and(|other| other != own) {
            return Err("the server has a --config of its own".to_owned());
        }
        for root in &args.root {
            self.check_root(root)?;
        }
        let forced = Limits::new(&args, args.root.clone());
        let silence = args.timeout.map_or(self.silence, |_| forced.silence);
        Ok(Limits {
            roots: if forced.roots.is_empty() {
                self.roots.clone()
            } else {
                forced.roots
            },
            trees: both(self.trees.as_deref(), forced.trees)?,
            rights: self.rights.and(forced.rights),
            silence: silence.min(self.silence),
        })
    }

    /// Whether a root of a key lies within one of the server's. It is used as it is written: where
    /// symlinks lead is asked again when it is opened.
    fn check_root(&self, root: &Path) -> Result<(), String> {
        let shown = escape(root.as_os_str().as_bytes());
        let climbs = root.components().any(|part| part == Component::ParentDir);
        if climbs || !root.is_absolute() {
            return Err(format!("--root {shown} must be absolute and without .."));
        }
        let place = config::real(root);
        if !self.roots.is_empty()
            && !self
                .roots
                .iter()
                .any(|own| place.starts_with(config::real(own)))
        {
            return Err(format!("--root {shown} is in no root of this server"));
        }
        Ok(())
    }

    /// What one connection may do by these. The roots are opened.
    pub(super) fn applied_to(&self, policy: ServePolicy) -> ServePolicy {
        ServePolicy {
            roots: self.roots.iter().cloned().map(ServedRoot::pin).collect(),
            only_trees: self.trees.clone(),
            rights: self.rights,
            ..policy
        }
    }

    /// For the log, such as `root /srv, no deletions`.
    pub(super) fn shown(&self) -> String {
        let list = |words: [&str; 2], names: Vec<String>| match names.len() {
            0 => None,
            1 => Some(format!("{} {}", words[0], names.join(" "))),
            _ => Some(format!("{} {}", words[1], names.join(" "))),
        };
        let shown = |root: &PathBuf| escape(root.as_os_str().as_bytes()).into_owned();
        let roots = self.roots.iter().map(shown).collect();
        let not = |allowed: bool, what: &str| (!allowed).then(|| format!("no {what}"));
        let parts = [
            list(["root", "roots"], roots),
            list(["tree", "trees"], self.trees.clone().unwrap_or_default()),
            not(self.rights.deletes, "deletions"),
            not(self.rights.devices, "devices"),
            not(self.rights.setuid, "setuid"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// The trees that both name.
fn both(
    own: Option<&[String]>,
    forced: Option<Vec<String>>,
) -> Result<Option<Vec<String>>, String> {
    let (Some(own), Some(mut forced)) = (own, forced.clone()) else {
        return Ok(forced.or_else(|| own.map(<[String]>::to_vec)));
    };
    let named = forced.join(" ");
    forced.retain(|name| own.contains(name));
    if forced.is_empty() {
        return Err(format!("this server has none of --tree {named}"));
    }
    Ok(Some(forced))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn limits(line: &str) -> Limits {
        let args = parse_serve(&words(line)).unwrap();
        let roots = args.root.clone();
        Limits::new(&args, roots)
    }

    /// What a key may under a server with the options `own`, if `forced` stands in its line.
    fn check(own: &str, forced: &str, expected: &str) {
        let found = limits(own).narrowed(&words(forced), None);
        assert_eq!(found, Ok(limits(expected)), "{own} | {forced}");
    }

    #[test]
    fn a_key_narrows_and_never_widens() {
        check("--root /", "", "--root /");
        check("--root /srv", "", "--root /srv");
        check("--root /srv", "--root /srv", "--root /srv");
        check("--root /srv", "--root /srv/one", "--root /srv/one");
        check("--root /srv/", "--root /srv//one/", "--root /srv/one");
        check(
            "--root /srv --root /var/www",
            "--root /var/www/a --root /srv",
            "--root /var/www/a --root /srv",
        );
        check("--tree a", "--root /srv", "--tree a --root /srv");
        check("--root /srv", "--tree a b", "--root /srv --tree a b");
        check("--root /srv --tree a b", "", "--root /srv --tree a b");
        check("--tree a b", "--tree b c", "--tree b");
        check("--tree a --tree b", "--tree b --tree a", "--tree b a");
        check(
            "--root /",
            "--no-delete --no-devices",
            "--root / --no-delete --no-devices",
        );
        check(
            "--root / --no-delete",
            "--no-setuid",
            "--root / --no-delete --no-setuid",
        );
        check(
            "--root / --no-delete --no-setuid",
            "--receive-only",
            "--root / --no-delete --no-setuid",
        );
        check(
            "--root / --timeout 60",
            "--timeout 30",
            "--root / --timeout 30",
        );
        check(
            "--root / --timeout 30",
            "--timeout 60",
            "--root / --timeout 30",
        );
        check(
            "--root / --timeout 30",
            "--timeout 0",
            "--root / --timeout 30",
        );
        check("--root / --timeout 30", "", "--root / --timeout 30");
        check("--root /", "--config /etc/hasync/hasync.toml", "--root /");
    }

    #[test]
    fn what_is_no_restriction_is_refused() {
        for (own, forced, why) in [
            ("--root /srv", "--root /", "in no root"),
            ("--root /srv", "--root /srv2", "in no root"),
            ("--root /srv/one", "--root /srv", "in no root"),
            ("--root /srv", "--root /srv/one --root /var", "in no root"),
            ("--root /srv", "--root /srv/../etc", "without .."),
            ("--root /srv", "--root one", "must be absolute"),
            ("--root /srv", "--root=", "--root"),
            ("--tree a", "--tree b", "none of --tree b"),
            ("--root /", "--config /etc/other.toml", "of its own"),
            ("--root /", "--bogus", "unknown option '--bogus'"),
            ("--root /", "extra", "unexpected word 'extra'"),
            ("--root /", "--root", "--root"),
            ("--root /", "--tree", "--tree"),
            ("--root /", "--timeout x", "'x' for --timeout"),
            ("--root /", "--help", ""),
            ("--root /", "--authorized-keys /x", "--listen"),
            ("--root /", "--host-key /x", "--listen"),
            ("--root /", "--listen 127.0.0.1:1", ""),
            (
                "--root /",
                "--listen 127.0.0.1:1 --root / --authorized-keys /x --host-key /y",
                "no restriction",
            ),
        ] {
            let found = limits(own).narrowed(&words(forced), None).unwrap_err();
            assert!(found.contains(why), "{forced}: {found}");
            assert!(!found.contains('\n'), "{forced}: {found}");
        }
    }

    #[test]
    fn symlinks_are_seen_through() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("real/in")).unwrap();
        std::fs::create_dir(at("else")).unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        std::os::unix::fs::symlink("../else", at("real/out")).unwrap();
        for (own, root, fits) in [
            ("real", "link/in", true),
            ("link", "real/in", true),
            ("link", "real", true),
            ("link", "real/not-there/yet", true),
            ("not-there", "not-there/yet", true),
            ("real", "real/out", false),
            ("real", "real/out/not-there", false),
            ("real", "else", false),
            ("not-there", "real", false),
        ] {
            let root_of = |name: &str| format!("--root {}", at(name).display());
            let found = limits(&root_of(own)).narrowed(&words(&root_of(root)), None);
            assert_eq!(found.is_ok(), fits, "{own} {root}: {found:?}");
        }
    }

    #[test]
    fn limits_are_shown_as_they_are() {
        assert_eq!(limits("").shown(), "");
        let all = "--root /a --root /b --tree t --no-delete --no-devices --no-setuid";
        let shown = "roots /a /b, tree t, no deletions, no devices, no setuid";
        assert_eq!(limits(all).shown(), shown);
    }
}
