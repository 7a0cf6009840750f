//! End-to-end tests: the operator as a process, on a real cluster, with real pods, Jobs, requests, metrics and load.
//!
//! They run inside the cluster's network: `tests/cluster/cluster exec cargo test --test e2e`. Each test has a namespace
//! and an operator of its own; what was written is counted in the API server's audit log.

mod harness;

mod accepted;
mod addresses;
mod after;
mod approvals;
mod attacks;
mod bad_input;
mod before_restore;
mod changes;
mod checks;
mod components;
mod connections;
mod crash;
mod deletion;
mod faults;
mod floods;
mod gitops_matrix;
mod good;
mod idle;
mod job_ends;
mod jobs;
mod judging;
mod keepers;
mod kept;
mod lasting;
mod leader;
mod network;
mod notify;
mod notify_real;
mod outage;
mod own_changes;
mod people;
mod people_apart;
mod permissions;
mod phases;
mod plugin;
mod plugin_check;
mod plugin_decide;
mod plugin_init;
mod plugin_plan;
mod plugin_rights;
mod poison;
mod possible_again;
mod pushes;
mod reads;
mod seen;
mod services;
mod sides;
mod sources;
mod start_checks;
mod stops;
mod target_changes;
mod templates;
mod tls;
mod triggers;
mod unproven;
mod unread;
mod watch;
mod watch_screen;
mod watches;
mod way_back;
mod words;
