//! A page as source for man.

use std::fmt::Write as _;

use super::markdown::{Block, CUTS, Look, Span, Text, blocks, column_widths, pieces, plain};

/// Columns that a table may take on a terminal of 80: less the indentation on both sides.
const TABLE_WIDTH: usize = 70;
/// Columns that stay free between two of a table.
const GAP: usize = 3;

/// Turns a page into source for `man`. Its first heading reads `name(section): one line`.
pub(super) fn from_markdown(markdown: &str) -> String {
    let mut out = String::new();
    for block in blocks(markdown) {
        match block {
            Block::Title(text) => title(&mut out, &plain(&text)),
            Block::Heading(text) => {
                let _ = writeln!(out, ".SH {}", escaped(&plain(&text).to_uppercase()));
            }
            Block::Subheading(text) => {
                let _ = writeln!(out, ".SS {}", fonts(&text));
            }
            Block::Paragraph(text) => {
                let _ = writeln!(out, ".PP\n{}", guarded(&fonts(&text)));
            }
            Block::Item(number, text) => {
                let mark = number.map_or("\\(bu 2".to_owned(), |number| format!("{number}. 3"));
                let _ = writeln!(out, ".IP {mark}\n{}", guarded(&fonts(&text)));
            }
            Block::Code(code) => {
                let code = guarded(&escaped(&code).replace('-', "\\-"));
                let _ = writeln!(out, ".PP\n.RS 2\n.nf\n{code}\n.fi\n.RE");
            }
            Block::Table(rows) => table(&mut out, &rows),
        }
    }
    out
}

fn title(out: &mut String, title: &str) {
    let (name, about) = title.split_once(": ").unwrap_or((title, ""));
    let (name, section) = name.split_once('(').unwrap_or((name, "7)"));
    let section = section.trim_end_matches(')');
    let (upper, name) = (name.to_uppercase(), name.replace('-', "\\-"));
    // On a terminal there is one page, however long: no table breaks.
    let _ = write!(
        out,
        "'\\\" t\n.TH {upper} {section}\n.if n .pl 2000v\n.SH NAME\n{name} \\- {about}\n"
    );
}

fn table(out: &mut String, rows: &[Vec<Text>]) {
    let widths = column_widths(rows, plain, TABLE_WIDTH, GAP);
    let bold: Vec<&str> = widths.iter().map(|_| "lb").collect();
    let columns: Vec<String> = widths.iter().map(|width| format!("lw({width}n)")).collect();
    let (bold, columns) = (bold.join(" "), columns.join(" "));
    // Ragged and unhyphenated: columns are narrow.
    let _ = write!(out, ".PP\n.na\n.nh\n.TS\ntab(@);\n{bold}\n{columns}.\n");
    for row in rows {
        let cells: Vec<String> = row.iter().map(block_cell).collect();
        let _ = writeln!(out, "{}", cells.join("@"));
    }
    out.push_str(".TE\n.hy\n.ad\n");
}

fn block_cell(cell: &Text) -> String {
    if cell.is_empty() {
        return String::new();
    }
    let with_cuts = |span: &Span| Span {
        words: cuttable(&span.words),
        look: span.look,
    };
    let cell: Text = cell.iter().map(with_cuts).collect();
    format!("T{{\n{}\nT}}", guarded(&fonts(&cell).replace(CUT, "\\:")))
}

/// Where a long word may be cut, until the text is escaped.
const CUT: char = '\u{1}';

fn cuttable(words: &str) -> String {
    let words = words.split(' ').map(|word| {
        let mut cut = String::new();
        for piece in pieces(word) {
            cut.push_str(piece);
            if piece.ends_with(CUTS) && piece.len() < word.len() {
                cut.push(CUT);
            }
        }
        cut
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The text with its fonts.
fn fonts(text: &Text) -> String {
    let spans = text.iter().map(|Span { words, look }| {
        let words = escaped(words);
        match look {
            Look::Plain => words,
            Look::Code => format!("\\fB{}\\fR", words.replace('-', "\\-")),
            Look::Emphasis => format!("\\fI{words}\\fR"),
            Look::Strong => format!("\\fB{words}\\fR"),
        }
    });
    spans.collect()
}

/// Text in which nothing is taken for an escape.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
}

/// No line begins with what is taken for a request.
fn guarded(text: &str) -> String {
    let lines = text.lines().map(|line| match line.chars().next() {
        Some('.' | '\'') => format!("\\&{line}"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_request_stays_text() {
        let page = from_markdown("# x-y(7): about\n\n## One\n\n.TH a\\b `--no-x`\n\n    .nf\n");
        assert!(page.contains(".TH X-Y 7\n"), "{page}");
        assert!(page.contains("x\\-y \\- about\n.SH ONE\n"), "{page}");
        assert!(
            page.contains("\n\\&.TH a\\eb \\fB\\-\\-no\\-x\\fR\n"),
            "{page}"
        );
        assert!(page.contains(".nf\n\\&.nf\n.fi\n"), "{page}");
    }

    #[test]
    fn a_table_keeps_within_its_width_and_narrow_columns_keep_theirs() {
        let long = "word ".repeat(40);
        let page = from_markdown(&format!("|a|b|\n|---|---|\n|`12`|{long}|\n||x|\n"));
        assert!(page.contains("lb lb\nlw(2n) lw(62n).\n"), "{page}");
        assert!(page.contains("T{\n\\fB12\\fR\nT}@T{\n"), "{page}");
        assert!(page.contains("\n@T{\nx\nT}\n"), "{page}");
    }

    #[test]
    fn a_long_word_of_a_table_may_be_cut_and_a_short_one_not() {
        let page = from_markdown("|a|\n|---|\n|`engine/src/session/simulation` last_push/x|\n");
        let cut = "\\fBengine/\\:src/\\:session/\\:simulation\\fR last_push/x";
        assert!(page.contains(cut), "{page}");
    }
}
