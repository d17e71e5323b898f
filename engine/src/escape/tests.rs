//! Every string at every place, and every name told back.

#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// What nobody wants to meet in a line that somebody else wrote.
const BAD: [&str; 44] = [
    "\0",
    "\x07",
    "\x08",
    "\n",
    "\r",
    "\r\n",
    "\x0b",
    "\x0c",
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x1b",
    "\x7f",
    "\u{80}",
    "\u{85}",
    "\u{90}",
    "\u{9b}31m",
    "\u{9d}",
    "\u{2028}",
    "\u{2029}",
    "\u{200e}",
    "\u{200f}",
    "\u{202a}",
    "\u{202b}",
    "\u{202c}",
    "\u{202d}",
    "\u{202e}",
    "\u{2066}",
    "\u{2067}",
    "\u{2068}",
    "\u{2069}",
    "\u{61c}",
    "\u{feff}",
    "\u{fff9}",
    "\u{fffb}",
    "\u{200b}",
    "\u{200c}",
    "\u{200d}",
    "\u{2060}",
    "\u{e0001}",
    "\u{e0041}",
    "\u{e007f}",
    "\u{ad}",
    "\u{3164}",
    "\u{180e}",
];

/// What means something in one place or another, and what is harmless in all of them.
const ODD: [&str; 24] = [
    "\\",
    "\\#012",
    "\\#",
    "%s%n",
    "%",
    "|",
    "=?UTF-8?B?CgoK?=",
    "=?",
    "=",
    "?",
    "-",
    "--",
    "hasync: ",
    "$(reboot)",
    "`id`",
    "<script>",
    "&",
    "\t",
    " ",
    ".",
    "From ",
    "ä",
    "日本",
    "👩",
];

/// A text of such pieces and of anything, up to far more than any place takes.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => select(&BAD[..]).prop_map(str::to_owned),
        3 => select(&ODD[..]).prop_map(str::to_owned),
        3 => any::<String>(),
        1 => ("[a-zé|\u{202e}\\\\]", 0..6000_usize).prop_map(|(text, count)| text.repeat(count)),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Whether none of what does harm is left. A joiner is none between letters that it joins.
