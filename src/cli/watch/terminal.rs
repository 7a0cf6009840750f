//! The terminal as the live screen has it; given back as it was on every way out, a panic included.

use std::io::{Stdout, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal as Ratatui;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use tokio::sync::mpsc;

use super::keys::Key;
use crate::cli::exit::Failure;

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// What the terminal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Key(Key),
    /// Its size is another one, or it is to be drawn for another reason.
    Redraw,
}

/// The terminal while the screen is live.
pub(super) struct Terminal {
    pub screen: Ratatui<CrosstermBackend<Stdout>>,
}

impl Terminal {
    /// Takes it.
    ///
    /// # Errors
    /// It is none, or is gone.
    pub(super) fn take() -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::new(format!("the terminal cannot be used: {e}"));
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            // The message of a panic would be lost with the screen.
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                before(panic);
            }));
        });
        enable_raw_mode().map_err(failed)?;
        TAKEN.store(true, Ordering::SeqCst);
        // From here on whatever fails gives it back.
        let taken =
            execute!(stdout(), EnterAlternateScreen).and_then(|()| Ratatui::new(CrosstermBackend::new(stdout())));
        match taken {
            Ok(screen) => Ok(Self { screen }),
            Err(e) => {
                give_back();
                Err(failed(e))
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once, whoever comes first.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nobody is left who could be told.
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// What is typed. The thread waits for it until the program ends.
pub(super) fn inputs() -> mpsc::Receiver<Input> {
    let (tell, inputs) = mpsc::channel(64);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let input = match event {
                Event::Key(key) => of_key(key).map(Input::Key),
                Event::Resize(..) | Event::FocusGained => Some(Input::Redraw),
                Event::FocusLost | Event::Mouse(_) | Event::Paste(_) => None,
            };
            if input.is_some_and(|input| tell.blocking_send(input).is_err()) {
                return;
            }
        }
    });
    inputs
}

fn of_key(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c' | 'C') if control => Key::Break,
        // With Alt it is Esc and a key that have come as one: neither is taken, rather than the wrong one of them.
        KeyCode::Char(_) if control || key.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_a_key_unless_something_is_held_with_it() {
        let key = |c, modifiers| of_key(KeyEvent::new(KeyCode::Char(c), modifiers));
        assert_eq!(key('r', KeyModifiers::NONE), Some(Key::Char('r')));
        assert_eq!(key('R', KeyModifiers::SHIFT), Some(Key::Char('R')));
        assert_eq!(key('c', KeyModifiers::CONTROL), Some(Key::Break));
        for modifiers in [KeyModifiers::CONTROL, KeyModifiers::ALT] {
            assert_eq!(key('r', modifiers), None, "{modifiers:?}");
        }
    }
}
