//! PURE. What `check` looks at, one table: the ids of `--output json` and the headings of `docs/cluster-check.md`.

use schemars::JsonSchema;
use serde::Serialize;

/// The page with a heading for each id.
const PAGE: &str = "docs/cluster-check.md";

/// What a check is about; the lines are grouped by it, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Category {
    Cluster,
    Definitions,
    Policies,
    Operator,
    Account,
    You,
    Metrics,
    Cutover,
}

impl Category {
    /// Its heading.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Definitions => "Definitions",
            Self::Policies => "Admission policies",
            Self::Operator => "Operator",
            Self::Account => "Account of the Cutover",
            Self::You => "Your rights",
            Self::Metrics => "Metrics",
            Self::Cutover => "Cutovers",
        }
    }
}

/// One thing that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    /// The id, which never changes.
    pub id: &'static str,
    pub category: Category,
    /// What it says.
    pub means: &'static str,
    /// What to do where it fails.
    pub remedy: &'static str,
}

impl Topic {
    /// Where the documents explain it.
    pub(crate) fn doc(&self) -> String {
        format!("{PAGE}#{}", self.id)
    }
}

/// Each row is a constant, its id, its category, what it says, and what to do.
macro_rules! topics {
    ($($name:ident = $id:literal, $category:ident, $means:literal, $remedy:literal;)*) => {
        $(pub(crate) const $name: Topic =
            Topic { id: $id, category: Category::$category, means: $means, remedy: $remedy };)*

        /// All of them.
        #[cfg(test)]
        pub(crate) const ALL: &[Topic] = &[$($name),*];
    };
}

topics! {
    API_VERSION = "api-version", Cluster,
        "The API server is Kubernetes 1.33 or later, the first version that has all that Cutover uses.",
        "Upgrade the cluster.";
    ADMISSION_API = "admission-api", Cluster,
        "The API server serves ValidatingAdmissionPolicy in `admissionregistration.k8s.io/v1`. The policies of Cutover keep \
         people from forging decisions and journals; no webhook is needed.",
        "Do not switch this API off (`--runtime-config`), or use a cluster that serves it.";
    SELECTABLE_FIELDS = "selectable-fields", Cluster,
        "Definitions may name fields by which objects are listed. The operator lists its active runs that way.",
        "Switch on the feature `CustomResourceFieldSelectors`, or upgrade the cluster.";
    CLOCK = "clock", Cluster,
        "Your clock and that of the API server differ by no more than ten seconds, so the times that the plugin shows are \
         right. And no condition says that the operator's clock was set.",
        "Look at the time service of your machine; for the operator, at that of its node.";
    INSTALL_RIGHTS = "install-rights", You,
        "You may create each kind of object that an installation consists of. With `--pre` alone.",
        "Install as an administrator of the cluster, or have somebody give you the rights that the line names.";
    OTHER_INSTALLATION = "other-installation", Operator,
        "No other installation is in the cluster. Definitions and policies belong to the whole cluster, so there can be one \
         only. With `--pre` alone.",
        "Upgrade the installation that is there, or uninstall it first ([install.md](install.md#uninstall)).";
    CRD_VERSION = "crd-version", Definitions,
        "The API server serves all definitions, with every field that this version knows. Those of an older version drop \
         fields of a journal in silence.",
        "`kubectl apply --server-side -k crds`, or upgrade the chart.";
    CRD_STORED_VERSIONS = "crd-stored-versions", Definitions,
        "Objects are stored in the version that this plugin knows, and in no other.",
        "Store all objects anew, then take the other version out of `status.storedVersions` of the definition.";
    POLICIES_BOUND = "policies-bound", Policies,
        "The three admission policies stand, are bound without exception, deny, are those of this version, and name the \
         operator that is installed.",
        "Installed with Helm: upgrade the chart. Otherwise: `kubectl apply --server-side -k deploy/admission`.";
    POLICIES_PROVEN = "policies-proven", Policies,
        "A forged approval, sent as a dry run, is denied by the policy. Nothing is stored.",
        "The policy is missing, not bound or weakened. Installed with Helm: upgrade the chart. Otherwise: `kubectl apply \
         --server-side -k deploy/admission`.";
    OPERATOR_RUNNING = "operator-running", Operator,
        "The Deployment `cutover-operator` stands, and its pods are ready. One that is not ready says why in its log and \
         under `/readyz`.",
        "Read the log: `kubectl logs deployment/cutover-operator -n cutover-system`.";
    OPERATOR_VERSION = "operator-version", Operator,
        "Operator and plugin are of one version.",
        "Install the plugin of the operator's version, or upgrade the operator.";
    OPERATOR_LEASE = "operator-lease", Operator,
        "A replica holds the Lease `cutover-operator` and renews it. Without a holder nothing is driven.",
        "Read the log of the operator; look at its rights on leases.";
    OPERATOR_RIGHTS = "operator-rights", Operator,
        "The operator has every right that its installation gives it.",
        "`kubectl apply --server-side -k deploy/access`, or upgrade the chart.";
    IMPERSONATION = "impersonation", Account,
        "The operator may act as the ServiceAccount of the Cutover. Every write to your objects is made as that account.",
        "`kubectl cutover init` prints the Role and its binding; the line has the command.";
    ACCOUNT_EXISTS = "account-exists", Account,
        "The ServiceAccount that the Cutover names exists.",
        "Create it: the line has the command.";
    ACCOUNT_RIGHTS = "account-rights", Account,
        "The ServiceAccount may do all that a run of this Cutover writes, and read the Secrets and ConfigMaps that it names.",
        "Give it the right: the line has the command. `kubectl cutover init` prints a Role with all of them.";
    YOUR_RIGHTS = "your-rights", You,
        "What you may do yourself: release, decide about a run, approve in which role.",
        "Ask whoever manages access: `kubectl create rolebinding NAME --role=ROLE --user=USER -n NAMESPACE`. `kubectl cutover \
         init` prints a Role for each part, as `deploy/tenant/people.yaml` has them.";
    PROMETHEUS = "prometheus", Metrics,
        "The Prometheus of the Cutover answers a query, as far as that can be tried from outside: through the API server's \
         proxy, where it is a Service.",
        "Look at its pods, and at `spec.prometheus`. While it does not answer, metrics give no verdict and the observation \
         holds.";
    CUTOVERS = "cutovers", Cutover,
        "The Cutovers of the namespace can be read. The lines below are about each of them.",
        "Ask for the right that the line names, or name another namespace with `-n`, or all with `-A`.";
    ACCEPTED = "accepted", Cutover,
        "The operator has looked at the Cutover as it is now, with its templates, and refuses nothing.",
        "Correct each field that the line names.";
    SERVICES = "services", Cutover,
        "Each Service of the Cutover exists and has a selector.",
        "Apply the Service, or correct its name in `spec.services`.";
    SERVICE_CLAIMED_TWICE = "service-claimed-twice", Cutover,
        "No other Cutover names one of the Services. The older one holds it; the other one cannot release.",
        "Name each Service in one Cutover only.";
    WORKLOADS = "workloads", Cutover,
        "Each workload of both sides exists.",
        "Apply it, or correct its name in `spec.sides`. It is the workload of the other side under its own name, with the \
         side's label in `spec.selector` and in the labels of its pods. (`kubectl cutover init` prints one for a Service that no \
         Cutover switches yet.)";
    SIDES = "sides", Cutover,
        "Each Service would find the listed workloads on either side, and no other pods. The same is checked at the start of \
         each run.",
        "Do what the line says: list the workload, or correct the labels in its pod template.";
    SIDES_OVERLAP = "sides-overlap", Cutover,
        "The selector of a Deployment matches no pods of the other side. Where it does, the controllers still tell the pods \
         apart by their owners, but autoscalers and disruption budgets count both sides as one.",
        "A selector cannot be changed. Once the other side is live, delete the Deployment and create it with the side's label \
         in its selector.";
    SIDE_READY = "side-ready", Cutover,
        "The live side has as many ready endpoints as it wants; the other one is told.",
        "Look at the pods that the line names. An idle side at 0 replicas is no fault.";
    SELECTOR_OWNER = "selector-owner", Cutover,
        "Nobody but Cutover writes the label of the side in the selector of the Service. A GitOps tool that owns it puts it \
         back after a switch.",
        "Have the tool leave that field alone: the line has the setting for Argo CD, Flux or Helm.";
    WORKLOAD_OWNER = "workload-owner", Cutover,
        "Nobody else keeps the replicas or the variables of a workload that a step sets. Whoever does puts them back in the \
         middle of a run.",
        "Take what the step sets out of Git, or have the tool leave it alone: the line has the setting.";
    AUTOSCALER = "autoscaler", Cutover,
        "No HorizontalPodAutoscaler works against the run: none scales a workload that a step scales to another number, and \
         both sides have one or neither has.",
        "Set the same number of replicas as the autoscaler allows, or give the other side an autoscaler, too.";
    DISRUPTION_BUDGET = "disruption-budget", Cutover,
        "No PodDisruptionBudget forbids every eviction of a side's pods, and none counts both sides as one.",
        "Allow at least one pod to be away, and give each side a budget of its own, with the side's label.";
    CONDITIONS = "conditions", Cutover,
        "No condition of the Cutover asks for somebody.",
        "See [conditions.md](conditions.md) for the word that the line names; `kubectl cutover status NAME` says the same with \
         the next command.";
}

