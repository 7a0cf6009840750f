//! The live screen of `kubectl cutover watch`, typed into and looked at in a terminal.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use cutover::api::Phase;

use crate::harness::app::PEOPLE;
use crate::harness::case::secs;
use crate::harness::tmux::Tmux;
use crate::harness::watching::PLUGIN;
use crate::harness::{Case, e2e};

const WATCHED: &str = "switch: {timeout: 20s}\nobserve: {for: 5m, every: 500ms, triggers: \
                       [{name: down, probe: {http: {path: /health}, failing: 3}}]}\n";

/// Starts the screen in a shell, after which the shell says how it ended.
fn watch(t: &Case, tmux: &Tmux) -> Result<()> {
    let kubeconfig = std::env::var("KUBECONFIG")?;
    let plugin = format!("KUBECONFIG={kubeconfig} {PLUGIN} --as {} -n {} watch shop", PEOPLE[0], t.ns);
    tmux.text(&format!("{plugin}; echo ended with $?"))?;
    tmux.key("Enter")
}

/// The process of the screen.
fn process(t: &Case) -> Result<String> {
    let found = Command::new("pgrep").args(["-f", &format!("^{PLUGIN} .*-n {} watch shop", t.ns)]).output()?;
    let id = String::from_utf8(found.stdout)?.trim().to_owned();
    ensure!(!id.is_empty() && !id.contains('\n'), "which process is the screen? {id:?}");
    Ok(id)
}

/// The terminal is as it was: what was there before, and echo.
async fn is_restored(tmux: &Tmux, code: &str) -> Result<()> {
    let screen = tmux.shows(&format!("ended with {code}"), secs(10)).await?;
    ensure!(screen.contains("what was here before"), "the screen before is lost:\n{screen}");
    ensure!(!screen.contains("q quit"), "the live screen is still there:\n{screen}");
    tmux.text("clear; echo typed and seen")?;
    tmux.key("Enter")?;
    tmux.shows("typed and seen", secs(10)).await?;
    tmux.text("echo what was here before")?;
    tmux.key("Enter").map(drop)
}

#[test]
fn a_rollback_by_key_is_seen_to_its_end() {
    e2e("watch_screen", async |t: &Case| {
        t.web().await?;
        t.apply(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: looks}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}\n\
             subjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {}}}]\n",
            PEOPLE[0]
        ))
        .await?;
        t.start().await?;
        t.cutover("shop", WATCHED).await?;
        let tmux = Tmux::open(t, 160, 50)?;
        tmux.text("echo what was here before")?;
        tmux.key("Enter")?;
        watch(t, &tmux)?;
        let screen = tmux.shows("Observing", secs(60)).await?;
        ensure!(screen.contains("q quit"), "{screen}");
        let screen = tmux.shows("observed [", secs(20)).await?;
        for wanted in
            ["shop-1", "live: ", "green", "Steps", "Triggers", "down", "Sides", "Deployment/web-blue", "Events"]
        {
            ensure!(screen.contains(wanted), "{wanted} is not on the screen:\n{screen}");
        }
        eprintln!("observing:\n{screen}");
        // Smaller: it scrolls.
        tmux.resize(60, 20)?;
        let screen = tmux.shows("↑↓ 1-", secs(10)).await?;
        eprintln!("narrow:\n{screen}");
        tmux.key("End")?;
        let screen = tmux.shows("Events", secs(10)).await?;
        ensure!(!screen.contains("↑↓ 1-"), "{screen}");
        tmux.resize(160, 50)?;
        tmux.shows("r roll back", secs(10)).await?;
        // Aborting is too late; nothing is asked.
        tmux.text("b")?;
        tmux.shows("the switch has been made", secs(10)).await?;
        // What is typed on is no key.
        tmux.text("no, quit")?;
        tmux.leave(secs(10)).await?;
        tmux.text("r")?;
        let screen = tmux.shows("Type shop-1 and Enter to roll back:", secs(10)).await?;
        ensure!(screen.contains("Service web: its users go back from green to blue"), "{screen}");
        eprintln!("asked:\n{screen}");
        tmux.text("shop-2")?;
        tmux.key("Enter")?;
        tmux.shows("that is not the name of the run", secs(10)).await?;
        tmux.key("BSpace")?;
        tmux.text("1")?;
        tmux.key("Enter")?;
        tmux.shows("Why?", secs(10)).await?;
        tmux.text("errors rise")?;
        tmux.key("Enter")?;
        let screen = tmux.shows("The operator's answer", secs(30)).await?;
        ensure!(screen.contains("accepted"), "{screen}");
        tmux.leave(secs(10)).await?;
        let screen = tmux.shows("RolledBack", secs(60)).await?;
        eprintln!("rolled back:\n{screen}");
        tmux.shows("Rollback by jane@example.com", secs(10)).await?;
        tmux.text("q")?;
        is_restored(&tmux, "0").await?;
        let run = t.ends("shop", Phase::RolledBack, 30).await?;
        let said = run.status.context("status")?.decisions;
        ensure!(
            said.len() == 1 && said[0].by == PEOPLE[0] && said[0].comment.as_deref() == Some("errors rise"),
            "{said:?}"
        );
        // Ctrl-C, and a signal from outside.
        watch(t, &tmux)?;
        tmux.shows("RolledBack", secs(20)).await?;
        tmux.key("C-c")?;
        is_restored(&tmux, "130").await?;
        watch(t, &tmux)?;
        tmux.shows("RolledBack", secs(20)).await?;
        ensure!(Command::new("kill").args(["-TERM", &process(t)?]).status()?.success());
        is_restored(&tmux, "143").await
    });
}
