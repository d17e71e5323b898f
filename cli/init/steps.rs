//! What is typed after the configuration is written: what each cluster manager needs, in lines that
//! can be copied. Programs stand with their whole path: neither cron nor a manager looks for them.

use std::time::Duration;

use crate::args::Manager;

/// Where the README installs the program, and every line expects it.
const PROGRAM: &str = "/usr/local/bin/hasync";

/// What names a configuration in all lines but those of a cluster manager.
pub(super) const OPTION: &str = " --config ";

/// What the lines depend on.
pub(super) struct Steps<'a> {
    pub(super) manager: Manager,
    /// The node that has the service first.
    pub(super) first: &'a str,
    /// The service address.
    pub(super) address: &'a str,
    pub(super) interval: Duration,
    /// ` --config FILE`, where that has to be said.
    pub(super) config: &'a str,
}

impl Steps<'_> {
    /// The lines.
    pub(super) fn text(&self) -> String {
        let config = self.config;
        let cron = format!(
            "On both nodes, in /etc/cron.d/hasync:\n  {}\n",
            self.crontab()
        );
        let verbs = ["promote --all", "push --all -n", "push --all", "status"];
        let typed = verbs.map(|verb| format!("  hasync {verb}{config}\n"));
        let first_push = format!(
            "On the node that has the data, and only there, before anything starts:\n{}",
            typed.concat()
        );
        format!("{first_push}{cron}{}", self.of_the_manager())
    }

    fn of_the_manager(&self) -> String {
        let (first, address, config) = (self.first, self.address, self.config);
        match self.manager {
            Manager::Cron => format!(
                "To fail over, on the node that is to take over:\n  hasync mirror start{config}\n\
                 And before that on the other one, if it runs:\n  hasync mirror stop{config}\n"
            ),
            Manager::Heartbeat => {
                // heartbeat gives `mirror::FILE` the file as a word before the action.
                let resource = format!("mirror{}", config.replacen(OPTION, "::", 1));
                format!(
                    "On both nodes, in /etc/ha.d/haresources, with what you serve behind it:\n  \
                     {first} {address} {resource}\nOn both nodes, once:\n  ln -s {PROGRAM} \
                     /etc/ha.d/resource.d/mirror\nIn /etc/ha.d/ha.cf, so that a node that comes \
                     back does not take the service:\n  auto_failback off\n"
                )
            }
            Manager::Keepalived => format!(
                "On both nodes, in the global_defs of /etc/keepalived/keepalived.conf:\n  \
                 vrrp_notify_fifo /run/hasync-vrrp\nThere too, in the vrrp_instance of \
                 {address}:\n  state BACKUP\n  nopreempt\nOn both nodes, as a service \
                 (cli/examples/hasync-keepalived.service):\n  {PROGRAM} keepalived --fifo \
                 /run/hasync-vrrp{config}\n"
            ),
            Manager::Pacemaker => {
                let parameter = match config.strip_prefix(OPTION) {
                    Some(file) => format!("Its parameter config is {file}.\n"),
                    None => String::new(),
                };
                format!(
                    "On both nodes, once:\n  mkdir -p /usr/lib/ocf/resource.d/hasync\n  ln -s \
                     {PROGRAM} /usr/lib/ocf/resource.d/hasync/mirror\nThe clone and its \
                     constraints are in hasync-ha(7), for pcs, and in \
                     cli/examples/pacemaker.xml.\n{parameter}"
                )
            }
        }
    }

    /// The line of a crontab that mirrors that often.
    fn crontab(&self) -> String {
        let interval = self.interval;
        let minutes = interval.as_secs() / 60;
        let is_whole = interval.as_secs().is_multiple_of(60) && minutes > 0;
        // To cron, a bare % is the end of the line.
        let config = self.config.replace('%', "\\%");
        let cycle = format!("root {PROGRAM} cycle -q{config}");
        match minutes {
            1 if is_whole => format!("* * * * * {cycle}"),
            2..=30 if is_whole && 60 % minutes == 0 => format!("*/{minutes} * * * * {cycle}"),
            60 if is_whole => format!("0 * * * * {cycle}"),
            1440 if is_whole => format!("0 0 * * * {cycle}"),
            _ if is_whole && minutes.is_multiple_of(60) && 1440 % minutes == 0 => {
                format!("0 */{} * * * {cycle}", minutes / 60)
            }
            // No crontab can say it.
            _ => format!("@reboot {cycle} --every {}", time(interval)),
        }
    }
}

