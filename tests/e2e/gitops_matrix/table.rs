//! What Git may do to a cutover, as `table.yaml` has it: the data of `docs/gitops-matrix.md`, which `tests/e2e` tries on a
//! real cluster, cell by cell.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// What Git does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Does {
    /// `spec.activate` goes back to the old side; the release stays.
    Activate,
    /// The same Git again, with the old selector in the Service.
    Selector,
    /// The selector of the new side is committed to Git.
    NewSelector,
    /// The same Git again, with `replicas: 0` for the idle side, which a step has scaled up.
    Replicas,
    /// The whole Cutover as it was before the release.
    Whole,
    /// The Cutover is deleted.
    Prune,
    /// All manifests as they were before the release, the Service with its selector among them.
    Remediate,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum When {
    Before,
    Observing,
    RollingBack,
    Completed,
}

/// How it comes to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum How {
    /// Argo CD with `ServerSideApply=true`.
    Argo,
    /// Flux's kustomize-controller.
    Flux,
    /// Argo CD otherwise, `kubectl apply`, and Kustomize.
    Client,
    Helm3,
    Helm4,
}

/// Everything about one thing that Git does.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    pub does: Does,
    title: String,
    /// What is done, what is right, and what to set.
    text: String,
    pub cells: Vec<Row>,
}

/// What comes of it at one time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub when: When,
    comes: Comes,
    /// The same where a tool differs.
    #[serde(default)]
    but: BTreeMap<How, Comes>,
}

/// How each run ended and why, and the sides that the Service pointed to.
#[derive(Deserialize)]
#[serde(untagged)]
enum Comes {
    Always(String),
    /// After one apply, and where the same is applied again and again.
    Heals {
        once: String,
        again: String,
    },
}

impl Row {
    fn comes(&self, how: How) -> &Comes {
        self.but.get(&how).unwrap_or(&self.comes)
    }

    /// What comes of it with one tool.
    #[allow(dead_code, reason = "the test of the pages only draws it")]
    pub fn of(&self, how: How, heals: bool) -> &str {
        match self.comes(how) {
            Comes::Always(all) => all,
            Comes::Heals { once, again } => {
                if heals {
                    again
                } else {
                    once
                }
            }
        }
    }

    fn shown(&self, how: How) -> String {
        match self.comes(how) {
            Comes::Always(all) => all.clone(),
            Comes::Heals { once, again } => format!("{once}<br>self-heal: {again}"),
        }
    }
}

/// The whole table.
pub fn read(root: &Path) -> Vec<Part> {
    let file = root.join("tests/e2e/gitops_matrix/table.yaml");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

const COLUMNS: [(How, &str); 5] = [
    (How::Argo, "Argo CD, server-side"),
    (How::Flux, "Flux"),
    (How::Client, "Argo CD, client-side; `kubectl apply -k`"),
    (How::Helm3, "Helm 3"),
    (How::Helm4, "Helm 4"),
];

/// The table as the page shows it.
#[allow(dead_code, reason = "the page is drawn by the test of the pages alone")]
pub fn page(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        text += &format!("\n### {}\n{}\n\n| when |", part.title, part.text.trim_end());
        text += &COLUMNS.map(|(_, title)| format!(" {title} |")).concat();
        text += &format!("\n|--|{}\n", "--|".repeat(COLUMNS.len()));
        for row in &part.cells {
            let when = match row.when {
                When::Before => "before the switch",
                When::Observing => "Observing",
                When::RollingBack => "RollingBack",
                When::Completed => "Completed",
            };
            text += &format!("| {when} |{}\n", COLUMNS.map(|(how, _)| format!(" {} |", row.shown(how))).concat());
        }
    }
    text
}
