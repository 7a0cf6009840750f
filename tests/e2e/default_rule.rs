//! The default rule: what a real Prometheus makes of its query, a release that keeps its limit, and one that does not.

use anyhow::{Context, ensure};
use cutover::api::Phase;

use crate::harness::app::Colour;
use crate::harness::counted::counted;
use crate::harness::{Case, e2e};

/// The rule with intervals of three seconds: Prometheus scrapes once a second here.
fn spec(time: &str, more: &str) -> String {
    format!(
        "prometheus: {{service: {{name: prometheus, port: 9090}}}}\nswitch: {{minReady: '1', timeout: 20s}}\n\
         observe: {{for: {time}, every: 1s, builtIn: Disarmed, triggers: [{{name: bad, metric: {{\
           errors: 'http_requests_total{{colour=\"green\",code=\"500\"}}', total: 'http_requests_total{{colour=\"green\"}}', \
           limit: '0.05', hiccup: 3s}}}}{more}]}}\n"
    )
}

#[test]
fn a_release_above_its_limit_is_rolled_back_by_the_default_rule() {
    e2e("default_rule_back", async |t: &Case| {
        t.prometheus().await?;
        let green = Colour::new("green").env("FAULT_ERROR_RATE", "0.4").env("FAULT_ONLY_AFTER_LIVE", "1");
        t.app("web", Colour::new("blue"), green).await?;
        let load = t.load("web", 50.0, 0.0).await?;
        t.start().await?;
        t.cutover("shop", &spec("5m", "")).await?;
        let run = t.ends("shop", Phase::RolledBack, 60).await?;
        let report = load.stop().await;
        ensure!(report.lost == 0 && report.app_errors > 0, "{report:?}");
        let status = run.status.context("status")?;
        let ending = status.ending.context("ending")?;
        ensure!(ending.trigger.as_deref() == Some("bad"), "{ending:?}");
        for words in ["5 % is tolerated", "intervals of 3s since", "against 100"] {
            ensure!(ending.message.contains(words), "{words}: {}", ending.message);
        }
        let evidence = status.triggers.iter().find_map(|x| x.evidence.clone()).context("evidence")?;
        ensure!(evidence.bad >= 3 && evidence.bets >= 3, "{evidence:?}");
        ensure!(t.selector_writes("web")? == ["green", "blue"]);
        Ok(())
    });
}

#[test]
fn a_release_within_its_limit_is_completed_with_its_evidence_on_the_record() {
    e2e("default_rule_forwards", async |t: &Case| {
        t.prometheus().await?;
        let green = Colour::new("green").env("FAULT_ERROR_RATE", "0.02").env("FAULT_ONLY_AFTER_LIVE", "1");
        t.app("web", Colour::new("blue"), green).await?;
        let load = t.load("web", 50.0, 0.0).await?;
        t.start().await?;
        t.cutover("shop", &spec("15s", "")).await?;
        t.phase("shop", Phase::Observing, 30).await?;
        let run = t.ends("shop", Phase::Completed, 90).await?;
        load.stop().await;
        let status = run.status.context("status")?;
        let trigger = status.triggers.iter().find(|x| x.name == "bad").context("the trigger")?;
        let evidence = trigger.evidence.clone().context("evidence")?;
        ensure!(evidence.bets >= 4, "{trigger:?}");
        // Numbers are texts that are read back as they were, whatever the API server does with JSON.
        for text in evidence.from_the_switch.iter().chain(&evidence.later) {
            let number: f64 = text.parse()?;
            ensure!(format!("{number:e}") == *text, "{text}");
        }
        Ok(())
    });
}

#[test]
fn what_a_real_prometheus_counts_in_each_interval() {
    e2e("default_rule_counts", async |t: &Case| {
        t.prometheus().await?;
        let url = t.answers("prometheus", "9090/-/ready").await?.replace("/-/ready", "");
        counted(&format!("{url}/api/v1/write"), &url, true).await
    });
}
