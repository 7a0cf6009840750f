//! PURE. `tls`: whose certificate is looked at.

use url::Url;

use crate::api::cutover::ServiceRef;
use crate::api::step::{Tls, To};

use super::refuse::Refusals;
use super::request::check_service;

/// With the defaults filled in.
pub(super) fn resolve(tls: &Tls, to: To, services: &[ServiceRef], at: &str, refusals: &mut Refusals) -> Tls {
    check_service(tls.service.as_deref(), services, &format!("{at}.service"), refusals);
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
    tls.clone()
}
