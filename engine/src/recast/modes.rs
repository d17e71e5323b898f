//! Permissions by rsync's `--chmod`: its grammar, and what a mode becomes. A change is for
//! directories (`D`), for all else (`F`) or for both; if it names nobody, it is for everybody, less
//! the umask.

/// Changes of modes, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModeChanges(Vec<ModeChange>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ModeChange {
    on: On,
    op: Op,
    /// The bits that are added, taken away or set.
    bits: u32,
    /// Bits that are set for whom they are asked if this class of users has them.
    copied: Option<Copied>,
    /// What `=` takes away first.
    cleared: u32,
    /// `X`: nobody may execute what nobody could, unless it is a directory.
    spares_x: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copied {
    /// How far up the three bits of that class stand.
    shift: u32,
    /// For whom: a bit of each class; and which of their bits.
    whom: u32,
    mask: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum On {
    #[default]
    All,
    Dirs,
    Others,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Set,
}

/// All permission bits.
const ALL: u32 = 0o7777;
/// One bit of each class of users.
const EVERYBODY: u32 = 0o111;

impl ModeChanges {
    /// Reads what stands behind `--chmod`. `umask` is that of who asks.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str, umask: u32) -> Result<Self, String> {
        let changes = text.split(',').map(|change| {
            ModeChange::parse(change, umask)
                .ok_or_else(|| format!("{change:?} is no change of permissions"))
        });
        changes.collect::<Result<_, _>>().map(ModeChanges)
    }

    /// These and then others.
    #[must_use]
    pub fn and(mut self, others: ModeChanges) -> Self {
        self.0.extend(others.0);
        self
    }

    pub(crate) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let could_execute = mode & EVERYBODY != 0 || is_dir;
        let here = self.0.iter().filter(|change| match change.on {
            On::All => true,
            On::Dirs => is_dir,
            On::Others => !is_dir,
        });
        here.fold(mode, |mode, change| change.apply(mode, could_execute))
    }
}

impl ModeChange {
    fn apply(&self, mode: u32, could_execute: bool) -> u32 {
        let copied = self.copied.map_or(0, |copied| {
            (((mode >> copied.shift) & 0o7) * copied.whom) & copied.mask
        });
        let bits = self.bits | copied;
        let added = match self.spares_x && !could_execute {
            true => bits & !EVERYBODY,
            false => bits,
        };
        match self.op {
            Op::Add => mode | added,
            Op::Remove => mode & !bits,
            Op::Set => mode & !self.cleared | added,
        }
    }

    fn parse(text: &str, umask: u32) -> Option<Self> {
        let ops = ['+', '-', '='];
        let (who, what) = text.split_at(text.find(ops).or_else(|| {
            let digits = text.trim_start_matches(['D', 'F']);
            Some(text.len() - digits.len())
        })?);
        let who = Who::parse(who)?;
        if !what.starts_with(ops) {
            return who.octal(what);
        }
        let (op, perms) = what.split_at_checked(1)?;
        let op = match op {
            "+" => Op::Add,
            "-" => Op::Remove,
            _ => Op::Set,
        };
        who.symbolic(op, perms, umask)
    }
}

/// The left half of a change.
#[derive(Clone, Copy, Default)]
struct Who {
    on: On,
    /// A bit of each class that is named.
    whom: u32,
    /// Their setuid and setgid bits.
    special: u32,
}

impl Who {
    fn parse(text: &str) -> Option<Self> {
        let mut who = Who::default();
        for letter in text.chars() {
            match (letter, who.on) {
                ('D', On::All | On::Dirs) => who.on = On::Dirs,
                ('F', On::All | On::Others) => who.on = On::Others,
                ('u', _) => (who.whom, who.special) = (who.whom | 0o100, who.special | 0o4000),
                ('g', _) => (who.whom, who.special) = (who.whom | 0o010, who.special | 0o2000),
                ('o', _) => who.whom |= 0o001,
                ('a', _) => (who.whom, who.special) = (EVERYBODY, 0o6000),
                _ => return None,
            }
        }
        Some(who)
    }

    /// A mode in octal, which replaces all bits.
    fn octal(self, digits: &str) -> Option<ModeChange> {
        let are_digits = !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
        let bits = u32::from_str_radix(digits, 8).ok().filter(|_| are_digits)?;
        (self.whom == 0 && bits <= ALL).then_some(ModeChange {
            on: self.on,
            op: Op::Set,
            bits,
            copied: None,
            cleared: ALL,
            spares_x: false,
        })
    }

