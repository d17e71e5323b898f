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
            "On both nodes, in the vrrp_instance of {address} in /etc/keepalived/keepalived.conf, \
             with state BACKUP and nopreempt:\n  notify_master \"{PROGRAM} mirror start\"\n  \
             notify_backup \"{PROGRAM} mirror stop\"\n  notify_fault \"{PROGRAM} mirror stop\"\n  \
             notify_stop \"{PROGRAM} mirror stop\"\n"
        ),
        Manager::Pacemaker => "Put hasync behind the service address in its group, by an agent \
                               whose start and stop run `hasync mirror start` and `hasync mirror \
                               stop`; hasync-ha(7) has it\n"
            .to_owned(),
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

    #[test]
    fn programs_stand_with_their_path() {
        for manager in [Manager::Cron, Manager::Heartbeat, Manager::Keepalived] {
            let text = of(manager, "foo0", "10.0.0.100", Duration::from_secs(600));
            for line in text.lines() {
                let bare = line.contains(" mirror st") && line.contains('"');
                assert!(!bare || line.contains(PROGRAM), "{line}");
                assert!(!line.contains("cycle") || line.contains(PROGRAM), "{line}");
            }
        }
    }
}
