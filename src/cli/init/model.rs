//! PURE. What `init` makes, as data: the steps in their order, and the objects.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::found::Situation;
use super::{manifest, second};
use crate::cli::check::facts::next;
use crate::cli::check::operator::Place;
use crate::cli::exit::Failure;
use crate::cli::needs;
use crate::cli::output;

/// What is made of a Service and what is behind it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Init {
    pub namespace: String,
    pub service: String,
    pub cutover: String,
    /// The label that tells the sides apart.
    pub label: String,
    /// The workload that is live, and its value of the label.
    pub live: String,
    pub live_value: String,
    /// The workload of the other side, and its value.
    pub other: String,
    pub other_value: String,
    /// The other workload is still to be made.
    pub makes_other: bool,
    /// What is to be done, in this order.
    pub steps: Vec<Step>,
    /// The objects as they are printed.
    pub objects: Vec<Value>,
    /// The same as text with comments.
    #[serde(skip)]
    #[schemars(skip)]
    pub documents: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Step {
    /// What it does, and why now.
    pub says: String,
    /// The command that does it.
    pub command: String,
    #[serde(skip)]
    #[schemars(skip)]
    pub act: Act,
}

/// What `--apply` does in a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// Server-side apply.
    Apply(Vec<Value>),
    /// Gives the pods of the live workload the label: its pods are replaced, as by a release.
    Label,
    /// Waits until its pods are replaced, and all that the Service selects have the label.
    Await,
    /// Adds the label to the selector of the Service.
    Pin,
}

/// Makes everything.
///
/// # Errors
/// The Cutover would be refused, as for a name that is too long.
pub(crate) fn make(
    situation: &Situation,
    service: &Value,
    namespace: &str,
    cutover: &str,
    operator: &Place,
) -> Result<Init, Failure> {
    let smoke = manifest::smoke(&situation.live.object, service);
    let text = manifest::cutover(situation, namespace, cutover, smoke.as_ref());
    let parsed = manifest::parse(&text)?;
    let live = manifest::side_name(&situation.live_value);
    let plan = next(cutover, namespace, &parsed.spec, &live).map_err(|refusals| {
        let all: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        Failure::new(format!("the Cutover would be refused: {}", all.join(" | "))).next("kubectl cutover init --help")
    })?;
    let mut rights = manifest::account(namespace);
    rights.extend(manifest::role(namespace, cutover, &needs::rules(&parsed.spec, &plan)));
    rights.extend(manifest::impersonation(namespace, operator));
    let people = manifest::people(namespace);
    let second = situation.other.is_none().then(|| {
        // Until the Service asks for the label, each pod of it would get requests at once.
        let replicas = if situation.pinned { situation.live.replicas } else { 0 };
        second::workload(situation, namespace, replicas)
    });
    let mut documents: Vec<String> = rights.iter().chain(&people).cloned().collect();
    if let Some(second) = &second {
        documents.push(comment(situation) + output::yaml(second)?.trim_end());
    }
    documents.push(text);
    let objects = documents.iter().map(|d| object(d)).collect::<Result<Vec<Value>, Failure>>()?;
    let steps = steps(situation, namespace, &objects, rights.len() + people.len(), second.is_some());
    Ok(Init {
        namespace: namespace.to_owned(),
        service: situation.service.clone(),
        cutover: cutover.to_owned(),
        label: situation.key.clone(),
        live: situation.live.shown(),
        live_value: situation.live_value.clone(),
        other: format!("{:?} {}", situation.other_ref().kind, situation.other_ref().name),
        other_value: situation.other_value.clone(),
        makes_other: second.is_some(),
        steps,
        objects,
        documents,
    })
}

fn object(document: &str) -> Result<Value, Failure> {
    serde_saphyr::from_str(document)
        .map_err(|e| Failure::new(format!("defect: a document that init makes cannot be read: {e}")))
}

/// What a reader should know of the second workload.
fn comment(situation: &Situation) -> String {
    let Situation { key, live, live_value, other_value, pinned, .. } = situation;
    let shown = live.shown();
    let mut text = format!(
        "# The second side: a copy of {shown} with {key}={other_value}, in the selector as well as in the pod template. A selector\n\
         # cannot be changed once it is there, so it has the label from the beginning.\n"
    );
    let selects = live.object.pointer("/spec/selector/matchLabels").and_then(|l| l.get(key)).is_some();
    if !selects {
        text += &format!(
            "# That of {shown} stays without {key}={live_value} for the same reason. Each controller knows its pods by their owner,\n\
             # so that is no fault, but autoscalers and disruption budgets of {} count both sides. Once the other side is\n\
             # live: kubectl delete {}, then create it anew with the label in its selector.\n",
            live.name,
            live.resource()
        );
    }
    if !pinned {
        text += "# With 0 pods: until the Service asks for the label, requests would go to them at once. Then write their number\n# here: with this file as it is, applying it again would take the side's pods away.\n";
    }
    if live.object.pointer("/spec/volumeClaimTemplates").is_some() {
        text += "# It gets volumes of its own, without the data of the first side.\n";
    }
    text
}

