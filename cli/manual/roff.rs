//! A page in Markdown as source for man: headings, paragraphs, lists, tables and code.

use std::fmt::Write as _;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Columns that a table may take on a terminal of 80: less the indentation on both sides.
const TABLE_WIDTH: usize = 70;

/// Turns a page into source for `man`. Its first heading reads `name(section): one line`.
pub(super) fn from_markdown(markdown: &str) -> String {
    let mut page = Page::default();
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        page.take(event);
    }
    page.out
}

#[derive(Default)]
struct Page {
    out: String,
    /// Text of the block that is being read.
    text: String,
    /// Cells of the table that is being read, row by row.
    table: Vec<Vec<String>>,
    in_code: bool,
    in_item: bool,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.in_code => self.text.push_str(&text),
            Event::Text(text) => self.text.push_str(&escaped(&text)),
            Event::Code(code) => {
                let _ = write!(self.text, "\\fB{}\\fR", escaped(&code).replace('-', "\\-"));
            }
            Event::SoftBreak | Event::HardBreak => self.text.push('\n'),
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::CodeBlock(_) => self.in_code = true,
            Tag::Item => self.in_item = true,
            Tag::Emphasis => self.text.push_str("\\fI"),
            Tag::Strong => self.text.push_str("\\fB"),
            Tag::TableHead | Tag::TableRow => self.table.push(Vec::new()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Emphasis | TagEnd::Strong => self.text.push_str("\\fR"),
            TagEnd::Heading(HeadingLevel::H1) => self.title(),
            TagEnd::Heading(HeadingLevel::H2) => self.heading("SH"),
            TagEnd::Heading(_) => self.heading("SS"),
            TagEnd::Paragraph if !self.in_item => self.block(".PP"),
            TagEnd::Item => {
                self.block(".IP \\(bu 2");
                self.in_item = false;
            }
            TagEnd::CodeBlock => self.code(),
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.text);
                self.table
                    .last_mut()
                    .into_iter()
                    .for_each(|row| row.push(cell.clone()));
            }
            TagEnd::Table => self.table(),
            _ => {}
        }
    }

    fn title(&mut self) {
        let title = std::mem::take(&mut self.text);
        let (name, about) = title.split_once(": ").unwrap_or((&title, ""));
        let (name, section) = name.split_once('(').unwrap_or((name, "7)"));
        let section = section.trim_end_matches(')');
        let (upper, name) = (name.to_uppercase(), name.replace('-', "\\-"));
        // On a terminal there is one page, however long: no table breaks.
        let _ = write!(
            self.out,
            "'\\\" t\n.TH {upper} {section}\n.if n .pl 2000v\n.SH NAME\n{name} \\- {about}\n"
        );
    }

    fn heading(&mut self, level: &str) {
        let text = std::mem::take(&mut self.text);
        let text = if level == "SH" {
            text.to_uppercase()
        } else {
            text
        };
        let _ = writeln!(self.out, ".{level} {text}");
    }

    fn block(&mut self, begin: &str) {
        let text = std::mem::take(&mut self.text);
        let _ = writeln!(self.out, "{begin}\n{}", guarded(text.trim_end()));
    }

    fn code(&mut self) {
        self.in_code = false;
        let code = escaped(&std::mem::take(&mut self.text)).replace('-', "\\-");
        let code = guarded(code.trim_end());
        let _ = writeln!(self.out, ".PP\n.RS 2\n.nf\n{code}\n.fi\n.RE");
    }

    fn table(&mut self) {
        let rows = std::mem::take(&mut self.table);
        let widths = column_widths(&rows);
        let bold: Vec<&str> = widths.iter().map(|_| "lb").collect();
        let columns: Vec<String> = widths.iter().map(|width| format!("lw({width}n)")).collect();
        let (bold, columns) = (bold.join(" "), columns.join(" "));
        // Ragged and unhyphenated: columns are narrow.
        let _ = write!(
            self.out,
            ".PP\n.na\n.nh\n.TS\ntab(@);\n{bold}\n{columns}.\n"
        );
        for row in &rows {
            let cells: Vec<String> = row.iter().map(|cell| block_cell(cell)).collect();
            let _ = writeln!(self.out, "{}", cells.join("@"));
        }
        self.out.push_str(".TE\n.hy\n.ad\n");
    }
}

fn block_cell(cell: &str) -> String {
    if cell.is_empty() {
        return String::new();
    }
    format!("T{{\n{}\nT}}", guarded(cell))
}

/// Each column gets the width of its longest word, and of what is left as much as its longest cell
/// needs: columns that need little first, so that the others share the rest.
fn column_widths(rows: &[Vec<String>]) -> Vec<usize> {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let longest_of = |column: usize, len: fn(&str) -> usize| {
        let lens = rows
            .iter()
            .filter_map(|row| row.get(column).map(|cell| len(cell)));
        lens.max().unwrap_or_default().max(1)
    };
    let mut widths: Vec<usize> = (0..count).map(|at| longest_of(at, longest_word)).collect();
    let need = |at: usize| longest_of(at, shown_len);
    let mut by_need: Vec<(usize, usize)> =
        (0..count).map(|at| (need(at) - widths[at], at)).collect();
    by_need.sort_unstable();
    let mut left = TABLE_WIDTH.saturating_sub(3 * count + widths.iter().sum::<usize>());
    for (done, (need, at)) in by_need.into_iter().enumerate() {
        let more = need.min(left / (count - done));
        widths[at] += more;
        left -= more;
    }
    widths
}

fn longest_word(cell: &str) -> usize {
    cell.split_whitespace()
        .map(shown_len)
        .max()
        .unwrap_or_default()
}

/// Characters of a cell without its markup.
fn shown_len(cell: &str) -> usize {
    let fonts = 3 * cell.matches("\\f").count();
    let escapes = cell.matches("\\-").count() + cell.matches("\\e").count();
    cell.chars().count() - fonts - escapes
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
}