/// A time as the configuration has it.
pub(super) fn time(time: Duration) -> String {
    let ms = time.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let (unit, name) = units
        .into_iter()
        .find(|(unit, _)| ms.is_multiple_of(*unit))
        .unwrap_or((1, "ms"));
    format!("{}{name}", ms / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(manager: Manager, seconds: u64, config: &str) -> Steps<'_> {
        Steps {
            manager,
            first: "foo0",
            address: "10.0.0.100",
            interval: Duration::from_secs(seconds),
            config,
        }
    }

    #[test]
    fn a_crontab_runs_as_often_as_wanted() {
        for (seconds, expected) in [
            (60, "* * * * *"),
            (120, "*/2 * * * *"),
            (600, "*/10 * * * *"),
            (1_800, "*/30 * * * *"),
            (3_600, "0 * * * *"),
            (7_200, "0 */2 * * *"),
            (86_400, "0 0 * * *"),
            (420, "@reboot"),
            (90, "@reboot"),
            (30, "@reboot"),
            (2_700, "@reboot"),
            (18_000, "@reboot"),
        ] {
            let line = steps(Manager::Cron, seconds, " --config /a%b").crontab();
            let (when, command) = line.split_once(" root ").unwrap_or_default();
            assert_eq!(when, expected, "{seconds}");
            let start = "/usr/local/bin/hasync cycle -q --config /a\\%b";
            assert!(command.starts_with(start), "{command}");
            let is_loop = command.contains("--every");
            assert_eq!(is_loop, when == "@reboot", "{line}");
        }
    }

    /// Every line that is typed runs what there is, and by its path where nobody looks for it.
    #[test]
    fn lines_are_ready_to_be_copied() {
        let managers = [
            Manager::Cron,
            Manager::Heartbeat,
            Manager::Keepalived,
            Manager::Pacemaker,
        ];
        let configs = ["", " --config /srv/a.toml"];
        for (manager, config) in managers
            .into_iter()
            .flat_map(|manager| configs.map(|config| (manager, config)))
        {
            let text = steps(manager, 600, config).text();
            let typed = text.lines().filter_map(|line| line.strip_prefix("  "));
            for line in typed.clone().filter(|line| !line.starts_with("hasync ")) {
                let names = line.replace(PROGRAM, "").replace("resource.d/hasync", "");
                assert!(!names.contains(" hasync "), "{line}");
            }
            let ours = typed.filter_map(|line| {
                let at = line.find(&format!("{PROGRAM} "))? + PROGRAM.len();
                (!line.starts_with("ln ")).then(|| &line[at..])
            });
            let own = text
                .lines()
                .filter_map(|line| line.strip_prefix("  hasync"));
            for words in ours.chain(own) {
                let line = format!("hasync{words}");
                assert!(line.ends_with(config), "{line}");
                let words = line.split_whitespace().map(std::ffi::OsString::from);
                let parsed = crate::args::parse(words);
                assert!(parsed.is_ok(), "{line}: {parsed:?}");
            }
            let file = config.replace(OPTION, "");
            let resource = format!("mirror{}\n", config.replace(OPTION, "::"));
            assert!(manager != Manager::Heartbeat || text.contains(&resource));
            assert!(manager != Manager::Pacemaker || text.contains(&file));
        }
    }
}
