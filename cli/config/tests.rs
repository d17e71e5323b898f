//! Tests of what is read from a configuration, and of what is refused on which line.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Config, Failure> {
    Config::parse(Path::new("x.toml"), text)
}

fn parsed(text: &str) -> Config {
    parse(text).unwrap_or_else(|failure| panic!("{}\n{text}", failure.message))
}

/// Checks that `text` is refused on this line, with these words.
#[track_caller]
fn refused(text: &str, line: usize, words: &[&str]) {
    let failure = parse(text).expect_err(text);
    let message = &failure.message;
    assert_eq!(failure.exit, Exit::Config, "{message}");
    assert!(
        message.starts_with(&format!("x.toml:{line}: ")),
        "{message}\n{text}"
    );
    assert!(!message.contains('\n'), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} in {message}");
    }
}

const HTML: &str = "[[tree]]\nname = \"html\"\npath = \"/srv/html\"\n";

#[test]
fn the_example_is_right_and_says_what_it_means() {
    let config = parsed(include_str!("../examples/hasync.toml"));
    let names: Vec<_> = config.trees.iter().map(|tree| tree.name.as_str()).collect();
    assert_eq!(names, ["accounts", "html", "mail"]);
    let html = config.tree("html").unwrap();
    assert_eq!(html.sources(), ["/srv/html/"]);
    assert_eq!(html.options.filters.len(), 2);
    assert!(html.options.delete && html.options.hard_links && html.options.owner);
    assert_eq!(html.undo.keep, 5);
    let text = show::understood(&config);
    for words in [
        "html: /srv/html, deletes, sentinel .mounted, undo 5 generations, of 7d at most",
        "filter - *.tmp",
        "files /etc/passwd /etc/group /etc/shadow /etc/gshadow, under the lock /etc/.pwd.lock",
        "deletes at most 10000",
        "identity /etc/hasync/id_ed25519",
        "timeout 2m",
    ] {
        assert!(text.contains(words), "{words:?} in\n{text}");
    }
}

#[test]
fn of_two_hosts_the_peer_is_the_other_one() {
    let hosts = "[peer]\nhosts = { foo0 = \"10.0.0.1\", foo1 = \"fd00::2\" }\n";
    for (node, peer) in [("foo0", "fd00::2"), ("foo1", "10.0.0.1")] {
        let config = parsed(&format!("{hosts}[node]\nname = \"{node}\"\n"));
        assert_eq!(config.peer.host.as_deref(), Some(peer), "{node}");
        assert!(!config.peer.is_derived && config.peer.host_line == Some(2));
    }
    let foo2 = format!("{hosts}[node]\nname = \"foo2\"\n");
    refused(&foo2, 2, &["foo0 and foo1", "this node is foo2"]);
    for wrong in [
        "[peer]\nhosts = { foo0 = \"10.0.0.1\" }\n",
        "[peer]\nhosts = {}\n",
        "[peer]\nhosts = { a = \"1\", b = \"2\", c = \"3\" }\n",
    ] {
        refused(wrong, 2, &["names both nodes"]);
    }
    for same in [
        "{ a = \"10.0.0.1\", b = \"10.0.0.1\" }",
        "{ a = \"fd00::1\", b = \"fd00:0::1\" }",
        "{ a = \"standby\", b = \"Standby\" }",
    ] {
        refused(
            &format!("[peer]\nhosts = {same}\n"),
            2,
            &["one host", "a and b"],
        );
    }
    let port = "[peer]\nhosts = { foo0 = \"10.0.0.1\", foo1 = \"10.0.0.2:2222\" }\n";
    refused(port, 2, &["a host with a port", "\"10.0.0.2\" alone"]);
    refused("[peer]\nhost = \"foo1:22\"\n", 2, &["\"foo1\" alone"]);
    refused("[peer]\nuser = \"a b\"\n", 2, &["the name of a user"]);
    refused("[node]\nname = \"a b\"\n", 2, &["the name of a node"]);
    for fixed in [
        "10.0.0.1",
        "fd00::2",
        "fd00:0::2",
        "127.0.0.1",
        "::",
        "224.0.0.18",
    ] {
        let role = format!("{hosts}[node]\nname = \"foo0\"\n[role]\naddress = \"{fixed}\"\n");
        refused(
            &role,
            6,
            &[fixed.replace(":0", "").as_str(), "moves with the service"],
        );
    }
    refused(
        "[peer]\nhost = \"10.0.0.2\"\n[role]\naddress = \"10.0.0.2\"\n",
        4,
        &["the peer's host"],
    );
    let both = "[peer]\nhosts = { a = \"1\", b = \"2\" }\nhost = \"b\"\n";
    refused(both, 3, &["one of host and hosts"]);
    refused(
        "[peer]\nhosts = { a = \"root@1\", b = \"2\" }\n",
        2,
        &["root@1"],
    );
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let config = parsed("");
    assert!(config.trees.is_empty());
    assert_eq!(config.node.state, Path::new("/var/lib/hasync"));
    assert!(!config.node.name.is_empty());
}

