//! Questions to whoever sits at the terminal.

use std::io::{BufRead, IsTerminal, Write};

use super::exit::{Exit, Failure};
use super::text::harmless;

/// Asks yes or no; without a terminal `--yes` is needed.
///
/// # Errors
/// Nobody can be asked, or the answer is no.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    match ask(&format!("{question} [y/N] "))?.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(declined()),
    }
}

/// Asks for a name to be typed, before something that cannot be undone.
///
/// # Errors
/// Nobody can be asked, or something else was typed.
pub(crate) fn confirm_by_name(question: &str, name: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    match ask(&format!("{question} Type {name} to go on: "))?.trim() == name {
        true => Ok(()),
        false => Err(declined()),
    }
}

fn declined() -> Failure {
    Failure::new("nothing was done: the answer was no").exit(Exit::Failed)
}

fn ask(question: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("this asks a question, and standard input is no terminal")
            .next("give --yes if you know the answer")
            .exit(Exit::Usage));
    }
    let unreadable = |e: std::io::Error| Failure::new(format!("the answer cannot be read: {e}"));
    let mut err = std::io::stderr().lock();
    err.write_all(harmless::line(question).as_bytes()).and_then(|()| err.flush()).map_err(unreadable)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(unreadable)?;
    Ok(line)
}
