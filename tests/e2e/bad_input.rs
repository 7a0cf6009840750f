//! Bad input that admission cannot see: each ends in a condition that names the field and the remedy; nothing is
//! switched, and other Cutovers go on.

use anyhow::{Context, ensure};
use cutover::api::run::CutoverRun;
use cutover::api::{Cutover, Phase};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::harness::app::{self, Colour};
use crate::harness::case::secs;
use crate::harness::{Case, e2e, wait};

/// Applies a Cutover and waits for a condition or message that contains all the words; then takes it away again.
async fn says(t: &Case, name: &str, cutover: Value, words: &[&str], bound: u64) -> anyhow::Result<()> {
    t.apply_value(&cutover).await?;
    let mut last = String::new();
    let found = wait::until(t.api::<Cutover>(), &format!("{name}: {words:?}"), secs(bound), |all| {
        t.alive()?;
        let status = all.get(name).and_then(|c| c.status.clone()).unwrap_or_default();
        ensure!(status.phase != Some(Phase::Completed), "{name} was carried out");
        let lines: Vec<String> = status.conditions.iter().map(|c| format!("{}: {}", c.reason, c.message)).collect();
        last = lines.join("\n");
        Ok(lines.iter().any(|l| words.iter().all(|w| l.contains(w))).then_some(()))
    })
    .await;
    found.with_context(|| format!("its conditions say:\n{last}"))?;
    ensure!(t.side("web").await? == "blue" && t.selector_writes("web")?.is_empty(), "{name}: the Service was touched");
    t.api::<Cutover>().delete(name, &DeleteParams::default()).await?;
    wait::until(
        t.api::<Cutover>(),
        &format!("{name} gone"),
        secs(20),
        |all| Ok((!all.contains_key(name)).then_some(())),
    )
    .await
}

fn web(name: &str, spec: &str) -> anyhow::Result<Value> {
    app::cutover(name, "web", spec)
}

fn verify(step: &str) -> String {
    format!("phases: {{verify: {{steps: [{{name: step, {step}}}]}}}}\n")
}

#[test]
fn what_cannot_be_resolved_is_refused_with_field_and_remedy() {
    e2e("bad_input_resolve", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        let template = "template: {spec: {containers: [{name: c, image: 'docker.io/cutover/sample:dev'}]}}";
        let suites: Vec<String> = (0..8)
            .map(|s| {
                let steps: Vec<String> = (0..39).map(|n| format!("{{name: s{s}-{n}, http: {{path: /}}}}")).collect();
                format!("{{name: suite{s}, suite: {{steps: [{}]}}}}", steps.join(", "))
            })
            .collect();
        let cases = [
            ("regex", format!("phases: {{prepare: {{steps: [{{name: a, job: {{{template}, expectLog: ['(']}}}}]}}}}"), vec!["spec.phases.prepare.steps[a].job.expectLog[0]"]),
            ("cel", verify("http: {path: /, expect: ['status ==']}"), vec!["spec.phases.verify.steps[step].http.expect[0]"]),
            ("cel-name", verify("http: {path: /, expect: ['statsu == 200']}"), vec!["spec.phases.verify.steps[step].http.expect[0]", "statsu"]),
            ("jsonpath", verify("http: {path: /, capture: [{name: x, path: '$[['}]}"), vec!["spec.phases.verify.steps[step].http.capture[0].path"]),
            ("variable", verify("http: {path: '/${nothing}'}"), vec!["spec.phases.verify.steps[step].http.path", "nothing"]),
            ("steps-300", format!("phases: {{verify: {{steps: [{}]}}}}", suites.join(", ")), vec!["steps, more than"]),
            ("not-built", "rollback: {keepPodLogs: {lines: 10}}\n".into(), vec!["spec.rollback.keepPodLogs"]),
            ("mail", "notify: [{name: ops, mail: {secret: {name: s, key: k}, from: a@b.example, to: ['c@d.example, e@f.example']}}]\n".into(), vec!["spec.notify[ops].mail.to[0]", "no mail address"]),
            ("texts", "notify: [{name: ops, teams: {secret: {name: s, key: k}}, texts: {Failed: '${nobody}'}}]\n".into(), vec!["spec.notify[ops].texts.Failed", "nobody"]),
            ("no-prometheus", verify("metric: {query: up, expect: 'value > 0.0'}"), vec!["prometheus"]),
            ("loopback", verify("http: {url: 'http://127.0.0.1:8080/'}"), vec!["127.0.0.1", "loopback"]),
            ("link-local", verify("http: {url: 'http://169.254.10.1/'}"), vec!["169.254.10.1", "link-local"]),
            ("metadata", verify("http: {url: 'http://169.254.169.254/latest/meta-data'}"), vec!["169.254.169.254", "metadata"]),
            ("overlap", "sides: [{name: blue, selector: {side: blue}, workloads: [{kind: Deployment, name: web-blue}]}, {name: green, selector: {side: green}, workloads: [{kind: Deployment, name: web-blue}]}]".into(), vec!["spec.sides", "web-blue"]),
        ];
        for (name, spec, words) in cases {
            says(t, name, web(name, &spec)?, &words, 20).await.with_context(|| name.to_owned())?;
        }
        Ok(())
    });
}

