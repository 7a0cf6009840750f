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

    /// The command by which an administrator gives it to a user; one who is not known is `USER`.
    pub fn grant(&self, namespace: Option<&str>, user: Option<&str>) -> String {
        let (role, binding) = match namespace {
            Some(_) => ("role", "rolebinding"),
            None => ("clusterrole", "clusterrolebinding"),
        };
        let within = namespace.map(|n| format!(" -n {n}")).unwrap_or_default();
        let name = format!("cutover-{}-{}", self.verb, self.resource.replace('/', "-"));
        format!(
            "kubectl create {role} {name} --verb={} --resource={}{within} && kubectl create {binding} {name} --{role}={name} {}{within}",
            self.verb,
            self.resource(),
            subject(user),
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

/// The flag of `kubectl create rolebinding` that names somebody. A name that a shell would not take as it is, is left to
/// whoever pastes the command.
pub(crate) fn subject(user: Option<&str>) -> String {
    let plain =
        |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "@._:+/-".contains(c)) && !name.is_empty();
    match user.filter(plain).map(|name| (name, name.strip_prefix("system:serviceaccount:"))) {
        Some((_, Some(account))) => format!("--serviceaccount={account}"),
        Some((name, None)) => format!("--user={name}"),
        None => "--user=USER".to_owned(),
    }
}

/// Whom a refusal of RBAC is about: `… is forbidden: User "jane" cannot list resource …`.
pub(crate) fn refused_user(message: &str) -> Option<&str> {
    message.split_once("User \"")?.1.split_once("\" cannot ").map(|(name, _)| name)
}

/// The sentence about a missing right. `user`: who lacks it, where that is known.
pub(crate) fn missing(right: Right, namespace: Option<&str>, user: Option<&str>) -> super::Failure {
    let place = namespace.map_or("in the whole cluster".to_owned(), |n| format!("in namespace {n}"));
    let failure = super::Failure::new(format!("you may not {right} {place}"));
    let next = format!("ask whoever manages access for: {}", right.grant(namespace, user));
    super::Failure { missing: Some(right), ..failure.next(next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_lacks_a_right_is_named_where_a_shell_takes_the_name_as_it_is() {
        let message = "pods is forbidden: User \"jane@example.com\" cannot list resource \"pods\" in API group \"\"";
        assert_eq!(refused_user(message), Some("jane@example.com"));
        assert_eq!(refused_user("pods is forbidden"), None);
        let right = Right::need("list", "", "pods");
        assert!(
            right
                .grant(Some("prod"), refused_user(message))
                .ends_with("--role=cutover-list-pods --user=jane@example.com -n prod")
        );
        assert_eq!(subject(Some("system:serviceaccount:ci:deployer")), "--serviceaccount=ci:deployer");
        for name in ["$(reboot)", "a b", "", "x\u{1b}[2J"] {
            assert_eq!(subject(Some(name)), "--user=USER", "{name:?}");
        }
    }
}
