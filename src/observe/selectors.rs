//! Answers [`Read::Selectors`](crate::effect::Read::Selectors): who selects pods in the namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;

use crate::net::call::answered;
use crate::net::keys::brief;
use crate::world::{LabelRule, SelectorView};

/// Objects of one kind looked at.
const PAGE: u32 = 500;

/// Services, budgets and workloads with the pods that they select. An autoscaler selects by its workload.
pub(super) async fn read(client: &Client, namespace: &str) -> Result<Vec<SelectorView>, String> {
    let of = Lists { client, namespace };
    let (services, budgets, deployments, sets, replicas) = tokio::try_join!(
        of.list::<Service>("Services"),
        of.list::<PodDisruptionBudget>("PodDisruptionBudgets"),
        of.list::<Deployment>("Deployments"),
        of.list::<StatefulSet>("StatefulSets"),
        of.list::<ReplicaSet>("ReplicaSets"),
    )?;
    let mut all = vec![];
    for service in services {
        let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty());
        let Some(selector) = selector else { continue };
        all.push(SelectorView { kind: "Service".into(), name: service.name_any(), rules: equal(selector) });
    }
    let mut add = |kind: &str, name: String, selector: Option<&LabelSelector>| {
        // A selector that is not there selects nothing, one that is empty everything.
        let rules = selector.and_then(rules);
        all.extend(rules.map(|rules| SelectorView { kind: kind.into(), name, rules }));
    };
    for budget in budgets {
        add("PodDisruptionBudget", budget.name_any(), budget.spec.as_ref().and_then(|s| s.selector.as_ref()));
    }
    for workload in deployments {
        add("Deployment", workload.name_any(), workload.spec.as_ref().map(|s| &s.selector));
    }
    for workload in sets {
        add("StatefulSet", workload.name_any(), workload.spec.as_ref().map(|s| &s.selector));
    }
    // Those of Deployments select by the hash of a template as well, which no Job carries.
    for workload in replicas.into_iter().filter(|set| set.metadata.owner_references.is_none()) {
        add("ReplicaSet", workload.name_any(), workload.spec.as_ref().map(|s| &s.selector));
    }
    Ok(all)
}

struct Lists<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl Lists<'_> {
    async fn list<K>(&self, what: &str) -> Result<Vec<K>, String>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), self.namespace);
        let list = answered(api.list(&ListParams::default().limit(PAGE))).await;
        list.map(|list| list.items).map_err(|error| format!("{what}: {}", brief(&error.to_string())))
    }
}

fn equal(labels: &BTreeMap<String, String>) -> Vec<LabelRule> {
    labels.iter().map(|(key, value)| LabelRule::In { key: key.clone(), values: vec![value.clone()] }).collect()
}

/// The rules of a selector; none where it has one that is not known, so that nobody is warned of what may not be so.
fn rules(selector: &LabelSelector) -> Option<Vec<LabelRule>> {
    let mut all = equal(selector.match_labels.as_ref().unwrap_or(&BTreeMap::new()));
    for rule in selector.match_expressions.iter().flatten() {
        let (key, values) = (rule.key.clone(), rule.values.clone().unwrap_or_default());
        all.push(match rule.operator.as_str() {
            "In" => LabelRule::In { key, values },
            "NotIn" => LabelRule::NotIn { key, values },
            "Exists" => LabelRule::Exists { key },
            "DoesNotExist" => LabelRule::Absent { key },
            _ => return None,
        });
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_of_every_kind_are_read() {
        let read = |value: serde_json::Value| rules(&serde_json::from_value(value).expect("a selector"));
        let got = read(json!({"matchLabels": {"a": "1"}, "matchExpressions": [
            {"key": "b", "operator": "In", "values": ["2", "3"]}, {"key": "c", "operator": "DoesNotExist"}]}));
        let wanted = vec![
            LabelRule::In { key: "a".into(), values: vec!["1".into()] },
            LabelRule::In { key: "b".into(), values: vec!["2".into(), "3".into()] },
            LabelRule::Absent { key: "c".into() },
        ];
        assert_eq!(got, Some(wanted));
        assert_eq!(read(json!({})), Some(vec![]), "everything");
        assert_eq!(read(json!({"matchExpressions": [{"key": "b", "operator": "Like"}]})), None);
    }
}
