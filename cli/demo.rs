//! `hasync demo`: a primary and its standby on this one machine, with real SSH between them. First
//! what a push costs, beside rsync if that is installed; then what goes wrong in the life of a
//! pair, and what becomes of the data. Both trees are compared by a walk of its own each time.

mod compare;
mod figures;
mod rsync;
mod scene;
mod tree;
mod trouble;

use std::time::Instant;

use hasync_transport::ssh;

use crate::args::DemoArgs;
use crate::exit::{Exit, Failure};
use crate::out::{self, Out};
use crate::shell;

use compare::Picture;
use scene::Scene;

/// The most differences that are shown.
const MAX_SHOWN: usize = 10;

/// Runs the demo; [`Exit::NotEqual`] if the trees are not as they should be.
pub(crate) fn run(args: &DemoArgs) -> Result<Exit, Failure> {
    let (out, began) = (Out::stdout(), Instant::now());
    let mut scene = Scene::set(args.keep)?;
    let say = |text: &str| {
        out.say_all(text);
        out.flush();
    };
    let dir = scene.dir();
    say(&format!(
        "hasync demo: a primary and its standby in {}, joined by SSH",
        dir.display()
    ));
    figures::show(&mut scene, &say)?;
    trouble::show(&mut scene, &say)?;
    say(&format!("\ndone in {:.1} s", began.elapsed().as_secs_f64()));
    if args.keep {
        let words = shell::command(&scene.server_words());
        let program = std::env::current_exe().unwrap_or_else(|_| "hasync".into());
        let program = ssh::quoted(&program.to_string_lossy());
        let serve = format!("#!/bin/sh\nexec {program} {words}\n");
        scene.write_program("serve", &serve)?;
        say(&format!(
            "to play with: the trees primary/ and standby/ in {dir}, and as either node:\n  \
             {program} log web --config {dir}/standby.toml\n  {program} status --config \
             {dir}/primary.toml\n  {dir}/serve &     # the standby takes pushes again\n  {program} \
             diverged web --config {dir}/primary.toml",
            dir = dir.display()
        ));
    }
    out.finish()?;
    Ok(Exit::Ok)
}

/// Refuses a tree that is not as it should be.
fn must_be(expected: &Picture, found: &Picture) -> Result<(), Failure> {
    let differences = expected.differences(found);
    if differences.is_empty() {
        return Ok(());
    }
    for difference in differences.iter().take(MAX_SHOWN) {
        out::error(difference);
    }
    let count = differences.len();
    Err(Failure::new(
        Exit::NotEqual,
        format!("the trees differ in {count} entries (exit 3)"),
    ))
}
