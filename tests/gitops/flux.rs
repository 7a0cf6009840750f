//! The real source-controller and kustomize-controller of Flux on the test cluster, with the layout of `examples/gitops`: a
//! release is one commit, its Kustomization is Ready when the run is Completed and not before, fails when it is rolled back,
//! and is Ready again once Git says what is live. `make night PARTS=gitops` (`tests/run gitops`): the controllers take minutes
//! to build.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::root;
use crate::tools::{built, copy};

/// Addresses on loopback, of the cluster's own network.
const GIT: &str = "127.0.0.1:9780";
const ARTIFACTS: &str = "127.0.0.1:9790";

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.kill().and_then(|()| self.0.wait()).is_err() {
            eprintln!("a program of the test could not be ended");
        }
    }
}

/// Runs a command; what it prints.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

pub fn kubectl(args: &[&str]) -> String {
    run(Command::new("kubectl").args(args))
}

/// An object.
fn get(kind: &str, namespace: &str) -> Value {
    let text = kubectl(&["get", kind, "-n", namespace, "-o", "json"]);
    serde_json::from_str(&text).expect("JSON")
}

/// Waits until a field of an object has this value.
fn wait(object: &str, namespace: &str, path: &str, value: &str) {
    let wanted = format!("--for=jsonpath={{{path}}}={value}");
    kubectl(&["wait", object, "-n", namespace, &wanted, "--timeout=240s"]);
}

/// The condition Ready of the Kustomization: status, reason, message, since when.
fn ready() -> [String; 4] {
    let found = get("kustomization/shop", "flux-system");
    let all = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = all.into_iter().find(|c| c["type"] == "Ready").expect("the condition");
    ["status", "reason", "message", "lastTransitionTime"].map(|key| ready[key].as_str().unwrap_or_default().to_owned())
}

/// The repository that Flux reads, with its history.
struct Repository {
    work: PathBuf,
    served: PathBuf,
}

impl Repository {
    fn new(place: &Path) -> Self {
        let (work, served) = (place.join("work"), place.join("git"));
        copy(&root("examples/gitops/shop"), &work.join("shop"));
        std::fs::create_dir_all(&served).expect("a folder");
        let it = Self { work, served };
        it.edit("shop/cutover.yaml", "observe: {for: 5m}", "observe: {for: 10s}");
        run(Command::new("git").args(["init", "-q", "-b", "main"]).current_dir(&it.work));
        run(Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(it.served.join("shop.git")));
        it
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.work.join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(&path, text.replace(from, to)).unwrap_or_else(|e| panic!("{file}: {e}"));
    }

    /// One commit for a release: what runs on a side, and what the Cutover wants.
    fn release(&self, side: (&str, &str), from: (&str, &str), to: (&str, &str)) -> String {
        let (name, was) = side;
        self.edit(&format!("shop/{name}/kustomization.yaml"), &format!("\"{was}\""), &format!("\"{}\"", to.1));
        let version = |version: &str| format!("release: {{version: \"{version}\"");
        self.edit("shop/cutover.yaml", &version(from.1), &version(to.1));
        self.edit("shop/cutover.yaml", &format!("activate: {}", from.0), &format!("activate: {}", to.0));
        self.commit(&format!("shop {}", to.1))
    }

    /// Commits and pushes, and has Flux look; the revision.
    fn commit(&self, message: &str) -> String {
        let git = |args: &[&str]| {
            let who = ["-c", "user.name=jane", "-c", "user.email=jane@example.com"];
            run(Command::new("git").args(who).args(args).current_dir(&self.work))
        };
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", message]);
        git(&["push", "-q", &self.served.join("shop.git").to_string_lossy(), "main"]);
        let revision = git(&["rev-parse", "HEAD"]).trim().to_owned();
        let asked = format!("reconcile.fluxcd.io/requestedAt={revision}");
        let known = kubectl(&["get", "gitrepository", "-n", "flux-system", "-o", "name"]);
        if !known.is_empty() {
            kubectl(&["annotate", "--overwrite", known.trim(), "-n", "flux-system", &asked]);
        }
        format!("main@sha1:{revision}")
    }
}

fn start(program: &Path, place: &Path, args: &[String]) -> Running {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let log = File::create(place.join(format!("{name}.log"))).expect("a log");
    let mut command = Command::new(program);
    command.args(args).env("RUNTIME_NAMESPACE", "flux-system").stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    Running(command.spawn().unwrap_or_else(|e| panic!("{name}: {e}")))
}

fn controllers(place: &Path, served: &Path) -> Vec<Running> {
    let words = |all: &[&str]| all.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let storage = place.join("artifacts");
    std::fs::create_dir_all(&storage).expect("a folder");
    let mut source = words(&["--metrics-addr=127.0.0.1:9791", "--health-addr=127.0.0.1:9792", "--events-addr="]);
    source.push(format!("--storage-path={}", storage.display()));
    source.extend([format!("--storage-addr={ARTIFACTS}"), format!("--storage-adv-addr={ARTIFACTS}")]);
    let kustomize = words(&["--metrics-addr=127.0.0.1:9793", "--health-addr=127.0.0.1:9794", "--events-addr="]);
    vec![
        start(&built("git-server"), place, &[GIT.to_owned(), served.display().to_string()]),
        start(&built("source-controller"), place, &source),
        start(&built("kustomize-controller"), place, &kustomize),
    ]
}