fn steps(situation: &Situation, ns: &str, objects: &[Value], rights: usize, makes: bool) -> Vec<Step> {
    let Situation { key, live, live_value, other_value, service, .. } = situation;
    let mut steps = vec![];
    let mut add = |says: String, command: String, act: Act| steps.push(Step { says, command, act });
    let label = |patch: serde_json::Value| patch.to_string();
    if !situation.labelled {
        add(
            format!(
                "label the live side: {} gives its pods {key}={live_value}. They are replaced one after another, as by a release; \
                 its own selector stays as it is, since it cannot be changed",
                live.shown()
            ),
            format!(
                "kubectl patch {} -n {ns} --type=merge -p '{}'",
                live.resource(),
                label(json!({"spec": {"template": {"metadata": {"labels": {key: live_value}}}}}))
            ),
            Act::Label,
        );
    }
    if !situation.labelled || !situation.pinned {
        add(
            format!("wait until all pods behind Service {service} have the label"),
            format!("kubectl rollout status {} -n {ns}", live.resource()),
            Act::Await,
        );
    }
    if !situation.pinned {
        add(
            format!(
                "have Service {service} ask for {key}={live_value}: this writes the selector of the live Service. Its pods have the \
                 label by now, so it goes on selecting the same ones"
            ),
            format!(
                "kubectl patch service {service} -n {ns} --type=merge -p '{}'",
                label(json!({"spec": {"selector": {key: live_value}}}))
            ),
            Act::Pin,
        );
    }
    let (around, rest) = objects.split_at(rights.min(objects.len()));
    add(
        "apply this output: the account, its rights, the operator's right to act as it, and the example Roles"
            .to_owned(),
        format!("kubectl apply -n {ns} -f FILE"),
        Act::Apply(around.to_vec()),
    );
    let (second, cutover) = rest.split_at(if makes { 1.min(rest.len()) } else { 0 });
    if let Some(object) = second.first() {
        let mut object = object.clone();
        // By now the Service asks for the label.
        object["spec"]["replicas"] = json!(live.replicas);
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let kind = format!("{:?}", live.kind).to_lowercase();
        let file = if situation.pinned {
            String::new()
        } else {
            format!(
                ". It stands in this output with `replicas: 0`: write {} there, too, before you apply the file again, which would \
                 else take away all its pods once it is live",
                live.replicas
            )
        };
        add(
            format!(
                "give the second side, {key}={other_value}, its pods: no request goes to it before a release switches to it{file}"
            ),
            format!("kubectl scale {kind}/{name} -n {ns} --replicas={}", live.replicas),
            Act::Apply(vec![object]),
        );
    }
    add(
        "see the Cutover, which stands in this output, too: nothing starts, since it names the live side".to_owned(),
        format!("kubectl get cutover -n {ns}"),
        Act::Apply(cutover.to_vec()),
    );
    steps
}

/// Columns of a comment.
const WIDE: usize = 112;

/// A sentence on lines of a comment, each but the first with this before it.
fn wrapped(text: &str, before: &str) -> String {
    let mut out = String::new();
    let mut column = before.len();
    for word in text.split(' ') {
        if column + word.len() > WIDE {
            out += &format!("\n{before}");
            column = before.len();
        } else if !out.is_empty() {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += word.len();
    }
    out
}

impl Init {
    /// What is printed: the steps as comments, then the documents.
    pub(crate) fn text(&self) -> String {
        let Self { service, namespace, cutover, label, live, live_value, other, other_value, .. } = self;
        let made = if self.makes_other { " (made below)" } else { "" };
        let mut text = format!(
            "# Made by: kubectl cutover init {service} -n {namespace}\n#\n# Service {service} is to be switched by Cutover {cutover}:\n\
             #   {label}={live_value}  {live}, which is live\n#   {label}={other_value}  {other}{made}\n#\n# In this order \
             (--apply does it):\n"
        );
        for (n, step) in self.steps.iter().enumerate() {
            text += &format!("# {}. {}\n#      {}\n", n + 1, wrapped(&step.says, "#    "), step.command);
        }
        text += &format!(
            "# Then: kubectl cutover check {cutover} -n {namespace}\n# The Roles for people are examples without a binding: bind them to \
             your users and groups.\n"
        );
        for document in &self.documents {
            text += &format!("---\n{document}\n");
        }
        text
    }
}
