//! Where no request of a Cutover may go, whatever the namespace's own objects say: a node, the API server, another namespace.
//! Nobody is asked before it is known which addresses those are.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use cutover::api::Phase;
use cutover::api::run::{CutoverRun, StepState};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::net::{TcpListener, UdpSocket};

use crate::harness::case::secs;
use crate::harness::proxy::{Fault, Proxy};
use crate::harness::{Case, cluster, e2e, wait};

/// What only those who must not be asked answer: it may stand nowhere.
const CANARY: &str = "canary-5d1e";

/// Somebody who must not be asked, and how often he was.
struct Forbidden {
    at: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Forbidden {
    async fn on(address: &str) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await.context("on the node")?;
        let (at, asked) = (listener.local_addr()?, Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let app = axum::Router::new().fallback(move || {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(CANARY)
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { at, asked })
    }

    fn never_asked(&self) -> Result<()> {
        let asked = self.asked.load(Ordering::Relaxed);
        ensure!(asked == 0, "asked {asked} times");
        Ok(())
    }
}

async fn node(t: &Case) -> Result<String> {
    let nodes = Api::<Node>::all(t.client.clone()).list(&ListParams::default()).await?;
    let addresses = nodes.items.iter().flat_map(|n| n.status.iter().flat_map(|s| s.addresses.iter().flatten()));
    addresses.filter(|a| a.type_ == "InternalIP").map(|a| a.address.clone()).next().context("the node has no address")
}

/// Another tenant's namespace.
fn elsewhere_of(t: &Case) -> String {
    format!("{}-elsewhere", t.ns)
}

/// The address of a pod there.
async fn neighbour(t: &Case) -> Result<IpAddr> {
    let namespace = elsewhere_of(t);
    let object = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {"cutover.dev/e2e": "true"}},
    });
    cluster::apply(&t.client, &object, &namespace).await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "neighbour"},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{"name": "app", "image": "docker.io/cutover/sample:dev", "imagePullPolicy": "Never"}],
        },
    });
    // The namespace's ServiceAccount, without which no pod is admitted, comes a moment later.
    wait::poll("the neighbour is admitted", secs(20), async || {
        Ok(cluster::apply(&t.client, &pod, &namespace).await.ok().map(drop))
    })
    .await?;
    let pods: Api<Pod> = Api::namespaced(t.client.clone(), &namespace);
    let address = wait::until(pods, "the neighbour has an address", secs(60), |all| {
        Ok(all.get("neighbour").and_then(|pod| pod.status.as_ref()?.pod_ip.clone()))
    })
    .await?;
    Ok(address.parse()?)
}

/// A slice made by hand, which says that it is a pod of the namespace.
async fn slice(t: &Case, service: &str, port: &str, to: SocketAddr, pod: Option<&str>) -> Result<()> {
    let target = pod.map(|name| json!({"kind": "Pod", "namespace": t.ns, "name": name}));
    t.apply_value(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "by-hand", "labels": {"kubernetes.io/service-name": service}},
        "endpoints": [{"addresses": [to.ip().to_string()], "conditions": {"ready": true}, "targetRef": target}],
        "ports": [{"name": port, "port": to.port(), "protocol": "TCP"}]
    }))
    .await
    .map(drop)
}

async fn remove_slice(t: &Case) -> Result<()> {
    t.api::<EndpointSlice>().delete("by-hand", &DeleteParams::default()).await?;
    Ok(())
}

/// What the records of a run say, all of it.
fn said(run: &CutoverRun) -> Result<String> {
    Ok(serde_json::to_string(&run.status)?)
}

/// A release whose step or trigger is refused: how the run ends, and what its status says.
async fn refused(t: &Case, name: &str, spec: &str, phase: Phase, words: &[&str]) -> Result<()> {
    t.cutover(name, spec).await?;
    let run = t.ends(name, phase, 60).await.with_context(|| name.to_owned())?;
    let said = said(&run)?;
    ensure!(words.iter().all(|word| said.contains(word)), "{name}: {words:?}: {said}");
    ensure!(!said.contains(CANARY), "{name}: {said}");
    gone(t, name).await
}

/// Deletes the Cutover, so that another one may have its Service.
async fn gone(t: &Case, name: &str) -> Result<()> {
    t.api::<cutover::api::Cutover>().delete(name, &DeleteParams::default()).await?;
    wait::until(t.api::<cutover::api::Cutover>(), &format!("{name} gone"), secs(30), |all| {
        Ok((!all.contains_key(name)).then_some(()))
    })
    .await
}

fn verify(step: &str) -> String {
    format!(
        "switch: {{timeout: 20s}}\nprometheus: {{service: {{name: metrics, port: 9090}}}}\n\
         phases: {{verify: {{steps: [{{name: step, timeout: 5s, {step}}}]}}}}\n"
    )
}

