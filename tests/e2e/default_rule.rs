//! The default rule: what a real Prometheus makes of its query, a release that keeps its limit, and one that does not.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use cutover::api::trigger::MetricTrigger;
use cutover::api::{Duration, Phase};
use cutover::evidence::query::query;
use serde_json::{Value, json};

use crate::harness::app::Colour;
use crate::harness::remote_write::{STALE, Sample, Series, write};
use crate::harness::{Case, e2e};

/// What is found, by its name.
type Found = Vec<(&'static str, &'static str)>;

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

/// Samples of a counter each five seconds, from 3 s on.
fn scrapes(begin: i64, labels: &[(&'static str, &str)], at: impl Fn(i64) -> Option<f64>) -> Series {
    let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let samples = (0..24).filter_map(|k| Some(((begin + 3 + 5 * k) * 1000, Sample::Float(at(k)?)))).collect();
    Series { labels, samples }
}

/// What Prometheus says of the interval of 15 s that ends so long after the begin.
async fn numbers(url: &str, metric: Value, time: i64) -> anyhow::Result<BTreeMap<String, String>> {
    let metric: MetricTrigger = serde_json::from_value(metric)?;
    let query = query(&metric, Duration::from_secs(15)).context("a query")?;
    let form = [("query", query.clone()), ("time", time.to_string())];
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request =
        client.post(format!("{url}/api/v1/query")).header("content-type", "application/x-www-form-urlencoded");
    let answer: Value = serde_json::from_str(&request.body(body).send().await?.text().await?)?;
    let series = answer["data"]["result"].as_array().with_context(|| format!("{query}: {answer}"))?;
    let number = |one: &Value| {
        let (name, value) = (one["metric"]["of"].as_str()?.to_owned(), one["value"][1].as_str()?.to_owned());
        Some((name, value))
    };
    Ok(series.iter().filter_map(number).collect())
}

#[test]
fn what_a_real_prometheus_counts_in_each_interval() {
    e2e("default_rule_counts", async |t: &Case| {
        t.prometheus().await?;
        let url = t.answers("prometheus", "9090/-/ready").await?.replace("/-/ready", "");
        let begin = jiff::Timestamp::now().as_second() / 60 * 60 - 1800;
        let mut series = vec![
            // Ten requests each scrape; the process begins anew at 98 s.
            scrapes(begin, &[("__name__", "r"), ("pod", "a"), ("code", "200")], |k| {
                Some(if k < 19 { 100.0 + 10.0 * k as f64 } else { 4.0 + 10.0 * (k - 19) as f64 })
            }),
            // The first error makes a new series, at 78 s.
            scrapes(begin, &[("__name__", "r"), ("pod", "a"), ("code", "500")], |k| match k {
                15 => Some(3.0),
                16 | 17 => Some(5.0),
                _ => None,
            }),
            // Scrapes fail from 68 s on, which ends the series; it is back at 93 s.
            scrapes(begin, &[("__name__", "r"), ("pod", "b"), ("code", "200")], |k| match k {
                0..13 | 18 | 19 => Some(1000.0 + 5.0 * k as f64),
                13 => Some(STALE),
                _ => None,
            }),
            scrapes(begin, &[("__name__", "h_count"), ("pod", "a")], |k| Some(20.0 * k as f64)),
            scrapes(begin, &[("__name__", "h_bucket"), ("pod", "a"), ("le", "0.5")], |k| Some(15.0 * k as f64)),
        ];
        series.push(Series {
            labels: vec![("__name__", "n".to_owned())],
            samples: (0..24).map(|k| ((begin + 3 + 5 * k) * 1000, Sample::Histogram(vec![10 * k; 4]))).collect(),
        });
        write(&url, &series).await?;

        let plain = json!({"total": "r", "errors": "r{code=\"500\"}"});
        let expression = json!({"total": "(r) # all", "errors": "r{code=\"500\"}"});
        let classic = json!({"total": "h_count", "slow": "h_count - ignoring(le) h_bucket{le=\"0.5\"}"});
        let fraction = "histogram_count(n) - histogram_count(n) * histogram_fraction(0, 0.5, n)";
        let native = json!({"total": "histogram_count(n)", "slow": fraction});
        let guarded = json!({"total": "r", "guardQuery": "r{code=\"500\"}"});
        let both = [("total", "60"), ("slow", "15")];
        let natively = [("total", "120"), ("slow", "30")];
        let cases: Vec<(&Value, i64, Found)> = vec![
            // 30 of pod a and 5 of pod b; what follows the failed scrape is counted when it is back, and once.
            (&plain, 75, vec![("samples", "2"), ("total", "35")]),
            (&plain, 90, vec![("samples", "2"), ("total", "35"), ("errors", "5")]),
            (&plain, 105, vec![("samples", "2"), ("total", "49")]),
            (&plain, 120, vec![("samples", "1"), ("total", "30")]),
            // An expression says the same, but for how many have a value: it has one for minutes after its last sample.
            (&expression, 75, vec![("total", "35")]),
            (&expression, 90, vec![("total", "35"), ("errors", "5")]),
            (&expression, 105, vec![("total", "49")]),
            (&classic, 75, both.to_vec()),
            (&classic, 105, both.to_vec()),
            (&native, 75, natively.to_vec()),
            (&native, 105, natively.to_vec()),
            // A guard without a value is not one that is 0.
            (&guarded, 75, vec![("total", "35")]),
            (&guarded, 90, vec![("total", "35"), ("guard", "1"), ("guarded", "1")]),
            // Nothing was scraped in it: no number, not even 0.
            (&plain, 200, vec![]),
        ];
        for (metric, end, wanted) in cases {
            let found = numbers(&url, metric.clone(), begin + end).await?;
            for name in ["total", "errors", "slow", "guard", "guarded"] {
                let of = wanted.iter().find(|(n, _)| *n == name).map(|(_, number)| *number);
                ensure!(found.get(name).map(String::as_str) == of, "{metric} at {end}: {name} of {found:?}");
            }
            if let Some((_, samples)) = wanted.iter().find(|(name, _)| *name == "samples") {
                ensure!(found.get("samples").is_some_and(|n| n == samples), "{metric} at {end}: {found:?}");
            }
        }
        Ok(())
    });
}
