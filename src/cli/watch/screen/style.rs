//! PURE. Lines of a page as ratatui has them: in the tones of the look, cut or wrapped to the room that there is.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};

use crate::cli::text::page::columns;
use crate::cli::text::wrap::{self, pieces};
use crate::cli::text::{Line, Look, Tone};

/// A tone. Without colours there is none: a sign or a word says the same.
pub(crate) fn style(tone: Tone, look: Look) -> Style {
    let style = Style::default();
    if !look.colour {
        return style;
    }
    match tone {
        Tone::Plain => style,
        Tone::Strong => style.add_modifier(Modifier::BOLD),
        Tone::Dim => style.add_modifier(Modifier::DIM),
        Tone::Good => style.fg(Color::Green),
        Tone::Bad => style.fg(Color::Red),
        Tone::Warn => style.fg(Color::Yellow),
        Tone::Busy => style.fg(Color::Cyan),
    }
}

/// The line, cut to the width.
pub(crate) fn cut(line: &Line, look: Look, width: usize) -> Row<'static> {
    let whole = line.width(look) <= width;
    let mut left = if whole { width } else { width.saturating_sub(1) };
    let mut row = Row::default();
    'pieces: for (tone, text) in pieces(line, look) {
        let mut shown = String::new();
        for c in text.chars() {
            let wide = columns(c.encode_utf8(&mut [0; 4]));
            if wide > left {
                row.push_span(Span::styled(shown, style(tone, look)));
                break 'pieces;
            }
            left -= wide;
            shown.push(c);
        }
        row.push_span(Span::styled(shown, style(tone, look)));
    }
    if !whole && width > 0 {
        row.push_span(Span::raw(if look.unicode { "…" } else { "~" }));
    }
    row
}

/// The line in as many rows as it needs, broken between words; rows after the first are indented.
pub(crate) fn wrap(line: &Line, look: Look, width: usize) -> Vec<Row<'static>> {
    let span = |(tone, text): (Tone, String)| Span::styled(text, style(tone, look));
    let rows = wrap::wrap(line, look, width).into_iter();
    rows.map(|row| Row::from(row.into_iter().map(span).collect::<Vec<_>>())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::Glyph;

    fn text(rows: &[Row]) -> Vec<String> {
        rows.iter().map(|r| r.spans.iter().map(|s| s.content.as_ref()).collect::<String>()).collect()
    }

    #[test]
    fn lines_are_cut_and_wrapped_to_the_room() {
        let look = Look::plain();
        let line = Line::new().text("  ").sign(Tone::Warn, Glyph::Warn).text("a word and 漢字 more");
        assert_eq!(text(&[cut(&line, look, 10)]), ["  ⚠ a wor…"]);
        assert_eq!(text(&wrap(&line, look, 12)), ["  ⚠ a word ", "    and 漢字 ", "    more"]);
        for width in 1..40 {
            assert!(wrap(&line, look, width.max(4)).iter().all(|row| row.width() <= width.max(4) + 1), "{width}");
        }
        let long = Line::new().text("x".repeat(25));
        assert_eq!(text(&wrap(&long, look, 10)), ["x".repeat(10), "x".repeat(10), "x".repeat(5)]);
    }

    #[test]
    fn without_colours_nothing_is_styled() {
        for tone in [Tone::Strong, Tone::Dim, Tone::Good, Tone::Bad, Tone::Warn, Tone::Busy] {
            assert_eq!(style(tone, Look::plain()), Style::default());
            assert_ne!(style(tone, Look { colour: true, ..Look::plain() }), Style::default());
        }
    }
}
