//! Since when pods have been unable to start. The API does not say, and a pod's age would be too long: an image that took
//! minutes to pull and then failed once has not been failing for minutes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::convert;

/// Most pods remembered; beyond it all are forgotten, which delays a verdict and never hastens one.
const LIMIT: usize = 4096;

/// First sightings by the uid of the pod. Lost with the process: the count then starts anew.
#[derive(Clone, Default)]
pub struct Waits(Arc<Mutex<HashMap<String, Timestamp>>>);

impl Waits {
    /// Takes in a pod.
    pub fn see(&self, pod: &Pod, now: Timestamp) {
        let Some(uid) = &pod.metadata.uid else { return };
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !convert::cannot_start(pod) {
            map.remove(uid);
            return;
        }
        if map.len() >= LIMIT && !map.contains_key(uid) {
            map.clear();
        }
        map.entry(uid.clone()).or_insert(now);
    }

    /// Forgets a pod that is gone.
    pub fn forget(&self, pod: &Pod) {
        if let Some(uid) = &pod.metadata.uid {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        }
    }

    /// When the pod was first seen so.
    pub fn since(&self, uid: &str, now: Timestamp) -> Timestamp {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid).copied().unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(reason: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"uid": "p"},
            "status": {"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"waiting": {"reason": reason}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn counts_from_the_first_failure_through_its_changing_names() {
        let (waits, at) = (Waits::default(), |s| Timestamp::from_second(s).unwrap());
        waits.see(&pod("ContainerCreating"), at(1));
        assert_eq!(waits.since("p", at(2)), at(2));
        waits.see(&pod("ErrImagePull"), at(10));
        waits.see(&pod("ImagePullBackOff"), at(20));
        assert_eq!(waits.since("p", at(30)), at(10));
        waits.see(&pod("ContainerCreating"), at(31));
        assert_eq!(waits.since("p", at(40)), at(40));
    }
}