/// The Flux objects of the example; with `wait: true` alone, or with the expressions too.
fn apply_flux(expressions: bool) {
    let read = |name: &str| std::fs::read_to_string(root(&format!("examples/gitops/flux/{name}"))).expect(name);
    let source = read("source.yaml").replace("https://git.example/", &format!("http://{GIT}/"));
    let mut kustomization: Value = serde_saphyr::from_str(&read("kustomization.yaml")).expect("YAML");
    if !expressions {
        kustomization["spec"]["healthCheckExprs"] = json!([]);
    }
    apply(&format!("{source}---\n{kustomization}\n"));
}

pub fn apply(text: &str) {
    let mut command = Command::new("kubectl");
    command.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn().expect("kubectl runs");
    child.stdin.take().expect("it was asked for").write_all(text.as_bytes()).expect("it reads");
    assert!(child.wait().is_ok_and(|status| status.success()), "this is not taken:\n{text}");
}

/// Where the Service points, and what the Cutover says.
fn live() -> (String, String, String) {
    let service = get("service/shop", "shop");
    let cutover = get("cutover/shop", "shop");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&service["spec"]["selector"]["side"]), text(&cutover["status"]["phase"]), text(&cutover["status"]["live"]))
}

fn owned(words: (&str, &str, &str)) -> (String, String, String) {
    (words.0.into(), words.1.into(), words.2.into())
}

/// A good release, a bad one, and the way back in Git.
fn releases(repository: &Repository, expressions: bool) {
    let first = repository.commit("shop 1.0.0");
    apply_flux(expressions);
    wait("kustomization/shop", "flux-system", ".status.lastAppliedRevision", &first);
    assert_eq!(live(), owned(("blue", "Idle", "blue@1.0.0")));

    let good = repository.release(("green", "0.9.0"), ("blue", "1.0.0"), ("green", "2.0.0"));
    // Ready speaks of the revision that is named: it is written together with it.
    wait("kustomization/shop", "flux-system", ".status.lastAppliedRevision", &good);
    assert_eq!(live(), owned(("green", "Completed", "green@2.0.0")));
    let [status, reason, message, since] = ready();
    let completed = get("cutover/shop", "shop")["status"]["since"].as_str().unwrap_or_default().to_owned();
    println!("expressions {expressions}: Completed {completed}, Ready {since}: {reason}: {message}");
    assert_eq!(status, "True");
    assert!(since.as_str() >= &completed[..19], "Ready since {since}, Completed since {completed}");

    repository.edit(
        "shop/blue/deployment.yaml",
        "        env:\n",
        "        env:\n        - {name: FAULT_ERROR_RATE, value: \"1\"}\n",
    );
    let bad = repository.release(("blue", "1.0.0"), ("green", "2.0.0"), ("blue", "3.0.0"));
    wait("kustomization/shop", "flux-system", ".status.lastAttemptedRevision", &bad);
    kubectl(&["wait", "kustomization/shop", "-n", "flux-system", "--for=condition=Ready=False", "--timeout=240s"]);
    let [_, reason, message, _] = ready();
    println!("expressions {expressions}: {reason}: {message}");
    assert_eq!(live(), owned(("green", "RolledBack", "green@2.0.0")));
    assert!(reason == "HealthCheckFailed" && message.contains("Cutover/shop/shop"), "{reason}: {message}");

    repository.edit("shop/blue/deployment.yaml", "        - {name: FAULT_ERROR_RATE, value: \"1\"}\n", "");
    let back = repository.release(("blue", "3.0.0"), ("blue", "3.0.0"), ("green", "2.0.0"));
    wait("kustomization/shop", "flux-system", ".status.lastAppliedRevision", &back);
    assert_eq!(live(), owned(("green", "Idle", "green@2.0.0")));
}

#[test]
#[ignore = "the controllers of Flux take minutes to build: make night PARTS=gitops"]
fn flux_waits_for_the_end_of_a_release() {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gitops-flux");
    if place.exists() {
        std::fs::remove_dir_all(&place).expect("what the last test left goes");
    }
    for folder in run(Command::new(root("tests/gitops/tools")).arg("crds")).lines() {
        kubectl(&["apply", "--server-side", "-f", folder]);
    }
    for expressions in [false, true] {
        let place = place.join(if expressions { "expressions" } else { "wait" });
        for namespace in ["flux-system", "shop"] {
            apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}).to_string());
        }
        let tenant = kubectl(&["kustomize", &root("deploy/tenant").to_string_lossy()]);
        apply(&tenant.replace("namespace: prod", "namespace: shop"));
        let repository = Repository::new(&place);
        let running = controllers(&place, &repository.served);
        releases(&repository, expressions);
        // What Flux made goes with its Kustomization, the Service and the Cutover too.
        kubectl(&["delete", "kustomization/shop", "gitrepository/shop", "-n", "flux-system", "--timeout=120s"]);
        kubectl(&["wait", "--for=delete", "cutover/shop", "service/shop", "-n", "shop", "--timeout=120s"]);
        drop(running);
        kubectl(&["delete", "namespace", "shop", "--timeout=120s"]);
    }
}
