//! From a key to a word to the operator.

use serde_json::json;

use super::*;
use crate::api::decision::{Resolution, Verb};
use crate::cli::decide::say::Word;
use crate::cli::status::model::Status;
use crate::cli::status::read::Reading;
use crate::cli::text::{Line, Look};
use crate::cli::watch::choose::Pick;
use crate::cli::watch::keys::{Act, Key, Mode, press, recheck};
use crate::cli::watch::screen::Scroll;

fn seen(status: Value) -> (Reading, Status) {
    let store = whole(cutover("2.4.0", json!({})), vec![run(2, "2.4.0", Some(status))]);
    let reading = store.reading(&Pick::Newest).expect("a Cutover");
    let status = Status::of(&reading, " -n prod", time(10));
    (reading, status)
}

struct Hands {
    mode: Mode,
    scroll: Scroll,
    seen: (Reading, Status),
}

impl Hands {
    fn on(status: Value) -> Self {
        Self { mode: Mode::Watch, scroll: Scroll { at: 0, page: 10, all: 30 }, seen: seen(status) }
    }

    fn press(&mut self, key: Key) -> Act {
        press(key, &mut self.mode, &mut self.scroll, Some((&self.seen.0, &self.seen.1)))
    }

    fn text(&mut self, text: &str) -> Act {
        let mut last = Act::Nothing;
        for c in text.chars() {
            last = self.press(if c == '\n' { Key::Enter } else { Key::Char(c) });
        }
        last
    }

    /// What the window says.
    fn window(&self) -> String {
        let show = |lines: &[Line]| lines.iter().map(|l| l.show(Look::plain()) + "\n").collect::<String>();
        match &self.mode {
            Mode::Watch => String::new(),
            Mode::Help => "help".into(),
            Mode::Ask(ask) => format!("{}\n{}{}", ask.title, show(&ask.lines), show(&ask.prompt())),
            Mode::Sent(what) => format!("sent: {what}"),
            Mode::Told(title, lines) => format!("{title}: {}", show(lines)),
        }
    }
}

