//! From the version before to this one and back, with runs under way: what one version
//! started, the other judges and rolls back. `make upgrade` builds the version before from the history; CUTOVER_BEFORE is its checkout.

use serde_json::{Value, json};

use crate::lifecycle::{Installation, Team, application};
use crate::tools::{CHART, SYSTEM, cluster, feed, helm, kubectl, run, tools, wait};

/// The image of the version before, as `tests/run upgrade` names it.
const BEFORE: &str = "image.repository=docker.io/cutover/cutover,image.tag=before";

/// The image of this one.
const NOW: &str = concat!("image.repository=docker.io/cutover/cutover,image.tag=", env!("CARGO_PKG_VERSION"));

fn upgrade(chart: &str, image: &str, more: &[&str]) {
    let common =
        ["upgrade", "--install", "cutover", chart, "-n", SYSTEM, "--create-namespace", "--wait", "--timeout=120s"];
    run("helm", &[&common[..], &["--reset-then-reuse-values", "--set", image], more].concat())
        .unwrap_or_else(|e| panic!("{chart} with {image}: {e}"));
}

/// The image that the one that leads runs.
fn running() -> String {
    kubectl(&[
        "get",
        "pods",
        "-n",
        SYSTEM,
        "-l",
        "app.kubernetes.io/name=cutover-operator",
        "-o",
        "jsonpath={.items[*].spec.containers[0].image}",
    ])
}

/// Scales the workload of the new side.
fn green(team: &str, replicas: u32) {
    kubectl(&["scale", "statefulset/shop-green", &format!("--replicas={replicas}"), "-n", team]);
}

fn patch(team: &str, cutover: &Value) {
    kubectl(&["patch", "cutover/shop", "-n", team, "--type=merge", "-p", &cutover.to_string()]);
}

#[test]
fn runs_under_way_outlast_an_upgrade_from_the_version_before_and_the_way_back() {
    let Some(before) = std::env::var("CUTOVER_BEFORE").ok().filter(|path| !path.is_empty()) else {
        println!("left to `make upgrade`, which builds the version before and sets CUTOVER_BEFORE");
        return;
    };
    if !cluster("upgrade") || !tools("upgrade") {
        return;
    }
    let chart = format!("{before}/{CHART}");
    let team = format!("upgrade-{}", std::process::id());
    let _installation = Installation::of(&team);

    // Begun under the version before: it observes.
    upgrade(&chart, BEFORE, &[]);
    assert!(running().contains(":before"), "{}", running());
    kubectl(&["create", "namespace", &team]);
    let rights = kubectl(&["kustomize", "deploy/tenant"]).replace("namespace: prod\n", &format!("namespace: {team}\n"));
    feed("kubectl", &["apply", "-f", "-"], &rights).expect("a team's rights");
    feed("kubectl", &["apply", "-n", &team, "-f", "-"], &application().to_string()).expect("an application");
    let shop = Team(&team);
    shop.phase("Observing");
    let first = shop.identity();

    // This version continues the run, and rolls it back.
    upgrade(CHART, NOW, &[]);
    assert!(!running().contains(":before"), "{}", running());
    assert_eq!((shop.identity(), shop.live()), (first.clone(), "green".to_owned()), "the run has not been touched");
    green(&team, 0);
    shop.phase("RolledBack");
    assert_eq!(shop.live(), "blue");
    assert_eq!(shop.get("cutoverruns", ".items[*].metadata.uid"), first.split(' ').next().unwrap_or_default());

    // This version starts the next run. The version before rolls it back, with the newer definitions still installed.
    green(&team, 1);
    patch(&team, &json!({"spec": {"release": {"version": "2"}}}));
    shop.phase("Observing");
    let second = shop.get("cutover/shop", ".status.run.name");
    upgrade(&chart, BEFORE, &["--set", "crds.install=false"]);
    assert!(running().contains(":before"), "{}", running());
    assert_eq!(shop.live(), "green");
    green(&team, 0);
    shop.phase("RolledBack");
    assert_eq!((shop.live(), shop.get("cutover/shop", ".status.run.name")), ("blue".to_owned(), second));

    // And forward again, with a run that nothing troubles.
    upgrade(CHART, NOW, &["--set", "crds.install=true"]);
    green(&team, 1);
    patch(&team, &json!({"spec": {"release": {"version": "3"}, "observe": {"for": "2s"}}}));
    shop.phase("Completed");
    assert_eq!(shop.live(), "green");

    // Gone for good, as docs/install.md has it.
    kubectl(&["delete", "cutovers", "--all", "-n", &team, "--timeout=60s"]);
    wait("the runs to go with their Cutover", || {
        kubectl(&["get", "cutoverruns", "-n", &team, "-o", "name"]).is_empty().then_some(())
    });
    helm(&["uninstall", "cutover", "-n", SYSTEM, "--wait"]);
}
