//! Pushes: whoever has a key lets a run look at once, at any replica; whoever has none changes nothing.

use anyhow::{Context, Result, ensure};
use cutover::api::{ANNOTATION_PUSHED, Cutover, Phase};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use kube::Api;
use serde_json::json;
use sha2::Sha256;

use crate::harness::case::secs;
use crate::harness::seen::free_address;
use crate::harness::{Case, e2e, wait};

const KEY: &str = "a key that nobody guesses";

/// A configuration with two senders, the second of which may push another namespace only.
fn configuration(t: &Case, name: &str, listen: &str) -> Result<String> {
    let file = |name: &str| t.dir.join(name).display().to_string();
    std::fs::write(file("key"), format!("{KEY}\n"))?;
    std::fs::write(file("other"), format!("another: {KEY}\n"))?;
    let senders = json!([
        {"name": "pipeline", "keyFile": file("key"), "namespaces": [t.ns]},
        {"name": "elsewhere", "keyFile": file("other"), "namespaces": ["elsewhere"]},
    ]);
    let path = file(name);
    std::fs::write(&path, json!({"pushes": {"listen": listen, "senders": senders}}).to_string())?;
    Ok(path)
}

fn signed(key: &str, path: &str) -> Result<[(&'static str, String); 2]> {
    let time = Timestamp::now().as_second().to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())?;
    mac.update(format!("v0:{time}:POST {path}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([("cutover-timestamp", time), ("cutover-signature", format!("v0={hex}"))])
}

async fn pushed(t: &Case) -> Result<Option<String>> {
    let api: Api<Cutover> = Api::namespaced(t.client.clone(), &t.ns);
    let annotations = api.get("shop").await?.metadata.annotations.unwrap_or_default();
    Ok(annotations.get(ANNOTATION_PUSHED).cloned())
}

#[test]
fn a_push_at_any_replica_wakes_what_waits_and_a_forged_one_changes_nothing() {
    e2e("pushes", async |t: &Case| {
        let (at_a, at_b) = (free_address().await?, free_address().await?);
        t.web().await?;
        t.prometheus().await?;
        t.arguments(&["--config", &configuration(t, "a.json", &at_a)?]);
        let _a = t.candidate("a", None).await?;
        t.leads("a", 20).await?;
        t.arguments(&["--config", &configuration(t, "b.json", &at_b)?]);
        let _b = t.candidate("b", None).await?;
        wait::poll("b follows", secs(20), async || Ok(t.log_of("b")?.contains("following").then_some(()))).await?;

        // Both the gate and the trigger would look again in ten minutes.
        t.fault("web", "green", json!({"error_rate": 1.0})).await?;
        let bad_from = Timestamp::now().as_second() + 45;
        t.cutover(
            "shop",
            &format!(
                "prometheus: {{service: {{name: prometheus, port: 9090}}}}\n\
                 phases: {{verify: {{steps: [{{name: answers, http: {{path: /health}}, timeout: 40m, retry: {{attempts: 3, every: 10m}}}}]}}}}\n\
                 switch: {{minReady: '1', timeout: 60s}}\n\
                 observe: {{for: 30m, every: 10m, triggers: [{{name: late, metric: {{query: 'vector(time() > bool {bad_from})', above: '0'}}}}]}}\n"
            ),
        )
        .await?;
        t.run_until("shop", "the gate waits for its second attempt", secs(40), |run| {
            let steps = run.status.as_ref().map(|s| s.steps.as_slice()).unwrap_or_default();
            Ok(steps.iter().any(|s| s.name == "answers" && s.between).then_some(()))
        })
        .await?;
        t.fault("web", "green", json!({"error_rate": 0.0})).await?;

        // Nobody, a wrong key, a key for another namespace, a signature for another Cutover.
        let http = reqwest::Client::builder().no_proxy().build()?;
        let path = format!("/push/{}/shop", t.ns);
        let post = |headers: &[(&'static str, String)]| {
            let mut request = http.post(format!("http://{at_b}{path}")).body(r#"{"status": "firing"}"#);
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            async move { Ok::<_, anyhow::Error>(request.send().await?.status().as_u16()) }
        };
        let bearer = |key: &str| [("authorization", format!("Bearer {key}"))];
        ensure!(post(&[]).await? == 401, "without a key");
        ensure!(post(&bearer("another key than that")).await? == 401, "with a wrong key");
        ensure!(post(&bearer(&format!("another: {KEY}"))).await? == 403, "of another namespace");
        ensure!(post(&signed(KEY, &format!("/push/{}/other", t.ns))?).await? == 401, "signed for another");
        ensure!(pushed(t).await?.is_none(), "a forged push was written");

        let status = post(&bearer(KEY)).await?;
        ensure!(status == 202, "status {status}");
        let first = pushed(t).await?.context("the annotation")?;
        t.phase("shop", Phase::Observing, 40).await?;

        wait::poll("the query is bad", secs(60), async || Ok((Timestamp::now().as_second() > bad_from).then_some(())))
            .await?;
        let status = post(&signed(KEY, &path)?).await?;
        ensure!(status == 202, "status {status}");
        let run = t.ends("shop", Phase::RolledBack, 40).await?;
        let ending = run.status.and_then(|s| s.ending).context("an ending")?;
        ensure!(ending.message.contains("asked because of a push"), "{}", ending.message);
        ensure!(pushed(t).await?.is_some_and(|second| second != first), "each push has its own time");
        // The follower wrote nothing else, and nothing for what is over.
        let status = wait::poll("room for another push", secs(10), async || {
            Ok(Some(post(&bearer(KEY)).await?).filter(|status| *status != 429))
        })
        .await?;
        ensure!(status == 200, "status {status}");
        let writes = t.writes_of("b")?;
        ensure!(
            writes.iter().all(|l| l.verb == "patch" && l.resource == "cutovers") && writes.len() == 2,
            "{writes:?}"
        );
        Ok(())
    });
}
