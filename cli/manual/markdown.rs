//! A page of the manual as it is written: Markdown, read into blocks that can be shown as source
//! for man or as plain text.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// What is shown one below another.
#[derive(Debug, PartialEq)]
pub(super) enum Block {
    /// `name(section): about`.
    Title(Text),
    Heading(Text),
    Subheading(Text),
    Paragraph(Text),
    /// Of a list, with its number if those count.
    Item(Option<u64>, Text),
    /// Lines that stay as they are.
    Code(String),
    /// Rows of cells; the first has the headings.
    Table(Vec<Vec<Text>>),
}

/// Words on a line, or cut into several.
pub(super) type Text = Vec<Span>;

/// Words of one look.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) words: String,
    pub(super) look: Look,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Look {
    #[default]
    Plain,
    Code,
    Emphasis,
    Strong,
}

/// The blocks of a page.
pub(super) fn blocks(markdown: &str) -> Vec<Block> {
    let mut reader = Reader::default();
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        reader.take(event);
    }
    reader.blocks
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    /// Of the block that is being read.
    text: Text,
    table: Vec<Vec<Text>>,
    look: Look,
    /// The number of the next item.
    number: Option<u64>,
    in_item: bool,
}

impl Reader {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(words) => self.push(&words, self.look),
            Event::Code(words) => self.push(&words, Look::Code),
            Event::SoftBreak | Event::HardBreak => self.push("\n", Look::Plain),
            _ => {}
        }
    }

    fn push(&mut self, words: &str, look: Look) {
        self.text.push(Span {
            words: words.to_owned(),
            look,
        });
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::List(number) => self.number = *number,
            Tag::Item => self.in_item = true,
            Tag::Emphasis => self.look = Look::Emphasis,
            Tag::Strong => self.look = Look::Strong,
            Tag::TableHead | Tag::TableRow => self.table.push(Vec::new()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        let block = match tag {
            TagEnd::Heading(HeadingLevel::H1) => Block::Title(self.words()),
            TagEnd::Heading(HeadingLevel::H2) => Block::Heading(self.words()),
            TagEnd::Heading(_) => Block::Subheading(self.words()),
            TagEnd::Paragraph if !self.in_item => Block::Paragraph(self.words()),
            TagEnd::Item => {
                self.in_item = false;
                let number = self.number;
                self.number = number.map(|number| number + 1);
                Block::Item(number, self.words())
            }
            TagEnd::CodeBlock => Block::Code(plain(&self.words()).trim_end().to_owned()),
            TagEnd::Table => Block::Table(std::mem::take(&mut self.table)),
            TagEnd::TableCell => {
                let cell = self.words();
                self.table
                    .last_mut()
                    .into_iter()
                    .for_each(|row| row.push(cell.clone()));
                return;
            }
            TagEnd::Emphasis | TagEnd::Strong => {
                self.look = Look::Plain;
                return;
            }
            _ => return,
        };
        self.blocks.push(block);
    }

    fn words(&mut self) -> Text {
        std::mem::take(&mut self.text)
    }
}

/// The words alone.
pub(super) fn plain(text: &[Span]) -> String {
    text.iter().map(|span| span.words.as_str()).collect()
}

/// A longer word of a table may be cut behind these.
const LONG_WORD: usize = 24;
pub(super) const CUTS: [char; 2] = ['/', '_'];

/// The pieces of a word that stay whole in the column of a table.
pub(super) fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let is_long = word.chars().count() > LONG_WORD;
    word.split_inclusive(move |c| is_long && CUTS.contains(&c))
}

/// Each column gets the width of its longest piece, and of what is left to `width` as much as its
/// longest cell needs: columns that need little first, so that the others share the rest. `shown`
/// is a cell as it will be seen, and `gap` what stands between two columns.
pub(super) fn column_widths(
    rows: &[Vec<Text>],
    shown: fn(&[Span]) -> String,
    width: usize,
    gap: usize,
) -> Vec<usize> {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let longest_of = |column: usize, len: fn(&str) -> usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let lens = cells.map(|cell| len(&shown(cell)));
        lens.max().unwrap_or_default().max(1)
    };
    let mut widths: Vec<usize> = (0..count).map(|at| longest_of(at, longest_piece)).collect();
    let need = |at: usize| longest_of(at, |cell| cell.chars().count());
    let mut by_need: Vec<(usize, usize)> =
        (0..count).map(|at| (need(at) - widths[at], at)).collect();
    by_need.sort_unstable();
    let mut left = width.saturating_sub(gap * count + widths.iter().sum::<usize>());
    for (done, (need, at)) in by_need.into_iter().enumerate() {
        let more = need.min(left / (count - done));
        widths[at] += more;
        left -= more;
    }
    widths
}

fn longest_piece(cell: &str) -> usize {
    let pieces = cell.split_whitespace().flat_map(pieces);
    let lens = pieces.map(|piece| piece.chars().count());
    lens.max().unwrap_or_default()
}