#[test]
fn groups_come_before_trees() {
    let group = "[[tree]]\nname = \"g\"\nfiles = [\"/etc/hosts\"]\n";
    let config = parsed(&format!("{HTML}{group}"));
    let order: Vec<_> = config
        .in_push_order()
        .iter()
        .map(|tree| tree.name.clone())
        .collect();
    assert_eq!(order, ["g", "html"]);
    assert_eq!(config.tree("g").unwrap().sources(), ["/etc/hosts"]);
    assert!(!config.tree("g").unwrap().options.delete);
    let failure = config.tree("htlm").unwrap_err();
    assert!(
        failure.message.contains("its trees are html, g"),
        "{}",
        failure.message
    );
}

#[test]
fn unknown_keys_and_wrong_types_name_their_line() {
    refused(
        "[nodes]\n",
        1,
        &["unknown key `nodes`", "the keys here are `node`"],
    );
    refused(
        "\n[node]\nnaem = \"a\"\n",
        3,
        &["unknown key `naem`", "`name`"],
    );
    refused(&format!("{HTML}pth = \"/x\"\n"), 4, &["unknown key `pth`"]);
    refused(&format!("{HTML}delete = \"yes\"\n"), 4, &["boolean"]);
    refused(&format!("{HTML}undo = {{ keep = -1 }}\n"), 4, &["-1"]);
    refused(
        &format!("{HTML}undo = {{ max_age = 7 }}\n"),
        4,
        &["a time such as"],
    );
    refused(
        &format!("{HTML}undo = {{ max_bytes = \"7\" }}\n"),
        4,
        &["a size such as"],
    );
    refused("[peer]\nhost = 1\n", 2, &["a host name or address"]);
    refused("[peer]\nport = 0\n", 2, &["nonzero"]);
    refused("[peer]\nport = 70000\n", 2, &["70000"]);
    refused("[peer]\nbwlimit = \"fast\"\n", 2, &["a rate such as"]);
    refused("[peer]\nstall = \"59s\"\n", 2, &["less than a minute"]);
    refused("[peer]\nstall = \"soon\"\n", 2, &["a time such as"]);
    refused(
        "[peer]\ncompress = \"gzip\"\n",
        2,
        &["unknown word `gzip`", "`zstd`"],
    );
    refused(
        "[node]\nname = \"a\"\nname = \"b\"\n",
        3,
        &["duplicate key"],
    );
    refused("[node\n", 1, &[]);
    refused("[node]\nname = \"a\n", 2, &[]);
}