/// The page that explains each id.
#[cfg(test)]
fn page() -> String {
    let mut text = "<!-- Written from the table in src/cli/check/topics.rs (UPDATE_EXPECT=1 cargo test --workspace --lib \
                    cluster_check); changes by hand are overwritten. -->\n# What `kubectl cutover check` looks at\n\n\
                    Each line of its output has one of the ids below. A line is ok, a warning, failed, or unknown; unknown \
                    ones name the right that you lack. Exit code 0: nothing failed; 1: something failed; 4: the time of \
                    `--wait` is over; 5: the check could not be made.\n"
        .to_owned();
    let mut all: Vec<&Topic> = ALL.iter().collect();
    all.sort_by_key(|t| t.category);
    let mut before = None;
    for topic in all {
        if before != Some(topic.category) {
            text += &format!("\n## {}\n", topic.category.title());
            before = Some(topic.category);
        }
        text += &format!("\n### {}\n{}\n\n**Remedy.** {}\n", topic.id, topic.means, topic.remedy);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn cluster_check_has_a_heading_with_meaning_and_remedy_for_each_id() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&file, page()).expect("the page can be written");
        }
        let text = std::fs::read_to_string(&file).expect("the page");
        assert_eq!(text, page(), "UPDATE_EXPECT=1 cargo test --workspace --lib cluster_check");
        let headings: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("### ")).collect();
        let ids: BTreeSet<&str> = ALL.iter().map(|t| t.id).collect();
        assert_eq!(ids.len(), ALL.len(), "an id stands twice");
        assert_eq!(headings.iter().copied().collect::<BTreeSet<_>>(), ids);
        // GitHub makes the same word of such a heading.
        assert!(ids.iter().all(|id| id.chars().all(|c| c.is_ascii_lowercase() || c == '-')), "{ids:?}");
        assert!(ALL.iter().all(|t| !t.means.is_empty() && !t.remedy.is_empty()));
    }
}
