//! What a configuration names to be run or believed is refused where others have a hand in it: the
//! file itself, each directory on the way, each symlink.

use std::path::Path;

use rustix::fs::FileType;

use crate::support::temptree::make_node;
use crate::support::{Finished, Hasync, TempTree};

const OTHER: u32 = 54321;

/// A configuration that names `in/it` by one of its keys.
struct Named {
    dir: TempTree,
}

impl Named {
    fn by(lines: &str) -> Self {
        let dir = TempTree::new();
        dir.write("in/it", "#!/bin/sh\nexit 0\n");
        dir.chmod("in", 0o755);
        dir.chmod("in/it", 0o755);
        let (it, state) = (dir.text("in/it"), dir.text("state"));
        let lines = lines.replace("FILE", &it);
        let text = format!("[node]\nname = \"foo0\"\nstate = \"{state}\"\n{lines}");
        dir.write("hasync.toml", text);
        dir.chmod("hasync.toml", 0o644);
        Named { dir }
    }

    fn run(&self, verb: &[&str]) -> Finished {
        let file = self.dir.text("hasync.toml");
        Hasync::new().args(verb).args(["--config", &file]).run()
    }

    #[track_caller]
    fn refused(&self, words: &[&str]) {
        self.run(&["check-config"]).expect_error(78, words);
    }

    #[track_caller]
    fn taken(&self) {
        self.run(&["check-config"]).expect(0);
    }
}

/// Every key that names something that is run or believed.
const KEYS: [(&str, &str); 15] = [
    ("[peer] identity", "[peer]\nidentity = \"FILE\"\n"),
    ("[peer] known_hosts", "[peer]\nknown_hosts = \"FILE\"\n"),
    ("[peer] ssh_config", "[peer]\nssh_config = \"FILE\"\n"),
    ("[peer] check", "[peer]\ncheck = \"FILE x\"\n"),
    ("[role] command", "[role]\ncommand = \"exec 'FILE'\"\n"),
    (
        "[role] haresources",
        "[role]\nresource = \"mirror\"\nharesources = \"FILE\"\n",
    ),
    ("[notify] command", "[notify]\ncommand = \"FILE\"\n"),
    (
        "[notify] mail sendmail",
        "[notify]\nmail = { to = [\"root\"], sendmail = \"FILE\" }\n",
    ),
    ("[hooks] before", "[hooks]\nbefore = \"A=1 FILE\"\n"),
    (
        "[hooks] before",
        "[hooks]\nbefore = '''\"FILE\" > /dev/null'''\n",
    ),
    ("[hooks] after", "[hooks]\nafter = \"FILE;true\"\n"),
    ("[hooks] on_failure", "[hooks]\non_failure = \"(FILE)\"\n"),
    ("[hooks] on_overrun", "[hooks]\non_overrun = \" FILE & \"\n"),
    ("[hooks] on_overrun", "[hooks]\non_overrun = \"! FILE\"\n"),
    (
        "[hooks] on_overrun",
        "[hooks]\non_overrun = \"{ FILE; }\"\n",
    ),
];

#[test]
fn each_key_is_refused_where_its_file_is_others_too() {
    for (key, lines) in KEYS {
        let named = Named::by(lines);
        named.taken();
        let it = named.dir.text("in/it");
        named.dir.chmod("in/it", 0o775);
        named.refused(&[key, &it, "mode 0775", &format!("chmod go-w {it}")]);
        named.dir.chmod("in/it", 0o755);
        named.dir.chown("in/it", OTHER, 0);
        named.refused(&[key, &it, "belongs to uid 54321", "chown"]);
    }
}

