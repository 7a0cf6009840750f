//! What Git holds for one cell of the matrix, and how a tool brings it to the cluster: server-side apply by Argo CD and
//! by Flux's kustomize-controller, client-side apply of a Kustomize folder, and Helm in its two ways.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use cutover::api::Cutover;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::table::{Does, How, When};
use crate::harness::{Case, app, cluster};

/// One run of one cell.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub does: Does,
    pub when: When,
    pub how: How,
    /// The tool applies the same again and again.
    pub heals: bool,
}

/// Long enough for the slowest tool to come in the middle, on a busy machine.
const HOLD: &str = "20s";

impl Cell {
    /// The name of its Cutover, Service and Helm release.
    pub fn name(&self) -> String {
        let heals = if self.heals { "again" } else { "once" };
        format!("{:?}-{:?}-{:?}-{heals}", self.does, self.when, self.how).to_lowercase()
    }

    /// The application whose pods its Service selects. Only where Git holds their number are they its own.
    pub fn app(&self) -> String {
        if self.does == Does::Replicas { self.name() } else { "web".to_owned() }
    }

    /// Whether Git holds the selector of the Service.
    fn holds_selector(&self) -> bool {
        matches!(self.does, Does::Selector | Does::NewSelector | Does::Remediate)
    }

    fn service(&self, side: &str) -> Value {
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": self.name()},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
        });
        if self.holds_selector() {
            service["spec"]["selector"] = json!({"app": self.app(), "side": side});
        }
        service
    }

    fn cutover(&self, side: &str, version: &str) -> Result<Value> {
        let hold = format!("wait: {{for: {HOLD}}}");
        let up = match self.does {
            Does::Replicas => "{name: up, scale: {side: Target, replicas: 1}}, ",
            _ => "",
        };
        let (undo, verify, observe) = match self.when {
            When::Before => (String::new(), format!("{{name: hold, {hold}}}"), "8s"),
            When::Observing => (String::new(), String::new(), HOLD),
            When::RollingBack => {
                (format!("{{name: one, wait: {{for: 100ms}}, undo: {{{hold}}}}}"), String::new(), "10m")
            }
            When::Completed => (String::new(), String::new(), "1s"),
        };
        let spec = format!(
            "activate: {side}\nrelease: {{version: '{version}'}}\nswitch: {{timeout: 30s}}\n\
             phases: {{prepare: {{steps: [{up}{undo}]}}, verify: {{steps: [{verify}]}}}}\n\
             observe: {{for: {observe}, every: 500ms}}\n"
        );
        let mut cutover = app::cutover(&self.name(), &self.app(), &spec)?;
        cutover["spec"]["services"] = json!([{"name": self.name()}]);
        Ok(cutover)
    }

    /// Everything in Git but the Cutover.
    fn beside(&self, side: &str) -> Result<Vec<Value>> {
        let mut all = vec![self.service(side)];
        if self.does == Does::Replicas {
            for (colour, replicas) in [("blue", 1), ("green", 0)] {
                let colour = app::Colour::new(colour).replicas(replicas);
                all.extend(cluster::documents(&app::deployment(&self.app(), &colour))?);
            }
        }
        Ok(all)
    }

    /// Git before the release.
    pub fn before(&self) -> Result<Vec<Value>> {
        let mut all = self.beside("blue")?;
        all.push(self.cutover("blue", "1")?);
        Ok(all)
    }

    /// Git with the release.
    pub fn release(&self) -> Result<Vec<Value>> {
        let mut all = self.beside("blue")?;
        all.push(self.cutover("green", "2")?);
        Ok(all)
    }

    /// Git as it is applied in the middle.
    pub fn then(&self) -> Result<Vec<Value>> {
        match self.does {
            Does::Selector | Does::Replicas => self.release(),
            Does::Whole | Does::Remediate => self.before(),
            Does::Prune => self.beside("blue"),
            Does::Activate => {
                let mut all = self.beside("blue")?;
                all.push(self.cutover("blue", "2")?);
                Ok(all)
            }
            Does::NewSelector => {
                let mut all = self.beside("green")?;
                all.push(self.cutover("green", "2")?);
                Ok(all)
            }
        }
    }
}

/// The programs that apply.
pub struct Tools {
    helm: String,
    /// They are processes: a few at a time.
    seats: Semaphore,
}