fn said(act: Act) -> (Word, String) {
    match act {
        Act::Say(word, uid) => (word, uid),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rollback_is_said_once_the_name_of_the_run_is_typed() {
    let mut hands = Hands::on(observing());
    hands.text("r");
    let window = hands.window();
    for wanted in [
        "Rollback run web-2 of prod/web",
        "Service web: its users go back from green to blue",
        "open connections to green",
        "step migrate is undone",
        "step announce stays as it is: it has no undo",
        "Type web-2 and Enter to roll back:",
    ] {
        assert!(window.contains(wanted), "{wanted:?} is not in\n{window}");
    }
    // The undo of the later step first.
    assert!(window.find("announce") < window.find("migrate"), "{window}");
    assert!(matches!(hands.text("yes\n"), Act::Nothing));
    assert!(hands.window().contains("that is not the name of the run"));
    for _ in 0..3 {
        hands.press(Key::Backspace);
    }
    hands.text("web-2\n");
    assert!(hands.window().contains("Why?"));
    let (word, uid) = said(hands.text("errors rise\n"));
    assert_eq!(word, Word::of(Verb::Rollback, Some("errors rise".into())));
    assert_eq!(uid, "u2");
    assert_eq!(hands.window(), "sent: Rollback run web-2 of prod/web");
    // The answer comes by itself; Ctrl-C leaves all the same.
    assert!(matches!(hands.press(Key::Char('q')), Act::Nothing));
    assert!(matches!(hands.press(Key::Break), Act::Leave));
}

#[test]
fn a_gate_is_approved_for_what_was_shown() {
    let mut hands = Hands::on(at_gate("t"));
    hands.text("a");
    let window = hands.window();
    for wanted in ["look at the board first", "a call by phone", "migrate: exitCode=0", "1 qa   2 operations"] {
        assert!(window.contains(wanted), "{wanted:?} is not in\n{window}");
    }
    hands.text("2");
    assert!(hands.window().contains("Approve as operations?"));
    let (word, _) = said(hands.text("y\n"));
    assert_eq!((word.verb, word.comment), (Verb::Approve, None));
    assert_eq!(
        (word.gate.as_deref(), word.role.as_deref(), word.token.as_deref()),
        (Some("go"), Some("operations"), Some("t"))
    );
}

#[test]
fn an_open_question_is_answered_once_what_it_does_was_shown() {
    let mut asked = observing();
    asked["question"] = json!({"subject": "trigger/errors", "text": "trigger errors fired", "at": at(9),
        "defaultRollback": true});
    let mut hands = Hands::on(asked.clone());
    hands.text("d");
    let window = hands.window();
    for wanted in ["trigger errors fired", "1 succeeded: goes on", "2 failed: rolls back to blue"] {
        assert!(window.contains(wanted), "{wanted:?} is not in\n{window}");
    }
    hands.text("2");
    let window = hands.window();
    assert!(window.contains("Service web: its users go back") && window.contains("Type web-2"), "{window}");
    hands.text("web-2\n");
    let (word, _) = said(hands.text("too many\n"));
    assert_eq!((word.verb, word.step.as_deref()), (Verb::Resolve, Some("decision")));
    assert_eq!(word.outcome, Some(Resolution::Failed));
    // Going on wants no name; a question that was answered meanwhile is put away.
    let mut hands = Hands::on(asked);
    hands.text("d1");
    assert!(hands.window().contains("Say succeeded? y"), "{}", hands.window());
    let (reading, status) = seen(observing());
    recheck(&mut hands.mode, &reading, &status);
    assert!(hands.window().contains("not open any more"), "{}", hands.window());
}

#[test]
fn a_question_about_what_has_changed_is_put_away() {
    for (now, wanted) in
        [(at_gate("other"), "what gate go stands on has changed"), (observing(), "gate go does not wait any more")]
    {
        let mut hands = Hands::on(at_gate("t"));
        hands.text("x1");
        let (reading, status) = seen(at_gate("t"));
        recheck(&mut hands.mode, &reading, &status);
        assert!(hands.window().contains("Reject as qa?"), "nothing has changed");
        let (reading, status) = seen(now);
        recheck(&mut hands.mode, &reading, &status);
        assert!(hands.window().contains(wanted), "{}", hands.window());
        assert!(matches!(hands.text("y\n"), Act::Nothing));
    }
    let mut hands = Hands::on(observing());
    hands.text("r");
    let (reading, status) = seen(over("Completed"));
    recheck(&mut hands.mode, &reading, &status);
    assert!(hands.window().contains("run web-2 has completed and is closed"), "{}", hands.window());
}

#[test]
fn what_the_operator_would_refuse_is_not_asked() {
    for (status, key, wanted) in [
        (observing(), "b", "r rolls back"),
        (observing(), "a", "no gate waits"),
        (observing(), "d", "no question is open"),
        (at_gate("t"), "r", "b aborts the run"),
        (over("RolledBack"), "r", "run web-2 is over (RolledBack)"),
        (over("Completed"), "s", "run web-2 is over (Completed)"),
    ] {
        let mut hands = Hands::on(status);
        hands.text(key);
        assert!(hands.window().starts_with("Not now") && hands.window().contains(wanted), "{}", hands.window());
        hands.press(Key::Esc);
        assert!(matches!(hands.mode, Mode::Watch));
    }
}

#[test]
fn what_is_typed_on_when_a_question_is_put_away_does_nothing() {
    // Letters that are keys, spaces and Enter are in it.
    let typed = "as customers shop: q\n ? h\n";
    let mut gone = Hands::on(observing());
    gone.text("rweb-2\ncus");
    let (reading, status) = seen(over("Completed"));
    recheck(&mut gone.mode, &reading, &status);
    gone.seen = (reading, status);
    let mut refused = Hands::on(at_gate("t"));
    refused.text("r");
    let mut help = Hands::on(observing());
    help.text("?");
    // A word in place of a number or of y.
    let mut role = Hands::on(at_gate("t"));
    role.text("a");
    let mut agree = Hands::on(observing());
    agree.text("s");
    for (mut hands, wanted) in [
        (gone, "run web-2 has completed and is closed"),
        (refused, "Not now"),
        (help, "help"),
        (role, "In which role?"),
        (agree, "Suspend?"),
    ] {
        for c in typed.chars() {
            let key = if c == '\n' { Key::Enter } else { Key::Char(c) };
            assert!(matches!(hands.press(key), Act::Nothing), "{wanted}: {c:?}");
            hands.press(Key::Backspace);
            assert!(hands.window().contains(wanted), "{c:?}: {}", hands.window());
        }
        hands.press(Key::Esc);
        assert!(matches!(hands.mode, Mode::Watch), "{wanted}");
    }
}

#[test]
fn suspend_becomes_resume_and_can_be_left() {
    let mut hands = Hands::on(observing());
    hands.text("s");
    assert!(hands.window().contains("Suspend?"));
    hands.text("n");
    assert!(hands.window().contains("nothing has been said: y says it"), "{}", hands.window());
    assert!(matches!(hands.press(Key::Esc), Act::Nothing) && matches!(hands.mode, Mode::Watch));
    let mut suspended = observing();
    suspended["suspended"] = json!(at(8));
    let mut hands = Hands::on(suspended);
    hands.text("s");
    assert!(hands.window().contains("Resume?"));
    assert!(matches!(hands.press(Key::Esc), Act::Nothing) && matches!(hands.mode, Mode::Watch));
    hands.text("s");
    assert_eq!(said(hands.text("y\n")).0.verb, Verb::Resume);
}

#[test]
fn the_screen_scrolls_no_further_than_there_is_something() {
    let mut hands = Hands::on(observing());
    for (key, wanted) in [
        (Key::Down, 1),
        (Key::PageDown, 10),
        (Key::PageDown, 19),
        (Key::PageDown, 20),
        (Key::Down, 20),
        (Key::Up, 19),
        (Key::PageUp, 10),
        (Key::End, 20),
        (Key::Home, 0),
        (Key::Up, 0),
    ] {
        hands.press(key);
        assert_eq!(hands.scroll.at, wanted, "{key:?}");
    }
    assert!(matches!(hands.press(Key::Char('q')), Act::Quit));
    assert!(matches!(hands.press(Key::Break), Act::Leave));
    hands.text("?");
    assert_eq!(hands.window(), "help");
}
