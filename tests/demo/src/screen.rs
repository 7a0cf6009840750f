//! What people see: lines with a little colour on a terminal, plain ones elsewhere. Nothing is decided here.

use std::io::{IsTerminal, Write};

/// How a piece of text looks.
#[derive(Clone, Copy)]
pub enum Look {
    /// As it is.
    Plain,
    /// Headings.
    Bold,
    /// Explanations.
    Dim,
    /// It went well.
    Green,
    /// Worth a look.
    Yellow,
    /// It went wrong.
    Red,
}

/// Where the progress goes.
pub struct Screen {
    colours: bool,
    to_stderr: bool,
}

impl Screen {
    /// Progress on stdout, or on stderr where stdout is kept for JSON.
    pub fn new(to_stderr: bool) -> Self {
        let terminal = if to_stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        // https://no-color.org: any value but an empty one counts.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: terminal && !refused, to_stderr }
    }

    /// The text in that look, or as it is.
    pub fn paint(&self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Plain => return text.to_owned(),
            Look::Bold => "1",
            Look::Dim => "2",
            Look::Green => "32",
            Look::Yellow => "33",
            Look::Red => "31",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// One line, or several.
    pub fn line(&self, text: &str) {
        // Nobody reads on, for example `make demo | head`: the demonstration still has to clean up.
        let _ =
            if self.to_stderr { writeln!(std::io::stderr(), "{text}") } else { writeln!(std::io::stdout(), "{text}") };
    }

    /// A line in one look.
    pub fn say(&self, look: Look, text: &str) {
        self.line(&self.paint(look, text));
    }

    /// A heading with an empty line before it.
    pub fn heading(&self, text: &str) {
        self.line("");
        self.say(Look::Bold, text);
    }

    /// An explanation.
    pub fn explain(&self, text: &str) {
        for line in text.lines() {
            self.say(Look::Dim, &format!("  {}", line.trim()));
        }
    }
}
