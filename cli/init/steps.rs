//! What is typed after the configuration is written: what each cluster manager needs, in lines that
//! can be copied. Programs stand with their whole path: neither cron nor a manager looks for them.

use std::time::Duration;

use crate::args::Manager;

/// Where the README installs the program, and every line expects it.
const PROGRAM: &str = "/usr/local/bin/hasync";

/// The lines for this manager; `first` is the node that has the service first.
pub(super) fn of(manager: Manager, first: &str, address: &str, interval: Duration) -> String {
    let cron = format!(
        "On both nodes, in /etc/cron.d/hasync:\n  {}\n",
        crontab(interval)
    );
    let first_push = "On the node that has the data, and only there, before anything starts:\n  \
                      hasync promote --all\n  hasync push --all -n\n  hasync push --all\n  \
                      hasync status\n";
    let own = match manager {
        Manager::Cron => "To fail over, on the node that is to take over:\n  hasync mirror start\n\
                          And before that on the other one, if it runs:\n  hasync mirror stop\n"
            .to_owned(),
        Manager::Heartbeat => format!(
            "On both nodes, in /etc/ha.d/haresources, with what you serve behind it:\n  {first} \
             {address} mirror\nOn both nodes, once:\n  ln -s {PROGRAM} \
             /etc/ha.d/resource.d/mirror\nIn /etc/ha.d/ha.cf, so that a node that comes back does \
             not take the service:\n  auto_failback off\n"
        ),
        Manager::Keepalived => format!(
            "On both nodes, in the global_defs of /etc/keepalived/keepalived.conf:\n  \
             vrrp_notify_fifo /run/hasync-vrrp\nThere too, in the vrrp_instance of {address}:\n  \
             state BACKUP\n  nopreempt\nOn both nodes, as a service \
             (cli/examples/hasync-keepalived.service):\n  {PROGRAM} keepalived --fifo \
             /run/hasync-vrrp\n"
        ),
        Manager::Pacemaker => format!(
            "On both nodes, once:\n  mkdir -p /usr/lib/ocf/resource.d/hasync\n  ln -s {PROGRAM} \
             /usr/lib/ocf/resource.d/hasync/mirror\nThe clone and its constraints are in \
             hasync-ha(7), for pcs, and in cli/examples/pacemaker.xml.\n"
        ),
    };
    format!("{first_push}{cron}{own}")
}

/// The line of a crontab that mirrors that often.
fn crontab(interval: Duration) -> String {
    let minutes = interval.as_secs() / 60;
    let is_whole = interval.as_secs().is_multiple_of(60) && minutes > 0;
    let cycle = format!("root {PROGRAM} cycle -q");
    match minutes {
        1 if is_whole => format!("* * * * * {cycle}"),
        2..=30 if is_whole && 60 % minutes == 0 => format!("*/{minutes} * * * * {cycle}"),
        60 if is_whole => format!("0 * * * * {cycle}"),
        1440 if is_whole => format!("0 0 * * * {cycle}"),
        _ if is_whole && minutes.is_multiple_of(60) && 1440 % minutes == 0 => {
            format!("0 */{} * * * {cycle}", minutes / 60)
        }
        // What no crontab can say.
        _ => format!("@reboot {cycle} --every {}", time(interval)),
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
            let line = crontab(Duration::from_secs(seconds));
            let (when, command) = line.split_once(" root ").unwrap_or_default();
            assert_eq!(when, expected, "{seconds}");
            assert!(command.starts_with("/usr/local/bin/hasync cycle -q"));
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
        for manager in managers {
            let text = of(manager, "foo0", "10.0.0.100", Duration::from_secs(600));
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
                let words = line.split_whitespace().map(std::ffi::OsString::from);
                let parsed = crate::args::parse(words);
                assert!(parsed.is_ok(), "{line}: {parsed:?}");
            }
        }
    }
}
