//! Ids of audit packs that prove themselves.
//!
//! Several pods stand behind one Service and share no store, so the pod that
//! verifies an id is rarely the one that issued it. The id therefore carries a
//! checksum. It guards against made-up ids in tests; it is no protection.

use sha2::{Digest, Sha256};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

static ISSUED: AtomicU64 = AtomicU64::new(0);

/// Issues a new id, different from all ids of this and of other pods.
pub fn issue(pod: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = ISSUED.fetch_add(1, Ordering::Relaxed);
    let seed = format!("{pod}/{}/{}/{count}", std::process::id(), now.as_nanos());
    let body = hex(&seed, 12);
    format!("pack-{body}-{}", checksum(&body))
}

/// Whether some pod of this application has issued `id`.
pub fn valid(id: &str) -> bool {
    let Some((body, check)) = id.strip_prefix("pack-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    body.len() == 24 && check == checksum(body)
}

fn checksum(body: &str) -> String {
    hex(&format!("audit-pack:{body}"), 4)
}

fn hex(text: &str, bytes: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issued_ids_are_valid_and_differ() {
        let (a, b) = (issue("pod-1"), issue("pod-1"));
        assert!(valid(&a) && valid(&b));
        assert_ne!(a, b);
    }

    #[test]
    fn a_changed_or_made_up_id_is_not_valid() {
        let id = issue("pod-1");
        let flipped = if id.contains('0') { id.replacen('0', "1", 1) } else { id.replacen('a', "b", 1) };
        assert_ne!(id, flipped);
        assert!(!valid(&flipped));
        assert!(!valid(&id[..id.len() - 1]));
        assert!(!valid("pack-"));
        assert!(!valid("pack-0123-4567"));
        assert!(!valid(""));
    }
}
