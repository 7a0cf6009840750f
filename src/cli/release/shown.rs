//! PURE. What a release changes, as a page, as commands, and as objects for Git.

use serde_json::{Value, json};

use super::change::Changes;
use crate::cli::exit::Failure;
use crate::cli::output;
use crate::cli::text::{Glyph, Line, Page, Tone};

pub(crate) fn page(changes: &Changes, flags: &str) -> Page {
    let mut page = Page::new();
    page.push(
        Line::new()
            .tone(Tone::Strong, format!("{}: activate {}", changes.cutover, changes.target))
            .text(format!(" ({} is live)", changes.live)),
    );
    for w in &changes.workloads {
        let name = format!("{:?}/{}", w.workload.kind, w.workload.name);
        let line = Line::new().text("  ").sign(Tone::Plain, Glyph::Arrow).text(name).text(": ");
        page.push(if w.changes_something() { line.text(w.words()) } else { line.tone(Tone::Dim, "stays as it is") });
    }
    let (name, release) = (&changes.cutover, changes.cutover_patch(None));
    let fields = release["spec"]["release"].as_object().cloned().unwrap_or_default();
    let fields: Vec<String> = fields.iter().filter_map(|(k, v)| Some(format!("{k} {}", v.as_str()?))).collect();
    page.push(
        Line::new().text("  ").sign(Tone::Plain, Glyph::Arrow).text(format!("Cutover/{name}: {}", fields.join(", "))),
    );
    page.push(Line::new().tone(Tone::Dim, format!("next: kubectl cutover watch {name}{flags}")));
    page
}

/// The same as `kubectl` would do it, in the order in which it is to be done.
pub(crate) fn commands(changes: &Changes, flags: &str) -> String {
    let mut out = String::new();
    for w in changes.workloads.iter().filter(|w| w.changes_something()) {
        let kind = format!("{:?}", w.workload.kind).to_lowercase();
        out.push_str(&format!("kubectl patch {kind} {}{flags} --patch {}\n", w.workload.name, quoted(&w.patch())));
        out.push_str(&format!("kubectl rollout status {kind} {}{flags}\n", w.workload.name));
    }
    let patch = quoted(&changes.cutover_patch(None));
    out.push_str(&format!("kubectl patch cutover {}{flags} --type merge --patch {patch}\n", changes.cutover));
    out
}

fn quoted(patch: &Value) -> String {
    format!("'{}'", patch.to_string().replace('\'', r"'\''"))
}

/// The changed parts of the objects, as patches of kustomize.
pub(crate) fn objects(changes: &Changes) -> Result<String, Failure> {
    let mut out = String::new();
    for w in changes.workloads.iter().filter(|w| w.changes_something()) {
        let mut object = w.patch();
        object["apiVersion"] = json!("apps/v1");
        object["kind"] = json!(format!("{:?}", w.workload.kind));
        object["metadata"] = json!({"name": w.workload.name});
        out.push_str(&format!("---\n{}", output::yaml(&object)?));
    }
    let mut cutover = changes.cutover_patch(None);
    cutover["apiVersion"] = json!("cutover.dev/v1alpha1");
    cutover["kind"] = json!("Cutover");
    cutover["metadata"] = json!({"name": changes.cutover});
    out.push_str(&format!("---\n{}", output::yaml(&cutover)?));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures::{self, HOSTILE, object, over, run};
    use crate::cli::release::change::{Cluster, Wanted, changes};

    fn released(version: &str, image: &str) -> Changes {
        let mut cutover = fixtures::cutover("2.4.0", json!({"live": "blue@2.3.0"}));
        if let Some(release) = cutover.spec.release.as_mut() {
            release.pod_label = Some("version".to_owned());
        }
        let seen = Cluster {
            services: vec![object(json!({"metadata": {"name": "web"}, "spec": {"selector": {"side": "blue"}}}))],
            deployments: vec![fixtures::deployment("web-blue", 2), fixtures::deployment("web-green", 2)],
            stateful_sets: vec![],
        };
        let wanted = Wanted {
            version: Some(version.to_owned()),
            by: "jane@example.com".to_owned(),
            revision: Some("abc".to_owned()),
            tag: None,
            images: vec![image.parse().expect("an image")],
        };
        if let Some(status) = cutover.status.as_mut() {
            status.observed_generation = Some(2);
        }
        let run = run(1, "2.3.0", Some(over("Completed")));
        changes(&cutover, Some(&run), &seen, &wanted).expect("changes")
    }

    #[test]
    fn a_release_is_shown_as_a_page_as_commands_and_as_objects() {
        let changes = released("2.5.0", "registry.example/web:2.5.0");
        fixtures::shown("release", &changes.model(), &page(&changes, " -n prod"));
        fixtures::snapshot("release-patch.txt", &commands(&changes, " -n prod"));
        fixtures::snapshot("release-objects.yaml", &objects(&changes).expect("YAML"));
    }

    #[test]
    fn a_version_that_would_steer_a_terminal_or_end_a_quote_does_neither() {
        let changes = released(HOSTILE, "x'; reboot; '");
        fixtures::shown("release-hostile", &changes.model(), &page(&changes, " -n prod"));
        let commands = commands(&changes, " -n prod");
        assert!(commands.chars().all(|c| !c.is_control() || c == '\n'), "{commands:?}");
        assert!(commands.contains(r"x'\''; reboot; '\''"), "{commands}");
        assert_eq!(commands.lines().count(), 3, "{commands}");
    }
}
