//! What is applied: the operator's installation, a tenant's rights, the sample application in two colours, a Prometheus.

use anyhow::{Context, Result};

/// The account that the operator acts as in every test namespace.
pub const ACCOUNT: &str = "cutover";
/// People with every verb on `cutovers/run`.
pub const PEOPLE: [&str; 2] = ["jane@example.com", "omar@example.com"];

/// The files that install the operator, in the order of their names: kinds first, then rights and policies.
pub fn installation() -> Result<Vec<(String, String)>> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![("system".to_owned(), SYSTEM.to_owned())];
    for folder in ["crds", "deploy"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        let mut paths: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        paths.retain(|p| p.extension().is_some_and(|e| e == "yaml"));
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            files.push((path.display().to_string(), text));
        }
    }
    Ok(files)
}

const SYSTEM: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: cutover-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: cutover-operator, namespace: cutover-system}
"#;

/// The rights that a tenant grants: the account's own, the operator's impersonation of it, the people's verbs.
pub fn tenant(namespace: &str) -> String {
    let people: Vec<String> =
        PEOPLE.iter().map(|p| format!("{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {p}}}")).collect();
    let people = people.join(", ");
    format!(
        r#"
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {ACCOUNT}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: cutover}}
rules:
- {{apiGroups: [""], resources: [services], verbs: [get, patch]}}
- {{apiGroups: [""], resources: [secrets, configmaps], verbs: [get]}}
- {{apiGroups: [""], resources: [pods, pods/log], verbs: [get, list]}}
- {{apiGroups: [batch], resources: [jobs], verbs: [get, list, create, patch, delete]}}
- {{apiGroups: [apps], resources: [deployments, statefulsets], verbs: [get, patch]}}
- {{apiGroups: [apps], resources: [deployments/scale, statefulsets/scale], verbs: [get, patch, update]}}
- {{apiGroups: [cutover.dev], resources: [cutoverruns/finalizers], verbs: [update]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: cutover}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: cutover}}
subjects: [{{kind: ServiceAccount, name: {ACCOUNT}, namespace: {namespace}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: cutover-impersonation}}
rules:
- {{apiGroups: [""], resources: [serviceaccounts], resourceNames: [{ACCOUNT}], verbs: [impersonate]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: cutover-impersonation}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: cutover-impersonation}}
subjects: [{{kind: ServiceAccount, name: cutover-operator, namespace: cutover-system}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: people}}
rules:
- {{apiGroups: [cutover.dev], resources: [cutoverdecisions], verbs: [create, get, list]}}
- {{apiGroups: [cutover.dev], resources: [cutovers/run], verbs: [abort, rollback, retry, resolve, suspend, resume]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: people}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: people}}
subjects: [{people}]
"#
    )
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

/// A Prometheus that scrapes every sample pod of the namespace each second.
pub fn prometheus(namespace: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: ServiceAccount
metadata: {{name: prometheus}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: prometheus}}
rules: [{{apiGroups: [""], resources: [pods], verbs: [get, list, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: prometheus}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: prometheus}}
subjects: [{{kind: ServiceAccount, name: prometheus, namespace: {namespace}}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: prometheus}}
data:
  prometheus.yml: |
    global: {{scrape_interval: 1s, scrape_timeout: 1s}}
    scrape_configs:
    - job_name: pods
      kubernetes_sd_configs: [{{role: pod, namespaces: {{names: [{namespace}]}}}}]
      relabel_configs:
      - {{source_labels: [__meta_kubernetes_pod_container_port_name], regex: http, action: keep}}
      - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
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
      serviceAccountName: prometheus
      terminationGracePeriodSeconds: 1
      volumes:
      - {{name: config, configMap: {{name: prometheus}}}}
      - {{name: data, emptyDir: {{}}}}
      containers:
      - name: prometheus
        image: docker.io/cutover/prometheus:1
        args: [--config.file=/config/prometheus.yml, --storage.tsdb.path=/data, "--web.listen-address=:9090"]
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
    Ok(value)
}
