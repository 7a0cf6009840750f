//! Answers to reads, as `cutover::observe` would give them: HTTP by path and side, Prometheus by query, Secrets by name.

use std::collections::BTreeMap;

use cutover::api::step::KeyRef;
use cutover::effect::sealed::Sealed;
use cutover::effect::{AlertsOf, DryRun, Read, Request};
use cutover::world::{
    AlertsAnswer, Certificate, DryRunRefusal, HttpAnswer, HttpError, HttpResponse, JobResult, KeysAnswer, LogsAnswer,
    NodesAnswer, NumbersAnswer, PodUsage, Proven, QueryAnswer, Reading, ResourceAnswer, TlsAnswer, UsageAnswer,
};

use super::cluster::Cluster;
use super::faults::{Kind, On};

/// What answers out there.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// The first rule that fits answers; 200 and `{}` where none does.
    pub http: Vec<HttpRule>,
    /// Values by a part of the query; 0 where none fits.
    pub metrics: BTreeMap<String, MetricRule>,
    /// Alerts that fire, and since when.
    pub alerts: BTreeMap<String, jiff::Timestamp>,
    /// Lines that match, by a part of the regular expression; 0 where none fits.
    pub logs: BTreeMap<String, LogRule>,
    /// MiB of memory of each pod of a side; a sample is taken every 15 s. The metrics API is missing where none is named.
    pub memory: BTreeMap<String, u64>,
    /// Objects by name, whatever their kind.
    pub objects: BTreeMap<String, serde_json::Value>,
    /// Days until every certificate ends; 90 where absent.
    pub certificate_days: Option<i64>,
    /// Prometheus answers nothing.
    pub prometheus_down: bool,
    /// Keys by object; every key asked for exists where the object is not named.
    pub keys: BTreeMap<String, BTreeMap<String, String>>,
}

/// How a path is answered.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRule {
    /// A part of the path or URL.
    pub path: String,
    /// By pods of this side alone.
    #[serde(default)]
    pub side: Option<String>,
    /// No answer.
    #[serde(default)]
    pub lost: bool,
    #[serde(default = "ok")]
    pub status: u16,
    #[serde(default = "empty")]
    pub body: String,
    #[serde(default)]
    pub latency_ms: u64,
}

fn ok() -> u16 {
    200
}

fn empty() -> String {
    "{}".into()
}

/// How a query is answered.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(untagged)]
pub enum MetricRule {
    Value(f64),
    /// No conclusive answer.
    Inconclusive(String),
}

/// How many lines match.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(untagged)]
pub enum LogRule {
    Lines(u64),
    /// Not everything could be read.
    Problem(String),
}

/// Numbers for the default rule: of a hundred requests in an interval, this share was bad.
pub fn numbers(share: QueryAnswer) -> NumbersAnswer {
    match share {
        QueryAnswer::Value(share) => {
            let of = [("samples", 1.0), ("total", 100.0), ("errors", 100.0 * share), ("slow", 100.0 * share)];
            NumbersAnswer::Found(of.map(|(name, number)| (name.to_owned(), number)).into())
        }
        QueryAnswer::Inconclusive(why) => NumbersAnswer::Inconclusive(why),
        QueryAnswer::Invalid(why) => NumbersAnswer::Invalid(why),
    }
}

