//! Values of the chart: what is refused, with the field's name, and what each switch gives.

use serde_json::Value;

use crate::tools::{CHART, IMAGE, objects, run, template, tools};

/// A wrong value, and what the answer must say.
const BAD: &[(&str, &str)] = &[
    ("replicas=two", "'/replicas': got string, want integer"),
    ("replicas=0", "'/replicas': minimum"),
    ("replica=2", "additional properties 'replica' not allowed"),
    ("image.tag=a b", "'/image/tag'"),
    ("image.digest=sha256:123", "'/image/digest'"),
    ("image.repository=Cutover", "'/image/repository'"),
    ("image.pullPolicy=Sometimes", "'IfNotPresent', 'Always', 'Never'"),
    ("log.format=xml", "'/log/format': value must be one of 'text', 'json'"),
    ("prometheus=http://p:9090", "'/prometheus': got string, want object"),
    ("prometheus.default=monitoring/prometheus", "prometheus.default: monitoring/prometheus is not the name of one of"),
    ("prometheus.source=a", "additional properties 'source' not allowed"),
    ("prometheus.sources[0].url=http://p", "'/prometheus/sources/0': missing property 'name'"),
    ("prometheus.sources[0].name=a b", "'/prometheus/sources/0/name'"),
    ("prometheus.sources[0].sheme=https", "additional properties 'sheme' not allowed"),
    ("prometheus.sources[0].scheme=Https", "'/prometheus/sources/0/scheme'"),
    ("prometheus.sources[0].port=http", "'/prometheus/sources/0/port'"),
    ("prometheus.sources[0].caFile=ca.crt", "'/prometheus/sources/0/caFile'"),
    ("prometheus.sources[0].namespaces={A_b}", "'/prometheus/sources/0/namespaces/0'"),
    ("notifications.receivers[0].name=a", "'/notifications/receivers/0'"),
    ("notifications.receivers[0].teams.secret=a", "additional properties 'secret' not allowed"),
    ("notifications.proxy=https://p:1", "'/notifications/proxy'"),
    ("prometheus.sources[0].enforce.label=a", "'/prometheus/sources/0/enforce'"),
    ("prometheus.secrets={A_b}", "'/prometheus/secrets/0'"),
    ("pushes.senders[0].name=a", "'/pushes/senders/0': missing property 'keyFile'"),
    ("pushes.senders[0].keyFile=key", "'/pushes/senders/0/keyFile'"),
    ("pushes.secrets={A_b}", "'/pushes/secrets/0'"),
    ("namespaces={A_b}", "'/namespaces/0'"),
    ("namespaces={a,a}", "'/namespaces'"),
    ("requests.allowPrivate={10.0.0.1}", "'/requests/allowPrivate/0'"),
    ("requests.dns=10.0.0.1", "'/requests/dns'"),
    ("traces.endpoint=collector:4318", "'/traces/endpoint'"),
    ("admission.operators={a b}", "'/admission/operators/0'"),
    ("crds=false", "'/crds': got boolean, want object"),
    ("resources.limits.memory=lots", "'/resources/limits/memory'"),
    ("resources.limit.memory=1Gi", "additional properties 'limit' not allowed"),
    ("networkPolicy.metricsFrom=everybody", "'/networkPolicy/metricsFrom': got string, want array"),
    ("podLabels.app\\.kubernetes\\.io/name=x", "app.kubernetes.io/name"),
    ("monitoring.serviceMonitor.interval=soon", "'/monitoring/serviceMonitor/interval'"),
];

