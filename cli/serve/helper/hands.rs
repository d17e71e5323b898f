//! The hands of a confined receiver: its helper sets metadata by name, a call that no rule about
//! files covers and that the receiver has given up therefore. The helper judges each change: it is
//! made in a directory that lies in the receiver's places, which the receiver has named once,
//! before it was confined. It can rename directories in those places alone, so that none of
//! elsewhere ever comes to lie in them.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use hasync_engine::{Assigned, Attrs, ByName, Inode, OwnCalls, Rights, Time};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;

/// Levels that a directory can have above it: a path has 64 KiB, and is staged below some more.
const DEPTH_MAX: usize = 40_000;

/// Where the helper changes something.
#[derive(Debug)]
pub(super) struct Hands {
    rights: Rights,
    places: Places,
}

#[derive(Debug)]
enum Places {
    /// They are being named.
    Open(Vec<Identity>),
    /// There are no others.
    Settled(Vec<Identity>),
}

/// One directory. It is not held: the helper may end a little later than the receiver, and would
/// keep a file system from being unmounted. No later directory has the same number and the same
/// birth.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    dev: (u32, u32),
    ino: u64,
    birth: (i64, u32),
}

impl Identity {
    fn of(dir: impl AsFd) -> io::Result<Self> {
        let asked = StatxFlags::INO | StatxFlags::BTIME;
        let stat = statx(dir, c"", AtFlags::EMPTY_PATH, asked)?;
        Ok(Identity {
            dev: (stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            birth: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
        })
    }
}

impl Hands {
    /// Hands that do nothing yet, and never more than a peer with `rights` may have done.
    pub(super) fn new(rights: Rights) -> Self {
        Hands {
            rights,
            places: Places::Open(Vec::new()),
        }
    }

    /// Counts a directory, and all below it, among the receiver's places.
    pub(super) fn add(&mut self, dir: impl AsFd) -> io::Result<()> {
        match &mut self.places {
            Places::Open(places) => places.push(Identity::of(dir)?),
            Places::Settled(_) => return Err(Errno::PERM.into()),
        }
        Ok(())
    }

    /// From now on there are no further places.
    pub(super) fn settle(&mut self) {
        if let Places::Open(places) = &mut self.places {
            self.places = Places::Settled(std::mem::take(places));
        }
    }

    /// Makes a change, if it is one that the receiver may make.
    pub(super) fn set(&self, dir: &OwnedFd, change: &[u8]) -> io::Result<()> {
        let (name, judged, attrs) = decode(change).ok_or(Errno::INVAL)?;
        if !self.hold(dir)? || !self.allow(&judged, &attrs) {
            return Err(Errno::PERM.into());
        }
        OwnCalls.set_attrs(dir.as_fd(), &name, &judged, &attrs)
    }