fn is_plain(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    chars.iter().enumerate().all(|(at, char)| match char {
        '\u{200c}' | '\u{200d}' => {
            let beside = [
                at.checked_sub(1).map(|at| chars[at]),
                chars.get(at + 1).copied(),
            ];
            beside
                .iter()
                .all(|char| char.is_some_and(|char| !char.is_ascii()))
        }
        char => !BAD.iter().any(|bad| bad.starts_with(*char) && *char > '~') && *char >= ' ',
    })
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        if reads_as_escape(rest) {
            let octal = std::str::from_utf8(&rest[2..5]).unwrap();
            bytes.push(u8::from_str_radix(octal, 8).unwrap());
            rest = &rest[5..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

proptest! {
    #[test]
    fn every_text_is_harmless_at_every_place(text in texts()) {
        for place in Place::ALL {
            let shown = harmless(&text, place);
            prop_assert!(is_plain(&shown), "{place:?}: {shown:?}");
            prop_assert!(shown.len() <= place.len_max(), "{place:?}: {} bytes", shown.len());
            prop_assert!(!shown.ends_with('\\'), "{place:?}: {shown:?}");
            let again = harmless(&shown, place);
            prop_assert_eq!(&*again, &*shown, "{:?}", place);
            match place {
                Place::Line | Place::Datagram => {}
                Place::Variable => prop_assert!(!shown.starts_with('-')),
                Place::Header => prop_assert!(shown.is_ascii() && !shown.contains("=?")),
                Place::Mail => prop_assert!(shown.is_ascii()),
                Place::Plugin => prop_assert!(!shown.contains(['|', '$', '`', '<', '>', '&'])),
            }
        }
    }

    #[test]
    fn every_name_is_harmless_and_told_back(name in prop_oneof![
        texts().prop_map(String::into_bytes),
        vec(any::<u8>(), 0..300),
    ]) {
        let shown = escape(&name);
        let text = shown.replace('\t', " ");
        prop_assert!(is_plain(&text), "{text:?}");
        prop_assert_eq!(unescaped(&shown), name);
    }
}

#[test]
fn each_bad_character_alone_is_shown_by_its_bytes() {
    for bad in BAD {
        let text = format!("a{bad}b");
        for place in Place::ALL {
            let shown = harmless(&text, place);
            assert!(
                shown.starts_with("a\\#") && is_plain(&shown),
                "{place:?}: {shown:?}"
            );
            assert_eq!(unescaped(&shown), text.as_bytes(), "{place:?}");
        }
    }
}

#[test]
fn plain_names_are_not_copied() {
    let name = "sub/ä b 1.txt";
    assert!(matches!(escape(name.as_bytes()), Cow::Borrowed(shown) if shown == name));
    assert!(matches!(harmless(name, Place::Line), Cow::Borrowed(shown) if shown == name));
}

#[test]
fn a_line_holds_one_name() {
    assert_eq!(escape(b"nl\nname\x7f"), "nl\\#012name\\#177");
    assert_eq!(escape(b"tab\tstays"), "tab\tstays");
    assert_eq!(escape("csi\u{9b}1m".as_bytes()), "csi\\#302\\#2331m");
    assert_eq!(
        escape("a\u{202e}gpj.exe".as_bytes()),
        "a\\#342\\#200\\#256gpj.exe"
    );
}

#[test]
fn a_name_that_looks_escaped_is_told_apart() {
    assert_eq!(escape(b"a\\#012"), "a\\#134#012");
    assert_eq!(escape(b"a\\#01x\\"), "a\\#01x\\");
}

#[test]
fn spellings_that_need_a_joiner_stay_as_they_are() {
    for name in [
        "می\u{200c}خواهم.txt",
        "👩\u{200d}💻",
        "❤\u{fe0f}",
        "葛\u{e0100}",
        "שלום",
    ] {
        assert_eq!(escape(name.as_bytes()), name);
        assert_eq!(harmless(name, Place::Line), name);
    }
    assert_eq!(
        escape("con\u{200d}fig".as_bytes()),
        "con\\#342\\#200\\#215fig"
    );
}

#[test]
fn a_message_is_escaped_once() {
    let message = "cannot open \"a\\#012b\"";
    for place in Place::ALL {
        assert_eq!(harmless(message, place), message);
    }
    assert_eq!(
        harmless("two\nlines\x1b[1m", Place::Line),
        "two\\#012lines\\#033[1m"
    );
}

#[test]
fn what_means_something_in_one_place_means_nothing_there() {
    let shown = |text, place| harmless(text, place).into_owned();
    assert_eq!(
        shown("-f /etc/shadow", Place::Variable),
        "\\#055f /etc/shadow"
    );
    assert_eq!(shown("=?UTF-8?Q?x?=", Place::Header), "=\\#077UTF-8?Q?x?=");
    assert_eq!(shown("fine | lag=0s", Place::Plugin), "fine \\#174 lag=0s");
    assert_eq!(shown("größer", Place::Mail), "gr??er");
    assert_eq!(shown("ends in \\", Place::Line), "ends in \\#134");
    assert_eq!(
        shown("100 % of - ?= | is fine", Place::Line),
        "100 % of - ?= | is fine"
    );
}

#[test]
fn a_long_message_keeps_its_beginning_and_its_reason() {
    let text = format!("cannot open \"{}\": no such file", "x".repeat(1 << 20));
    for place in Place::ALL {
        let shown = harmless(&text, place);
        assert!(shown.starts_with("cannot open \"xx"), "{shown}");
        assert!(shown.ends_with("xx\": no such file"), "{shown}");
        assert!(shown.contains(" bytes left out ...] "), "{shown}");
    }
}

#[test]
fn what_is_not_utf8_is_escaped_and_its_neighbours_stay() {
    assert_eq!(escape(b"\xc3\xa4\xff\xfe!"), "ä\\#377\\#376!");
    assert_eq!(escape(b"half\xe2\x80y"), "half\\#342\\#200y");
    // An overlong slash, and half of a pair of surrogates.
    assert_eq!(escape(b"\xc0\xaf"), "\\#300\\#257");
    assert_eq!(escape(b"\xed\xa0\x80"), "\\#355\\#240\\#200");
}
