//! PURE. The Cutover and the rights around it, as text with comments.

use serde_json::Value;

use super::found::Situation;
use crate::api::cutover::Cutover;
use crate::api::step::WorkloadRef;
use crate::cli::check::operator::Place;
use crate::cli::exit::Failure;
use crate::cli::needs::Rule;

const ACCOUNT: &str = include_str!("../../../deploy/tenant/account.yaml");
const OPERATOR: &str = include_str!("../../../deploy/tenant/operator.yaml");
const PEOPLE: &str = include_str!("../../../deploy/tenant/people.yaml");
/// The account in those files, and in every Cutover that names none.
pub(crate) const NAME: &str = "cutover";

/// The ServiceAccount.
pub(crate) fn account(namespace: &str) -> Vec<String> {
    documents(ACCOUNT, namespace).into_iter().take(1).collect()
}

/// The right to act as it, for the operator that is there.
pub(crate) fn impersonation(namespace: &str, operator: &Place) -> Vec<String> {
    let subject = "- kind: ServiceAccount\n  name: cutover-operator\n  namespace: cutover-system";
    let theirs = format!("- kind: ServiceAccount\n  name: {}\n  namespace: {}", operator.account, operator.namespace);
    documents(OPERATOR, namespace).into_iter().map(|text| text.replace(subject, &theirs)).collect()
}

/// Examples of Roles for people.
pub(crate) fn people(namespace: &str) -> Vec<String> {
    documents(PEOPLE, namespace)
}

/// The documents of a file, each in the namespace.
fn documents(text: &str, namespace: &str) -> Vec<String> {
    text.split("\n---\n").map(|document| within(document.trim_end(), namespace)).collect()
}

/// Puts the namespace into the metadata of a document.
fn within(document: &str, namespace: &str) -> String {
    let mut out = vec![];
    let mut metadata = false;
    for line in document.lines().map(|l| l.replace("namespace: prod", &format!("namespace: {namespace}"))) {
        let ours = metadata && line.trim_start().starts_with("namespace:");
        metadata = line == "metadata:" || (metadata && line.starts_with("  "));
        let named = metadata && line.starts_with("  name: ");
        if !ours {
            out.push(line);
        }
        if named {
            out.push(format!("  namespace: {namespace}"));
        }
    }
    out.join("\n")
}

/// The Role of the account, with what this Cutover needs, and its binding.
pub(crate) fn role(namespace: &str, cutover: &str, rules: &[Rule]) -> Vec<String> {
    let name = format!("{NAME}-{cutover}");
    let head = |kind: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: {namespace}\n"
        )
    };
    let mut role =
        format!("# What runs of Cutover {cutover} write and read, and nothing else.\n{}rules:", head("Role"));
    for rule in rules {
        let list = |items: &[String]| items.iter().map(|i| quoted(i)).collect::<Vec<_>>().join(", ");
        role += &format!(
            "\n# For {}.\n- apiGroups: [{}]\n  resources: [{}]\n",
            rule.why,
            quoted(&rule.group),
            rule.resource
        );
        if !rule.names.is_empty() {
            role += &format!("  resourceNames: [{}]\n", list(&rule.names));
        }
        role += &format!("  verbs: [{}]", rule.verbs.join(", "));
    }
    let binding = format!(
        "{}roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: Role\n  name: {name}\nsubjects:\n- kind: ServiceAccount\n  \
         name: {NAME}\n  namespace: {namespace}",
        head("RoleBinding")
    );
    vec![role, binding]
}

/// A text in YAML, plain where it can be.
fn quoted(text: &str) -> String {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    let plain = first && text.chars().all(|c| c.is_ascii_alphanumeric() || "-./".contains(c));
    let word = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_lowercase().as_str());
    if plain && !word { text.to_owned() } else { serde_json::to_string(text).unwrap_or_default() }
}

/// A check of one pod by HTTP, as the readiness probe makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Smoke {
    path: String,
    port: Option<String>,
    https: bool,
}

/// What the readiness probe asks, where it asks at a port of the Service. `ports`: port, name and target of each.
pub(crate) fn smoke(work: &Value, service: &Value) -> Option<Smoke> {
    let containers = work.pointer("/spec/template/spec/containers")?.as_array()?;
    let (container, get) = containers.iter().find_map(|c| Some((c, c.pointer("/readinessProbe/httpGet")?)))?;
    let path = get["path"].as_str().unwrap_or("/").to_owned();
    let number = |port: &Value| match port {
        Value::String(name) => {
            let ports = container["ports"].as_array()?;
            ports.iter().find(|p| p["name"] == **name)?["containerPort"].as_u64()
        }
        other => other.as_u64(),
    };
    let probed = number(&get["port"])?;
    let ports = service.pointer("/spec/ports")?.as_array()?;
    let target = |p: &Value| if p["targetPort"].is_null() { p["port"].as_u64() } else { number(&p["targetPort"]) };
    let at = ports.iter().position(|p| target(p) == Some(probed))?;
    let port = (at > 0).then(|| ports.get(at).and_then(|p| p["port"].as_u64())).flatten().map(|p| p.to_string());
    Some(Smoke { path, port, https: get["scheme"] == "HTTPS" })
}