    fn symbolic(self, op: Op, perms: &str, umask: u32) -> Option<ModeChange> {
        let (whom, mask) = match self.whom {
            0 => (EVERYBODY, !umask),
            whom => (whom, ALL),
        };
        if let Some(shift) = match perms {
            "u" => Some(6),
            "g" => Some(3),
            "o" => Some(0),
            _ => None,
        } {
            let sticky = if whom & 0o001 == 0 { 0 } else { 0o1000 };
            let special = if self.whom == 0 { 0o6000 } else { self.special };
            return Some(ModeChange {
                on: self.on,
                op,
                bits: 0,
                copied: Some(Copied { shift, whom, mask }),
                cleared: (whom * 0o7) | special | sticky,
                spares_x: false,
            });
        }
        let (mut bits, mut special, mut spares_x) = (0, 0, false);
        for letter in perms.chars() {
            match letter {
                'r' => bits |= 0o4,
                'w' => bits |= 0o2,
                'x' => bits |= 0o1,
                'X' => (bits, spares_x) = (bits | 0o1, true),
                's' if self.special == 0 => special |= 0o4000,
                's' => special |= self.special,
                't' => special |= 0o1000,
                _ => return None,
            }
        }
        let cleared = if special == 0 { 0 } else { self.special };
        Some(ModeChange {
            on: self.on,
            op,
            bits: ((bits * whom) & mask) | special,
            copied: None,
            cleared: (whom * 0o7) | cleared,
            spares_x,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What rsync 3.5.0 made of files, and of a directory, with a umask of 027.
    #[test]
    fn modes_become_what_rsync_makes_of_them() {
        for (changes, found, told) in [
            ("u=g", 0o7777, 0o3777),
            ("g=u", 0o7750, 0o5770),
            ("o=u", 0o7777, 0o6777),
            ("a=u", 0o7777, 0o777),
            ("ug=o", 0o7777, 0o1777),
            ("g+u", 0o421, 0o461),
            ("o-g", 0o7777, 0o7770),
            ("=u", 0o7777, 0o750),
            ("+u", 0o421, 0o461),
            ("-g", 0o1640, 0o1200),
            ("g=u,o=g", 0o421, 0o444),
            ("=", 0o7777, 0o7000),
            ("=rwx", 0o7, 0o750),
            ("-w", 0o7777, 0o7577),
            ("+X", 0o7, 0o117),
            ("+X", 0o1640, 0o1640),
            ("u-X", 0o7750, 0o7650),
            ("g-s", 0o7777, 0o5777),
            ("a-s", 0o6010, 0o10),
            ("-s", 0o7777, 0o3777),
            ("u=t", 0o6010, 0o3010),
            ("g=s", 0o7777, 0o7707),
            ("=s", 0o421, 0o4000),
            ("o=rs", 0o7, 0o4004),
            ("ug=rwX,o=", 0o640, 0o660),
            ("ug=rwX,o=", 0o711, 0o770),
            ("4755", 0o7777, 0o4755),
            ("F0644,D755", 0o7777, 0o644),
            ("Du+w,Fgo-rwx", 0o644, 0o600),
            ("uF+x", 0o600, 0o700),
        ] {
            let changes = ModeChanges::parse(changes, 0o027).unwrap();
            let made = changes.apply(found, false);
            assert_eq!(made, told, "{changes:?} {found:o}: {made:o}");
        }
        for (changes, found, told) in [
            ("a+X", 0o2640, 0o2751),
            ("D2755", 0o700, 0o2755),
            ("F644", 0o700, 0o700),
            ("a=X", 0o2750, 0o2111),
            ("Dug+rwxXst", 0o2750, 0o7770),
            ("4755", 0o2750, 0o4755),
        ] {
            let changes = ModeChanges::parse(changes, 0o027).unwrap();
            assert_eq!(changes.apply(found, true), told, "{changes:?} {found:o}");
        }
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for text in [
            "", ",", "u", "t", "u+r,,g+w", "u+rw,", ",u+r", "DFu+w", "FD=", "a-x+w", "77777", "08",
            "u644", "D,F", "u=gX", "u=rg", "u=a", "D", "+ r", "u+é", "644D", "-1", "0x1ff", "+644",
            "D+644", "u=gg",
        ] {
            assert!(ModeChanges::parse(text, 0).is_err(), "{text:?}");
        }
        for text in ["+", "go-", "DDu+w", "uD=", "aug+r", "0", "F00644"] {
            assert!(ModeChanges::parse(text, 0).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn later_changes_come_on_top() {
        let both = |first, second| {
            let [first, second] = [first, second].map(|text| ModeChanges::parse(text, 0).unwrap());
            first.and(second).apply(0o640, false)
        };
        assert_eq!(both("g+w", "o+r"), 0o664);
        assert_eq!(both("600", "a+r"), 0o644);
    }
}
