//! Values that steps capture as sensitive: what uses them gets them, and they are nowhere but in the run's Secret. That they are
//! nowhere is looked for at the end of every test (P9).

use anyhow::{Context, ensure};
use cutover::api::Phase;
use cutover::api::run::StepState;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use serde_json::json;

use crate::harness::case::step;
use crate::harness::{Case, e2e};

const QUICK: &str = "switch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n";

const STEPS: &str = r#"
phases:
  verify:
    steps:
    - name: login
      http:
        method: POST
        path: /api/echo
        bodyFrom: {secret: {name: keys, key: payload}}
        capture: [{name: token, path: $.json.token, sensitive: true}, {name: said, path: $.method}]
    - name: smoke
      suite:
        steps:
        - name: use
          http:
            method: POST
            path: /api/echo
            idempotent: true
            headers: [{name: Authorization, value: "Bearer ${token}"}]
            body: '{"token":"${token}","said":"${said}"}'
            expect:
            - "json.headers['authorization'].matches('^Bearer canar[y]-[0-9a-f]{8}$')"
            - "json.json.token.matches('^canar[y]-[0-9a-f]{8}$') && json.json.said == 'POST'"
        - name: form
          http:
            method: POST
            path: /api/echo
            idempotent: true
            form: [{name: a, value: "${token}"}, {name: b, secret: {name: keys, key: word}}]
            expect: ["json.body.matches('^a=canar[y]-[0-9a-f]{8}&b=canar[y]-77aa$')"]
        - name: header
          http:
            path: /redirect
            expect: ["status == 302"]
            capture: [{name: to, header: Location, record: true}]
        - name: no-header
          critical: false
          http: {path: /health, capture: [{name: none, header: X-None}]}
      critical: false
    - name: session
      suite:
        cookies: Keep
        steps:
        - {name: enter, http: {method: POST, path: "/api/echo?session=1", bodyFrom: {secret: {name: keys, key: word}}}}
        - name: inside
          after: [enter]
          http: {path: /api/echo, expect: ["json.headers['cookie'].matches('^sid=canar[y]-77aa$')"]}
        - {name: elsewhere, after: [enter], http: {path: /redirect, expect: ["status == 302"]}}
        - {name: outside, http: {path: /api/echo, expect: ["!('cookie' in json.headers)"]}}
    - name: job
      job:
        template:
          spec:
            containers:
            - name: main
              image: docker.io/cutover/busybox:1
              command: [sh, -c, 'case "$TOKEN" in canar[y]-????????) printf "{\"again\":\"%s\"}" "$TOKEN" >/dev/termination-log;; *) exit 1;; esac']
        env: [{name: TOKEN, value: "${token}"}]
        deadline: 60s
        capture: [{name: again, path: $.again, sensitive: true}]
    - name: again
      http:
        method: POST
        path: /api/echo
        idempotent: true
        body: '{"again":"${again}"}'
        expect: ["json.json.again.matches('^canar[y]-[0-9a-f]{8}$')"]
"#;

#[test]
fn what_is_sensitive_reaches_whoever_uses_it_and_is_nowhere_else() {
    e2e("sensitive", async |t: &Case| {
        t.apply_value(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
            "stringData": {"payload": "{\"token\":\"canary-5a5a1234\"}", "word": "canary-77aa\n"}}))
            .await?;
        t.web().await?;
        t.start().await?;
        let subject = "{kind: ServiceAccount, name: cutover}";
        t.apply(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: captures}}\n\
             rules: [{{apiGroups: [\"\"], resources: [secrets], verbs: [get, create, patch]}}]\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: captures}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: captures}}\nsubjects: [{subject}]\n"
        ))
        .await?;
        t.cutover("shop", &format!("{STEPS}{QUICK}")).await?;
        let run = t.ends("shop", Phase::Completed, 90).await?;
        for name in ["login", "use", "form", "header", "session", "job", "again"] {
            ensure!(step(&run, name)?.state == StepState::Succeeded, "{:?}", step(&run, name));
        }
        let none = step(&run, "no-header")?.message.clone().unwrap_or_default();
        ensure!(none.contains("the answer has no header x-none; it has "), "{none}");
        let status = run.status.as_ref().context("a journal")?;
        ensure!(status.captures["to"] == "/health" && status.captures["token"]["secretKey"] == "token.login.1");

        let label = format!("cutover.dev/run={}", run.metadata.uid.as_deref().unwrap_or_default());
        let kept = t.api::<Secret>().list(&ListParams::default().labels(&label)).await?.items;
        let [secret] = kept.as_slice() else { anyhow::bail!("{} Secrets", kept.len()) };
        let data = secret.data.as_ref().context("data")?;
        ensure!(data.contains_key("cookies.enter.enter.1"), "{:?}", data.keys());
        for key in ["token.login.1", "again.job.1"] {
            ensure!(data.get(key).is_some_and(|v| v.0 == b"canary-5a5a1234"), "{:?}", data.keys());
        }
        let owner = secret.metadata.owner_references.iter().flatten().next().context("no owner")?;
        ensure!(Some(&owner.uid) == run.metadata.uid.as_ref(), "{owner:?}");
        Ok(())
    });
}
