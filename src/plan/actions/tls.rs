//! PURE. `tls`: whose certificate is looked at.

use url::Url;

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{Tls, To, WorkloadRef};
use crate::plan::Plan;
use crate::plan::refuse::Refusals;
use crate::plan::request::check_service;
use crate::plan::resolving::Cx;
use crate::plan::scope::{Type, Usage, Variable};

use super::{Action, ActionPlace, Given, Planned, quick};

/// Variables of `tls.expect` beside those of every expression.
const VARIABLES: &[Variable] = &[
    Variable("daysLeft", Type::Double),
    Variable("names", Type::List),
    Variable("issuer", Type::Text),
    Variable("protocol", Type::Text),
    Variable("trusted", Type::Bool),
];

impl Given for Tls {
    fn texts(&self, at: &str) -> Vec<Usage> {
        Usage::exprs(&format!("{at}.expect"), VARIABLES, &self.expect).collect()
    }

    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, at: &str) -> Action {
        check_service(self.service.as_deref(), cx.services, &format!("{at}.service"), cx.refusals);
        check(self, place.stage.default_side(), at, cx.refusals);
        Action::Tls(self.clone())
    }
}

impl Planned for Tls {
    fn only_reads(&self) -> bool {
        true
    }

    fn workloads(&self) -> Vec<WorkloadRef> {
        vec![]
    }

    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        vec![]
    }

    fn time(&self, attempts: u32, every: Duration) -> Duration {
        quick(attempts, every)
    }
}

fn check(tls: &Tls, to: To, at: &str, refusals: &mut Refusals) {
    refusals.require(
        tls.url.is_some() != tls.to.is_some(),
        at,
        "exactly one of url and to says whose certificate is meant",
        format!("give one of them, such as to: {to:?}"),
    );
    if let Some(url) = &tls.url {
        let parsed = Url::parse(url);
        let fine =
            parsed.as_ref().is_ok_and(|u| u.scheme() == "https" && u.host_str().is_some() && !url.contains("${"));
        refusals.require(
            fine,
            format!("{at}.url"),
            format!("{url:?} is not a URL of https"),
            "write for example https://shop.example.com; variables are not expanded in it",
        );
        refusals.require(tls.port.is_none(), format!("{at}.port"), "the port belongs into the URL", "leave port out");
        let none = tls.service.is_none();
        refusals.require(none, format!("{at}.service"), "a url says this itself", "leave service out, or use to");
    }
    refusals.require(
        tls.to.is_none() || tls.server_name.is_some(),
        format!("{at}.serverName"),
        "a pod or Service is asked by its address, and certificates are for names",
        "say under which name users reach it",
    );
    if let Some(name) = &tls.server_name {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        refusals.require(
            !name.is_empty() && name.chars().all(legal),
            format!("{at}.serverName"),
            format!("{name:?} is not the name of a server"),
            "write for example shop.example.com; variables are not expanded in it",
        );
    }
}
