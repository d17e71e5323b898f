//! The second half of the demo: the life of a pair in four scenes. The plug of the standby is
//! pulled in a push; the next push repairs; a push is taken back; the standby takes over, and the
//! old primary is kept from overwriting it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::compare::Picture;
use super::scene::Scene;
use super::{must_be, tree};
use crate::exit::{Exit, Failure};
use crate::itself;

/// Slow enough that the plug can be pulled in the middle.
const SLOW: &str = "--bwlimit=8m";
/// How long the middle is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// Shows them.
pub(super) fn show(scene: &mut Scene, say: &dyn Fn(&str)) -> Result<(), Failure> {
    scene.name_the_tree()?;
    run(scene, "primary", &["promote", "--all"], &[Exit::Ok])?;
    run(scene, "primary", &["push", "--all"], &[Exit::Ok])?;
    let primary = scene.path("primary");
    let before = picture(scene, "standby")?;
    say("\nNow both nodes know the tree by its name:");

    tree::rewrite(&primary).map_err(|cause| Failure::cannot("change the tree", &cause))?;
    pull_the_plug(scene)?;
    scene.start_server()?;
    run(scene, "standby", &["recover"], &[Exit::Ok])?;
    let after = picture(scene, "standby")?;
    let now = picture(scene, "primary")?;
    let state = if before.differences(&after).is_empty() {
        "as before the push, whole"
    } else {
        // It may have been complete a moment before.
        must_be(&now, &after)?;
        "as after the push, whole"
    };
    say(&format!(
        "  the plug is pulled in a push    the standby is {state}"
    ));

    run(scene, "primary", &["push", "--all"], &[Exit::Ok])?;
    must_be(&now, &picture(scene, "standby")?)?;
    say("  the next push                   goes on, and both are equal");

    run(scene, "standby", &["undo", "web"], &[Exit::Ok])?;
    must_be(&before, &picture(scene, "standby")?)?;
    say("  hasync undo on the standby      takes the push back, to the last file");

    run(scene, "standby", &["promote", "--all"], &[Exit::Ok])?;
    let file = scene.path("standby").join("html/00/new.html");
    fs::write(&file, "of the new primary\n").map_err(|cause| Failure::cannot("write", &cause))?;
    let new = picture(scene, "standby")?;
    let refused = [Exit::Fenced, Exit::Diverged];
    let done = run(scene, "primary", &["push", "--all"], &refused)?;
    must_be(&new, &picture(scene, "standby")?)?;
    say("  the standby is promoted         and has new data");
    let code = done.status.code().unwrap_or_default();
    say(&format!(
        "  the old primary pushes again    refused with exit code {code}, nothing is overwritten:"
    ));
    let said = first_line(&done);
    let reason = said.split(". `").next().unwrap_or(&said);
    say(&format!("    {reason}"));
    Ok(())
}

fn picture(scene: &Scene, node: &str) -> Result<Picture, Failure> {
    let picture = Picture::of(&scene.path(node));
    picture.map_err(|cause| Failure::cannot("look at the tree", &cause))
}

/// Begins a push, and kills everything on the standby as soon as it holds data that has no name
/// yet.
fn pull_the_plug(scene: &mut Scene) -> Result<(), Failure> {
    let mut push = command(scene, "primary", &["push", "--all", SLOW])?
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|cause| Failure::cannot("start a push", &cause))?;
    let (began, standby) = (Instant::now(), scene.path("standby"));
    let is_over = |push: &mut std::process::Child| !matches!(push.try_wait(), Ok(None));
    while !holds_data(&standby.join(".hasync/stage"))
        && !is_over(&mut push)
        && began.elapsed() < PATIENCE
    {
        thread::sleep(POLL);
    }
    scene.cut_power();
    let _ = push.kill();
    let _ = push.wait();
    Ok(())
}

/// Whether there is a file with content in the directory, or below it.
fn holds_data(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => holds_data(&entry.path()),
        Ok(metadata) => metadata.len() > 0,
        Err(_) => false,
    })
}

/// This program, as one of the nodes.
fn command(scene: &Scene, node: &str, words: &[&str]) -> Result<Command, Failure> {
    let mut command = itself::command()?;
    command
        .args(words)
        .arg("--config")
        .arg(scene.path(&format!("{node}.toml")))
        .stdin(Stdio::null());
    Ok(command)
}

/// Runs it to its end, which has to be one of these.
fn run(scene: &Scene, node: &str, words: &[&str], ends: &[Exit]) -> Result<Output, Failure> {
    let done = command(scene, node, words)?.output();
    let done = done.map_err(|cause| Failure::cannot("start hasync", &cause))?;
    let exit = done.status.code().and_then(Exit::of_code);
    if exit.is_some_and(|exit| ends.contains(&exit)) {
        return Ok(done);
    }
    Err(Failure::new(
        exit.unwrap_or(Exit::Stream),
        format!(
            "hasync {} on the {node}: {}",
            words.join(" "),
            first_line(&done)
        ),
    ))
}

/// What it said first.
fn first_line(done: &Output) -> String {
    let said = String::from_utf8_lossy(&done.stderr);
    let line = said.lines().next().unwrap_or("it says nothing");
    line.strip_prefix("hasync: ").unwrap_or(line).to_owned()
}
