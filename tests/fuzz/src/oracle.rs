//! What must hold of every output, whatever the input was.

/// Longest line that is shown to people, in characters. A journal holds longer ones than the API server would take, since
/// its bounds are not checked again when it is read; a page shows no more of a text than there is.
pub const LONGEST_LINE: usize = 4 * 1024 * 1024;

/// No character of a line steers a terminal, hides, or turns the direction of what follows.
///
/// # Panics
/// One does.
pub fn harmless(what: &str, line: &str) {
    let steers = |c: &char| {
        c.is_control()
            || ('\u{200b}'..='\u{200f}').contains(c)
            || ('\u{2028}'..='\u{202e}').contains(c)
            || ('\u{2066}'..='\u{2069}').contains(c)
            || *c == '\u{feff}'
    };
    let found = line.chars().find(steers);
    assert_eq!(found, None, "{what} steers the terminal: {line:?}");
    bounded(what, line, LONGEST_LINE);
}

/// A text has no more characters than this.
///
/// # Panics
/// It has.
pub fn bounded(what: &str, text: &str, most: usize) {
    let found = text.chars().count();
    assert!(found <= most, "{what} has {found} characters, more than {most}");
}
