//! What is put on stage: the manifests, and the three releases with what is expected of each.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const APPLICATION: &str = include_str!("../../../examples/demo/application.yaml");
const CUTOVER: &str = include_str!("../../../examples/demo/cutover.yaml");
const PROMETHEUS: &str = include_str!("../manifests/prometheus.yaml");
const LOAD: &str = include_str!("../manifests/load.yaml");

/// The Cutover of the example.
pub const CUTOVER_NAME: &str = "creditai";
/// The Service that is switched.
pub const SERVICE_NAME: &str = "creditai-service";

/// One release and what should become of it.
pub struct Release {
    /// Version, also the label of its pods.
    pub version: &'static str,
    /// Commit.
    pub revision: &'static str,
    /// Side that gets it.
    pub side: &'static str,
    /// Side that is live before.
    pub from: &'static str,
    /// Faults in the environment of its pods.
    pub faults: &'static [(&'static str, &'static str)],
    /// Phase in which the run has to end.
    pub expected: &'static str,
    /// What the viewer should know.
    pub about: &'static str,
    /// Whether all pods stay alive, so that not one request on a fresh connection may be lost.
    pub pods_stay: bool,
}

/// The demonstration.
pub const RELEASES: [Release; 3] = [
    Release {
        version: "2.4.0",
        revision: "9902729",
        side: "green",
        from: "blue",
        faults: &[],
        expected: "Completed",
        about: "A good release on the green side, while blue serves the users.
            Gates, backup, migration and checks come first; then the Service's selector is switched and watched.",
        pods_stay: true,
    },
    Release {
        version: "2.5.0",
        revision: "4be1c07",
        side: "blue",
        from: "green",
        faults: &[("FAULT_ERROR_RATE", "0.1"), ("FAULT_ONLY_AFTER_LIVE", "1")],
        expected: "RolledBack",
        about: "Passes every check, and answers one request in ten with 500 as soon as users come.
            Prometheus sees it; over 5 % for 3 s the selector goes back and the migration is undone.",
        pods_stay: true,
    },
    Release {
        version: "2.5.1",
        revision: "d81f3aa",
        side: "blue",
        from: "green",
        faults: &[("FAULT_DIE_AFTER_LIVE_MS", "1500")],
        expected: "RolledBack",
        about: "Passes every check, and all of its pods die 1.5 s after the first user came, for good.
            No metric is needed: the pods and their endpoints are watched. What is sent to dead pods is lost.",
        pods_stay: false,
    },
];

/// Images and addresses that differ from cluster to cluster.
pub struct Scenery {
    /// Namespace of everything.
    pub namespace: String,
    /// Image with the application, its jobs and the load generator.
    pub sample_image: String,
    /// Image of Prometheus.
    pub prometheus_image: String,
    /// Whether that Prometheus finds pods through the API server (else through DNS).
    pub kubernetes_discovery: bool,
}

impl Scenery {
    /// The application as it is before the first release.
    pub fn application(&self) -> Result<Vec<Value>> {
        self.documents(APPLICATION)
    }

    /// Prometheus and what it needs.
    pub fn prometheus(&self) -> Result<Vec<Value>> {
        self.prometheus_of("creditai")
    }

    /// A Prometheus that scrapes the pods labelled `app: APP`.
    pub fn prometheus_of(&self, app: &str) -> Result<Vec<Value>> {
        let mut text = PROMETHEUS.replace("NAMESPACE", &self.namespace).replace("creditai", app);
        if self.kubernetes_discovery {
            text = text.replace("prometheus/dns.yml", "prometheus/kubernetes.yml");
        }
        self.documents(&text)
    }

    /// The Deployment of the side that gets the release.
    pub fn deployment(&self, release: &Release) -> Result<Value> {
        let name = format!("creditai-{}", release.side);
        let found =
            self.application()?.into_iter().find(|o| o["kind"] == "Deployment" && o["metadata"]["name"] == name);
        let mut deployment = found.with_context(|| format!("application.yaml has no Deployment {name}"))?;
        let template = &mut deployment["spec"]["template"];
        template["metadata"]["labels"]["app.kubernetes.io/version"] = json!(release.version);
        let env = template["spec"]["containers"][0]["env"].as_array_mut().context("the container has no env")?;
        for variable in env.iter_mut().filter(|variable| variable["name"] == "VERSION") {
            variable["value"] = json!(release.version);
        }
        env.extend(release.faults.iter().map(|(name, value)| json!({"name": name, "value": value})));
        Ok(deployment)
    }

