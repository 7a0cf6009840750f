//! PURE. What is legal and dangerous.

use serde_json::Value;

use super::actions;
use super::resolving::Whole;
use super::schema::quoted;
use super::unit::is_share;
use super::yaml::{Kind, Node};
use super::{Code, Finding, Options};
use crate::api::cutover::{BuiltIn, Connections};
use crate::api::duration::Duration;
use crate::api::one_of::Tagged;
use crate::api::step::{Action, Job, Step, StepAction, UndoWhen};
use crate::api::trigger::{MetricTrigger, Watched};
use crate::plan::reach::reach;
use crate::plan::{Refusal, asks_prometheus, list_label};

/// Observed for, unless the Cutover says.
const FOR: Duration = Duration::from_mins(5);
/// By which Flux is told to leave an object alone.
const SUBSTITUTE: &str = "kustomize.toolkit.fluxcd.io/substitute";

/// Adds the warnings of a Cutover that is otherwise read.
pub(super) fn check(whole: &Whole<'_>, options: &Options, findings: &mut Vec<Finding>) {
    let mut cx = Cx { whole, findings };
    cx.release();
    cx.observation();
    cx.metrics(options);
    cx.steps();
    cx.flux();
}

struct Cx<'c> {
    whole: &'c Whole<'c>,
    findings: &'c mut Vec<Finding>,
}

