//! `--json`: what a push does as objects, one a line, for programs. Fields are only ever added;
//! what changes meaning gets a new `schema_version`. The page hasync-rsync(7) lists the events and
//! their fields.
//!
//! Names are bytes, and JSON is text: `path` is escaped as in all lists, and `path_hex` stands
//! beside it where that is not the name itself.

use hasync_engine::{Action, Change, KindCounts, Summary, escape};
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::itemize;

/// The version of everything below.
const SCHEMA_VERSION: u32 = 1;

/// The first event.
pub(crate) fn begin(target: &str, dry_run: bool) -> Value {
    json!({
        "schema_version": SCHEMA_VERSION,
        "event": "begin",
        "target": target,
        "dry_run": dry_run,
    })
}

/// An entry changes; `sent` is the letter of moved content.
pub(crate) fn change(change: &Change<'_>, sent: u8) -> Value {
    let mut event = of_entry("change", change);
    event.insert("action".to_owned(), json!(action(change.action)));
    event.insert(
        "itemized".to_owned(),
        json!(itemize::letters(change, sent).trim_end()),
    );
    Value::Object(event)
}

/// An entry is as it should be.
pub(crate) fn unchanged(change: &Change<'_>) -> Value {
    Value::Object(of_entry("unchanged", change))
}

fn of_entry(event: &str, change: &Change<'_>) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    put("event", json!(event));
    put_name("path", change.path, &mut put);
    put("kind", json!(format!("{:?}", change.kind).to_lowercase()));
    put("length", json!(change.len));
    if let Some(link) = change.link.filter(|_| change.action != Action::Delete) {
        let key = match change.action {
            Action::HardLink => "linked_to",
            _ => "link_target",
        };
        put_name(key, link, &mut put);
    }
    fields
}

fn put_name(key: &str, name: &[u8], put: &mut impl FnMut(&str, Value) -> Option<Value>) {
    let text = escape(name);
    put(key, json!(text));
    if text.as_bytes() != name {
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        put(&format!("{key}_hex"), json!(hex));
    }
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Transfer => "transfer",
        Action::Create => "create",
        Action::HardLink => "hard_link",
        Action::Attributes => "attributes",
        Action::Delete => "delete",
        Action::KeepNewer => "keep_newer",
    }
}

/// Something was said on standard error as well.
pub(crate) fn warning(message: &str, vanished: bool) -> Value {
    json!({ "event": "warning", "message": message, "vanished": vanished })
}

/// Something worth knowing that is no error.
pub(crate) fn note(message: &str) -> Value {
    json!({ "event": "note", "message": message })
}

/// The last event of a push that came to its end.
pub(crate) fn summary(summary: &Summary, seconds: f64, exit: Exit, line: Option<&str>) -> Value {
    json!({
        "event": "summary",
        "exit": exit as u8,
        "message": line,
        "seconds": seconds,
        "entries": kinds(&summary.entries),
        "created": kinds(&summary.created),
        "deleted": kinds(&summary.deleted),
        "transferred_files": summary.transferred_files,
        "total_bytes": summary.total_len,
        "transferred_bytes": summary.transferred_len,
        "literal_bytes": summary.literal_bytes,
        "matched_bytes": summary.matched_bytes,
        "sent_bytes": summary.sent_bytes,
        "received_bytes": summary.received_bytes,
        "durable": summary.durable,
        "partial": summary.partial,
        "vanished": summary.vanished,
    })
}

/// The last event of a push that was ended.
pub(crate) fn failure(exit: Exit, message: &str) -> Value {
    json!({ "event": "failure", "exit": exit as u8, "message": message })
}

fn kinds(counts: &KindCounts) -> Value {
    json!({
        "files": counts.files,
        "directories": counts.dirs,
        "symlinks": counts.symlinks,
        "devices": counts.devices,
        "specials": counts.specials,
    })
}
