//! Requests out: the address rules (resolve, check, pin), the HTTP client, Prometheus; and whose name API requests carry.

pub mod identity;