#[test]
fn wrong_values_are_refused_by_name() {
    if !tools("values of the chart") {
        return;
    }
    let mut wrong = vec![];
    for (set, expected) in BAD {
        match template(&["--set", set]) {
            Ok(_) => wrong.push(format!("{set}: accepted")),
            Err(e) if !e.contains(expected) => wrong.push(format!("{set}: expected {expected:?}, got {e}")),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_cluster_too_old_is_refused() {
    if !tools("version of the cluster") {
        return;
    }
    let refused = template(&["--kube-version", "v1.32.9"]).expect_err("1.32 lacks what is needed");
    assert!(refused.contains("chart requires kubeVersion: >=1.33.0-0"), "{refused}");
    // As vendors number their versions.
    template(&["--kube-version", "v1.33.2-gke.1"]).expect("1.33 is enough");
}

#[test]
fn the_chart_passes_lint() {
    if !tools("helm lint") {
        return;
    }
    run("helm", &["lint", "--strict", CHART, "--set", IMAGE]).expect("no warning");
}

#[test]
fn no_image_is_pulled_that_nobody_named() {
    if !tools("the image of the chart") {
        return;
    }
    let why = template(&["--set", "image.repository="]).expect_err("nobody said where the image is");
    assert!(why.contains("image.repository: there is no image to pull by default"), "{why}");
    let digest = format!("image.digest=sha256:{}", "a".repeat(64));
    let why = template(&["--set", "image.repository=", "--set", &digest]).expect_err("a digest names no registry");
    assert!(why.contains("image.repository"), "{why}");
}

fn rendered(set: &[&str]) -> Vec<Value> {
    let more: Vec<&str> = set.iter().flat_map(|s| ["--set", s]).collect();
    objects(&template(&more).unwrap_or_else(|e| panic!("{set:?}: {e}")))
}

fn find<'a>(all: &'a [Value], kind: &str) -> Option<&'a Value> {
    all.iter().find(|o| o["kind"] == kind)
}

#[test]
fn each_switch_gives_what_it_says() {
    if !tools("switches of the chart") {
        return;
    }
    let all = rendered(&[
        "namespaces={a,b}",
        "prometheus.default=monitoring/prometheus",
        "prometheus.sources[0].name=monitoring/prometheus",
        "requests.allowPrivate={10.0.0.0/8}",
        "requests.forbidPublic=true",
        "requests.dns=10.0.0.1:53",
        "decisions.keep=48h",
        "traces.endpoint=http://c:4318",
        "image.digest=sha256:aa8c09b0c53cd8c8c1ae2e2f1fbd1a1d1d5fc4f3d2a4d5a6c7b8d9e0f1a2b3c4",
        "admission.operators={jane@example.com}",
        "admission.systemApprovers=true",
        "aggregatedRoles=false",
        "admission.gitops={system:serviceaccount:argocd:app}",
        "crds.install=false",
        "podDisruptionBudget.enabled=false",
        "networkPolicy.egress.apiServer.peers[0].ipBlock.cidr=10.0.0.1/32",
        "networkPolicy.egress.extra[0].to[0].ipBlock.cidr=192.0.2.7/32",
        "monitoring.serviceMonitor.enabled=true",
        "monitoring.prometheusRule.enabled=true",
    ]);
    let container = &find(&all, "Deployment").expect("a Deployment")["spec"]["template"]["spec"]["containers"][0];
    let args: Vec<&str> = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let wanted = "run --log-format=text --namespace=a --namespace=b --config=/etc/cutover/config/config.yaml \
                  --allow-private=10.0.0.0/8 --forbid-public --dns=10.0.0.1:53 \
                  --keep-decisions=48h --otlp-endpoint=http://c:4318";
    assert_eq!(args.join(" "), wanted);
    // The program understands them: `--help` after them would not be reached by an unknown flag.
    run(env!("CARGO_BIN_EXE_cutover"), &[&args[..], &["--help"]].concat()).expect("the program knows these flags");
    assert!(container["image"].as_str().is_some_and(|i| i.contains("cutover@sha256:aa8c")), "{}", container["image"]);
    let first = |policy: &str| {
        let found = all.iter().find(|o| o["kind"] == "ValidatingAdmissionPolicy" && o["metadata"]["name"] == policy);
        found.expect("the policy")["spec"]["variables"][0]["expression"].as_str().unwrap_or_default().to_owned()
    };
    let operator = "system:serviceaccount:cutover-system:cutover-operator";
    assert_eq!(first("cutover-journal"), format!("[\"{operator}\",\"jane@example.com\"]"));
    assert_eq!(first("cutover-decision"), "true");
    assert_eq!(first("cutover-requester"), "[\"system:serviceaccount:argocd:app\"]");
    let roles: Vec<String> = all
        .iter()
        .filter(|o| o["kind"] == "Role" || o["kind"] == "ClusterRole")
        .map(|o| {
            format!(
                "{}/{}",
                o["metadata"]["namespace"].as_str().unwrap_or("-"),
                o["rules"].to_string().contains("pods")
            )
        })
        .collect();
    assert_eq!(
        roles.join(" "),
        "-/false cutover-system/false a/true b/true default/false monitoring/false",
        "rights on pods in a and b only"
    );
    assert!(find(&all, "CustomResourceDefinition").is_none());
    assert!(find(&all, "PodDisruptionBudget").is_none());
    assert!(find(&all, "ServiceMonitor").is_some());
    let rules = &find(&all, "PrometheusRule").expect("alert rules")["spec"]["groups"][0]["rules"];
    assert!(rules.as_array().is_some_and(|r| r.len() > 3), "{rules}");
    let policy = find(&all, "NetworkPolicy").expect("a NetworkPolicy");
    assert_eq!(policy["spec"]["policyTypes"], serde_json::json!(["Ingress", "Egress"]));
    let egress = policy["spec"]["egress"].as_array().cloned().unwrap_or_default();
    let open: Vec<&Value> = egress.iter().filter(|rule| rule["to"].is_null()).collect();
    assert!(open.len() == 1 && open[0]["ports"][0]["port"] == 53, "only names are asked anywhere: {open:?}");
    for address in ["10.0.0.1/32", "192.0.2.7/32"] {
        assert!(egress.iter().any(|rule| rule["to"][0]["ipBlock"]["cidr"] == address), "{address}: {egress:?}");
    }
    let roles =
        |all: &[Value]| all.iter().filter(|o| o["metadata"]["labels"].to_string().contains("aggregate-to-")).count();
    assert_eq!(roles(&all), 0);

    let all = rendered(&[]);
    assert_eq!(roles(&all), 3);
    let egress = &find(&all, "NetworkPolicy").expect("a NetworkPolicy")["spec"]["egress"];
    // What nobody has named is closed: no rule is for any address on any port.
    let any = |rule: &Value| rule["ports"].is_null() && rule["to"] != serde_json::json!([{"namespaceSelector": {}}]);
    assert!(egress.as_array().is_some_and(|all| all.len() == 3 && !all.iter().any(any)), "{egress}");
    let open = rendered(&["networkPolicy.egress.closed=false"]);
    let policy = find(&open, "NetworkPolicy").expect("a NetworkPolicy");
    assert_eq!(policy["spec"]["policyTypes"], serde_json::json!(["Ingress"]));
}

#[test]
fn who_may_push_reaches_the_operator() {
    if !tools("pushes") {
        return;
    }
    let all = rendered(&[
        "pushes.senders[0].name=alertmanager",
        "pushes.senders[0].keyFile=/etc/cutover/secrets/pushes/alertmanager",
        "pushes.senders[0].namespaces={prod}",
        "pushes.secrets={pushes,thanos}",
        "prometheus.secrets={thanos}",
        "pushes.from[0].namespaceSelector.matchLabels.team=metrics",
    ]);
    let config = find(&all, "ConfigMap").expect("a ConfigMap")["data"]["config.yaml"].clone();
    let file = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pushes.yaml");
    std::fs::write(&file, config.as_str().expect("a text")).expect("written");
    let of = format!("--config={}", file.display());
    let program = env!("CARGO_BIN_EXE_cutover");
    let why =
        run("env", &["-u", "KUBERNETES_SERVICE_HOST", "KUBECONFIG=/none", program, "run", "--listen=127.0.0.1:0", &of])
            .expect_err("there is no cluster");
    assert!(!why.contains("--config"), "{why}");
    let container = &find(&all, "Deployment").expect("a Deployment")["spec"]["template"]["spec"]["containers"][0];
    let paths: Vec<&str> =
        container["volumeMounts"].as_array().into_iter().flatten().filter_map(|m| m["mountPath"].as_str()).collect();
    assert_eq!(paths, ["/etc/cutover/config", "/etc/cutover/secrets/thanos", "/etc/cutover/secrets/pushes"]);
    assert_eq!(container["ports"][1], serde_json::json!({"name": "push", "containerPort": 8081}));
    let service = find(&all, "Service").expect("a Service");
    assert_eq!(service["spec"]["ports"][1], serde_json::json!({"name": "push", "port": 8081, "targetPort": "push"}));
    let ingress = &find(&all, "NetworkPolicy").expect("a NetworkPolicy")["spec"]["ingress"];
    let from = serde_json::json!([{"namespaceSelector": {"matchLabels": {"team": "metrics"}}}]);
    assert_eq!((&ingress[1]["ports"][0]["port"], &ingress[1]["from"]), (&serde_json::json!("push"), &from));
    assert!(find(&rendered(&[]), "Service").expect("a Service")["spec"]["ports"][1].is_null(), "closed by default");
}

/// Values of a source with everything, and one that a name is enough for.
const SOURCES: &[&str] = &[
    "prometheus.default=monitoring/prometheus",
    "prometheus.sources[0].name=monitoring/prometheus",
    "prometheus.sources[1].name=central",
    "prometheus.sources[1].service.namespace=metrics",
    "prometheus.sources[1].service.name=thanos",
    "prometheus.sources[1].service.port=9091",
    "prometheus.sources[1].scheme=https",
    "prometheus.sources[1].caFile=/etc/cutover/config-maps/authorities/ca.crt",
    "prometheus.sources[1].bearerTokenFile=/etc/cutover/secrets/thanos/token",
    "prometheus.sources[1].tenant=team-a",
    "prometheus.sources[2].name=outside",
    "prometheus.sources[2].url=https://prometheus.example.com",
    "prometheus.secrets={thanos}",
    "notifications.proxy=http://proxy.corp.example:3128",
    "notifications.noProxy={.corp.example}",
    "notifications.receivers[0].name=on-call",
    "notifications.receivers[0].pagerDuty.secretFile=/etc/cutover/secrets/pager/routing-key",
    "notifications.receivers[0].namespaces={shop}",
    "notifications.secrets={pager,thanos}",
    "prometheus.configMaps={authorities}",
];

#[test]
fn sources_of_metrics_reach_the_operator() {
    if !tools("sources of metrics") {
        return;
    }
    let all = rendered(SOURCES);
    let pod = |all: &[Value]| find(all, "Deployment").expect("a Deployment")["spec"]["template"].clone();
    let checksum = |all: &[Value]| pod(all)["metadata"]["annotations"]["cutover.dev/config-checksum"].clone();
    let text = |all: &[Value]| {
        let text = find(all, "ConfigMap").expect("a ConfigMap")["data"]["config.yaml"].clone();
        text.as_str().expect("a text").to_owned()
    };
    let template = pod(&all);
    let volumes = serde_json::json!([
        {"name": "config", "configMap": {"name": "cutover-operator"}},
        {"name": "secret-0", "secret": {"secretName": "thanos"}},
        {"name": "secret-1", "secret": {"secretName": "pager"}},
        {"name": "config-map-0", "configMap": {"name": "authorities"}},
    ]);
    assert_eq!(template["spec"]["volumes"], volumes);
    let mounts = template["spec"]["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
    let paths: Vec<&str> = mounts.iter().filter_map(|m| m["mountPath"].as_str()).collect();
    assert_eq!(
        paths,
        [
            "/etc/cutover/config",
            "/etc/cutover/secrets/thanos",
            "/etc/cutover/secrets/pager",
            "/etc/cutover/config-maps/authorities"
        ]
    );

    // What is rendered is what the program takes, so it gets as far as the cluster that is not there.
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let start = |name: &str, config: &str| {
        let (file, kubeconfig) = (folder.join(name), folder.join("no-cluster"));
        std::fs::write(&file, config).expect("written");
        let config = format!("--config={}", file.display());
        let kubeconfig = format!("KUBECONFIG={}", kubeconfig.display());
        let program = env!("CARGO_BIN_EXE_cutover");
        run("env", &["-u", "KUBERNETES_SERVICE_HOST", &kubeconfig, program, "run", "--listen=127.0.0.1:0", &config])
            .expect_err("there is no cluster")
    };
    let why = start("config.yaml", &text(&all));
    assert!(!why.contains("--config"), "{why}");
    let why = start("typo.yaml", &text(&all).replace("scheme:", "sheme:"));
    assert!(why.contains("typo.yaml: prometheus.sources[1]: unknown field `sheme`"), "{why}");

    // Another configuration starts new pods; one without sources has none of it.
    let other = rendered(&[SOURCES, &["prometheus.sources[1].tenant=team-b"]].concat());
    assert!(checksum(&all).is_string() && checksum(&all) != checksum(&other), "{}", checksum(&all));
    let bare = rendered(&[]);
    assert!(find(&bare, "ConfigMap").is_none() && pod(&bare)["spec"]["volumes"].is_null());
    assert!(checksum(&bare).is_null());

    // Limited to namespaces, the operator may look up these Services and no others.
    let limited = rendered(&[SOURCES, &["namespaces={a}"]].concat());
    let metrics = |kind: &str| -> Vec<Value> {
        limited
            .iter()
            .filter(|o| o["kind"] == kind && o["metadata"]["name"] == "cutover-operator-metrics")
            .cloned()
            .collect()
    };
    let rights: Vec<String> =
        metrics("Role").iter().map(|r| format!("{} {}", r["metadata"]["namespace"], r["rules"])).collect();
    let rule = |namespace: &str, name: &str| {
        format!(
            r#""{namespace}" [{{"apiGroups":[""],"resourceNames":["{name}"],"resources":["services"],"verbs":["get"]}}]"#
        )
    };
    assert_eq!(rights, [rule("metrics", "thanos"), rule("monitoring", "prometheus")]);
    assert_eq!(metrics("RoleBinding").len(), 2);
}
