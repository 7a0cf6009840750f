//! The life of an installation on a real cluster, with a run under way: taken over from plain manifests, upgraded,
//! rolled back, removed in the middle of the run and installed again.

use serde_json::{Value, json};

use crate::tools::{CHART, IMAGE, SYSTEM, cluster, feed, helm, kubectl, run, text, tools, wait};

/// Removes the release, whatever happened: tests that run later have operators of their own.
pub struct Installation {
    team: String,
}

impl Installation {
    /// One with this team.
    pub fn of(team: &str) -> Self {
        Self { team: team.to_owned() }
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        // The Cutover while its operator is there, which takes its finalizers away.
        for (program, args) in [
            ("kubectl", &["delete", "cutovers", "--all", "-n", &self.team, "--ignore-not-found", "--timeout=60s"][..]),
            ("helm", &["uninstall", "cutover", "-n", SYSTEM, "--ignore-not-found", "--wait"]),
            ("kubectl", &["delete", "namespace", &self.team, "--ignore-not-found", "--wait=false"]),
        ] {
            if let Err(e) = run(program, args) {
                println!("cleaning up: {program} {}: {e}", args.join(" "));
            }
        }
    }
}

fn install(more: &[&str]) -> Result<String, String> {
    let common = ["upgrade", "--install", "cutover", CHART, "-n", SYSTEM, "--wait", "--timeout=60s", "--set", IMAGE];
    run("helm", &[&common, more].concat())
}

/// One colour of an application, of this kind of workload.
fn side(colour: &str, kind: &str) -> Value {
    let labels = json!({"app": "shop", "side": colour});
    let mut workload = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": format!("shop-{colour}")},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false, "containers": [{
                "name": "app", "image": "docker.io/cutover/sample:dev", "imagePullPolicy": "IfNotPresent",
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
            }]},
        }},
    });
    if kind == "StatefulSet" {
        workload["spec"]["serviceName"] = json!("shop");
    }
    workload
}

/// The smallest Cutover, but for an observation that is long enough for all that is done meanwhile. Its sides are of
/// different kinds, so that every right on workloads is needed.
pub fn application() -> Value {
    let side_of = |colour: &str, kind: &str| {
        json!({"name": colour, "selector": {"side": colour},
            "workloads": [{"kind": kind, "name": format!("shop-{colour}")}]})
    };
    let (blue, green) = (("blue", "Deployment"), ("green", "StatefulSet"));
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"},
        "spec": {"selector": {"app": "shop", "side": "blue"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let cutover = json!({
        "apiVersion": "cutover.dev/v1alpha1", "kind": "Cutover", "metadata": {"name": "shop"},
        "spec": {"services": [{"name": "shop"}], "sides": [side_of(blue.0, blue.1), side_of(green.0, green.1)], "activate": "green",
            "observe": {"for": "30m"}},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [service, side(blue.0, blue.1), side(green.0, green.1), cutover]})
}

/// The namespace of a team.
pub struct Team<'a>(pub &'a str);

impl Team<'_> {
    /// What a path of an object gives.
    pub fn get(&self, object: &str, path: &str) -> String {
        self.print(object, &format!("{{{path}}}"))
    }

    fn print(&self, object: &str, template: &str) -> String {
        kubectl(&["get", object, "-n", self.0, "-o", &format!("jsonpath={template}")])
    }

    /// Waits for a phase.
    pub fn phase(&self, expected: &str) {
        let last = std::cell::RefCell::new(String::new());
        let limit = std::panic::AssertUnwindSafe(|| {
            wait(&format!("phase {expected}"), || {
                *last.borrow_mut() = self.get("cutover/shop", ".status.phase");
                (*last.borrow() == expected).then_some(())
            });
        });
        if std::panic::catch_unwind(limit).is_err() {
            let said = self.get("cutover/shop", ".status.conditions[*].message");
            let log = run("kubectl", &["logs", "-n", SYSTEM, "deployment/cutover-operator", "--tail=20"]);
            panic!("phase is {:?} and not {expected}; {said}\n{}", last.borrow(), log.unwrap_or_else(|e| e));
        }
    }

    /// The side that the Service points to.
    pub fn live(&self) -> String {
        self.get("service/shop", ".spec.selector.side")
    }

    /// Which run it is and that nobody asked for its end.
    pub fn identity(&self) -> String {
        let meta = "{.metadata.uid} {.metadata.finalizers} {.metadata.deletionTimestamp}";
        let run = self.print("cutoverruns", &format!("{{range .items[*]}}{meta}{{end}}"));
        let cutover = self.print("cutover/shop", meta);
        assert!(run.contains("cutover.dev/"), "a run under way has its finalizer: {run}");
        format!("{run} / {cutover}")
    }
}

fn log_level() -> String {
    let path = "jsonpath={.spec.template.spec.containers[0].env[?(@.name==\"RUST_LOG\")].value}";
    kubectl(&["get", "deployment/cutover-operator", "-n", SYSTEM, "-o", path])
}

