//! A page as plain text, for a terminal without man.

use super::markdown::{Block, Look, Span, Text, blocks, column_widths, pieces, plain};

/// Columns of a terminal.
const WIDTH: usize = 80;
/// What stands before all but headings.
const INDENT: usize = 2;
/// Columns that stay free between two of a table.
const GAP: usize = 2;

/// Turns a page into text of at most 80 columns, but for lines of code that are longer.
pub(super) fn from_markdown(markdown: &str) -> String {
    let mut out = String::new();
    let mut was_item = false;
    for block in blocks(markdown) {
        // The items of a list stand together.
        let goes_on = was_item && matches!(block, Block::Item(number, _) if number != Some(1));
        if !out.is_empty() && !goes_on {
            out.push('\n');
        }
        was_item = matches!(block, Block::Item(..));
        match block {
            Block::Title(text) => push(&mut out, 0, "", &plain(&text)),
            Block::Heading(text) => push(&mut out, 0, "", &plain(&text).to_uppercase()),
            Block::Subheading(text) => push(&mut out, 0, "", &shown(&text)),
            Block::Paragraph(text) => push(&mut out, INDENT, "", &shown(&text)),
            Block::Item(number, text) => {
                let mark = number.map_or("* ".to_owned(), |number| format!("{number}. "));
                push(&mut out, INDENT, &mark, &shown(&text));
            }
            Block::Code(code) => code.lines().for_each(|line| {
                let line = format!("{:1$}{line}", "", 2 * INDENT);
                out.push_str(line.trim_end());
                out.push('\n');
            }),
            Block::Table(rows) => table(&mut out, &rows),
        }
    }
    out
}

/// Lines of words behind an indentation, the first one behind a mark.
fn push(out: &mut String, indent: usize, mark: &str, words: &str) {
    let hang = indent + mark.len();
    for (at, line) in wrapped(words, WIDTH - hang).iter().enumerate() {
        let mark = if at == 0 { mark } else { "" };
        out.push_str(&format!("{:indent$}{mark:1$}{line}\n", "", hang - indent));
    }
}

fn table(out: &mut String, rows: &[Vec<Text>]) {
    let widths = column_widths(rows, shown, WIDTH - INDENT + GAP, GAP);
    for (at, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths);
        let cells: Vec<Vec<String>> = cells
            .map(|(cell, width)| wrapped(&shown(cell), *width))
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or_default();
        for line in 0..height {
            let words = cells.iter().zip(&widths).map(|(cell, width)| {
                let words = cell.get(line).map_or("", String::as_str);
                format!("{words:width$}")
            });
            let words = words.collect::<Vec<_>>().join(&" ".repeat(GAP));
            out.push_str(format!("{:INDENT$}{words}", "").trim_end());
            out.push('\n');
        }
        if at == 0 {
            let rules = widths.iter().map(|width| "-".repeat(*width));
            let rules = rules.collect::<Vec<_>>().join(&" ".repeat(GAP));
            out.push_str(&format!("{:INDENT$}{rules}\n", ""));
        }
    }
}

/// Words in lines of this width, cut where they may be.
fn wrapped(words: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split_whitespace() {
        for (at, piece) in pieces_for(word, width).enumerate() {
            let Some(line) = lines.last_mut() else {
                continue;
            };
            let gap = usize::from(at == 0 && !line.is_empty());
            if line.is_empty() || line.chars().count() + gap + piece.chars().count() <= width {
                line.extend(std::iter::repeat_n(' ', gap));
                line.push_str(piece);
            } else {
                lines.push(piece.to_owned());
            }
        }
    }
    lines
}

/// A word that fits stays whole.
fn pieces_for(word: &str, width: usize) -> impl Iterator<Item = &str> {
    let fits = word.chars().count() <= width;
    let whole = fits.then_some(word).into_iter();
    whole.chain((!fits).then(|| pieces(word)).into_iter().flatten())
}

/// Text with its marks: what is to be typed stands between backticks.
fn shown(text: &[Span]) -> String {
    let spans = text.iter().map(|Span { words, look }| match look {
        Look::Code => format!("`{words}`"),
        Look::Plain | Look::Emphasis | Look::Strong => words.clone(),
    });
    spans.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_has_its_place() {
        let page = "# x-y(7): about\n\n## One\n\nSome *words* and\n`--code`.\n\n* first\n* second\n\
                    \n1. one\n2. two\n\n```sh\nhasync push\n```\n\n|a|b|\n|---|---|\n\
                    |`12`|long words|\n";
        let expected = "x-y(7): about\n\nONE\n\n  Some words and `--code`.\n\n  * first\n\
                        \x20 * second\n\n  1. one\n  2. two\n\n    hasync push\n\n\
                        \x20 a     b\n  ----  ----------\n  `12`  long words\n";
        assert_eq!(from_markdown(page), expected);
    }

    #[test]
    fn lines_end_before_the_terminal_does() {
        let long = "word ".repeat(40);
        let name = "a_test_with_a_name_that_goes_on_and_on/".repeat(3);
        let page = from_markdown(&format!(
            "* {long}\n\n|a|b|\n|---|---|\n|`{name}`|{long}|\n"
        ));
        assert!(page.starts_with("  * word word"), "{page}");
        assert!(page.contains("\n    word"), "{page}");
        for line in page.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert!(page.contains("`a_test_with"), "{page}");
    }
}