    /// The Cutover for the release: the example with another release and side.
    pub fn cutover(&self, release: &Release) -> Result<Value> {
        let mut cutover = self.documents(CUTOVER)?.pop().context("cutover.yaml is empty")?;
        cutover["spec"]["release"]["version"] = json!(release.version);
        cutover["spec"]["release"]["revision"] = json!(release.revision);
        cutover["spec"]["activate"] = json!(release.side);
        Ok(cutover)
    }

    /// The pod that makes the load, with the Service's address.
    pub fn load(&self, name: &str, address: &str) -> Result<Value> {
        let mut pod = self.documents(LOAD)?.pop().context("load.yaml is empty")?;
        pod["metadata"]["name"] = json!(name);
        let command = pod["spec"]["containers"][0]["command"].as_array_mut().context("the pod has no command")?;
        command.extend([json!("--url"), json!(format!("http://{address}/"))]);
        Ok(pod)
    }

    /// The objects of a YAML text, with the images of this cluster.
    pub fn documents(&self, text: &str) -> Result<Vec<Value>> {
        documents(&self.images(text))
    }

    /// A text with the images of this cluster.
    pub fn images(&self, text: &str) -> String {
        text.replace("docker.io/cutover/sample:dev", &self.sample_image)
            .replace("docker.io/cutover/prometheus:1", &self.prometheus_image)
    }
}

/// The objects of a YAML file.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(text)?;
    objects.retain(|object| !object.is_null());
    if let Some(wrong) = objects.iter().find(|o| !o["kind"].is_string() || !o["apiVersion"].is_string()) {
        bail!("not a Kubernetes object: {wrong}");
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cutover::api::Cutover;

    fn scenery() -> Scenery {
        Scenery {
            namespace: "somewhere".into(),
            sample_image: "sample:9".into(),
            prometheus_image: "prometheus:9".into(),
            kubernetes_discovery: true,
        }
    }

    #[test]
    fn a_release_changes_its_own_side_only_by_version_and_faults() {
        let release = &RELEASES[1];
        let deployment = scenery().deployment(release).unwrap();
        assert_eq!(deployment["metadata"]["name"], "creditai-blue");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "sample:9");
        let env = container["env"].as_array().unwrap();
        let value = |name: &str| env.iter().find(|v| v["name"] == name).map(|v| v["value"].clone());
        assert_eq!(value("VERSION"), Some(json!("2.5.0")));
        assert_eq!(value("COLOUR"), Some(json!("blue")));
        assert_eq!(value("FAULT_ERROR_RATE"), Some(json!("0.1")));
    }

    #[test]
    fn the_example_is_a_cutover_with_no_unknown_field() {
        for release in &RELEASES {
            let written = scenery().cutover(release).unwrap();
            let read: Cutover = serde_json::from_value(written.clone()).unwrap();
            // A field that the types do not know would be lost on the way.
            assert_eq!(serde_json::to_value(&read.spec).unwrap(), written["spec"]);
        }
    }

    #[test]
    fn the_example_resolves_into_a_plan_for_each_release() {
        for release in &RELEASES {
            let written: Cutover = serde_json::from_value(scenery().cutover(release).unwrap()).unwrap();
            let plan = cutover::plan::resolve(
                CUTOVER_NAME,
                "somewhere",
                &written.spec,
                release.from,
                &cutover::plan::Offered::default(),
            )
            .unwrap();
            assert_eq!(plan.target.name, release.side);
        }
    }

    #[test]
    fn sides_alternate_so_that_each_release_meets_a_live_one() {
        assert!(RELEASES.iter().all(|release| release.side != release.from));
        assert_eq!((RELEASES[0].side, RELEASES[1].from, RELEASES[2].from), ("green", "green", "green"));
    }

    #[test]
    fn prometheus_is_told_where_to_look() {
        let objects = scenery().prometheus().unwrap();
        let text = serde_json::to_string(&objects).unwrap();
        assert!(text.contains("creditai-pods.somewhere.svc"));
        assert!(text.contains("--config.file=/etc/prometheus/kubernetes.yml"));
    }
}