#[test]
fn bad_paths_are_refused() {
    let tree = |path: &str| format!("[[tree]]\nname = \"t\"\npath = \"{path}\"\n");
    refused(&tree("srv/html"), 3, &["not absolute"]);
    refused(&tree("/srv/../etc"), 3, &[".."]);
    refused(&tree("/srv/.hasync/x"), 3, &[".hasync"]);
    refused(&tree("/"), 3, &["own system"]);
    refused(&tree(""), 3, &["not absolute"]);
    refused(&format!("{HTML}sentinel = \"/x\"\n"), 4, &["below"]);
    refused(&format!("{HTML}sentinel = \"../x\"\n"), 4, &["below"]);
}

/// However it is named, no tree takes what its own node lives on from the other one.
#[test]
fn what_is_each_nodes_own_is_in_no_tree() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    for made in ["keys", "state", "html", "conf"] {
        std::fs::create_dir(at(made)).unwrap();
    }
    for (link, target) in [("etc", "/etc"), ("to_keys", &*at("keys"))] {
        std::os::unix::fs::symlink(target, at(link)).unwrap();
    }
    let head = format!(
        "[node]\nstate = \"{}\"\n[peer]\nidentity = \"{}\"\nssh_config = \"{}\"\n[[tree]]\nname = \
         \"t\"\n",
        at("state"),
        at("to_keys/id"),
        at("conf/ssh"),
    );
    let file = PathBuf::from(at("conf/hasync.toml"));
    let check = |rest: &str| Config::parse(&file, &format!("{head}{rest}\n"));
    let login = hasync_transport::home().unwrap().join(".ssh");
    let home = login.parent().unwrap().display().to_string();
    let login = login.display().to_string();
    for (path, holds) in [
        ("/etc", "/etc/hasync"),
        ("/etc/hasync", "/etc/hasync"),
        ("/etc/hasync/hooks", "/etc/hasync"),
        ("/etc/ssh", "/etc/ssh/ssh_host_"),
        ("/var", "/var/lib/hasync"),
        ("/var/lib", "/var/lib/hasync"),
        (&home, &login),
        (&login, &login),
        (&at(""), &at("state")),
        (&at("state"), &at("state")),
        (&at("state/x"), &at("state")),
        (&at("keys"), &at("to_keys/id")),
        (&at("to_keys"), &at("to_keys/id")),
        (&at("conf"), &at("conf/ssh")),
        (&at("etc"), "/etc/hasync"),
        (&at("etc/ssh"), "/etc/ssh/ssh_host_"),
    ] {
        let failure = check(&format!("path = \"{path}\"")).expect_err(path);
        let words = ["own system and configuration", holds, ":8: "];
        for word in words {
            assert!(
                failure.message.contains(word),
                "{path}: {}",
                failure.message
            );
        }
        assert_eq!(failure.exit, Exit::Config);
    }
    for file in [
        "/etc/hasync/hasync.toml",
        "/etc/hasync/any",
        "/etc/ssh/ssh_host_rsa_key",
        "/etc/ssh/ssh_host_ed25519_key.pub",
        "/etc/ssh",
        "/etc/hostname",
        &at("etc/hostname"),
        &at("conf/hasync.toml"),
        &at("keys/id"),
        &at("state/x"),
        &format!("{login}/authorized_keys"),
    ] {
        let failure = check(&format!("files = [\"{file}\"]")).expect_err(file);
        let message = &failure.message;
        assert!(message.contains("leave it out of the files"), "{message}");
    }
    let passwords = "files = [\"/etc/passwd\", \"/etc/group\", \"/etc/shadow\", \"/etc/hosts\"]";
    let with = |path: &str, filters: &str| format!("path = \"{path}\"\nfilters = [{filters}]");
    for right in [
        passwords,
        "files = [\"/etc/ssh/sshd_config\", \"/etc/ssh/ssh_host_keys.txt\"]",
        "path = \"/etc/hasync.d\"",
        "path = \"/etc/ssh/sshd_config.d\"",
        "path = \"/var/lib/hasync-data\"",
        &with("/etc", "\"- /hasync/\", \"- ssh_host_*\", \"- /hostname\""),
        &with("/etc", "\"- /hasync\", \"- /ssh/\", \"- hostname\""),
        &with("/var", "\"+ /www/***\", \"- *\""),
        &with(&home, "\"- /.ssh/\""),
        &with(&at("conf"), "\"- /ssh\", \"- /hasync.toml\""),
        &format!("path = \"{}\"", at("html")),
    ] {
        if let Err(failure) = check(right) {
            panic!("{right}: {}", failure.message);
        }
    }
    // What a filter leaves open.
    for (path, filters) in [
        ("/etc", "\"H /hasync/\", \"- /ssh/\", \"- /hostname\""),
        ("/etc", "\"P /hasync/\", \"- /ssh/\", \"- /hostname\""),
        ("/etc", "\"- /hasync/*\", \"- /ssh/\", \"- /hostname\""),
        ("/etc", "\"- /x/hasync/\", \"- /ssh/\", \"- /hostname\""),
        (
            "/etc",
            "\": .rules\", \"- /hasync/\", \"- /ssh/\", \"- /hostname\"",
        ),
        (&at("conf"), "\"- /hasync.toml\""),
        (&at("keys"), "\"- *\", \"- /id\""),
    ] {
        let done = check(&with(path, filters));
        assert_eq!(
            done.is_err(),
            !filters.starts_with("\"- *"),
            "{path} {filters}"
        );
    }
}

