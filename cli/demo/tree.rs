//! The tree that the demo mirrors, and what changes in it between pushes. The same names and
//! bytes in every run, so that runs can be compared.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

const PAGE_LEN: usize = 8 * 1024;
const TABLE_PAGES: u64 = 2048;

/// Fills `root`, an existing directory: web pages, mail, images, a database table, and one of
/// everything that a mirror can get wrong.
pub(super) fn build(root: &Path) -> io::Result<()> {
    let mut maker = Maker::new(1);
    for dir in 0..20 {
        let dir = root.join(format!("html/{dir:02}"));
        for page in 0..100 {
            maker.file(&dir.join(format!("page-{page:03}.html")), 500, 8_000)?;
        }
    }
    for user in 0..20 {
        let dir = root.join(format!("mail/user-{user:02}/cur"));
        for message in 0..60 {
            maker.file(&dir.join(format!("{message:04}.eml")), 300, 20_000)?;
        }
        fs::create_dir(root.join(format!("mail/user-{user:02}/new")))?;
    }
    for image in 0..100 {
        maker.file(
            &root.join(format!("images/{image:03}.jpg")),
            40_000,
            200_000,
        )?;
    }
    let table_len = TABLE_PAGES as usize * PAGE_LEN;
    maker.file(&root.join("db/table.ibd"), table_len, table_len)?;
    links(root)?;
    odd_entries(&mut maker, root)?;
    age(&mut maker, root)
}

/// Changes about one entry in a hundred: rewrites, additions, removals, permissions, links, and
/// one page in a hundred of the database.
pub(super) fn change(root: &Path) -> io::Result<()> {
    let mut maker = Maker::new(2);
    for dir in 0..20 {
        maker.file(
            &root.join(format!("html/{dir:02}/page-042.html")),
            500,
            8_000,
        )?;
    }
    for message in 0..8 {
        maker.file(
            &root.join(format!("mail/user-07/new/{message:04}.eml")),
            300,
            20_000,
        )?;
        fs::remove_file(root.join(format!("mail/user-08/cur/{message:04}.eml")))?;
    }
    fs::remove_file(root.join("images/013.jpg"))?;
    fs::remove_dir_all(root.join("odd/to be removed"))?;
    fs::rename(root.join("images/014.jpg"), root.join("images/renamed.jpg"))?;
    fs::set_permissions(root.join("images/015.jpg"), Permissions::from_mode(0o400))?;
    fs::remove_file(root.join("html/current"))?;
    symlink("07", root.join("html/current"))?;

    let mut table = File::options()
        .write(true)
        .open(root.join("db/table.ibd"))?;
    let mut page = vec![0; PAGE_LEN];
    for _ in 0..TABLE_PAGES / 100 {
        maker.fill(&mut page);
        table.seek(SeekFrom::Start(
            maker.random.below(TABLE_PAGES) * PAGE_LEN as u64,
        ))?;
        table.write_all(&page)?;
    }
    Ok(())
}

/// Writes the whole database anew, and a page of each directory.
pub(super) fn rewrite(root: &Path) -> io::Result<()> {
    let mut maker = Maker::new(3);
    let table_len = TABLE_PAGES as usize * PAGE_LEN;
    maker.file(&root.join("db/table.ibd"), table_len, table_len)?;
    for dir in 0..20 {
        let page = root.join(format!("html/{dir:02}/page-007.html"));
        maker.file(&page, 500, 8_000)?;
    }
    Ok(())
}

fn links(root: &Path) -> io::Result<()> {
    symlink("03", root.join("html/current"))?;
    fs::create_dir(root.join("links"))?;
    for link in 0..60 {
        let target = format!("../html/{:02}/page-{link:03}.html", link % 20);
        symlink(&target, root.join(format!("links/soft-{link:02}")))?;
        let target = root.join(format!("html/{:02}/page-{link:03}.html", link % 20));
        fs::hard_link(target, root.join(format!("links/hard-{link:02}")))?;
    }
    symlink("/nonexistent/dangling", root.join("links/dangling"))
}

fn odd_entries(maker: &mut Maker, root: &Path) -> io::Result<()> {
    let odd = root.join("odd");
    let long = vec![b'n'; 255];
    let names: [&[u8]; 6] = [
        b"new\nline",
        b"not utf-8 \xff\xfe",
        b" leading and trailing blank ",
        b"-rf",
        b"back\\slash \\#012 \x1b[31m",
        &long,
    ];
    for name in names {
        maker.file(&odd.join(OsStr::from_bytes(name)), 1, 100)?;
    }
    maker.file(&odd.join("empty"), 0, 0)?;
    maker.file(&odd.join("to be removed/soon/file"), 10, 10)?;
    fs::create_dir(odd.join("empty directory"))?;
    for (name, mode) in [
        ("set-user-id", 0o4755),
        ("set-group-id", 0o2755),
        ("secret", 0o600),
    ] {
        maker.file(&odd.join(name), 100, 100)?;
        fs::set_permissions(odd.join(name), Permissions::from_mode(mode))?;
    }
    fs::create_dir(odd.join("sticky"))?;
    fs::set_permissions(odd.join("sticky"), Permissions::from_mode(0o1777))?;
    rustix::fs::mknodat(
        CWD,
        odd.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )?;
    Ok(())
}

/// Gives everything a time of its own in the past, to the nanosecond; directories after what is
/// in them, since that changes their times.
fn age(maker: &mut Maker, path: &Path) -> io::Result<()> {
    let facts = fs::symlink_metadata(path)?;
    if facts.is_dir() {
        let mut entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            age(maker, &entry.path())?;
        }
    }
    let seconds = 1_600_000_000 + maker.random.below(150_000_000) as i64;
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: maker.random.below(1_000_000_000) as i64,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

struct Maker {
    random: Random,
    /// Random bytes that content is cut from: copying them is faster than making new ones.
    pool: Vec<u8>,
}

/// Bytes of random content between two stamps that make each piece unlike any other.
const STAMP_INTERVAL: usize = 2048;

impl Maker {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let words = (0..1 << 15).map(|_| random.next());
        let pool = words.flat_map(u64::to_le_bytes).collect();
        Maker { random, pool }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(STAMP_INTERVAL) {
            let from = self.random.below((self.pool.len() - STAMP_INTERVAL) as u64) as usize;
            let piece = self.pool.get(from..from + chunk.len()).unwrap_or_default();
            chunk.copy_from_slice(piece);
            let stamp = self.random.next().to_le_bytes();
            chunk
                .iter_mut()
                .zip(stamp)
                .for_each(|(byte, random)| *byte = random);
        }
    }

    /// Writes a file of `min_len` to `max_len` random bytes, and the directories it needs. Its
    /// time is ahead of any that `age` gives, so that a rewrite is seen.
    fn file(&mut self, path: &Path, min_len: usize, max_len: usize) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let more = self.random.below((max_len - min_len + 1) as u64) as usize;
        let mut content = vec![0; min_len + more];
        self.fill(&mut content);
        let mut file = File::create(path)?;
        file.write_all(&content)?;
        let time = UNIX_EPOCH + Duration::from_nanos(1_760_000_000_123_456_789);
        file.set_times(FileTimes::new().set_modified(time))
    }
}

/// SplitMix64: fast, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}
