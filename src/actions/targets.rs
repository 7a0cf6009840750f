//! PURE. Whom a request asks: pods of the target by address, or the live Service.

use crate::actions::Cx;
use crate::effect::Address;
use crate::endpoints::{pod_port, ready, whole_selector};
use crate::world::{PortView, ServiceView};

/// The Service port that `port` names (by number or name); the first one where it is not given.
fn port<'a>(service: &'a ServiceView, name: &str, port: Option<&str>) -> Result<&'a PortView, String> {
    let found = match port {
        None => service.ports.first(),
        Some(p) => service.ports.iter().find(|x| x.name.as_deref() == Some(p) || x.port.to_string() == p),
    };
    found.ok_or_else(|| {
        let has: Vec<String> = service
            .ports
            .iter()
            .map(|p| p.name.as_ref().map_or_else(|| p.port.to_string(), |n| format!("{n} ({})", p.port)))
            .collect();
        format!("port: Service {name} has no port {}; it has {}", port.unwrap_or("at all"), has.join(", "))
    })
}

fn first_service<'a>(cx: &'a Cx) -> Result<(&'a str, &'a ServiceView), String> {
    let name = cx.plan.services.first().ok_or("spec.services is empty")?;
    let view = cx.world.service(name).ok_or_else(|| format!("Service {name} does not exist"))?;
    Ok((name, view))
}

/// Every ready pod of the target, by name.
pub fn pods(cx: &Cx, wanted: Option<&str>) -> Result<Vec<Address>, String> {
    let (name, service) = first_service(cx)?;
    let port = port(service, name, wanted)?;
    let selector = whole_selector(&service.selector, &cx.plan.target.selector);
    let known = cx.world.pods.as_ref().map(|p| p.value.as_slice()).unwrap_or_default();
    let mut found: Vec<Address> = ready(known, &selector, &service.ports)
        .filter_map(|pod| Some(Address { name: pod.name.clone(), ip: pod.ip.clone()?, port: pod_port(pod, port)? }))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The live Service.
pub fn service(cx: &Cx, wanted: Option<&str>) -> Result<Address, String> {
    let (name, service) = first_service(cx)?;
    if service.external_name {
        return Err(format!("Service {name} is of type ExternalName, which is never asked"));
    }
    let port = port(service, name, wanted)?;
    match service.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") {
        Some(ip) => Ok(Address { name: name.into(), ip: ip.into(), port: port.port }),
        None => Err(format!("Service {name} has no ClusterIP; give a url instead")),
    }
}

/// `host:port`, an IPv6 address in brackets.
pub fn host_port(a: &Address) -> String {
    if a.ip.contains(':') { format!("[{}]:{}", a.ip, a.port) } else { format!("{}:{}", a.ip, a.port) }
}