impl Cluster {
    /// Answers any read but a refresh.
    pub fn answer(&mut self, read: &Read) -> Reading {
        if self.faults.strike(On::Read, "", self.now).is_some() {
            return super::unread::unread(read);
        }
        match read {
            Read::Http(request) => Reading::Http(self.ask(request)),
            Read::Query { query, .. } => Reading::Query(self.query(query)),
            Read::Numbers { query, .. } => Reading::Numbers(numbers(self.query(query))),
            Read::Alerts(of) => Reading::Alerts(self.alerts(of)),
            Read::Revisions(name) => Reading::Revisions(Ok(self.revisions(name))),
            Read::CronJob(name) => Reading::CronJob(Ok(self.cron_jobs.get(name).cloned())),
            Read::Keys { config, .. } => {
                let object = config.secret.as_ref().or(config.config_map.as_ref());
                let rotated = BTreeMap::new();
                Reading::Keys(match object.and_then(|o| self.web.keys.get(o)) {
                    Some(values) => KeysAnswer::Found { values: values.clone(), rotated },
                    None => KeysAnswer::Found {
                        values: config.keys.iter().map(|k| (k.name.clone(), "set".into())).collect(),
                        rotated,
                    },
                })
            }
            Read::JobResult { job, uid, .. } => Reading::Job(match self.jobs.get(job) {
                Some(j) if &j.view.uid == uid => j.result.clone(),
                _ => JobResult { problem: Some("its pod is gone".into()), ..JobResult::default() },
            }),
            Read::Resource(of) => Reading::Resource(match self.web.objects.get(&of.name) {
                Some(object) => ResourceAnswer::Found(object.clone()),
                None => ResourceAnswer::NotFound,
            }),
            Read::Tls(_) => Reading::Tls(self.certificate()),
            Read::Usage(_) => Reading::Usage(self.usage()),
            Read::Logs(of) => {
                let rule = self.web.logs.iter().find(|(part, _)| of.matches.contains(part.as_str())).map(|(_, r)| r);
                let (lines, problem) = match rule {
                    None => (0, None),
                    Some(LogRule::Lines(n)) => (*n, None),
                    Some(LogRule::Problem(why)) => (0, Some(why.clone())),
                };
                Reading::Logs(LogsAnswer { lines, pods: 3, problem })
            }
            Read::DryRun(tries) => Reading::DryRun(tries.iter().filter_map(|t| self.dry_run(t)).collect()),
            Read::Nodes(names) => Reading::Nodes(Ok(NodesAnswer {
                at: self.now,
                nodes: names.iter().map(|n| (n.clone(), self.node(n))).collect(),
            })),
            Read::Events(of) => {
                let of = of.iter().filter_map(|uid| self.events.get(uid)).flatten();
                Reading::Events(Ok(of.cloned().collect()))
            }
            Read::Selectors => Reading::Selectors(Ok(vec![])),
            Read::Proof => {
                let verdict = match self.faults.strike(On::DryRun, "forged", self.now) {
                    None => Proven::Holds,
                    Some(Kind::Transient | Kind::Lost | Kind::Conflict) => Proven::Unknown("503".into()),
                    Some(_) => Proven::Open("forge a decision is refused".into()),
                };
                Reading::Proof(super::unread::proof(verdict))
            }
            Read::Refresh => Reading::Refreshed,
        }
    }

    fn certificate(&self) -> TlsAnswer {
        let days = self.web.certificate_days.unwrap_or(90);
        let expired = (days < 0).then(|| "invalid peer certificate: certificate expired".to_owned());
        TlsAnswer::Seen(Certificate {
            subject: "CN=web.example".into(),
            issuer: "CN=Example CA".into(),
            names: vec!["web.example".into()],
            not_after: self.now + jiff::SignedDuration::from_hours(24 * days + 12),
            protocol: "TLSv1.3".into(),
            untrusted: expired,
        })
    }

    fn usage(&self) -> UsageAnswer {
        if self.web.memory.is_empty() {
            return UsageAnswer::Inconclusive("the cluster has no metrics API".into());
        }
        let taken = self.now.as_second() / 15 * 15;
        let at = jiff::Timestamp::from_second(taken).unwrap_or(self.now);
        let used = |owner| {
            let live = self.plan.old.workloads.contains(owner);
            let side = if live { &self.plan.old } else { &self.plan.target };
            self.web.memory.get(&side.name).copied()
        };
        let pods = self.pods.iter().filter_map(|(name, (owner, _))| {
            Some(PodUsage { pod: name.clone(), at, nanocores: 1_000_000, bytes: used(owner)? << 20 })
        });
        UsageAnswer::Found(pods.collect())
    }

    fn alerts(&self, of: &AlertsOf) -> AlertsAnswer {
        if self.web.prometheus_down {
            return AlertsAnswer::Inconclusive("Alertmanager: connection refused".into());
        }
        let named = |name: &str| of.matchers.get("alertname").is_none_or(|wanted| wanted == name);
        let all = self.web.alerts.iter().filter(|(name, at)| named(name) && **at > of.since);
        let found: Vec<_> = all.collect();
        let first = found.first().map(|(name, at)| ((*name).clone(), Some(**at)));
        AlertsAnswer::Found { count: found.len(), first }
    }

    fn query(&self, query: &str) -> QueryAnswer {
        if self.web.prometheus_down {
            return QueryAnswer::Inconclusive("Prometheus cannot be reached: connection refused".into());
        }
        if query.starts_with("sum((last_over_time(") && query.ends_with("/ 300") {
            // How many requests there are in preflight: as many as in each interval after the switch.
            return QueryAnswer::Value(100.0 / 15.0);
        }
        match self.web.metrics.iter().find(|(part, _)| query.contains(part.as_str())).map(|(_, rule)| rule) {
            Some(MetricRule::Value(v)) => QueryAnswer::Value(*v),
            Some(MetricRule::Inconclusive(why)) => QueryAnswer::Inconclusive(why.clone()),
            None => QueryAnswer::Value(0.0),
        }
    }

