//! Real receivers: what a night of restarts looks like in an Alertmanager and in a mailbox.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use cutover::api::{Cutover, Phase};
use serde_json::json;

use crate::harness::case::secs;
use crate::harness::receivers::{Alertmanager, Delivered, MailServer};
use crate::harness::{Case, e2e, wait};
use crate::notify::{ADDRESS, CANARY, Receivers, read_secrets, secret};

/// What the mail server wants to hear; it stands in the URLs.
const PASSWORD: &str = "canary-6b1f0c-mail";

const NOTIFY: &str = "notify:
- {name: alerts, alertmanager: {secret: {name: real, key: alerts}}, events: [Switching, AwaitingDecision, RollingBack, RolledBack]}
- {name: team, mail: {secret: {name: real, key: smtps}, from: cutover@shop.example, to: [team@shop.example, gone@shop.example]}}
- {name: lead, mail: {secret: {name: real, key: starttls}, from: cutover@shop.example, to: [lead@shop.example]},
   events: [RolledBack], texts: {RolledBack: 'zurück auf ${live}: ${cause}'}}
- {name: forged, mail: {secret: {name: real, key: forged}, from: cutover@shop.example, to: [team@shop.example]}, events: [Preflight]}
";
const SPEC: &str = "release: {version: '2.0.0 =?utf-8?q?=0Ahidden?='}\nobserve: {for: 10m}\n\
                    phases: {verify: {steps: [{name: go, approval: {roles: [{name: qa}], within: 10m}}]}}\n";

/// The events of mails, each once: what comes twice has the same Message-ID.
fn subjects(mails: &[Delivered]) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let first = mails.iter().filter(|mail| seen.insert(mail.headers.get("Message-ID")));
    first.filter_map(|mail| mail.headers.get("Subject").map(String::as_str)).collect()
}

async fn fires(alerts: &Alertmanager, t: &Case, name: &str, wanted: bool) -> Result<()> {
    let what = format!("{name} {}", if wanted { "fires" } else { "is over" });
    wait::poll(&what, secs(90), async || {
        Ok((alerts.firing(&t.ns).await?.iter().any(|firing| firing == name) == wanted).then_some(()))
    })
    .await
}

#[test]
fn an_alertmanager_and_mailboxes_show_a_night_of_restarts_as_it_was() {
    e2e("notify_real", async |t: &Case| {
        let (all, at) = Receivers::start().await?;
        let hook = format!("http://{at}/from-alertmanager");
        let mut alerts = Alertmanager::start(&t.dir, ADDRESS, &hook).await?;
        let mail = MailServer::start(&t.dir, ADDRESS, PASSWORD).await?;
        t.environment("SSL_CERT_FILE", &mail.authority.display().to_string());
        let urls = json!({
            "alerts": format!("http://{}", alerts.at),
            "smtps": format!("smtps://cutover:{PASSWORD}@{}", mail.smtps),
            "starttls": format!("smtp://cutover:{PASSWORD}@{}", mail.starttls),
            "forged": format!("smtps://cutover:{CANARY}@{}", mail.smtps),
        });
        t.apply_value(&secret("real", urls)).await?;
        read_secrets(t).await?;
        t.arguments(&["--allow-private", &format!("{ADDRESS}/32")]);
        t.web().await?;
        t.apply(&crate::approvals::roles()).await?;
        t.start().await?;
        t.cutover("shop", &format!("{SPEC}{NOTIFY}")).await?;

        // An alert until a person has decided.
        fires(&alerts, t, "CutoverAwaitingDecision", true).await?;
        t.crash()?;
        let word = crate::approvals::word(t, cutover::api::Verb::Approve, "qa", crate::harness::app::PEOPLE[0]).await?;
        t.say(crate::harness::app::PEOPLE[0], word).await?;
        t.phase("shop", Phase::Observing, 60).await?;
        fires(&alerts, t, "CutoverAwaitingDecision", false).await?;

        // What it tells whoever listens to it.
        wait::poll("what fired is told as resolved", secs(60), async || {
            let told = all.got("from-alertmanager");
            let of = |status: &str, name: &str| {
                told.iter().any(|g| g.body["status"] == status && g.body["groupLabels"]["alertname"] == name)
            };
            Ok((of("firing", "CutoverAwaitingDecision") && of("resolved", "CutoverAwaitingDecision")).then_some(()))
        })
        .await?;

        // It is down while the rollback begins, and hears of it all the same.
        alerts.down();
        t.merge::<Cutover>("shop", json!({"spec": {"activate": "blue"}})).await?;
        t.crash()?;
        t.phase("shop", Phase::RolledBack, 60).await?;
        alerts.up().await?;
        fires(&alerts, t, "CutoverRolledBack", true).await?;
        fires(&alerts, t, "CutoverRollingBack", false).await?;
        wait::poll("the mails", secs(60), async || {
            let last = |mails: &[Delivered]| subjects(mails).iter().any(|s| s.contains("rolled back"));
            Ok((last(&mail.mailbox("team")?) && last(&mail.mailbox("lead")?)).then_some(()))
        })
        .await?;

        // One thread, in order, each event once but for what has the same Message-ID.
        let mails = mail.mailbox("team")?;
        let told: Vec<&str> =
            subjects(&mails).into_iter().filter_map(|s| s.rsplit_once(": ").map(|(_, s)| s)).collect();
        ensure!(
            told == [
                "the release to green has begun",
                "a person must decide",
                "switching users from blue to green",
                "rolling back to blue",
                "users are on blue again"
            ],
            "{told:?}"
        );
        let run = t.newest("shop").await?.context("a run")?;
        let thread = format!("<{}@shop.example>", run.metadata.uid.clone().unwrap_or_default());
        for mail in mails.iter().chain(&mail.mailbox("lead")?) {
            let header = |name: &str| mail.headers.get(name).map(String::as_str).unwrap_or_default();
            ensure!(header("References") == thread && header("Auto-Submitted") == "auto-generated", "{mail:?}");
            ensure!(!header("Subject").contains("=?utf-8?q?=0A") && header("Bcc").is_empty(), "{mail:?}");
        }
        let lead = mail.mailbox("lead")?;
        ensure!(lead.iter().all(|mail| mail.body.contains("zur=C3=BCck auf blue: ")), "{lead:?}");

        // Receipts: who did not get it is said, and no secret is.
        let notices = run.status.as_ref().context("status")?.notices.clone();
        let of = |name: &str| notices.receivers.get(name).with_context(|| format!("{name}: {notices:?}"));
        let answer = of("team")?.last.clone().context("no receipt")?.answer;
        ensure!(answer == "250; 1 of 2 addresses were refused with 550", "{answer}");
        let why = of("forged")?.why.clone().context("the wrong password")?;
        ensure!(why == "it answered 535 to AUTH", "{why}");
        let cutover = serde_json::to_string(&t.api::<Cutover>().get("shop").await?)?;
        let log = std::fs::read_to_string(t.dir.join("operator.log"))?;
        for (name, text) in [("run", serde_json::to_string(&run)?), ("Cutover", cutover), ("log", log)] {
            ensure!(!text.contains(CANARY), "a secret stands in the {name}");
        }
        Ok(())
    });
}
