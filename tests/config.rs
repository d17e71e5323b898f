//! The configuration file as an admin meets it: what is understood is printed, what is wrong is
//! named with file and line, and nothing else happens.

use crate::support::{Finished, Hasync, TempTree};

fn check_config(text: &str) -> (Finished, String) {
    let dir = TempTree::new();
    dir.write("hasync.toml", text);
    let file = dir.text("hasync.toml");
    let done = Hasync::new()
        .args(["check-config", "--config", &file])
        .run();
    (done, file)
}

#[test]
fn the_example_file_is_understood() {
    let (done, file) = check_config(include_str!("../cli/examples/hasync.toml"));
    let text = done.expect(0).stdout_text();
    assert!(text.starts_with(&format!("{file} is right.\n")), "{text}");
    for words in [
        "tree     accounts: files /etc/passwd",
        "tree     html: /srv/html, deletes",
        "  filter - *.tmp",
    ] {
        assert!(text.contains(words), "{words:?} in\n{text}");
    }
}

#[test]
fn a_mistake_is_named_with_its_line() {
    let (done, file) = check_config("[[tree]]\nname = \"html\"\npath = \"srv\"\n");
    done.expect_error(78, &[&format!("{file}:3: "), "not absolute"]);
    Hasync::new()
        .args(["check-config", "--config", "/nonexistent/hasync.toml"])
        .run()
        .expect_error(78, &["/nonexistent/hasync.toml", "no such file"]);
}

#[test]
fn what_this_node_lacks_is_noted() {
    let (done, _) = check_config("[[tree]]\nname = \"x\"\npath = \"/nonexistent/x\"\n");
    let text = done.expect(0).stdout_text();
    assert!(
        text.contains("note: tree x: /nonexistent/x is not a directory"),
        "{text}"
    );
}
