//! The resource agent as Pacemaker calls it, with stand-ins for the cluster's own programs.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::pair::{Node, Pair};
use super::{Finished, Hasync, TempTree};

/// The agent on one node of a pair.
pub(crate) struct Agent<'a> {
    pair: &'a Pair,
    node: Node,
    dir: TempTree,
    envs: Vec<(&'static str, String)>,
}

impl<'a> Agent<'a> {
    pub(crate) fn new(pair: &'a Pair, node: Node) -> Self {
        let dir = TempTree::new();
        let agent = Agent {
            pair,
            node,
            envs: Vec::new(),
            dir,
        };
        // They write down what they are told.
        for program in ["crm_attribute", "attrd_updater"] {
            let told = agent.told_to(program);
            agent.stand_in(program, &format!("echo \"$@\" >>{told}"));
        }
        agent.has_members("foo0 foo1");
        agent
    }

    /// Has a program of the cluster's do this from now on.
    pub(crate) fn stand_in(&self, program: &str, script: &str) {
        let path = format!("bin/{program}");
        self.dir.write(&path, format!("#!/bin/sh\n{script}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.dir.path(&path), mode).unwrap();
    }

    /// Who is in this node's part of the cluster.
    pub(crate) fn has_members(&self, members: &str) {
        self.stand_in("crm_node", &format!("echo {members}"));
    }

    /// From now on with another variable.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.envs.push((name, value.to_owned()));
        self
    }

    /// The node boots: what is kept until then goes.
    pub(crate) fn boots(&self) {
        let _ = std::fs::remove_dir_all(self.dir.path("run"));
    }

    /// Where the mark of the running resource is.
    pub(crate) fn mark(&self) -> PathBuf {
        self.dir.path("run/hasync/mirror.json")
    }

    pub(crate) fn call(&self, action: &str) -> Hasync {
        let config = self.pair.path(self.node, "hasync.toml");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.dir.text("bin"));
        let call = self.pair.on(self.node, &["ocf", action]);
        let call = call
            .env("OCF_RESOURCE_INSTANCE", "mirror")
            .env("OCF_RESKEY_config", config)
            .env("HA_RSCTMP", self.dir.path("run"))
            .env("PATH", path);
        let envs = self.envs.iter();
        envs.fold(call, |call, (name, value)| call.env(name, value))
    }

    #[track_caller]
    pub(crate) fn act(&self, action: &str) -> Finished {
        self.call(action).run()
    }

    /// The promotion score that was set last; `None` if it was taken away.
    pub(crate) fn score(&self) -> Option<u32> {
        let told = self.told("crm_attribute");
        let last = told.lines().last().unwrap();
        match last.split(' ').collect::<Vec<_>>()[..] {
            ["--promotion", "-v", score] => Some(score.parse().unwrap()),
            ["--promotion", "-D"] => None,
            _ => panic!("{last}"),
        }
    }

    /// Where a program writes down what it is told.
    pub(crate) fn told_to(&self, program: &str) -> String {
        self.dir.text(program)
    }

    /// What the cluster's status shows of the node, the last lines that were told.
    pub(crate) fn told(&self, program: &str) -> String {
        std::fs::read_to_string(self.dir.path(program)).unwrap_or_default()
    }
}