#[test]
fn a_tree_has_a_name_and_one_kind_of_content() {
    refused("[[tree]]\npath = \"/a\"\n", 1, &["missing key `name`"]);
    refused(
        "[[tree]]\nname = \"T\"\npath = \"/a\"\n",
        2,
        &["letters a-z"],
    );
    refused("[[tree]]\nname = \"t\"\n", 2, &["no content"]);
    refused(
        &format!("{HTML}files = [\"/etc/hosts\"]\n"),
        4,
        &["path and files"],
    );
    refused(&format!("{HTML}{HTML}"), 5, &["two trees", "html"]);
    refused(
        &format!("{HTML}delete = false\nmax_delete = 3\n"),
        5,
        &["max_delete"],
    );
}

#[test]
fn a_group_is_files_of_one_directory() {
    let group = |files: &str| format!("[[tree]]\nname = \"g\"\nfiles = [{files}]\n");
    refused(&group(""), 3, &["no file"]);
    refused(&group("\"/etc/a\", \"/srv/b\""), 3, &["second group"]);
    refused(&group("\"/etc/a\", \"/etc/./a\""), 3, &["twice"]);
    refused(&format!("{HTML}lock = \"/x\"\n"), 4, &["files alone"]);
    refused(&group("\"/\""), 3, &["not a file"]);
    refused(&group("\"/etc/.hasync\""), 3, &[".hasync"]);
    for key in [
        "filters = []",
        "delete = true",
        "max_delete = 3",
        "sentinel = \"a\"",
    ] {
        refused(
            &format!("{}{key}\n", group("\"/etc/a\"")),
            4,
            &["beside files"],
        );
    }
}

#[test]
fn filters_say_which_way_they_go() {
    refused(
        &format!("{HTML}filters = [\"*.tmp\"]\n"),
        4,
        &["a filter rule begins with"],
    );
    refused(
        &format!("{HTML}filters = [\n\"- a\",\n\"- \"]\n"),
        6,
        &["filter"],
    );
    let config = parsed(&format!("{HTML}filters = [\"+ keep\", \"- *\"]\n"));
    let rules = &config.trees[0].options.filters;
    let written: Vec<String> = rules.iter().map(ToString::to_string).collect();
    assert_eq!(written, ["+ keep", "- *"]);
}