#[test]
fn what_a_slice_made_by_hand_leads_to_is_never_asked() {
    e2e("slices_by_hand", async |t: &Case| {
        let forbidden = Forbidden::on(&node(t).await?).await?;
        t.web().await?;
        t.start().await?;
        let elsewhere = SocketAddr::new(neighbour(t).await?, 8080);
        let default: Api<EndpointSlice> = Api::namespaced(t.client.clone(), "default");
        let slices = default.list(&ListParams::default().labels("kubernetes.io/service-name=kubernetes")).await?;
        let server = slices.items.iter().flat_map(|s| s.endpoints.iter().flatten()).flat_map(|e| &e.addresses).next();
        let server: IpAddr = server.context("the API server has no endpoint")?.parse()?;
        let own = t.pods("web", "blue").await?.first().context("a pod")?.name_any();
        t.apply("apiVersion: v1\nkind: Service\nmetadata: {name: metrics}\nspec: {ports: [{name: web, port: 9090}]}\n")
            .await?;

        // The API server itself refuses slices to loopback and link-local addresses, such as that of a metadata service.
        let node_words = ["EndpointSlice by-hand", "an address of a node or of the API server"];
        let places = [
            ("node", forbidden.at, Some(own.as_str()), node_words),
            ("server", SocketAddr::new(server, 6443), Some(own.as_str()), node_words),
            ("elsewhere", elsewhere, None, ["EndpointSlice by-hand", "which is no pod of this namespace"]),
        ];
        let ways = [
            ("live", "web", "http", "http: {to: Live, path: /}"),
            ("tls", "web", "http", "tls: {to: Live, serverName: shop.example, expect: ['true']}"),
            ("metrics", "metrics", "web", "metric: {query: up, expect: 'value > 0.0'}"),
        ];
        for (way, service, port, step) in ways {
            for (place, at, pod, words) in places {
                slice(t, service, port, at, pod).await?;
                refused(t, &format!("{way}-{place}"), &verify(step), Phase::Failed, &words).await?;
                remove_slice(t).await?;
            }
        }
        // One that names a pod of the namespace, and leads elsewhere.
        slice(t, "metrics", "web", elsewhere, Some(&own)).await?;
        let words = [format!("{}, which is not the address of pod {own}", elsewhere.ip())];
        let step = verify("metric: {query: up, expect: 'value > 0.0'}");
        refused(t, "faked", &step, Phase::Failed, &[&words[0]]).await?;
        remove_slice(t).await?;

        // A trial of a trigger does not go there either, and is a failure.
        let probed = "switch: {timeout: 20s}\nobserve: {for: 2m, every: 500ms, triggers: [{name: bad, probe: {http: {path: /}, failing: 2}}]}\n";
        t.cutover("probed", probed).await?;
        t.phase("probed", Phase::Observing, 40).await?;
        slice(t, "web", "http", elsewhere, None).await?;
        let said = said(&t.ends("probed", Phase::RolledBack, 90).await?)?;
        ensure!(said.contains("which is no pod of this namespace") && !said.contains(CANARY), "{said}");
        gone(t, "probed").await?;
        remove_slice(t).await?;

        for (name, to) in [("name", "kubernetes.default.svc.cluster.local"), ("metadata", "169.254.169.254")] {
            let service = format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: outside-{name}}}\nspec: {{type: ExternalName, externalName: {to}}}\n"
            );
            t.apply(&service).await?;
            let other = format!("name: outside-{name}");
            let step = verify("metric: {query: up, expect: 'value > 0.0'}").replace("name: metrics", &other);
            refused(t, name, &step, Phase::Failed, &["ExternalName, which is never followed"]).await?;
        }
        Api::<Namespace>::all(t.client.clone()).delete(&elsewhere_of(t), &DeleteParams::default()).await?;
        forbidden.never_asked()
    });
}

#[test]
fn the_live_side_and_a_prometheus_of_the_namespace_are_asked_by_their_pods() {
    e2e("asked_by_pods", async |t: &Case| {
        t.web().await?;
        t.prometheus().await?;
        t.start().await?;
        let spec = "switch: {timeout: 20s}\nprometheus: {service: {name: prometheus, port: 9090}}\n\
                    phases: {verify: {steps: [\
                    {name: live, http: {to: Live, path: /health, expect: [\"json.colour == 'blue'\"]}, timeout: 10s},\
                    {name: metric, metric: {query: 'vector(1)', expect: 'value == 1.0'}, timeout: 10s}]}}\n\
                    observe: {for: 3s, every: 500ms, triggers: [{name: bad, probe: {http: {path: /health}, failing: 2}}]}\n";
        t.cutover("shop", spec).await?;
        t.ends("shop", Phase::Completed, 60).await?;
        Ok(())
    });
}

