//! What a server with Prometheus's API makes of the default rule's query, over histories that are written to it.

use std::collections::BTreeMap;
use std::time::Duration as Time;

use anyhow::{Context, Result, ensure};
use cutover::api::Duration;
use cutover::api::trigger::MetricTrigger;
use cutover::evidence::query::query;
use cutover::net::prometheus::EXACT;
use serde_json::{Value, json};

use super::remote_write::{STALE, Sample, Series, write};
use super::wait;

/// What is found, by its name.
type Found = Vec<(&'static str, &'static str)>;

/// Samples of a counter each five seconds, from 3 s on.
fn scrapes(begin: i64, labels: &[(&'static str, &str)], at: impl Fn(i64) -> Option<f64>) -> Series {
    let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let samples = (0..24).filter_map(|k| Some(((begin + 3 + 5 * k) * 1000, Sample::Float(at(k)?)))).collect();
    Series { labels, samples }
}

/// What the server says of the interval of 15 s that ends then.
async fn numbers(url: &str, metric: Value, time: i64) -> Result<BTreeMap<String, String>> {
    let metric: MetricTrigger = serde_json::from_value(metric)?;
    let query = query(&metric, Duration::from_secs(15)).context("a query")?;
    let answer = asked(url, &query, time).await?;
    let series = answer["data"]["result"].as_array().with_context(|| format!("{query}: {answer}"))?;
    let number = |one: &Value| {
        let (name, value) = (one["metric"]["of"].as_str()?.to_owned(), one["value"][1].as_str()?.to_owned());
        Some((name, value))
    };
    Ok(series.iter().filter_map(number).collect())
}

/// Asks as the operator does.
pub async fn asked(url: &str, query: &str, time: i64) -> Result<Value> {
    let (time, mut form) = (time.to_string(), url::form_urlencoded::Serializer::new(String::new()));
    form.append_pair("query", query).append_pair("time", &time).extend_pairs(EXACT);
    let body = form.finish();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request =
        client.post(format!("{url}/api/v1/query")).header("content-type", "application/x-www-form-urlencoded");
    Ok(serde_json::from_str(&request.body(body).send().await?.text().await?)?)
}

/// Waits until what was written last is seen: some servers show it seconds after they have accepted it.
async fn seen(url: &str, time: i64) -> Result<()> {
    wait::poll("what was written is seen", Time::from_secs(30), async || {
        Ok(asked(url, "h_bucket", time).await?["data"]["result"][0].is_object().then_some(()))
    })
    .await
}

/// Writes the histories, and compares what the rule's query says of them. `native`: whether the server knows native histograms.
///
/// # Errors
/// A request that fails, or a number that is another.
pub async fn counted(to: &str, ask: &str, native: bool) -> Result<()> {
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
    series.extend(native.then(|| Series {
        labels: vec![("__name__", "n".to_owned())],
        samples: (0..24).map(|k| ((begin + 3 + 5 * k) * 1000, Sample::Histogram(vec![10 * k; 4]))).collect(),
    }));
    write(to, &series).await?;
    seen(ask, begin + 105).await?;

    let plain = json!({"total": "r", "errors": "r{code=\"500\"}"});
    let expression = json!({"total": "(r) # all", "errors": "r{code=\"500\"}"});
    let classic = json!({"total": "h_count", "slow": "h_count - ignoring(le) h_bucket{le=\"0.5\"}"});
    let fraction = "histogram_count(n) - histogram_count(n) * histogram_fraction(0, 0.5, n)";
    let histogram = json!({"total": "histogram_count(n)", "slow": fraction});
    let guarded = json!({"total": "r", "guardQuery": "r{code=\"500\"}"});
    let both = [("total", "60"), ("slow", "15")];
    let natively = [("total", "120"), ("slow", "30")];
    let mut cases: Vec<(&Value, i64, Found)> = vec![
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
        // A guard without a value is not one that is 0.
        (&guarded, 75, vec![("total", "35")]),
        (&guarded, 90, vec![("total", "35"), ("guard", "1"), ("guarded", "1")]),
        // Nothing was scraped in it: no number, not even 0.
        (&plain, 200, vec![]),
    ];
    if native {
        cases.extend([75, 105].map(|end| (&histogram, end, natively.to_vec())));
    }
    for (metric, end, wanted) in cases {
        let found = numbers(ask, metric.clone(), begin + end).await?;
        for name in ["total", "errors", "slow", "guard", "guarded"] {
            let of = wanted.iter().find(|(n, _)| *n == name).map(|(_, number)| *number);
            ensure!(found.get(name).map(String::as_str) == of, "{metric} at {end}: {name} of {found:?}");
        }
        if let Some((_, samples)) = wanted.iter().find(|(name, _)| *name == "samples") {
            ensure!(found.get("samples").is_some_and(|n| n == samples), "{metric} at {end}: {found:?}");
        }
    }
    Ok(())
}
