//! Completion: kubectl runs `kubectl_complete-cutover` with the words so far, and reads a candidate a line.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Command, CommandFactory};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::ListParams;

use super::Cli;
use super::exit::Failure;
use super::global::Global;
use super::rights::{OURS, Right};
use super::session::Session;
use crate::api::cutover::Cutover;
use crate::api::run::CutoverRun;

/// The name under which kubectl looks for it.
pub(super) const PROGRAM: &str = "kubectl_complete-cutover";

/// kubectl's own marks for its shells (cobra's): nothing else than these candidates, no names of files.
const NO_FILES: &str = ":4";

/// A cluster that does not answer at once is no reason for the shell to hang.
const PATIENCE: Duration = Duration::from_secs(2);

const RIGHTS: [Right; 3] = [
    Right::wish("list", OURS, "cutovers"),
    Right::wish("list", OURS, "cutoverruns"),
    Right::wish("list", "", "services"),
];

/// The answer to kubectl.
pub(super) async fn answer(words: Vec<OsString>) -> String {
    let mut lines = statics(&words);
    if let Some(what) = wanted(&Cli::command(), &words) {
        let global = global(&words);
        // Whoever completes a word wants no error in its place.
        if let Ok(Ok(names)) = tokio::time::timeout(PATIENCE, names(&global, what)).await {
            let begun = words.last().map(|w| w.to_string_lossy().into_owned()).unwrap_or_default();
            lines.extend(names.into_iter().filter(|n| n.starts_with(&begun)));
        }
    }
    lines.iter().map(|l| format!("{l}\n")).collect::<String>() + NO_FILES + "\n"
}

/// Commands, flags and their values.
fn statics(words: &[OsString]) -> Vec<String> {
    let args: Vec<OsString> = std::iter::once("kubectl-cutover".into()).chain(words.iter().cloned()).collect();
    let last = args.len() - 1;
    let found = clap_complete::engine::complete(&mut Cli::command(), args, last, None).unwrap_or_default();
    let line = |c: clap_complete::CompletionCandidate| {
        let value = c.get_value().to_string_lossy().into_owned();
        match c.get_help() {
            Some(help) => format!("{value}\t{help}").lines().next().unwrap_or_default().to_owned(),
            None => value,
        }
    };
    found.into_iter().filter(|c| !c.is_hide_set()).map(line).collect()
}

/// What names are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Cutovers,
    Services,
}

/// Which names the last word may be one of.
fn wanted(cli: &Command, words: &[OsString]) -> Option<Names> {
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let (last, before) = words.split_last()?;
    let command = before.iter().find_map(|w| cli.find_subcommand(w))?;
    if last.starts_with('-') || before.last().is_some_and(|flag| takes_a_value(cli, command, flag)) {
        return None;
    }
    let mut positionals = command.get_positionals().map(|p| p.get_id().as_str());
    match positionals.next()? {
        "name" => Some(Names::Cutovers),
        "service" => Some(Names::Services),
        _ => None,
    }
}

fn takes_a_value(cli: &Command, command: &Command, flag: &str) -> bool {
    let of = |c: &Command| {
        c.get_arguments().any(|a| {
            let named = a.get_long().is_some_and(|l| flag == format!("--{l}"))
                || a.get_short().is_some_and(|s| flag == format!("-{s}"));
            named && a.get_action().takes_values()
        })
    };
    of(cli) || of(command)
}

/// The flags among the words that say which cluster and namespace.
fn global(words: &[OsString]) -> Global {
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let value = |flags: &[&str]| {
        let spaced = words.windows(2).find(|w| flags.contains(&w[0].as_str())).map(|w| w[1].clone());
        let joined = || {
            words.iter().find_map(|w| flags.iter().find_map(|f| Some(w.strip_prefix(f)?.strip_prefix('=')?.to_owned())))
        };
        spaced.or_else(joined)
    };
    Global {
        namespace: value(&["-n", "--namespace"]),
        context: value(&["--context"]),
        kubeconfig: value(&["--kubeconfig"]).map(Into::into),
        as_user: value(&["--as"]),
        request_timeout: PATIENCE,
        ..Global::default()
    }
}

async fn names(global: &Global, what: Names) -> Result<Vec<String>, Failure> {
    let session = Session::open(global, &RIGHTS).await?;
    let (namespace, all) = (Some(session.namespace()), ListParams::default());
    match what {
        Names::Cutovers => {
            let cutovers: Vec<Cutover> = session.cluster.list(namespace, &all).await?;
            let runs: Vec<CutoverRun> = session.cluster.list(namespace, &all).await.unwrap_or_default();
            Ok(cutovers.iter().map(ResourceExt::name_any).chain(runs.iter().map(ResourceExt::name_any)).collect())
        }
        Names::Services => {
            let services: Vec<Service> = session.cluster.list(namespace, &all).await?;
            Ok(services.iter().map(ResourceExt::name_any).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Vec<OsString> {
        text.iter().map(OsString::from).collect()
    }

    #[test]
    fn commands_flags_and_their_values_are_completed() {
        let of = |text: &[&str]| {
            statics(&words(text))
                .iter()
                .map(|l| l.split('\t').next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert!(of(&["sta"]).contains(&"status".to_owned()));
        assert!(of(&["rollback", "--with"]).contains(&"--without-operator".to_owned()));
        assert_eq!(of(&["resolve", "shop", "restore", "und"]), ["undo-first"]);
    }

    #[test]
    fn names_are_wanted_where_a_name_may_stand() {
        let of = |text: &[&str]| wanted(&Cli::command(), &words(text));
        assert_eq!(of(&["status", "sh"]), Some(Names::Cutovers));
        assert_eq!(of(&["status", "-n", "pr"]), None);
        assert_eq!(of(&["status", "--wa"]), None);
        assert_eq!(of(&["trace", ""]), Some(Names::Services));
        assert_eq!(of(&["st"]), None);
        let global = global(&words(&["status", "-n", "prod", "--context=night", ""]));
        assert_eq!((global.namespace.as_deref(), global.context.as_deref()), (Some("prod"), Some("night")));
    }
}