#[test]
fn nobody_is_asked_before_the_addresses_of_nodes_are_known() {
    e2e("nodes_unknown", async |t: &Case| {
        let proxy = Proxy::start().await?;
        proxy.fail(|_, path| path.starts_with("/api/v1/nodes").then_some(Fault::Refuse(403)));
        t.web().await?;
        t.start_through(Some(&proxy.url)).await?;
        let spec = "switch: {timeout: 20s}\nobserve: {for: 1s, every: 500ms}\n\
                    phases: {verify: {steps: [{name: check, http: {path: /health}, timeout: 2m}]}}\n";
        t.cutover("shop", spec).await?;
        let waits = |run: &CutoverRun| {
            let steps = run.status.as_ref().map(|s| s.steps.as_slice()).unwrap_or_default();
            let step = steps.iter().find(|s| s.name == "check")?;
            let message = step.message.clone().unwrap_or_default();
            (step.state == StepState::Running && message.contains("addresses of nodes")).then_some(())
        };
        t.run_until("shop", "the step says what it waits for", secs(60), |run| Ok(waits(run))).await?;
        proxy.heal();
        let run = t.ends("shop", Phase::Completed, 60).await?;
        let status = run.status.context("status")?;
        let check = status.steps.iter().find(|s| s.name == "check").context("the step")?;
        ensure!(check.attempt > 1 && check.attempt - check.attempts_before == 1, "one attempt was made: {check:?}");
        Ok(())
    });
}

/// A name server that gives one address to the first question for a name, and another one ever after.
async fn flipping(first: IpAddr, then: IpAddr) -> Result<(SocketAddr, Arc<AtomicUsize>)> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let (at, asked) = (socket.local_addr()?, Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
            let Some((answer, of_v4)) = answer(&buffer[..n], |n| if n == 0 { first } else { then }, &count) else {
                continue;
            };
            if of_v4 {
                count.fetch_add(1, Ordering::Relaxed);
            }
            if socket.send_to(&answer, from).await.is_err() {
                return;
            }
        }
    });
    Ok((at, asked))
}

/// The answer to a question, and whether it was for an IPv4 address.
fn answer(question: &[u8], address: impl Fn(usize) -> IpAddr, asked: &AtomicUsize) -> Option<(Vec<u8>, bool)> {
    // The name ends with a byte of zero; type and class follow.
    let end = 12 + question.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    let asks = question.get(12..end)?;
    let of_v4 = asks.get(asks.len() - 4..asks.len() - 2)? == [0, 1];
    let mut all = question.get(..2)?.to_vec();
    all.extend([0x84, 0, 0, 1, 0, u8::from(of_v4), 0, 0, 0, 0]);
    all.extend(asks);
    if let (true, IpAddr::V4(ip)) = (of_v4, address(asked.load(Ordering::Relaxed))) {
        // The name above, A, IN, no time to live, four bytes.
        all.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        all.extend(ip.octets());
    }
    Some((all, of_v4))
}

#[test]
fn a_name_that_changes_its_address_is_looked_up_once_a_request_and_checked_each_time() {
    e2e("name_that_flips", async |t: &Case| {
        let forbidden = Forbidden::on(&node(t).await?).await?;
        t.web().await?;
        let pod = t.pods("web", "green").await?;
        let good: IpAddr =
            pod.first().and_then(|p| p.status.as_ref()?.pod_ip.clone()).context("an address")?.parse()?;
        let (dns, asked) = flipping(good, forbidden.at.ip()).await?;
        t.arguments(&["--dns", &dns.to_string(), "--allow-private", &format!("{good}/8")]);
        t.start().await?;
        let step = |name: &str, port: u16, needs: &str| {
            let url = format!("http://flip.example:{port}/health");
            format!(
                "{{name: {name}, timeout: 10s, needs: [{needs}], http: {{url: '{url}', expect: ['status == 200']}}}}"
            )
        };
        let steps = [step("first", 8080, ""), step("second", forbidden.at.port(), "first")].join(", ");
        let spec = format!("phases: {{verify: {{steps: [{steps}]}}}}\n");
        t.cutover("shop", &spec).await?;
        let run = t.ends("shop", Phase::Failed, 60).await?;
        let status = run.status.clone().context("status")?;
        let state = |name: &str| status.steps.iter().find(|s| s.name == name).map(|s| s.state);
        let said = said(&run)?;
        ensure!(state("first") == Some(StepState::Succeeded), "{said}");
        ensure!(said.contains("flip.example may not be asked") && said.contains("an address of a node"), "{said}");
        ensure!(asked.load(Ordering::Relaxed) == 2, "one look for each request");
        ensure!(!said.contains(CANARY));
        forbidden.never_asked()
    });
}
