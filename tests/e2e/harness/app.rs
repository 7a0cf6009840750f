//! What is applied: the operator's installation, a tenant's rights, the sample application in two colours, a Prometheus.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The account that the operator acts as in every test namespace.
pub const ACCOUNT: &str = "cutover";
/// People with every verb on `cutovers/run`.
pub const PEOPLE: [&str; 2] = ["jane@example.com", "omar@example.com"];

/// A YAML file of the repository.
fn file(path: &Path) -> Result<(String, String)> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok((path.display().to_string(), text))
}

/// The files that install the operator, without the operator itself: kinds, then rights and policies.
pub fn installation() -> Result<Vec<(String, String)>> {
    let root = Path::new(super::ROOT);
    let mut files = vec![file(&root.join("deploy/access/namespace.yaml"))?];
    for folder in ["crds", "deploy/access", "deploy/admission"] {
        let folder = root.join(folder);
        let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut paths = entries.map(|e| Ok(e?.path())).collect::<Result<Vec<PathBuf>>>()?;
        paths.retain(|p| p.extension().is_some_and(|e| e == "yaml") && !p.ends_with("kustomization.yaml"));
        paths.sort();
        for path in paths {
            files.push(file(&path)?);
        }
    }
    Ok(files)
}

/// What a team applies in its namespace, as `deploy/tenant` has it, and people who are on call.
pub fn tenant(namespace: &str) -> Result<String> {
    let root = Path::new(super::ROOT).join("deploy/tenant");
    let mut all = String::new();
    for name in ["account.yaml", "operator.yaml", "people.yaml"] {
        let (_, text) = file(&root.join(name))?;
        all.push_str(&text.replace("namespace: prod", &format!("namespace: {namespace}")));
        all.push_str("\n---\n");
    }
    let people: Vec<String> =
        PEOPLE.iter().map(|p| format!("{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {p}}}")).collect();
    all.push_str(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: cutover-on-call}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: cutover-on-call}}\nsubjects: [{}]\n",
        people.join(", ")
    ));
    Ok(all)
}

/// One colour of the sample application.
#[derive(Clone, Debug)]
pub struct Colour {
    /// `blue` or `green`.
    pub name: String,
    /// Pods.
    pub replicas: u32,
    /// Variables, as `NAME=value`.
    pub env: Vec<(String, String)>,
    /// Further containers, as flow YAML.
    pub beside: String,
}

impl Colour {
    /// One pod without faults.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), replicas: 1, env: vec![], beside: String::new() }
    }
    /// With so many pods.
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }
    /// With a variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
    /// With another container beside the application.
    pub fn beside(mut self, container: &str) -> Self {
        self.beside = format!(", {container}");
        self
    }
}

/// The Deployment `APP-COLOUR`.
pub fn deployment(app: &str, colour: &Colour) -> String {
    let Colour { name, replicas, env, beside } = colour;
    let version = if name == "blue" { "1.0.0" } else { "2.0.0" };
    let mut all =
        vec![("COLOUR".to_owned(), name.clone()), ("VERSION".into(), version.into()), ("APP".into(), app.into())];
    all.push(("DRAIN_MS".into(), "1000".into()));
    all.extend(env.iter().cloned());
    let env: Vec<String> = all.iter().map(|(k, v)| format!("{{name: {k}, value: {v:?}}}")).collect();
    let env = env.join(", ");
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {app}-{name}, labels: {{app: {app}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {app}, side: {name}}}}}
  template:
    metadata: {{labels: {{app: {app}, side: {name}, version: {version}}}}}
    spec:
      terminationGracePeriodSeconds: 5
      automountServiceAccountToken: false
      containers: [{{
        name: app, image: docker.io/cutover/sample:dev, imagePullPolicy: IfNotPresent, env: [{env}],
        ports: [{{name: http, containerPort: 8080}}],
        readinessProbe: {{httpGet: {{path: /ready, port: 8080}}, periodSeconds: 1, failureThreshold: 1}}
      }}{beside}]
"#
    )
}

/// The Service `APP`, pointing to a colour.
pub fn service(app: &str, colour: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: {app}}}
spec:
  selector: {{app: {app}, side: {colour}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"#
    )
}

/// A Prometheus that scrapes every pod of the application `web` each second. It asks the cluster's DNS, since Debian's
/// Prometheus knows no Kubernetes discovery.
pub fn prometheus(namespace: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: prometheus}}
data:
  prometheus.yml: |
    global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
    rule_files: [/config/rules.yml]
    scrape_configs:
    - job_name: pods
      dns_sd_configs: [{{names: [pods.{namespace}.svc.cluster.local], type: A, port: 8080, refresh_interval: 1s}}]
  rules.yml: |
    groups:
    - name: web
      rules:
      - {{alert: Always, expr: vector(1), labels: {{team: web}}}}
      - alert: Errors
        expr: sum(rate(http_requests_total{{colour="green",code="500"}}[4s])) / sum(rate(http_requests_total{{colour="green"}}[4s])) > 0.05
        for: 2s
        labels: {{team: web}}
---
apiVersion: v1
kind: Service
metadata: {{name: pods}}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {{app: web}}
  ports: [{{port: 8080}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: prometheus}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: prometheus}}}}
  template:
    metadata: {{labels: {{app: prometheus}}}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      volumes:
      - {{name: config, configMap: {{name: prometheus}}}}
      - {{name: data, emptyDir: {{}}}}
      containers:
      - name: prometheus
        image: docker.io/cutover/prometheus:1
        args: [--config.file=/config/prometheus.yml, --storage.tsdb.path=/data, "--web.listen-address=:9090", --web.enable-remote-write-receiver, --enable-feature=native-histograms]
        volumeMounts: [{{name: config, mountPath: /config}}, {{name: data, mountPath: /data}}]
        readinessProbe: {{httpGet: {{path: /-/ready, port: 9090}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: prometheus}}
spec:
  selector: {{app: prometheus}}
  ports: [{{port: 9090}}]
"#
    )
}

/// The Cutover `NAME` of the application `APP` from blue to green; `spec` is merged over its spec, field by field.
pub fn cutover(name: &str, app: &str, spec: &str) -> Result<serde_json::Value> {
    let base = format!(
        r#"
apiVersion: cutover.dev/v1alpha1
kind: Cutover
metadata: {{name: {name}}}
spec:
  services: [{{name: {app}}}]
  sides:
  - {{name: blue, selector: {{side: blue}}, workloads: [{{kind: Deployment, name: {app}-blue}}]}}
  - {{name: green, selector: {{side: green}}, workloads: [{{kind: Deployment, name: {app}-green}}]}}
  activate: green
"#
    );
    let mut value: serde_json::Value = serde_saphyr::from_str(&base)?;
    let more: serde_json::Value = serde_saphyr::from_str(spec).with_context(|| format!("YAML: {spec}"))?;
    if let Some(fields) = more.as_object() {
        for (field, given) in fields {
            value["spec"][field] = given.clone();
        }
    }
    // Half a minute less for every case that is not about them (`connections.rs` is).
    if value["spec"]["rollback"]["connections"].is_null() {
        value["spec"]["rollback"]["connections"] = "Keep".into();
    }
    Ok(value)
}