#[test]
fn what_does_not_exist_is_named_and_waited_for() {
    e2e("bad_input_missing", async |t: &Case| {
        t.web().await?;
        t.start().await?;
        says(t, "no-service", app::cutover("no-service", "nowhere", "{}")?, &["nowhere"], 20).await?;
        let spec = "sides: [{name: blue, selector: {side: blue}, workloads: [{kind: Deployment, name: web-blue}]}, {name: green, selector: {side: green}, workloads: [{kind: Deployment, name: absent}]}]";
        says(t, "no-workload", web("no-workload", spec)?, &["absent", "spec.sides"], 20).await?;
        // What is applied later is taken up without another word.
        t.apply_value(&app::cutover("later", "late", "observe: {for: 1s, every: 500ms}\nswitch: {timeout: 20s}")?)
            .await?;
        t.app("late", Colour::new("blue"), Colour::new("green")).await?;
        t.points_to("late", "green", 40).await
    });
}

#[test]
fn steps_that_meet_bad_input_fail_the_run_before_the_switch() {
    e2e("bad_input_steps", async |t: &Case| {
        t.web().await?;
        t.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: settings}\nstringData: {PRESENT: canary-9f}\n").await?;
        t.start().await?;
        let cases = [
            ("port", verify("http: {path: /, port: '9999'}, timeout: 5s"), vec!["step", "9999"]),
            ("port-name", verify("http: {path: /, port: admin}, timeout: 5s"), vec!["step", "admin"]),
            ("config-key", "phases: {preflight: {steps: [{name: step, timeout: 5s, config: {secret: settings, keys: [{name: ABSENT}]}}]}}".into(), vec!["step", "settings", "ABSENT"]),
            ("config-secret", "phases: {preflight: {steps: [{name: step, timeout: 5s, config: {secret: nothing, keys: [{name: A}]}}]}}".into(), vec!["step", "nothing"]),
            ("header-key", verify("http: {path: /, headersFrom: [{name: X-A, secret: {name: settings, key: ABSENT}}]}, timeout: 5s"), vec!["step", "settings", "ABSENT"]),
            ("body", verify("http: {path: '/big?bytes=10485760'}, timeout: 10s"), vec!["step", "64 KiB"]),
            ("loops", verify(&format!("http: {{path: '/big?bytes=60000', expect: [\"{n}.all(a, {n}.all(b, !body.contains('xxy')))\"]}}, timeout: 10s", n = format!("[{}]", ["0"; 24].join(",")))), vec!["step", "too much to loop over"]),
            ("pattern", verify("http: {path: '/big?bytes=60000', expect: [\"!body.matches('(?:x{1,98}){1,98}y')\"]}, timeout: 10s"), vec!["step", "takes too long on this text"]),
            ("redirect", verify("http: {path: /redirect}, timeout: 5s"), vec!["step", "302"]),
            ("localhost", verify("http: {url: 'http://localhost:6443/'}, timeout: 5s"), vec!["step", "loopback"]),
            ("expect", verify("http: {path: /health, expect: [\"json.colour == 'red'\"]}, timeout: 5s"), vec!["step", "json.colour == 'red'"]),
            ("template", "phases: {prepare: {steps: [{name: step, job: {template: {spec: {containers: [{name: 'Not A Name', image: x}]}}}}]}}".into(), vec!["step", "containers[0].name"]),
        ];
        for (name, spec, words) in cases {
            says(t, name, web(name, &spec)?, &words, 40).await.with_context(|| name.to_owned())?;
        }
        Ok(())
    });
}

/// A pod that answers HTTPS with a certificate that nobody has signed.
fn self_signed() -> anyhow::Result<String> {
    let dir = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (key, cert) = (dir.join("e2e-key.pem"), dir.join("e2e-cert.pem"));
    let status = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=web", "-addext", "subjectAltName=DNS:web", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(std::process::Stdio::null())
        .status()?;
    ensure!(status.success(), "openssl made no certificate");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"},
        "stringData": {
            "key.pem": std::fs::read_to_string(&key)?, "cert.pem": std::fs::read_to_string(&cert)?,
            "web.yml": "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n",
            "prometheus.yml": "global: {}\n",
        },
    });
    let pods = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-green}