#[test]
fn filters_are_the_whole_language() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules");
    std::fs::write(&file, "# comment\nP b\nno rule\n").unwrap();
    let tree = |rule: &str| format!("{HTML}filters = [\n\"{rule}\",\n]\n");
    let of = |rule: &str| -> Vec<String> {
        let config = parsed(&tree(rule));
        let rules = config.trees[0].options.filters.iter();
        rules.map(ToString::to_string).collect()
    };
    assert_eq!(of("dir-merge,n .rules"), [":n .rules"]);
    assert_eq!(of(":e- /.rules"), ["- .rules", ":- /.rules"]);
    assert_eq!(of("hide,p a"), ["-sp a"]);
    assert!(of("-C").contains(&"-p *.o".to_owned()));
    refused(&tree(&format!(". {}", file.display())), 5, &["line 3"]);
    std::fs::write(&file, "P b\n. other\n").unwrap();
    refused(&tree(&format!(". {}", file.display())), 5, &["cannot read"]);
    std::fs::write(&file, "P b\n").unwrap();
    assert_eq!(of(&format!(". {}", file.display())), ["-r b"]);
    refused(&tree(". rules"), 5, &["full path"]);
    refused(&tree(":"), 5, &["names a file"]);
}

#[test]
fn trees_do_not_overlap() {
    let second = |content: &str| format!("{HTML}[[tree]]\nname = \"b\"\n{content}\n");
    refused(
        &second("path = \"/srv/html\""),
        6,
        &["overlap", "\"html\" and \"b\""],
    );
    refused(
        &second("path = \"/srv/html/x\""),
        6,
        &["overlap", "/srv/html/x"],
    );
    refused(&second("path = \"/srv\""), 6, &["overlap"]);
    refused(
        &second("files = [\"/srv/html/a\"]"),
        6,
        &["overlap", "/srv/html/a"],
    );
    refused(&second("files = [\"/srv/html\"]"), 6, &["overlap"]);
    parsed(&second("path = \"/srv/html2\""));
    parsed(&second("files = [\"/srv/a\"]"));
    let groups = "[[tree]]\nname = \"a\"\nfiles = [\"/e/a\", \"/e/b\"]\n\
                  [[tree]]\nname = \"b\"\nfiles = [\"/e/c\", \"/e/b\"]\n";
    refused(groups, 6, &["overlap", "/e/b"]);
}

#[test]
fn the_peer_follows_from_a_pairs_name() {
    let config = parsed("[node]\nname = \"foo1\"\n");
    assert_eq!(config.peer.host.as_deref(), Some("local0"));
    assert!(show::understood(&config).contains("local0, by this node's name"));
    let config = parsed("[node]\nname = \"foo1\"\n[peer]\nhost = \"b\"\nuser = \"root\"\n");
    assert!(show::understood(&config).contains("root@b, compressed where"));
    assert!(parsed("[node]\nname = \"web\"\n").peer.host.is_none());
}

#[test]
fn a_role_is_known_by_one_test() {
    let role = |lines: &str| parsed(&format!("[role]\n{lines}\n")).role;
    assert_eq!(parsed("").role, RoleTest::Recorded);
    let address = "10.0.0.100".parse().unwrap();
    let interface = Some("eth0".to_owned());
    assert_eq!(
        role("address = \"10.0.0.100\"\ninterface = \"eth0\""),
        RoleTest::Address { address, interface }
    );
    assert_eq!(
        role("resource = \"mirror\""),
        RoleTest::Haresources {
            file: "/etc/ha.d/haresources".into(),
            resource: "mirror".to_owned()
        }
    );
    let twice = "[role]\naddress = \"fd00::1\"\ncommand = \"true\"\n";
    refused(twice, 3, &["one of address, resource and command"]);
    refused("[role]\naddress = \"10.0.0\"\n", 2, &["IP address"]);
    for key in [
        "interface = \"a\"",
        "haresources = \"/a\"",
        "expect = \"a\"",
        "timeout = \"1s\"",
    ] {
        refused(&format!("[role]\n{key}\n"), 2, &["give that too"]);
    }
    refused("[role]\ncommand = \" \"\n", 2, &["the command is empty"]);
}

