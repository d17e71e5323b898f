//! A pair without a login, as where no sshd runs: each node prints the command that is typed on the
//! other one, with its two public keys in it. The person who carries them is what they are trusted
//! by.

use std::path::Path;

use hasync_transport::ssh::{self, quoted};

use super::files;
use super::node::{HOST_KEY, Node, OWN_LIST, checked};
use crate::args::PairArgs;
use crate::config::DIR;
use crate::exit::{Exit, Failure};
use crate::out::Out;
use crate::shell;

/// What helps where nobody can log in.
pub(super) const HINT: &str = "\
hint: without sshd on both nodes, `hasync pair --by-hand HOST` here prints the command to type on \
HOST, which prints the one to type here";

/// Prints the lines that the other node needs of this one, and changes nothing.
pub(super) fn print(node: &Node, out: &Out) -> Result<Exit, Failure> {
    let made = "(made by the first hasync pair)".to_owned();
    let key = node.own_key()?.unwrap_or(made.clone());
    out.say("# for authorized_keys on the other node, where its hasync has this path:");
    out.say(&node.own_binding(key)?.line());
    out.say("# for known_hosts on the other node, behind the name that it has for this one:");
    match node.host_keys().as_slice() {
        [] => out.say(&made),
        keys => keys.iter().for_each(|key| out.say(key)),
    }
    Ok(Exit::Ok)
}

/// Takes what the other node printed, if it has, and prints what it needs.
pub(super) fn pair(node: &Node, args: &PairArgs, out: &Out) -> Result<Exit, Failure> {
    let here = node.introduce()?;
    let list = args.authorized_keys.as_deref();
    let list = list.unwrap_or(Path::new(OWN_LIST));
    let verb = if here.made { "made" } else { "is there" };
    out.say(&format!("key of this node: {verb}, {}", here.key_file));
    let host_key = host_key(out)?;
    let mut is_complete = false;
    if let (Some(key), Some(shown)) = (&args.key, &args.host_key) {
        let (host, shown) = (node.host()?, checked(shown)?);
        out.say(&format!("host key of {host}: {shown}"));
        if let Some(file) = node.believe(&shown)? {
            out.say(&format!("known_hosts: {host} is added to {file}"));
        }
        let admitted = files::admit(list, node.binding(key, &host)?)?;
        out.say(&admitted.told(&host, "this node"));
        is_complete = true;
    }
    let allowed = [node.config_words(), node.allowed()?].concat();
    let allowed = shell::command(&allowed);
    let list = quoted(&list.to_string_lossy());
    out.say("start the server here, at boot too, where the other node reaches this one:");
    out.say(&format!(
        "  hasync serve --listen {} {allowed} --receive-only --authorized-keys \
         {list} --host-key {HOST_KEY}",
        node.own_address()
    ));
    let lead = if is_complete {
        "unless it was typed there already, "
    } else {
        ""
    };
    out.say(&format!("{lead}type on the other node:"));
    out.say(&format!(
        "  hasync pair --by-hand --key {} --host-key {}{}",
        quoted(&here.key),
        quoted(&host_key),
        rest_of(node, args)
    ));
    Ok(Exit::Ok)
}

/// What the other node is told besides, where no configuration says it.
fn rest_of(node: &Node, args: &PairArgs) -> String {
    let roots = node.terms().roots;
    let roots = roots.iter().map(|root| quoted(&root.to_string_lossy()));
    let mut words: String = roots.map(|root| format!(" --root {root}")).collect();
    for word in node.config_words() {
        words.push_str(&format!(" {}", quoted(&word)));
    }
    if let Some(list) = &args.authorized_keys {
        let list = quoted(&list.to_string_lossy());
        words.push_str(&format!(" --authorized-keys {list}"));
    }
    if args.from {
        words.push_str(" --from");
    }
    if let Some(port) = args.port {
        words.push_str(&format!(" --port {port}"));
    }
    if !node.is_configured() {
        words.push_str(" NAME-OF-THIS-NODE-THERE");
    }
    words
}

/// The public half of the key by which this node's own server is known, which is made if there is
/// none.
fn host_key(out: &Out) -> Result<String, Failure> {
    let file = Path::new(HOST_KEY);
    if !file.exists() {
        files::make_parent(file, 0o755).map_err(|e| Failure::cannot(format!("make {DIR}"), &e))?;
        ssh::generate_host_key(file)?;
        out.say(&format!("host key of this node: made, {HOST_KEY}"));
    }
    Ok(ssh::public_half(file)?.line())
}