impl Cx<'_> {
    fn add(&mut self, code: Code, field: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        let refusal = Refusal { field: field.into(), message: message.into(), remedy: remedy.into() };
        self.findings.push(self.whole.finding(code, refusal));
    }

    fn release(&mut self) {
        let release = self.whole.spec().release.clone().unwrap_or_default();
        if release.pod_label.is_none() && release.images.is_empty() {
            self.add(
                Code::Unproven,
                "spec.release",
                "nothing proves which release the target runs: a switch to the version before would not be noticed",
                "set release.podLabel to a label of the pods that carries release.version, or name release.images",
            );
        }
        for (i, image) in release.images.iter().enumerate().filter(|(_, image)| is_loose(image)) {
            self.latest(&format!("spec.release.images[{i}]"), image);
        }
    }

    fn latest(&mut self, field: &str, image: &str) {
        let message = format!("{} may be another image tomorrow", quoted(image));
        self.add(Code::Latest, field, message, "name a tag that never moves, or a digest");
    }

    fn observation(&mut self) {
        let spec = self.whole.spec();
        let observe = spec.observe.clone().unwrap_or_default();
        if observe.built_in == Some(BuiltIn::Disarmed) {
            self.add(
                Code::BuiltIn,
                "spec.observe.builtIn",
                "a switched Service without a ready endpoint, and pods in a crash loop, roll nothing back",
                "leave it out; a trigger of your own with restarts, crashLoop or readyBelow replaces the second already",
            );
        }
        if observe.triggers.is_empty() {
            self.add(
                Code::NoTrigger,
                "spec.observe",
                "only readiness and crash loops are watched after the switch: a release that answers every request with \
                 an error would be completed",
                "add a trigger, such as a probe or a metric of failed requests",
            );
        }
        if spec.rollback.as_ref().and_then(|rollback| rollback.connections) == Some(Connections::Keep) {
            self.add(
                Code::Keep,
                "spec.rollback.connections",
                "after a rollback, connections that are open stay on the side that failed for as long as its pods live",
                "leave it out: Close is the default",
            );
        }
        let window = observe.for_.unwrap_or(FOR);
        for (i, trigger) in observe.triggers.iter().enumerate() {
            let at = format!("spec.observe.triggers[{}].metric", list_label(&trigger.name, i, "spec.observe.triggers"));
            if let Ok(Watched::Metric(metric)) = trigger.watches.one() {
                self.metric(metric, window, &at);
            }
        }
    }

    fn metric(&mut self, metric: &MetricTrigger, window: Duration, at: &str) {
        let Some(query) = &metric.query else { return };
        let far = metric.reach.unwrap_or_else(|| reach(query));
        if far >= window {
            let field = if metric.reach.is_some() { format!("{at}.reach") } else { format!("{at}.query") };
            self.add(
                Code::Reach,
                field,
                format!(
                    "the query looks back over {far} and the observation lasts {window}: no value is good in all that time"
                ),
                "observe for longer, or look back over less",
            );
        }
        self.unit(metric, query, at);
        if metric.reach.is_none()
            && far.is_zero()
            && let Some(name) = recorded(query)
        {
            self.add(
                Code::Recorded,
                format!("{at}.query"),
                format!(
                    "{} is a recorded metric: how far its rule looks back does not show, so a value from before the \
                     switch would count as one of the target",
                    quoted(&name)
                ),
                "set reach to the range of the rule, such as reach: 5m",
            );
        }
    }

    /// A bound for percentages where the value is a share.
    fn unit(&mut self, metric: &MetricTrigger, query: &str, at: &str) {
        let number = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<f64>().ok());
        let (field, bound, what) = match (number(&metric.above), number(&metric.below)) {
            (Some(above), _) if above >= 1.0 => ("above", above, "never"),
            (_, Some(below)) if below > 1.0 => ("below", below, "always"),
            _ => return,
        };
        if !is_share(query) {
            return;
        }
        self.add(
            Code::Unit,
            format!("{at}.{field}"),
            format!("the query is a share, which is between 0 and 1: it is {what} {field} {bound}"),
            format!("write {} for {bound} %, or multiply the query by 100", quoted(&(bound / 100.0).to_string())),
        );
    }

    fn metrics(&mut self, options: &Options) {
        let spec = self.whole.spec();
        if spec.prometheus.is_some() || options.offered.is_some() {
            return;
        }
        let trigger = spec.observe.iter().flat_map(|o| &o.triggers).enumerate().find_map(|(i, trigger)| {
            let label = list_label(&trigger.name, i, "spec.observe.triggers");
            let watched = trigger.watches.one().ok()?;
            asks_prometheus(watched).then(|| format!("spec.observe.triggers[{label}].{}", watched.key()))
        });
        let step = actions::all(spec)
            .into_iter()
            .find_map(|(field, found)| matches!(found, actions::Found::Action(Action::Metric(_))).then_some(field));
        if let Some(field) = trigger.or(step) {
            self.add(
                Code::Default,
                field,
                "no Prometheus is named, so the operator's configuration must name a default, which is not known here",
                "set spec.prometheus, or say which sources are offered with --offered",
            );
        }
    }

    fn steps(&mut self) {
        for (at, step) in actions::steps(self.whole.spec()) {
            self.undo(step, &at);
            for action in step.action.all() {
                match action {
                    StepAction::Shared(Action::Job(job)) => {
                        self.job(job, step.timeout.is_some(), &format!("{at}.job"));
                    }
                    StepAction::Suite(suite) => {
                        let list = format!("{at}.suite.steps");
                        for (i, inner) in suite.steps.iter().enumerate() {
                            if let Ok(Action::Job(job)) = inner.action.one() {
                                let at = format!("{list}[{}].job", list_label(&inner.name, i, &list));
                                self.job(job, inner.timeout.is_some(), &at);
                            }
                        }
                    }
                    StepAction::Shared(_) | StepAction::Approval(_) | StepAction::UndoRollout(_) => {}
                }
            }
            if let Some(undo) = &step.undo
                && let Ok(Action::Job(job)) = undo.action.one()
            {
                self.job(job, undo.timeout.is_some(), &format!("{at}.undo.job"));
            }
        }
    }

    /// An undo that runs whatever came of its step, and does not know what that was.
    fn undo(&mut self, step: &Step, at: &str) {
        let Some(undo) = &step.undo else { return };
        let acts = matches!(undo.action.one(), Ok(Action::Job(_) | Action::Http(_)));
        if !acts
            || undo.when == UndoWhen::Succeeded
            || undo.approval.is_some()
            || self.whole.wrote(at, &["undo", "when"])
        {
            return;
        }
        let captures: Vec<String> = step
            .action
            .all()
            .iter()
            .flat_map(|action| match action {
                StepAction::Shared(Action::Job(job)) => job.capture.iter().map(|c| c.name.clone()).collect(),
                StepAction::Shared(Action::Http(http)) => http.capture.iter().map(|c| c.name.clone()).collect(),
                _ => vec![],
            })
            .collect();
        let text = serde_json::to_string(&undo.action).unwrap_or_default();
        let uses = |name: &String| text.contains(&format!("${{{name}}}")) || text.contains(&format!("captures.{name}"));
        if captures.iter().any(uses) {
            return;
        }
        self.add(
            Code::Undo,
            format!("{at}.undo"),
            "the undo also runs where its step began and failed, and nothing in it says how far the step came: one that \
             reverts \"the last two\" would then revert two that were there before",
            "capture what the step did and use it in the undo; or write when: Succeeded; or write when: Attempted if the \
             undo is right wherever the step stopped",
        );
    }

    fn job(&mut self, job: &Job, timed: bool, at: &str) {
        if job.deadline.is_none() && !timed {
            self.add(
                Code::Deadline,
                at,
                "the Job may run for 10m, the default, and is then killed, wherever it is",
                "set deadline to what it takes at most",
            );
        }
        let Some(template) = &job.template else { return };
        for list in ["initContainers", "containers"] {
            for (c, container) in template["spec"][list].as_array().into_iter().flatten().enumerate() {
                let at = format!("{at}.template.spec.{list}[{c}]");
                if let Some(image) = container["image"].as_str().filter(|image| is_loose(image)) {
                    self.latest(&format!("{at}.image"), image);
                }
                for (i, env) in container["env"].as_array().into_iter().flatten().enumerate() {
                    self.is_text(&env["value"], &format!("{at}.env[{i}].value"));
                }
                for list in ["command", "args"] {
                    for (i, word) in container[list].as_array().into_iter().flatten().enumerate() {
                        self.is_text(word, &format!("{at}.{list}[{i}]"));
                    }
                }
            }
        }
        for map in ["labels", "annotations"] {
            for (key, value) in template["metadata"][map].as_object().into_iter().flatten() {
                self.is_text(value, &format!("{at}.template.metadata.{map}.{key}"));
            }
        }
    }

    /// YAML reads `yes` and `1.10` as something else than text.
    fn is_text(&mut self, value: &Value, field: &str) {
        let what = match value {
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => return,
        };
        let message =
            format!("{value} is {what} where Kubernetes wants text: the dry run in preflight would refuse the Job");
        self.add(Code::NotText, field, message, "write it with quotes");
    }

    /// `${…}` is a variable to Flux as well.
    fn flux(&mut self) {
        let node = &self.whole.object.node;
        let marked = ["annotations", "labels"].iter().any(|map| {
            let value = node.get("metadata").and_then(|m| m.get(map)).and_then(|m| m.text_at(&[SUBSTITUTE]));
            value == Some("disabled")
        });
        if marked {
            return;
        }
        let mut found = vec![];
        if let Some(spec) = node.get("spec") {
            variables(spec, "spec", &mut found);
        }
        if let Some(field) = found.into_iter().next() {
            self.add(
                Code::Flux,
                field,
                "Flux takes ${…} for variables of its own where postBuild.substitute is used, and puts nothing in their place",
                format!("add the annotation {SUBSTITUTE}: disabled"),
            );
        }
    }
}