impl Tools {
    /// Finds Helm, which the cluster's script builds where it is missing.
    pub async fn find() -> Result<Self> {
        let script = Path::new(crate::harness::ROOT).join("tests/cluster/cluster");
        let found = tokio::process::Command::new(&script).args(["tool", "helm"]).stdin(Stdio::null()).output().await?;
        let helm = String::from_utf8(found.stdout)?.trim().to_owned();
        anyhow::ensure!(Path::new(&helm).is_file(), "no Helm: {}", String::from_utf8_lossy(&found.stderr));
        Ok(Self { helm, seats: Semaphore::new(3) })
    }

    /// Runs a program in a namespace. `Ok(false)`: it met a conflict with another field manager.
    async fn run(&self, program: &str, arguments: &[&str], ns: &str) -> Result<bool> {
        let _seat = self.seats.acquire().await?;
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).args(["-n", ns]).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.with_context(|| program.to_owned())?;
        let err = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => Ok(true),
            false if err.contains("conflict") => Ok(false),
            false => bail!("{program} {arguments:?}: {err}"),
        }
    }
}

/// Brings what Git holds to the cluster, as the tool of the cell does. `Ok(false)`: refused with a conflict.
pub async fn apply(t: &Case, tools: &Tools, cell: &Cell, objects: &[Value]) -> Result<bool> {
    match cell.how {
        How::Argo => server_side(t, "argocd-controller", objects).await,
        How::Flux => server_side(t, "kustomize-controller", objects).await,
        How::Client => {
            let folder = write(t, cell, objects, |folder, text| {
                std::fs::write(folder.join("all.yaml"), text)?;
                std::fs::write(folder.join("kustomization.yaml"), "resources: [all.yaml]\n")
            })?;
            tools.run("kubectl", &["apply", "-k", &folder, "--field-manager=argocd-controller"], &t.ns).await
        }
        How::Helm3 | How::Helm4 => {
            let folder = write(t, cell, objects, |folder, text| {
                let name = cell.name();
                std::fs::create_dir_all(folder.join("templates"))?;
                std::fs::write(folder.join("Chart.yaml"), format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n"))?;
                std::fs::write(folder.join("templates/all.yaml"), text)
            })?;
            tools.run(&tools.helm, &["upgrade", "--install", &cell.name(), &folder, server(cell.how)], &t.ns).await
        }
    }
}

/// Helm 4 applies server-side; what Helm 3 does is what it does without.
fn server(how: How) -> &'static str {
    if how == How::Helm4 { "--server-side=true" } else { "--server-side=false" }
}

/// What the cell is about: Git's next state, as the tool brings it.
pub async fn then(t: &Case, tools: &Tools, cell: &Cell) -> Result<bool> {
    match (cell.does, cell.how) {
        // Helm deletes what a chart has no more; Flux deletes in the background, Argo CD in the foreground.
        (Does::Prune, How::Helm3 | How::Helm4) => apply(t, tools, cell, &cell.then()?).await,
        (Does::Prune, how) => {
            let params = if how == How::Flux { DeleteParams::background() } else { DeleteParams::foreground() };
            match t.api::<Cutover>().delete(&cell.name(), &params).await {
                Ok(_) => Ok(true),
                Err(kube::Error::Api(e)) if e.is_not_found() => Ok(true),
                Err(e) => Err(e.into()),
            }
        }
        (Does::Remediate, How::Helm3 | How::Helm4) => {
            tools.run(&tools.helm, &["rollback", &cell.name(), "1", server(cell.how)], &t.ns).await
        }
        _ => apply(t, tools, cell, &cell.then()?).await,
    }
}

async fn server_side(t: &Case, manager: &str, objects: &[Value]) -> Result<bool> {
    let params = PatchParams::apply(manager).force();
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        cluster::api_of(&t.client, object, &t.ns)?.patch(name, &params, &Patch::Apply(object)).await?;
    }
    Ok(true)
}

/// Writes the objects into a folder of the cell.
fn write(
    t: &Case,
    cell: &Cell,
    objects: &[Value],
    files: impl FnOnce(&Path, String) -> std::io::Result<()>,
) -> Result<String> {
    let folder = t.dir.join(cell.name());
    std::fs::create_dir_all(&folder)?;
    let text: Vec<String> = objects.iter().map(Value::to_string).collect();
    files(&folder, text.join("\n---\n"))?;
    Ok(folder.display().to_string())
}

/// The first selector of a Service that Git has without one: set once, by a person.
pub async fn first_selector(t: &Case, cell: &Cell) -> Result<()> {
    if cell.holds_selector() {
        return Ok(());
    }
    t.merge::<Service>(&cell.name(), json!({"spec": {"selector": {"app": cell.app(), "side": "blue"}}})).await
}