    /// Whether `dir` lies in one of the places. Each level is what it is now: a path tells nothing.
    fn hold(&self, dir: &OwnedFd) -> io::Result<bool> {
        let Places::Settled(places) = &self.places else {
            return Ok(false);
        };
        let mut dir = dir.try_clone()?;
        let mut identity = Identity::of(&dir)?;
        for _ in 0..DEPTH_MAX {
            if places.contains(&identity) {
                return Ok(true);
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            dir = openat(&dir, c"..", flags, Mode::empty())?;
            let above = Identity::of(&dir)?;
            // The top is above itself.
            if above == identity {
                return Ok(false);
            }
            identity = above;
        }
        Ok(false)
    }

    /// Whether the peer may have that done to such an entry: no other is changed.
    fn allow(&self, judged: &Inode, attrs: &Attrs) -> bool {
        let attributes = attrs.attributes.as_ref();
        let lends_rights = attrs.mode.is_some_and(|mode| mode & 0o6000 != 0)
            || attributes.is_some_and(|assigned| assigned.lends_rights());
        match FileType::from_raw_mode(judged.mode) {
            FileType::Directory => true,
            FileType::CharacterDevice | FileType::BlockDevice if !self.rights.devices => false,
            _ => self.rights.setuid || !lends_rights,
        }
    }
}

/// A change as the helper is told it: owner, group, mode and both times, the entry that is to be
/// changed, the length of its ACLs and attributes and these, and its name to the end. What stays as
/// it is, or is not known, is a dash.
pub(super) fn encode(name: &CStr, judged: &Inode, attrs: &Attrs) -> Vec<u8> {
    let number = |number: Option<u32>| number.map_or("-".to_owned(), |n| n.to_string());
    let time = |time: Time| format!("{}.{}", time.secs, time.nanos);
    let (uid, gid, mode) = (number(attrs.uid), number(attrs.gid), number(attrs.mode));
    let [mtime, atime] = [attrs.mtime, attrs.atime].map(|at| at.map_or("-".to_owned(), time));
    let len = judged.len.map_or("-".to_owned(), |len| len.to_string());
    let attributes = attrs
        .attributes
        .as_ref()
        .map(|assigned| assigned.to_bytes());
    let attributes_len = attributes
        .as_ref()
        .map_or("-".to_owned(), |bytes| bytes.len().to_string());
    let mut change = format!(
        "{uid} {gid} {mode} {mtime} {atime} {} {} {} {len} {} {} {attributes_len} ",
        judged.number,
        judged.mode,
        judged.uid,
        time(judged.time),
        time(judged.ctime)
    )
    .into_bytes();
    change.extend(attributes.unwrap_or_default());
    change.extend_from_slice(name.to_bytes());
    change
}

fn decode_time(word: &str) -> Option<Time> {
    let (secs, nanos) = word.split_once('.')?;
    Some(Time {
        secs: secs.parse().ok()?,
        nanos: nanos.parse().ok().filter(|nanos| *nanos < 1_000_000_000)?,
    })
}

/// `None` if it is none, or if its name leads elsewhere.
fn decode(change: &[u8]) -> Option<(CString, Inode, Attrs)> {
    let mut words = change.splitn(13, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok();
    let number = |word: &str| match word {
        "-" => Some(None),
        word => word.parse().ok().map(Some),
    };
    let (uid, gid, mode) = (number(word()?)?, number(word()?)?, number(word()?)?);
    // Nobody's number: to the kernel it means that nothing is to change.
    let is_nobody = uid == Some(u32::MAX) || gid == Some(u32::MAX);
    let time = |word: &str| match word {
        "-" => Some(None),
        time => decode_time(time).map(Some),
    };
    let (mtime, atime) = (time(word()?)?, time(word()?)?);
    let judged = Inode {
        number: word()?.parse().ok()?,
        mode: word()?.parse().ok()?,
        uid: word()?.parse().ok()?,
        len: match word()? {
            "-" => None,
            len => Some(len.parse().ok()?),
        },
        time: decode_time(word()?)?,
        ctime: decode_time(word()?)?,
    };
    let attributes_len = match word()? {
        "-" => None,
        len => Some(len.parse::<usize>().ok()?),
    };
    let (attributes, name) = words
        .next()?
        .split_at_checked(attributes_len.unwrap_or_default())?;
    let attributes = match attributes_len {
        None => None,
        Some(_) => Some(Box::new(Assigned::from_bytes(attributes, judged.mode)?)),
    };
    let is_one = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/');
    let is_mode = mode.is_none_or(|mode| mode <= 0o7777);
    let attrs = Attrs {
        uid,
        gid,
        mode,
        mtime,
        atime,
        attributes,
    };
    (is_one && is_mode && !is_nobody).then_some((CString::new(name).ok()?, judged, attrs))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::{File, create_dir_all};
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::*;

    fn held(dir: &Path) -> OwnedFd {
        File::open(dir).unwrap().into()
    }

    fn settled(place: &Path, rights: Rights) -> Hands {
        let mut hands = Hands::new(rights);
        hands.add(held(place)).unwrap();
        hands.settle();
        hands
    }

    fn mode_of(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().mode() & 0o7777
    }

    fn mode(mode: u32) -> Attrs {
        Attrs {
            mode: Some(mode),
            ..Attrs::default()
        }
    }

    /// What has the name now.
    fn judged(dir: &Path, name: &CStr) -> Inode {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Inode::held(openat(held(dir), name, flags, Mode::empty()).unwrap()).unwrap()
    }

    #[test]
    fn a_change_survives_its_telling() {
        let time = |secs, nanos| Some(Time { secs, nanos });
        for mtime in [
            None,
            time(0, 0),
            time(i64::MIN, 999_999_999),
            time(i64::MAX, 1),
        ] {
            for (uid, gid) in [(None, None), (Some(0), None), (Some(1), Some(u32::MAX - 1))] {
                for mode in [None, Some(0), Some(0o7777)] {
                    let attrs = Attrs {
                        uid,
                        gid,
                        mode,
                        mtime,
                        atime: mtime.filter(|_| uid.is_some()),
                        ..Attrs::default()
                    };
                    let dir = judged(Path::new("/"), c".");
                    let file = judged(Path::new("/proc"), c"version");
                    for name in [c"x", c" - a  b", c"new\nline", c"\xff\xfe", c"..."] {
                        for judged in [dir, file] {
                            let told = decode(&encode(name, &judged, &attrs));
                            assert_eq!(told, Some((name.to_owned(), judged, attrs.clone())));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_change_of_one_entry_is_refused() {
        let of_file = b"1 2 3 4 1.0 1.0 - ";
        for [change, name] in [
            [&b""[..], b""],
            [b"- - - - - ", b""],
            [b"- - - - - ", b"."],
            [b"- - - - - ", b".."],
            [b"- - - - - ", b"a/b"],
            [b"- - - - - ", b"/etc/shadow"],
            [b"- - - - - ", b"../x"],
            [b"- - - - - ", b"x\0/y"],
            [b"4294967295 - - - - ", b"x"],
            [b"- 4294967295 - - - ", b"x"],
            [b"-1 - - - - ", b"x"],
            [b"- - 32768 - - ", b"x"],
            [b"- - - 1 - ", b"x"],
            [b"- - - - 1 ", b"x"],
            [b"- - - 1.1073741823 - ", b"x"],
            [b"- - - 1.-1 - ", b"x"],
            [b"- - - - - - ", b"x"],
        ] {
            let change = &[change, of_file, name].concat();
            assert_eq!(decode(change), None, "{}", change.escape_ascii());
        }
    }

    #[test]
    fn nothing_is_changed_but_in_the_places() {
        let temp = tempfile::tempdir().unwrap();
        let at = |path: &str| temp.path().join(path);
        for dir in ["place/a/b", "place too", "other"] {
            create_dir_all(at(dir)).unwrap();
            File::create(at(dir).join("x")).unwrap();
        }
        let hands = settled(&at("place"), Rights::default());
        for (dir, may) in [
            ("place", true),
            ("place/a/b", true),
            ("place too", false),
            ("other", false),
            ("place/..", false),
            ("place/a/../../other", false),
        ] {
            create_dir_all(at(dir)).unwrap();
            File::create(at(dir).join("x")).unwrap();
            let before = mode_of(&at(dir).join("x"));
            let change = encode(c"x", &judged(&at(dir), c"x"), &mode(0o604));
            let done = hands.set(&held(&at(dir)), &change);
            assert_eq!(done.is_ok(), may, "{dir}: {done:?}");
            let mode = if may { 0o604 } else { before };
            assert_eq!(mode_of(&at(dir).join("x")), mode, "{dir}");
        }
        // It was in there, and is no more.
        let change = encode(c"x", &judged(&at("place/a/b"), c"x"), &mode(0o604));
        let moved = held(&at("place/a/b"));
        std::fs::rename(at("place/a/b"), at("other/b")).unwrap();
        assert!(hands.set(&moved, &change).is_err());
    }

    #[test]
    fn places_are_named_once_and_before() {
        let temp = tempfile::tempdir().unwrap();
        File::create(temp.path().join("x")).unwrap();
        let dir = held(temp.path());
        let change = encode(c"x", &judged(temp.path(), c"x"), &mode(0o604));
        let mut hands = Hands::new(Rights::default());
        hands.add(&dir).unwrap();
        assert!(hands.set(&dir, &change).is_err(), "not settled yet");
        hands.settle();
        hands.set(&dir, &change).unwrap();
        for _ in 0..2 {
            assert!(hands.add(held(Path::new("/"))).is_err());
            hands.settle();
            assert!(
                hands
                    .set(&held(temp.path().parent().unwrap()), &change)
                    .is_err()
            );
        }
        let mut none = Hands::new(Rights::default());
        none.settle();
        assert!(none.set(&dir, &change).is_err(), "no place at all");
    }

    #[test]
    fn a_symlink_is_changed_itself_or_not_at_all() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        File::create(&file).unwrap();
        std::os::unix::fs::symlink("file", temp.path().join("link")).unwrap();
        let hands = settled(temp.path(), Rights::default());
        let before = (mode_of(&file), file.metadata().unwrap().mtime());
        let attrs = Attrs {
            mtime: Some(Time { secs: 1, nanos: 2 }),
            ..Attrs::default()
        };
        let dir = held(temp.path());
        let link = judged(temp.path(), c"link");
        hands.set(&dir, &encode(c"link", &link, &attrs)).unwrap();
        for judged in [link, judged(temp.path(), c"file")] {
            let change = encode(c"link", &judged, &mode(0o777));
            assert!(hands.set(&dir, &change).is_err());
        }
        assert_eq!(before, (mode_of(&file), file.metadata().unwrap().mtime()));
        let link = temp.path().join("link").symlink_metadata().unwrap();
        assert_eq!((link.mtime(), link.mtime_nsec()), (1, 2));
    }

    #[test]
    fn rights_that_the_peer_has_not_got_are_not_lent() {
        let temp = tempfile::tempdir().unwrap();
        File::create(temp.path().join("file")).unwrap();
        create_dir_all(temp.path().join("dir")).unwrap();
        let dir = held(temp.path());
        let no_setuid = Rights {
            setuid: false,
            ..Rights::default()
        };
        for (name, bits, rights, may) in [
            (c"file", 0o4755, Rights::default(), true),
            (c"file", 0o4755, no_setuid, false),
            (c"file", 0o2755, no_setuid, false),
            (c"file", 0o1755, no_setuid, true),
            (c"dir", 0o3777, no_setuid, true),
        ] {
            let hands = settled(temp.path(), rights);
            let judged = judged(temp.path(), name);
            let done = hands.set(&dir, &encode(name, &judged, &mode(bits)));
            assert_eq!(done.is_ok(), may, "{name:?} {bits:o}");
        }
        let no_devices = Rights {
            devices: false,
            ..Rights::default()
        };
        // There is one everywhere; nothing of it changes.
        let dev = Path::new("/dev");
        let same = encode(c"null", &judged(dev, c"null"), &Attrs::default());
        assert!(
            settled(dev, Rights::default())
                .set(&held(dev), &same)
                .is_ok()
        );
        assert!(settled(dev, no_devices).set(&held(dev), &same).is_err());
    }
}
