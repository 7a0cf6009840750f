//! What a page looks like: colours, signs, width.

use std::io::IsTerminal;

use crate::cli::global::When;

/// What a text says by its colour. Never by that alone: a sign or a word says the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// What is to be read first.
    Strong,
    /// What matters less.
    Dim,
    Good,
    Bad,
    /// Needs somebody's eyes.
    Warn,
    /// Under way.
    Busy,
}

impl Tone {
    /// The SGR parameters.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warn => "33",
            Self::Busy => "36",
        }
    }
}

/// A sign, one for each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glyph {
    /// Not begun.
    Todo,
    Busy,
    /// Succeeded.
    Good,
    Bad,
    /// Left out.
    Skipped,
    /// Its outcome is not known.
    Unknown,
    /// Waits for a person.
    Person,
    /// Undone, or gone back.
    Back,
    /// A warning.
    Warn,
    /// Above the last branch of a tree.
    Branch,
    /// The last branch.
    Last,
    /// Beside further branches.
    Trunk,
    /// Leads to what comes next.
    Arrow,
}

impl Glyph {
    fn unicode(self) -> &'static str {
        match self {
            Self::Todo => "○",
            Self::Busy => "◐",
            Self::Good => "✔",
            Self::Bad => "✖",
            Self::Skipped => "–",
            Self::Unknown => "?",
            Self::Person => "◆",
            Self::Back => "↩",
            Self::Warn => "⚠",
            Self::Branch => "├─",
            Self::Last => "└─",
            Self::Trunk => "│ ",
            Self::Arrow => "→",
        }
    }

    fn ascii(self) -> &'static str {
        match self {
            Self::Todo => ".",
            Self::Busy => "*",
            Self::Good => "+",
            Self::Bad => "x",
            Self::Skipped => "-",
            Self::Unknown => "?",
            Self::Person => "@",
            Self::Back => "<",
            Self::Warn => "!",
            Self::Branch => "|-",
            Self::Last => "`-",
            Self::Trunk => "| ",
            Self::Arrow => "->",
        }
    }
}

/// How pages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub colour: bool,
    pub unicode: bool,
    /// Columns; lines are not cut where nobody looks at them on a terminal.
    pub width: Option<usize>,
}

impl Look {
    /// Neither colours nor a width: for files and tests.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { colour: false, unicode: true, width: None }
    }

    /// The look of standard output.
    pub(crate) fn of_stdout(when: When) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        let colour = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|t| t != "dumb"),
        };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let locale = locale.map(|l| l.to_string_lossy().to_ascii_uppercase()).unwrap_or_default();
        let unicode = locale.contains("UTF-8") || locale.contains("UTF8");
        let width = terminal.then(|| ratatui::crossterm::terminal::size().map(|(w, _)| usize::from(w)).ok()).flatten();
        Self { colour, unicode, width: width.filter(|w| *w >= 20) }
    }

    pub(crate) fn glyph(self, glyph: Glyph) -> &'static str {
        if self.unicode { glyph.unicode() } else { glyph.ascii() }
    }

    /// The text in its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        match tone.code() {
            code if self.colour && !code.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }
}
