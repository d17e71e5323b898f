//! What is said at the end of a push: the counts of `--stats` and the two lines of `-v`, in
//! rsync's words, so that what reads them goes on working.

use std::time::Duration;

use hasync_engine::{KindCounts, Summary};

use crate::numbers::Human;

/// The counts of `--stats`, without the two closing lines.
pub(crate) fn counts(summary: &Summary, human: Human) -> String {
    let (count, bytes) = (|number| human.count(number), |number| human.bytes(number));
    let by_kind = |counts| by_kind(counts, human);
    let lines = [
        format!("Number of files: {}", by_kind(&summary.entries)),
        format!("Number of created files: {}", by_kind(&summary.created)),
        format!("Number of deleted files: {}", by_kind(&summary.deleted)),
        format!(
            "Number of regular files transferred: {}",
            count(summary.transferred_files)
        ),
        format!("Total file size: {} bytes", bytes(summary.total_len)),
        format!(
            "Total transferred file size: {} bytes",
            bytes(summary.transferred_len)
        ),
        format!("Literal data: {} bytes", bytes(summary.literal_bytes)),
        format!("Matched data: {} bytes", bytes(summary.matched_bytes)),
        format!(
            "Number of directories compared: {} (exchanged: {})",
            count(summary.dirs_compared),
            count(summary.dirs_exchanged)
        ),
        format!(
            "Number of files sent again: {}",
            count(summary.resent_files)
        ),
        format!(
            "Number of files newer on the receiver: {}",
            count(summary.newer_skipped)
        ),
        format!(
            "Flushed to disk: {}",
            if summary.durable { "yes" } else { "no" }
        ),
        format!(
            "Bytes sent before compression: {}",
            bytes(summary.sent_plain_bytes)
        ),
        format!("Total bytes sent: {}", bytes(summary.sent_bytes)),
        format!("Total bytes received: {}", bytes(summary.received_bytes)),
    ];
    lines.join("\n") + "\n"
}

/// The two closing lines of `-v` and `--stats`.
pub(crate) fn totals(summary: &Summary, human: Human, elapsed: Duration, dry_run: bool) -> String {
    let bytes = |number| human.bytes(number);
    let link_bytes = summary.sent_bytes + summary.received_bytes;
    let rate = link_bytes as f64 / elapsed.as_secs_f64().max(0.001);
    let speedup = summary.total_len as f64 / link_bytes.max(1) as f64;
    format!(
        "sent {} bytes  received {} bytes  {} bytes/sec\ntotal size is {}  speedup is {}{}\n",
        bytes(summary.sent_bytes),
        bytes(summary.received_bytes),
        human.rate(rate),
        bytes(summary.total_len),
        human.ratio(speedup),
        if dry_run { " (DRY RUN)" } else { "" }
    )
}

/// `8 (reg: 4, dir: 2)`: the kinds that occur, in rsync's order and words.
fn by_kind(counts: &KindCounts, human: Human) -> String {
    let kinds = [
        ("reg", counts.files),
        ("dir", counts.dirs),
        ("link", counts.symlinks),
        ("dev", counts.devices),
        ("special", counts.specials),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{kind}: {}", human.count(*count)))
        .collect();
    let total = human.count(counts.total());
    if kinds.is_empty() {
        total
    } else {
        format!("{total} ({})", kinds.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_do_not_occur_are_left_out() {
        let counts = KindCounts {
            files: 1_004,
            dirs: 2,
            specials: 1,
            ..KindCounts::default()
        };
        assert_eq!(
            by_kind(&counts, Human::default()),
            "1,007 (reg: 1,004, dir: 2, special: 1)"
        );
        assert_eq!(by_kind(&KindCounts::default(), Human::default()), "0");
    }

    #[test]
    fn totals_have_rsyncs_words() {
        let summary = Summary {
            sent_bytes: 300_403,
            received_bytes: 137,
            total_len: 300_019,
            ..Summary::default()
        };
        assert_eq!(
            totals(
                &summary,
                Human::default(),
                Duration::from_millis(500),
                false
            ),
            "sent 300,403 bytes  received 137 bytes  601,080.00 bytes/sec\n\
             total size is 300,019  speedup is 1.00\n"
        );
        assert!(
            totals(&summary, Human::default(), Duration::ZERO, true)
                .ends_with("speedup is 1.00 (DRY RUN)\n")
        );
    }

    #[test]
    fn counts_have_rsyncs_keys_in_rsyncs_order() {
        let text = counts(
            &Summary {
                literal_bytes: 12_345,
                ..Summary::default()
            },
            Human::default(),
        );
        let keys = [
            "Number of files: 0\n",
            "Number of created files: 0\n",
            "Number of deleted files: 0\n",
            "Number of regular files transferred: 0\n",
            "Total file size: 0 bytes\n",
            "Total transferred file size: 0 bytes\n",
            "Literal data: 12,345 bytes\n",
            "Matched data: 0 bytes\n",
            "Total bytes sent: 0\n",
            "Total bytes received: 0\n",
        ];
        let places: Vec<Option<usize>> = keys.iter().map(|key| text.find(key)).collect();
        assert!(places.iter().all(Option::is_some), "{text}");
        assert!(places.is_sorted(), "{text}");
    }
}