    fn dry_run(&mut self, tried: &DryRun) -> Option<DryRunRefusal> {
        let (what, name) = match tried {
            DryRun::Job { step, .. } => (format!("create jobs for step {step}"), step.clone()),
            DryRun::Point { route, .. } => (format!("patch services/{}", route.name), route.name.clone()),
            DryRun::DeletePod(name) => (format!("delete pods/{name}"), name.clone()),
            DryRun::Secret(_) => ("create secrets".into(), String::new()),
            DryRun::Look(of) => (format!("get {}/{}", of.kind, of.name), of.name.clone()),
            DryRun::Change { object, .. } => {
                let kind = format!("{:?}s", object.kind).to_lowercase();
                (format!("patch {kind}/{}", object.name), object.name.clone())
            }
        };
        let kind = self.faults.strike(On::DryRun, &name, self.now)?;
        Some(DryRunRefusal {
            why: format!("{what} is refused"),
            what,
            forbidden: kind == Kind::Forbidden,
            transient: matches!(kind, Kind::Transient | Kind::Lost | Kind::Conflict),
        })
    }

    /// Answers a request, one answer for each address.
    pub fn ask(&self, request: &Request) -> Vec<HttpAnswer> {
        let holds = |key: &KeyRef| {
            let known = |keys: &BTreeMap<String, String>| keys.contains_key(&key.key);
            let kept = |secret: &serde_json::Value| !secret["data"][&key.key].is_null();
            self.web.keys.get(&key.name).map_or_else(|| self.secrets.get(&key.name).is_some_and(kept), known)
        };
        if let Some(missing) = request.sealed.iter().flat_map(Sealed::secrets).find(|key| !holds(key)) {
            let result = Err(HttpError::NotSent(format!("Secret {} has no key {}", missing.name, missing.key)));
            return vec![HttpAnswer { from: "operator".into(), result }];
        }
        if let Some(url) = &request.url {
            return vec![HttpAnswer { from: url.clone(), result: self.respond(url, None) }];
        }
        request
            .to
            .iter()
            .map(|address| {
                let result = match self.side_behind(&address.name, &address.ip) {
                    Some(side) => self.respond(&request.path, Some(&side)),
                    None => Err(HttpError::NotSent("connection refused".into())),
                };
                HttpAnswer { from: address.name.clone(), result }
            })
            .collect()
    }

    /// The side whose pod takes a request to this pod or Service; none where no pod does.
    fn side_behind(&self, name: &str, ip: &str) -> Option<String> {
        let side_of = |owner: &cutover::api::step::WorkloadRef| {
            let live = self.plan.old.workloads.contains(owner);
            if live { self.plan.old.name.clone() } else { self.plan.target.name.clone() }
        };
        if let Some((owner, pod)) = self.pods.get(name) {
            return pod.ready.then(|| side_of(owner));
        }
        if let Some((owner, pod)) = self.pods.values().find(|(_, p)| p.ip.as_deref() == Some(ip)) {
            return pod.ready.then(|| side_of(owner));
        }
        let service = self.services.get(name).map(|_| name.to_owned()).or_else(|| {
            self.services.iter().find(|(_, s)| s.view.cluster_ip.as_deref() == Some(ip)).map(|(n, _)| n.clone())
        })?;
        let endpoint = self.endpoints.get(&service)?.iter().find(|e| e.ready)?;
        self.pods.get(endpoint.pod.as_ref()?).filter(|(_, p)| p.ready).map(|(owner, _)| side_of(owner))
    }

    fn respond(&self, path: &str, side: Option<&str>) -> Result<HttpResponse, HttpError> {
        let fits = |r: &&HttpRule| path.contains(&r.path) && (r.side.is_none() || r.side.as_deref() == side);
        let (status, body, latency_ms) = match self.web.http.iter().find(fits) {
            Some(rule) if rule.lost => return Err(HttpError::Lost("no answer within the time".into())),
            Some(rule) => (rule.status, rule.body.clone(), rule.latency_ms),
            None => (200, empty(), 3),
        };
        let headers = BTreeMap::from([("content-type".into(), "application/json".into())]);
        Ok(HttpResponse { status, headers, body, latency_ms, ..HttpResponse::default() })
    }
}
