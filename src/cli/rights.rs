//! Which rights each command needs. A call that a command has not declared here is refused before it is sent, so the table
//! in the documents cannot miss one.

use std::fmt;

/// A right in RBAC's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource in the plural, with its subresource: `pods/log`.
    pub resource: &'static str,
    /// Whether the command does without it, and says what it leaves out.
    pub optional: bool,
}

impl Right {
    /// One that the command cannot do without.
    pub const fn need(verb: &'static str, group: &'static str, resource: &'static str) -> Self {
        Self { verb, group, resource, optional: false }
    }

    /// One that the command can do without.
    pub const fn wish(verb: &'static str, group: &'static str, resource: &'static str) -> Self {
        Self { verb, group, resource, optional: true }
    }

    /// `pods`, `deployments.apps`, `pods/log`, as `kubectl create role --resource` takes it.
    pub fn resource(&self) -> String {
        match (self.group, self.resource.split_once('/')) {
            ("", _) => self.resource.to_owned(),
            (group, Some((resource, sub))) => format!("{resource}.{group}/{sub}"),
            (group, None) => format!("{}.{group}", self.resource),
        }
    }

    /// The command by which an administrator gives it to a user.
    pub fn grant(&self, namespace: Option<&str>) -> String {
        let (role, binding) = match namespace {
            Some(_) => ("role", "rolebinding"),
            None => ("clusterrole", "clusterrolebinding"),
        };
        let within = namespace.map(|n| format!(" -n {n}")).unwrap_or_default();
        let name = format!("cutover-{}-{}", self.verb, self.resource.replace('/', "-"));
        format!(
            "kubectl create {role} {name} --verb={} --resource={}{within} && kubectl create {binding} {name} --{role}={name} --user=USER{within}",
            self.verb,
            self.resource(),
        )
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource())
    }
}

/// The rights of several lists as one.
pub(crate) const fn joined<const ALL: usize>(lists: [&[Right]; 3]) -> [Right; ALL] {
    let mut all = [Right::need("", "", ""); ALL];
    let (mut list, mut at) = (0, 0);
    while list < lists.len() {
        let mut i = 0;
        while i < lists[list].len() {
            all[at] = lists[list][i];
            (i, at) = (i + 1, at + 1);
        }
        list += 1;
    }
    assert!(at == ALL, "the length is that of all lists");
    all
}

/// The group of our own kinds.
pub const OURS: &str = "cutover.dev";

/// Reads what a run is about.
pub const READ: [Right; 4] = [
    Right::need("get", OURS, "cutovers"),
    Right::need("list", OURS, "cutovers"),
    Right::need("get", OURS, "cutoverruns"),
    Right::need("list", OURS, "cutoverruns"),
];

/// The sentence about a missing right.
pub(crate) fn missing(right: Right, namespace: Option<&str>) -> super::Failure {
    let place = namespace.map_or("in the whole cluster".to_owned(), |n| format!("in namespace {n}"));
    let failure = super::Failure::new(format!("you may not {right} {place}"));
    let next = format!("ask whoever manages access for: {}", right.grant(namespace));
    super::Failure { missing: Some(right), ..failure.next(next) }
}
