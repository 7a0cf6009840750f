//! PURE. What a key does.

use super::ask::{Ask, Step};
use super::screen::Scroll;
use crate::api::decision::Verb;
use crate::cli::decide::say::Word;
use crate::cli::status::model::Status;
use crate::cli::status::read::Reading;
use crate::cli::text::Line;

/// A key, as far as one is of use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    Enter,
    Esc,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C.
    Break,
}

/// What the keys are about at the moment.
#[derive(Debug)]
pub(crate) enum Mode {
    Watch,
    Help,
    /// What a word will touch, and whether it is meant.
    Ask(Box<Ask>),
    /// Said, not answered yet.
    Sent(String),
    /// Something to be read: its title and its lines.
    Told(String, Vec<Line>),
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Act {
    Nothing,
    Quit,
    /// Ctrl-C.
    Leave,
    /// Say this of the run with this uid.
    Say(Word, String),
}

/// Takes a key. `seen`: what the screen shows. No window is left but by Esc: whoever types into one that has gone, or has
/// become another one meanwhile, does nothing by it.
pub(crate) fn press(key: Key, mode: &mut Mode, scroll: &mut Scroll, seen: Option<(&Reading, &Status)>) -> Act {
    if key == Key::Break {
        return Act::Leave;
    }
    match mode {
        Mode::Watch => return watching(key, mode, scroll, seen),
        // What is typed on for a question that has just been put away is not to act as keys.
        Mode::Help | Mode::Told(..) if key == Key::Esc => *mode = Mode::Watch,
        Mode::Help | Mode::Told(..) => {}
        // The answer comes by itself.
        Mode::Sent(_) => {}
        Mode::Ask(ask) => match ask.press(key) {
            Step::Stay => {}
            Step::Leave => *mode = Mode::Watch,
            Step::Say(word) => {
                let uid = ask.uid.clone();
                *mode = Mode::Sent(ask.title.clone());
                return Act::Say(word, uid);
            }
        },
    }
    Act::Nothing
}

fn watching(key: Key, mode: &mut Mode, scroll: &mut Scroll, seen: Option<(&Reading, &Status)>) -> Act {
    let page = isize::try_from(scroll.page.saturating_sub(1).max(1)).unwrap_or(1);
    match key {
        Key::Up | Key::Char('k') => scroll.by(-1),
        Key::Down | Key::Char('j') => scroll.by(1),
        Key::PageUp => scroll.by(-page),
        Key::PageDown | Key::Char(' ') => scroll.by(page),
        Key::Home | Key::Char('g') => scroll.by(isize::MIN),
        Key::End | Key::Char('G') => scroll.by(isize::MAX),
        Key::Char('q') | Key::Esc => return Act::Quit,
        Key::Char('?' | 'h') => *mode = Mode::Help,
        Key::Char(c @ ('a' | 'x' | 'd' | 's' | 'b' | 'r')) => {
            let Some((reading, status)) = seen else { return Act::Nothing };
            let verb = match c {
                'a' => Verb::Approve,
                'x' => Verb::Reject,
                'd' => Verb::Resolve,
                // Ask turns it into Resume where the run is suspended.
                's' => Verb::Suspend,
                'b' => Verb::Abort,
                _ => Verb::Rollback,
            };
            *mode = match Ask::of(verb, reading, status) {
                Ok(ask) => Mode::Ask(Box::new(ask)),
                Err(why) => Mode::Told("Not now".into(), vec![Line::new().text(why)]),
            };
        }
        Key::Char(_) | Key::Enter | Key::Backspace | Key::Break => {}
    }
    Act::Nothing
}

/// What is asked is put away where it is about something else by now.
pub(crate) fn recheck(mode: &mut Mode, reading: &Reading, status: &Status) {
    if let Mode::Ask(ask) = mode
        && let Some(why) = ask.is_outdated(reading, status)
    {
        *mode = Mode::Told("Look again".into(), vec![Line::new().text(why)]);
    }
}