/// The first text below that holds `${`.
fn variables(node: &Node, at: &str, found: &mut Vec<String>) {
    if !found.is_empty() {
        return;
    }
    match &node.kind {
        Kind::Text(text) if text.contains("${") => found.push(at.to_owned()),
        Kind::List(list) => {
            for (i, entry) in list.iter().enumerate() {
                let label = list_label(entry.text_at(&["name"]).unwrap_or_default(), i, at);
                variables(entry, &format!("{at}[{label}]"), found);
            }
        }
        Kind::Object(fields) => {
            for (key, value) in fields {
                variables(value, &format!("{at}.{}", key.text), found);
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
    }
}

/// Whether an image may be another one tomorrow: `latest`, or neither tag nor digest.
fn is_loose(image: &str) -> bool {
    if image.contains('@') || image.contains("${") {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// The first name of a query that is written as recorded metrics are: with a colon.
fn recorded(query: &str) -> Option<String> {
    let mut rest = query;
    let mut bare = String::new();
    // Labels and texts hold colons of their own.
    while let Some(at) = rest.find(['{', '"', '\'', '`']) {
        bare.push_str(&rest[..at]);
        bare.push(' ');
        let open = rest[at..].chars().next()?;
        let close = if open == '{' { '}' } else { open };
        let inner = &rest[at + 1..];
        rest = &inner[inner.find(close).map_or(inner.len(), |end| end + 1)..];
    }
    bare.push_str(rest);
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut names = bare.split(|c| !word(c)).filter(|name| name.trim_matches(':').contains(':'));
    names.next().map(str::to_owned)
}