#[test]
fn notices_go_to_addresses_about_known_events() {
    let mail = |to: &str| format!("[notify]\nmail = {{ to = [{to}] }}\n");
    parsed(&mail("\"root\", \"ops@example.com\""));
    for to in [
        "\"\"",
        "\"a b\"",
        "\"a@b@c\"",
        "\"-f\"",
        "\"a\\nBcc: b\"",
        "\"@b\"",
    ] {
        refused(&mail(to), 2, &["a mail address such as"]);
    }
    refused(
        "[notify]\nmail = { smtp = \"a\" }\n",
        2,
        &["missing key `to`"],
    );
    refused(
        "[notify]\non = [\"everything\"]\n",
        2,
        &["unknown word `everything`", "`lag`"],
    );
    assert_eq!(parsed("[notify]\non = [\"lag\"]\n").notify.on, [Event::Lag]);
    assert_eq!(parsed("").notify.on.len(), Event::ALL.len());
}

#[test]
fn cycle_hooks_and_brake_have_defaults_and_limits() {
    let config = parsed("");
    assert_eq!(config.cycle.interval.to_string(), "10m");
    assert_eq!((config.brake.percent.0, config.brake.entries), (50, 100));
    assert_eq!(
        parsed("[cycle]\noverlap = \"queue-one\"\n").cycle.overlap,
        Overlap::QueueOne
    );
    refused(
        "[cycle]\noverlap = \"kill\"\n",
        2,
        &["`skip`", "`queue-one`"],
    );
    refused("[cycle]\ninterval = \"0m\"\n", 2, &["no time at all"]);
    refused("[cycle]\ninterval = \"1ms\"\n", 2, &["less than a second"]);
    refused("[brake]\npercent = 101\n", 2, &["from 0 to 100"]);
    refused(
        "[hooks]\nbefor = \"x\"\n",
        2,
        &["unknown key `befor`", "`before`"],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let failure = Config::load(Some(Path::new("/nonexistent/h.toml"))).unwrap_err();
    assert_eq!(failure.exit, Exit::Config);
    assert!(
        failure.message.contains("/nonexistent/h.toml"),
        "{}",
        failure.message
    );
    assert!(Config::load_if_there(Some(Path::new("/nonexistent/h.toml"))).is_err());
}

/// Lines that come close to a configuration.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "name",
        "path",
        "files",
        "filters",
        "delete",
        "max_delete",
        "lossy",
        "acls",
        "sentinel",
        "undo",
        "host",
        "port",
        "bwlimit",
        "timeout",
        "state",
        "x",
    ]);
    let value = prop_oneof![
        Just("\"html\"".to_owned()),
        Just("\"/srv/html\"".to_owned()),
        Just("[\"/etc/a\", \"/etc/b\"]".to_owned()),
        Just("[\"- a\", \"+ b\"]".to_owned()),
        Just("true".to_owned()),
        Just("{ keep = 2, max_age = \"3d\" }".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "\"[^\"\\\\\n]{0,12}\"",
    ];
    let header = prop::sample::select(vec!["[[tree]]", "[node]", "[peer]", "[tree]", "[", "]"]);
    prop_oneof![
        2 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => header.prop_map(str::to_owned),
        1 => "\\PC{0,20}",
    ]
}

proptest! {
    #[test]
    fn no_text_panics_it_and_every_refusal_is_one_line(
        lines in prop::collection::vec(line(), 0..12),
        noise in "\\PC*",
    ) {
        for text in [lines.join("\n"), noise] {
            match parse(&text) {
                Ok(config) => prop_assert!(!show::understood(&config).is_empty()),
                Err(failure) => {
                    prop_assert!(failure.message.starts_with("x.toml:"));
                    prop_assert!(!failure.message.contains('\n'));
                }
            }
        }
    }
}
