//! Text from outside, made harmless: a name, a comment or a log line may hold sequences that move the cursor, change the
//! title of the window, or turn the direction of what follows.

use std::borrow::Cow;

/// The text on one line, with every character that steers a terminal shown as its code.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| !steers(c)) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' '.to_string(),
        c if steers(c) => format!("\\u{{{:x}}}", u32::from(c)),
        c => c.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Control characters, and those that change the direction or hide.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn what_steers_a_terminal_is_shown_as_its_code() {
        assert_eq!(line("a plain name, ünïcode 漢"), "a plain name, ünïcode 漢");
        assert_eq!(line("\u{1b}[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(line("two\nlines\tand\r"), "two lines and ");
        assert_eq!(line("abc\u{202e}def\u{9b}31m"), "abc\\u{202e}def\\u{9b}31m");
    }
}