/// The version that an image's tag says.
fn version(work: &Value) -> Option<String> {
    let image = work.pointer("/spec/template/spec/containers/0/image")?.as_str()?;
    let (_, tag) = image.split('@').next()?.rsplit_once(':')?;
    let fits = !tag.is_empty() && tag.len() <= 63 && !tag.contains('/') && tag != "latest";
    fits.then(|| tag.to_owned())
}

/// The name of a side: its label's value, as far as a name may look like it.
pub(crate) fn side_name(value: &str) -> String {
    let low = value.to_lowercase();
    let fits: String = low.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let fits = fits.trim_matches('-');
    if fits.is_empty() { "side".to_owned() } else { fits.to_owned() }
}

/// The Cutover, with its fields explained.
pub(crate) fn cutover(situation: &Situation, namespace: &str, name: &str, smoke: Option<&Smoke>) -> String {
    let (live, other) = (side_name(&situation.live_value), side_name(&situation.other_value));
    let side = |name: &str, value: &str, w: &WorkloadRef| {
        format!(
            "  - {{name: {}, selector: {{{}: {}}}, workloads: [{{kind: {:?}, name: {}}}]}}\n",
            quoted(name),
            quoted(&situation.key),
            quoted(value),
            w.kind,
            quoted(&w.name)
        )
    };
    let mut text = format!(
        "# The Cutover. Nothing starts when it is applied, since `activate` names the side that is live.\n\
         apiVersion: cutover.dev/v1alpha1\nkind: Cutover\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n"
    );
    match version(&situation.live.object) {
        Some(v) => {
            text += &format!(
                "  # What is released. A change of it, or of `activate`, starts a run.\n  release: {{version: {}}}\n",
                quoted_always(&v)
            )
        }
        None => {
            text += "  # What is released: a change of it, or of `activate`, starts a run.\n  # release: {version: \"1.0.0\"}\n"
        }
    }
    text += &format!(
        "  # Every write to your objects is made as this account.\n  serviceAccountName: {NAME}\n  # Switched together.\n  \
         services: [{{name: {}}}]\n  # Two sides. Each selector is put over the one of the Service.\n  sides:\n",
        quoted(&situation.service)
    );
    text += &side(&live, &situation.live_value, &situation.live_ref());
    text += &side(&other, &situation.other_value, &situation.other_ref());
    text += &format!(
        "  # The side that should be live. To release: change {other}, then write it here.\n  activate: {}\n",
        quoted(&live)
    );
    text += &smoke_steps(smoke);
    text += "  # What is watched after the switch, and for how long. Beside it the operator always watches for a Service without a\n  \
             # ready endpoint. `metric` asks Prometheus: {name: errors, metric: {query: \"…\", above: \"0.05\", sustained: 5m}}\n  \
             observe:\n    for: 10m\n    every: 15s\n    triggers:\n    - name: restarts\n      pods: {restarts: {moreThan: 3, \
             within: 10m}}\n";
    if let Some(smoke) = smoke {
        text += &format!("    - name: down\n      probe: {{http: {}, failing: 3}}\n", http(smoke));
    }
    text += "  # The way back: at once, where half of the former pods are ready; connections to the side that is left are ended.\n  \
             rollback: {minReady: 50%, connections: Close}\n  # So long after the release the side that was left keeps its pods, and `kubectl cutover \
             rollback` is possible; then it\n  # goes to 0. The next release scales it up by itself.\n  retire: {after: 24h}";
    text
}

fn quoted_always(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn http(smoke: &Smoke) -> String {
    let port = smoke.port.as_ref().map(|p| format!(", port: {p:?}")).unwrap_or_default();
    let scheme = if smoke.https { ", scheme: https" } else { "" };
    format!("{{path: {}{port}{scheme}}}", quoted_always(&smoke.path))
}

fn smoke_steps(smoke: Option<&Smoke>) -> String {
    match smoke {
        Some(smoke) => format!(
            "  # `prepare` is for backups and migrations, `confirm` for what is checked after the switch.\n  phases:\n    \
             # Against the target, before any user sees it: what the readiness probe asks. Better: what a user does.\n    \
             verify:\n      steps:\n      - name: smoke\n        retry: {{attempts: 3, every: 5s}}\n        http: {}\n",
            http(smoke)
        ),
        None => "  # Against the target, before any user sees it. No readiness probe says what to ask; fill in what a user does:\n  \
                 # phases:\n  #   verify:\n  #     steps:\n  #     - name: smoke\n  #       http: {path: /}\n"
            .to_owned(),
    }
}

/// Reads the Cutover back.
///
/// # Errors
/// A defect: what is printed is no Cutover.
pub(crate) fn parse(text: &str) -> Result<Cutover, Failure> {
    let defect = |why: String| Failure::new(format!("defect: the Cutover that init makes cannot be read: {why}"));
    // Through JSON: readers of a whole Cutover straight from YAML took a fourteenth of the program.
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|e| defect(e.to_string()))?;
    serde_json::from_value(value).map_err(|e| defect(e.to_string()))
}