spec:
  replicas: 1
  selector: {matchLabels: {app: web, side: green}}
  template:
    metadata: {labels: {app: web, side: green}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {fsGroup: 65534}
      volumes: [{name: tls, secret: {secretName: tls}}, {name: data, emptyDir: {}}]
      containers:
      - name: app
        image: docker.io/cutover/prometheus:1
        args: [--config.file=/tls/prometheus.yml, --storage.tsdb.path=/data, "--web.listen-address=:8080", --web.config.file=/tls/web.yml]
        volumeMounts: [{name: tls, mountPath: /tls}, {name: data, mountPath: /data}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"#;
    Ok(format!("{secret}\n---\n{pods}"))
}

#[test]
fn a_certificate_that_does_not_verify_fails_the_step() {
    e2e("bad_input_certificate", async |t: &Case| {
        t.apply(&self_signed()?).await?;
        t.apply(&app::service("web", "blue")).await?;
        t.apply(&app::deployment("web", &Colour::new("blue"))).await?;
        t.available("web-blue").await?;
        t.available("web-green").await?;
        t.start().await?;
        let spec = verify("http: {path: /-/healthy, scheme: https, host: web}, timeout: 5s");
        says(t, "cert", web("cert", &spec)?, &["step", "certificate"], 40).await
    });
}

#[test]
fn a_query_that_does_not_parse_is_named() {
    e2e("bad_input_query", async |t: &Case| {
        t.prometheus().await?;
        t.web().await?;
        t.start().await?;
        let prometheus = "prometheus: {service: {name: prometheus, port: 9090}}\n";
        let step = format!(
            "{prometheus}phases: {{preflight: {{steps: [{{name: step, timeout: 8s, metric: {{query: 'sum(', expect: 'value < 1.0'}}}}]}}}}"
        );
        says(t, "step-query", web("step-query", &step)?, &["step", "parse"], 40).await?;
        // A trigger's query is asked before anything is switched.
        let spec = format!(
            "{prometheus}switch: {{timeout: 20s}}\nobserve: {{for: 30s, every: 1s, triggers: [{{name: errors, metric: {{query: 'sum(', above: '1'}}}}]}}"
        );
        t.cutover("trigger-query", &spec).await?;
        wait::until(t.api::<Cutover>(), "a condition about the trigger's query", secs(40), |all| {
            let conditions = all.get("trigger-query").and_then(|c| c.status.as_ref()).map(|s| s.conditions.clone());
            let says = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
                c.status == "True" && c.message.contains("errors") && c.message.contains("parse")
            };
            Ok(conditions.unwrap_or_default().iter().any(says).then_some(()))
        })
        .await
    });
}

#[test]
fn a_side_of_more_pods_than_a_trigger_looks_at_is_refused_with_the_triggers_name() {
    e2e("bad_input_many_pods", async |t: &Case| {
        t.web().await?;
        // What the Deployment wants counts; a quota keeps the pods from being made.
        let pods = t.api::<Pod>().list(&Default::default()).await?.items.len();
        t.apply(&format!(
            "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: few}}\nspec: {{hard: {{pods: '{pods}'}}}}\n"
        ))
        .await?;
        t.start().await?;
        for (name, trigger, wanted, words) in [
            (
                "growing",
                "pods: {memoryGrowing: {for: 5m}}",
                201,
                ["spec.observe.triggers[many].pods.memoryGrowing", "201 pods", "at most 200"],
            ),
            (
                "memory",
                "pods: {memory: {above: 1Gi}}",
                1001,
                ["spec.observe.triggers[many].pods", "1001 pods", "at most 1000"],
            ),
            (
                "logs",
                "logs: {matches: error, moreThan: 3, within: 1m}",
                1001,
                ["spec.observe.triggers[many].logs", "1001 pods", "at most 1000"],
            ),
        ] {
            t.merge::<Deployment>("web-green", json!({"spec": {"replicas": wanted}})).await?;
            let spec = format!("observe: {{for: 1m, every: 5s, triggers: [{{name: many, {trigger}}}]}}\n");
            says(t, name, web(name, &spec)?, &words, 40).await.with_context(|| name.to_owned())?;
        }
        t.merge::<Deployment>("web-green", json!({"spec": {"replicas": 1}})).await
    });
}

#[test]
fn a_bad_cutover_does_not_disturb_others() {
    e2e("bad_beside_good", async |t: &Case| {
        t.web().await?;
        t.app("api", Colour::new("blue"), Colour::new("green")).await?;
        t.start().await?;
        t.apply_value(&app::cutover("bad", "api", &verify("http: {path: /, expect: ['status ==']}"))?).await?;
        t.cutover("good", "observe: {for: 1s, every: 500ms}\nswitch: {timeout: 20s}").await?;
        t.ends("good", Phase::Completed, 40).await?;
        let message = t.condition("bad", "Stalled", true, 10).await?;
        ensure!(message.contains("spec.phases.verify.steps[step].http.expect[0]"), "{message}");
        let runs = t.api::<CutoverRun>().list(&kube::api::ListParams::default()).await?;
        ensure!(
            runs.items.iter().all(|r| r.spec.cutover == "good"),
            "{:?}",
            runs.items.iter().map(|r| r.name_any()).collect::<Vec<_>>()
        );
        ensure!(t.side("api").await? == "blue");
        Ok(())
    });
}