#[test]
fn each_way_to_a_file_by_which_others_have_a_hand_in_it_is_refused() {
    type Change = fn(&TempTree);
    let ways: [(&str, Change); 10] = [
        ("in/it\" can be written", |dir| dir.chmod("in/it", 0o757)),
        ("in/it\" can be written", |dir| dir.chmod("in/it", 0o775)),
        ("in\" can be written", |dir| dir.chmod("in", 0o777)),
        ("in\" can be written", |dir| dir.chmod("in", 0o2775)),
        ("in\" belongs to uid", |dir| dir.chown("in", OTHER, 0)),
        ("in\" belongs to uid", |dir| {
            dir.chmod("in", 0o1777);
            dir.chown("in", OTHER, 0);
        }),
        ("in/it\" is a symlink", |dir| {
            relink(dir, "real");
            dir.chown("in/it", OTHER, 0);
        }),
        ("in/real\" can be written", |dir| {
            relink(dir, "real");
            dir.chmod("in/real", 0o666);
        }),
        ("in\" is a symlink", |dir| {
            std::fs::rename(dir.path("in"), dir.path("there")).unwrap();
            dir.symlink("there", "in");
            dir.chown("in", OTHER, 0);
        }),
        ("is not a regular file", |dir| {
            std::fs::remove_file(dir.path("in/it")).unwrap();
            make_node(&dir.path("in/it"), FileType::Fifo, 0, 0);
        }),
    ];
    for (why, change) in ways {
        let named = Named::by("[hooks]\nbefore = \"FILE\"\n");
        change(&named.dir);
        named.refused(&["[hooks] before", why]);
        // Nothing else goes on either.
        named.run(&["cycle"]).expect_error(78, &[why]);
    }
}

/// `in/it` becomes a symlink to what it was, under another name.
fn relink(dir: &TempTree, name: &str) {
    std::fs::rename(dir.path("in/it"), dir.path("in").join(name)).unwrap();
    dir.symlink(name, "in/it");
}

#[test]
fn what_only_root_has_a_hand_in_is_taken() {
    type Change = fn(&TempTree);
    let ways: [Change; 5] = [
        |_| {},
        // As /tmp.
        |dir| dir.chmod("in", 0o1777),
        |dir| relink(dir, "real"),
        |dir| std::fs::remove_file(dir.path("in/it")).unwrap(),
        |dir| dir.chmod("in/it", 0o4700),
    ];
    for change in ways {
        let named = Named::by("[hooks]\nbefore = \"FILE\"\n[peer]\nssh_config = \"/dev/null\"\n");
        change(&named.dir);
        named.taken();
    }
}

#[test]
fn the_configuration_itself_is_judged_in_the_same_way() {
    let named = Named::by("");
    let file = named.dir.text("hasync.toml");
    for mode in [0o664, 0o646, 0o666] {
        named.dir.chmod("hasync.toml", mode);
        named.refused(&[&file, &format!("mode {mode:04o}"), "chmod go-w"]);
    }
    named.dir.chmod("hasync.toml", 0o644);
    named.dir.chown("hasync.toml", OTHER, 0);
    named.refused(&[&file, "belongs to uid 54321"]);
    named.dir.chown("hasync.toml", 0, 0);
    // A relative path is judged from / on.
    named.dir.chmod("", 0o777);
    let script = format!("cd {} && exec \"$@\"", named.dir.root().display());
    let check = || {
        let hasync = Hasync::new().args(["check-config", "--config", "hasync.toml"]);
        hasync.under(&["sh", "-c", &script, "sh"]).run()
    };
    check().expect_error(78, &["can be written by others"]);
    named.dir.chmod("", 0o755);
    check().expect(0);
}

#[test]
fn nobody_elses_program_is_run() {
    let ran = TempTree::new();
    let mark = ran.text("ran");
    let named = Named::by("[role]\ncommand = \"FILE\"\n[hooks]\nbefore = \"FILE\"\n");
    named
        .dir
        .write("in/it", format!("#!/bin/sh\ntouch {mark}\n"));
    named.dir.chmod("in/it", 0o777);
    for verb in [&["role"][..], &["cycle"], &["status"], &["mirror", "start"]] {
        let done = named.run(verb);
        assert!([78, 6].contains(&done.code), "{done}");
    }
    assert!(!Path::new(&mark).exists());
    named.dir.chmod("in/it", 0o755);
    named.run(&["role"]).expect(0);
    assert!(Path::new(&mark).exists());
}
