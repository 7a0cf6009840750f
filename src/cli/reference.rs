//! The page of all commands, and the man pages, from what the program itself knows.

use std::path::Path;

use clap::{Command, CommandFactory, Parser};

use super::exit::{Exit, Failure};
use super::rights::Right;
use super::{Cli, bundle, check, decide, init, logs, plan, release, rights, status, trace, watch};

/// What each command may ask of the API server.
pub fn rights() -> Vec<(&'static str, Vec<Right>)> {
    let of = |command: &'static str, rights: &[Right]| (command, rights.to_vec());
    let mut back = decide::RIGHTS.to_vec();
    back.extend(
        decide::BREAK_GLASS_RIGHTS.iter().filter(|r| !has(&decide::RIGHTS, r)).map(|r| Right { optional: true, ..*r }),
    );
    vec![
        of("status", &status::RIGHTS),
        of("check", &check::RIGHTS),
        of("init", &init::RIGHTS),
        of("watch", &watch::RIGHTS),
        of("lint", &[]),
        of("plan", &plan::RIGHTS),
        of("diff", &plan::READS),
        of("history", &rights::READ),
        of("report", &rights::READ),
        of("logs", &logs::RIGHTS),
        of("trace", &trace::RIGHTS),
        of("notify", &rights::READ),
        of("bundle", &bundle::RIGHTS),
        of("release", &release::RIGHTS),
        of("approve", &decide::RIGHTS),
        of("reject", &decide::RIGHTS),
        of("suspend", &decide::RIGHTS),
        of("resume", &decide::RIGHTS),
        of("abort", &decide::RIGHTS),
        of("rollback", &back),
        of("retry", &decide::RIGHTS),
        of("resolve", &decide::RIGHTS),
        of("revalidate", &decide::RIGHTS),
        of("man", &[]),
    ]
}

fn has(rights: &[Right], right: &Right) -> bool {
    rights.iter().any(|r| (r.verb, r.group, r.resource) == (right.verb, right.group, right.resource))
}

/// The page `docs/commands.md`.
pub fn page() -> String {
    let mut out = String::from(HEAD);
    let cli = Cli::command();
    for command in cli.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        out.push_str(&section(command));
    }
    out.push_str(GLOBAL);
    out.push_str(&arguments(&cli));
    out.push_str(EXITS);
    out.push_str(RIGHTS);
    for (command, rights) in rights() {
        if cli.find_subcommand(command).is_some_and(Command::is_hide_set) {
            continue;
        }
        let list = |optional: bool| {
            let some: Vec<String> =
                rights.iter().filter(|r| r.optional == optional).map(|r| format!("`{r}`")).collect();
            if some.is_empty() { "none".to_owned() } else { some.join(", ") }
        };
        out.push_str(&format!("| `{command}` | {} | {} |\n", list(false), list(true)));
    }
    out
}

/// Whether a command line, without the words `kubectl cutover`, is one; for the tests of the documents.
///
/// # Errors
/// What is wrong with it.
pub fn parses(words: &[&str]) -> Result<(), String> {
    let all = std::iter::once("kubectl-cutover").chain(words.iter().copied());
    Cli::try_parse_from(all).map(drop).map_err(|e| e.to_string())
}

fn section(command: &Command) -> String {
    let name = command.get_name();
    let usage = command.clone().bin_name(format!("kubectl cutover {name}")).render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let more = command.get_after_long_help().map(|m| format!("\n{m}\n")).unwrap_or_default();
    format!("\n## `{name}`\n{about}\n\n```text\n{usage}\n```\n{}{more}", arguments(command))
}

fn arguments(command: &Command) -> String {
    let own = |a: &&clap::Arg| !a.is_hide_set() && !matches!(a.get_id().as_str(), "help" | "version_flag");
    let rows: Vec<String> = command.get_arguments().filter(own).map(argument).collect();
    match rows.as_slice() {
        [] => String::new(),
        rows => format!("\n| argument | |\n|---|---|\n{}", rows.concat()),
    }
}

fn argument(a: &clap::Arg) -> String {
    let value = a.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let value = Some(value).filter(|v| !v.is_empty() && a.get_action().takes_values());
    let flag = match (a.get_short(), a.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => String::new(),
    };
    let shown = [Some(flag).filter(|f| !f.is_empty()), value].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let mut help = a.get_long_help().or(a.get_help()).map(ToString::to_string).unwrap_or_default().replace('\n', " ");
    let values: Vec<String> =
        a.get_possible_values().iter().filter(|v| !v.is_hide_set()).map(|v| format!("`{}`", v.get_name())).collect();
    if !values.is_empty() && a.get_action().takes_values() {
        help.push_str(&format!(" One of {}.", values.join(", ")));
    }
    let default: Vec<String> = a.get_default_values().iter().map(|d| format!("`{}`", d.to_string_lossy())).collect();
    if !default.is_empty() && a.get_action().takes_values() {
        help.push_str(&format!(" Default: {}.", default.join(" ")));
    }
    format!("| `{}` | {} |\n", shown.replace('|', "\\|"), help.replace('|', "\\|"))
}

const HEAD: &str = "\
# Commands

`kubectl cutover` shows and steers cutovers with your own rights. This page is generated from the program; `kubectl cutover
COMMAND --help` says the same.
";

const GLOBAL: &str = "\n## Options of every command\n";

const EXITS: &str = "
## Exit codes

| code | meaning |
|---|---|
| 0 | done; what was waited for has come |
| 1 | the answer is no: the run failed or was aborted, a check fails, `lint` found an error, a decision was refused |
| 2 | the run was rolled back |
| 3 | the run waits for a person |
| 4 | the time of `--timeout` or `--wait` is over |
| 5 | the command could not do its work: no cluster, no such object, a missing right |
| 64 | the command line is wrong |
| 128 + n | signal n ended it: 130 after Ctrl-C |
";

const RIGHTS: &str = "
## Rights

A command asks the API server for nothing else than this. What is optional it does without, and says what it leaves out. A
decision also needs its verb on `cutovers/run` (`approve` and `reject`: on `cutovers/ROLE`), see [decisions](decisions.md).

| command | needs | optional |
|---|---|---|
";

/// Writes the man pages into a folder.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn man(folder: &Path) -> Result<Exit, Failure> {
    let broken = |e: std::io::Error| Failure::new(format!("{}: {e}", folder.display()));
    std::fs::create_dir_all(folder).map_err(broken)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder).map_err(broken)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_says_its_rights() {
        let cli = Cli::command();
        let commands: BTreeSet<&str> = cli.get_subcommands().map(Command::get_name).collect();
        let listed: Vec<(&str, Vec<Right>)> = rights();
        let listed: BTreeSet<&str> = listed.iter().map(|(command, _)| *command).collect();
        assert_eq!(commands, listed);
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_page_of_commands_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
        let made = page();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &made).expect("docs/commands.md can be written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == made, "docs/commands.md is not current: UPDATE_EXPECT=1 cargo test --lib cli::reference");
    }
}