#[test]
fn an_installation_comes_changes_and_goes_without_harm_to_a_run() {
    if !cluster("life of an installation") || !tools("life of an installation") {
        return;
    }
    let team = format!("install-{}", std::process::id());
    let _installation = Installation::of(&team);

    // From plain manifests to the chart.
    let named = format!("docker.io/cutover/cutover:{}", env!("CARGO_PKG_VERSION"));
    let plain = kubectl(&["kustomize", "deploy"]).replace("CUTOVER-IMAGE", &named);
    feed("kubectl", &["apply", "--server-side", "--force-conflicts", "-f", "-"], &plain).expect("plain manifests");
    let refused = install(&[]).expect_err("plain manifests are there");
    assert!(refused.contains("by plain manifests") && refused.contains("--set takeOver=true"), "{refused}");
    install(&["--take-ownership", "--force-conflicts", "--set", "takeOver=true"]).expect("the chart takes over");
    install(&[]).expect("from then on it is like any release");

    // A second one would lock out the first.
    let second = ["install", "second", CHART, "-n", "default", "--set", IMAGE];
    let refused = run("helm", &second).expect_err("one installation serves the cluster");
    assert!(refused.contains(&format!("as release cutover in namespace {SYSTEM}")), "{refused}");
    assert!(refused.contains(&format!("helm upgrade cutover -n {SYSTEM}")), "{refused}");

    kubectl(&["create", "namespace", &team]);
    let rights = kubectl(&["kustomize", "deploy/tenant"]).replace("namespace: prod\n", &format!("namespace: {team}\n"));
    feed("kubectl", &["apply", "-f", "-"], &rights).expect("a team's rights");
    feed("kubectl", &["apply", "-n", &team, "-f", "-"], &application().to_string()).expect("an application");
    let shop = Team(&team);
    shop.phase("Observing");
    assert_eq!(shop.live(), "green");
    let run_before = shop.identity();

    // Other values and back again, while the run is under way.
    // Fields that kubectl applied are its as well until they are taken from it.
    install(&["--force-conflicts", "--set", "log.level=debug"]).expect("an upgrade");
    assert_eq!(log_level(), "debug");
    helm(&["rollback", "cutover", "-n", SYSTEM, "--wait", "--timeout=60s"]);
    assert_eq!(log_level(), "info");
    assert_eq!(shop.identity(), run_before, "the run has not been touched");

    // Gone in the middle of the run: whatever the run had done stays as it is, and all that it needs to go on.
    let kept = helm(&["uninstall", "cutover", "-n", SYSTEM, "--wait"]);
    assert!(kept.contains("cutoverruns.cutover.dev"), "helm says what it keeps: {kept}");
    let left = kubectl(&["get", "validatingadmissionpolicies,clusterroles,clusterrolebindings", "-o", "name"]);
    assert!(!left.lines().any(|l| l.ends_with("/cutover-operator") || l.contains("/cutover-journal")), "{left}");
    kubectl(&["scale", "statefulset/shop-green", "--replicas=0", "-n", &team]);
    kubectl(&["wait", "--for=delete", "pod", "-l", "side=green", "-n", &team, "--timeout=60s"]);
    assert_eq!(shop.live(), "green", "nobody is there to switch back");
    assert_eq!(shop.identity(), run_before, "neither the run nor its finalizers went with the operator");

    // Back again, and for this namespace alone: the run goes on from its journal and finds out what happened meanwhile.
    install(&["--set", &format!("namespaces={{{team}}}")]).expect("a second install needs nothing special");
    let may = ["auth", "can-i", "list", "pods", "--as", "system:serviceaccount:cutover-system:cutover-operator", "-n"];
    // It answers by its exit code.
    run("kubectl", &[&may[..], &[&team]].concat()).expect("a right here");
    run("kubectl", &[&may[..], &["kube-system"]].concat()).expect_err("none elsewhere");
    shop.phase("RolledBack");
    assert_eq!(shop.live(), "blue");
    assert_eq!(shop.get("cutoverruns", ".items[*].metadata.uid"), run_before.split(' ').next().unwrap_or_default());

    // And the next release is like any other; the first run leaves the history.
    kubectl(&["scale", "statefulset/shop-green", "--replicas=1", "-n", &team]);
    let next = json!({"spec": {"release": {"version": "2"}, "observe": {"for": "1s"}, "historyLimit": 1}});
    kubectl(&["patch", "cutover/shop", "-n", &team, "--type=merge", "-p", &next.to_string()]);
    shop.phase("Completed");
    assert_eq!(shop.live(), "green");
    wait("the first run to leave the history", || {
        (shop.get("cutoverruns", ".items[*].metadata.name") == "shop-2").then_some(())
    });
}

#[test]
fn the_life_test_uses_what_the_page_says() {
    // docs/install.md gives the commands that the test above runs.
    let page = text("docs/install.md");
    for command in [
        "--take-ownership --force-conflicts --set takeOver=true",
        "helm rollback cutover -n cutover-system --wait",
        "helm uninstall cutover -n cutover-system --wait",
        "kubectl kustomize deploy/tenant",
    ] {
        assert!(page.contains(command), "docs/install.md does not say {command}");
    }
}
