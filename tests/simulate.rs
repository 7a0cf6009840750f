//! Scenarios: a Cutover and a scripted world in (`tests/simulate/*.yaml`), a readable log out, compared with the golden
//! one beside it. `UPDATE_EXPECT=1` rewrites the logs; they are to be read before they are kept.
//!
//! Each scenario runs again with random delays and orders of replies, answers and watch events: then the log differs,
//! and its `expect` part and the promises must hold all the same.

mod sim;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use cutover::api::decision::Verb;
use cutover::api::run::{CutoverRun, CutoverRunSpec, RunState};
use cutover::plan::PLAN_VERSION;
use sim::cluster::{Cluster, Who, Wrote};
use sim::faults::On;
use sim::files::{folder, load, play};
use sim::promises;
use sim::timeline::{EPOCH, Timeline};

/// Random orders of each scenario; `SEEDS` in the environment asks for more.
const SEEDS: u64 = 20;

/// What a scenario expects, and the promises; everything that does not hold.
fn check(line: &Timeline) -> Vec<String> {
    let (cluster, expect) = (&line.cluster, &line.scenario.expect);
    let status = &cluster.status;
    let mut wrong = cluster.broken.clone();
    wrong.extend(line.clock.check(&cluster.plan, EPOCH));
    let shown = serde_json::to_string(status).unwrap_or_default() + &line.log.text();
    if shown.contains("canary") {
        wrong.push("P9: what was captured as sensitive is in the journal or in the log".into());
    }
    if !expect.phase.contains(&status.phase) {
        wrong.push(format!("the run is {}, expected {:?}", status.phase, expect.phase));
    }
    let waits = promises::waits_for(cluster);
    match (&expect.waits, status.state) {
        (None, RunState::Active) => wrong.push(format!("the run did not close; it waits for {waits:?}")),
        (Some(what), RunState::Active) if !waits.as_ref().is_some_and(|w| w.contains(what.as_str())) => {
            wrong.push(format!("the run waits for {waits:?}, expected {what}"));
        }
        (Some(what), RunState::Closed) => wrong.push(format!("the run closed instead of waiting for {what}")),
        _ => {}
    }
    let reason = status.ending.as_ref().map(|e| e.reason.clone());
    if expect.reason.is_some() && reason != expect.reason {
        wrong.push(format!("the reason is {reason:?}, expected {:?}", expect.reason));
    }
    if let Some(incomplete) = expect.incomplete
        && status.ending.as_ref().is_none_or(|e| e.incomplete != incomplete)
    {
        wrong.push(format!("incomplete is not {incomplete}"));
    }
    for (service, side) in &expect.live {
        let found = match cluster.services.contains_key(service) {
            false => "-",
            true => cluster.points_to(service).unwrap_or("?"),
        };
        if found != side {
            wrong.push(format!("Service {service} points to {found}, expected {side}"));
        }
    }
    let started = started(cluster);
    for (step, times) in &expect.starts {
        let found = started.iter().filter(|s| *s == step).count();
        if found != *times as usize {
            wrong.push(format!("{step} was started {found} times, expected {times}"));
        }
    }
    if let Some(order) = &expect.order
        && &started != order
    {
        wrong.push(format!("Jobs were started in the order {started:?}, expected {order:?}"));
    }
    let ours = |w: &Wrote| matches!(w, Wrote::Selector { .. });
    if expect.never_switched && cluster.audit.iter().any(|a| a.who == Who::Us && ours(&a.what)) {
        wrong.push("a selector was written".into());
    }
    for (name, wanted) in &expect.env {
        let found = env(cluster, name);
        if found != *wanted {
            wrong.push(format!("the environment of {name} is {found:?}, expected {wanted:?}"));
        }
    }
    for (w, kept) in cluster.annotations.iter().filter(|(_, kept)| !kept.is_empty()) {
        wrong.push(format!("{} is left with {kept:?}", w.name));
    }
    for (step, wanted) in &expect.images {
        let template = cluster.job_of(step).and_then(|job| cluster.jobs.get(&job)?.view.template.clone());
        let image = template.as_ref().and_then(|t| t.pointer("/spec/containers/0/image")?.as_str());
        if image != Some(wanted) {
            wrong.push(format!("the Job of {step} ran {image:?}, expected {wanted}"));
        }
    }
    for (name, suspended) in &expect.suspended {
        let found = cluster.cron_jobs.get(name).map(|j| j.suspended);
        if found != Some(*suspended) {
            wrong.push(format!("CronJob {name}: suspended {found:?}, expected {suspended}"));
        }
    }
    for (decision, begins) in &expect.answers {
        let found = cluster.answers.get(decision);
        if !found.is_some_and(|result| result.starts_with(begins)) {
            wrong.push(format!("the answer on {decision} is {found:?}, expected {begins:?}"));
        }
    }
    // A Retry for a run that is over is the controller's to answer.
    let open = cluster.open_decisions().into_iter().filter(|d| d.spec.decision != Verb::Retry);
    let seen = |created| {
        let seen = created + jiff::SignedDuration::from_secs(10);
        status.state == RunState::Closed && status.closing_since.is_some_and(|since| seen < since)
    };
    let silent = cluster.faults.0.iter().any(|f| f.on == On::Answer);
    for uid in cluster.answers.keys().filter(|uid| !cluster.owned.contains(*uid)) {
        wrong.push(format!("{uid} has an answer and does not go with its run"));
    }
    for d in open.filter(|d| seen(d.created) && !silent) {
        wrong.push(format!("{} of {} has no answer", d.name, d.spec.by));
    }
    if let Some(restored) = &expect.restored {
        let since = line.cued.get(&restored.of).copied();
        for (service, (side, at)) in &line.pointed {
            let took = since.map(|s| at.duration_since(s));
            if *side != cluster.plan.old.name || took.is_none_or(|t| t > restored.within.signed()) {
                wrong.push(format!("Service {service} points to {side} {took:?} after \"{}\"", restored.of));
            }
        }
    }
    wrong
}

/// The environment of a workload's first container.
fn env(cluster: &Cluster, name: &str) -> BTreeMap<String, String> {
    let view = cluster.workloads.iter().find(|(w, _)| w.name == name).map(|(_, v)| &v.template);
    let list = view.and_then(|t| t.pointer("/spec/containers/0/env")?.as_array());
    let text = |v: &serde_json::Value, key: &str| v[key].as_str().unwrap_or("from elsewhere").to_owned();
    list.into_iter().flatten().map(|v| (text(v, "name"), text(v, "value"))).collect()
}

/// Steps whose Jobs were started, in order.
fn started(cluster: &Cluster) -> Vec<String> {
    let starts = cluster.audit.iter().filter_map(|a| match &a.what {
        Wrote::JobStarted { job, step } => Some(step.clone().unwrap_or_else(|| job.clone())),
        _ => None,
    });
    starts.collect()
}

fn scenario(name: &str) {
    let scenario = load(name);
    let line = play(&scenario, None);
    let text = format!("# {}\n{}", scenario.about, line.log.text());
    let wrong = check(&line);
    assert!(wrong.is_empty(), "{name}: {wrong:#?}\n{text}");
    golden(name, &text);
    let seeds = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SEEDS);
    for seed in 1..=seeds {
        let line = play(&scenario, Some(seed));
        let wrong = check(&line);
        assert!(wrong.is_empty(), "{name}, seed {seed}: {wrong:#?}\n{}", line.log.text());
    }
}

fn golden(name: &str, text: &str) {
    let path = folder().join(format!("{name}.log"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept != text {
        let differs = kept.lines().zip(text.lines()).position(|(a, b)| a != b).unwrap_or(0) + 1;
        panic!("{name}.log differs from line {differs} on (UPDATE_EXPECT=1 rewrites it). Now it is:\n{text}");
    }
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test] fn $name() { scenario(stringify!($name)); })*
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

scenarios! {
    abort_awaits_job
    abort_cannot_delete
    abort_kills_job
    api_server_away
    alert_fires
    approval_expires
    approval_forgeable
    approval_given
    approval_rejected
    approval_rollback_given
    approval_rollback_rejected
    approval_suspended
    approval_voided
    approval_wrong_token
    both_sides_dead
    both_sides_dead_for_ever
    restore_autoscaled
    restore_denied
    restore_few_ready
    restore_half_ready
    undo_first_asked
    undo_first_default
    undo_first_first
    undo_first_wait
    built_in_crash_loop
    both_sides_lost_asks
    completed_deleted
    completed_new_release
    completed_reverted
    claim_on_a_live_reading
    clock_set_back
    clock_set_forward
    confirm_fails
    crash_loop
    cron_jobs
    decision_abort
    decision_proof_unknown
    decision_rollback
    decision_unproven
    default_rule
    default_rule_hiccup
    default_rule_share
    deleted_in_observing
    deleted_in_preflight
    deleted_in_preparing
    deleted_in_switching
    endpoint
    error_baseline
    error_count
    error_guarded
    error_rate
    error_spike
    finish_fails
    finish_fails_unanswered
    follow_up_crash
    follow_up_fails
    follow_up_fails_back
    follow_up_fails_for_ever
    follow_up_suspended
    follow_ups
    foreign_selector_after
    foreign_selector_before
    foreign_selector_before_for_ever
    foreign_selector_rolls_back
    good_release
    job_deleted
    job_deleted_unresolved
    job_denied
    job_fails
    job_hangs
    job_image_unreachable
    job_over_quota
    job_ready_made
    job_ready_made_aborted
    job_stuck
    job_watch_frozen
    journal_conflicts
    journal_unwritable
    keep_on_retry
    logs_absent
    logs_errors
    memory_above
    memory_unknown
    metric_only_and_target_dead
    minimal_release
    minimal_target_dies
    new_release_after
    node_lost
    node_lost_for_ever
    node_lost_half_of_both
    node_lost_old_side_serves
    node_lost_old_side_stopped
    node_lost_pods_first
    node_lost_rolling_back
    old_side_changed
    old_side_scaled_down
    old_side_stopped_before
    one_service_refused
    operator_dies
    operator_dies_rolling_back
    own_change_and_others
    own_write_found_late
    patched_back
    permission_missing
    pointed_forward_before
    probe_fails
    prometheus_down
    prometheus_down_and_target_dead
    prometheus_down_for_ever
    prometheus_down_person
    ready_pods_deleted
    resource_changes
    restart_step
    restore_503
    restore_forbidden
    retire_not_in_use
    retired_pointed_back
    retired_too_late
    retries
    revalidate
    reverted_after
    reverted_before
    rollback_steps
    rollback_verify_fails
    scale_down_is_no_loss
    scale_up_is_no_loss
    scale_pods_never_end
    scale_step
    scale_waits_for_pods
    service_back_after_undos
    service_gone_after
    service_gone_before
    service_recreated
    service_watch_frozen
    set_env
    suite_critical
    suite_gate
    suite_passes
    superseded
    suspended_for_ever
    suspended_rollback
    suspended_steps
    switch_503
    switch_reply_lost
    switch_times_out
    target_changed_accepted
    target_changed_after
    target_changed_before
    target_changed_in_preflight
    target_changed_in_use
    target_changed_too_often
    target_changed_while_awaited
    target_never_ready
    tls_expired
    tls_expires_soon
    trigger_asks
    trigger_asks_go_on
    two_services
    undo_fails
    undo_image_changed
    undo_image_job_gone
    undo_in_reverse
    undo_rollout
    undo_step
    undo_step_fails
    unreadable_after_restart
    unreadable_at_the_switch
    until_retired
    window
    window_missed
    window_missed_asks
    sides_two_services
    sides_worker
    sides_three
    sides_fewer_pods
    scaled_up_in_switching
    scaled_down_in_switching
    foreign_slice
    switch_annotated
    switch_annotated_two
    switch_annotated_for_ever
    switch_unanswered_annotated
    refused_labels
    refused_other_side
    refused_strangers
    strangers_on_old_side
    refused_port
    refused_gate
    gate_set_late
    words_no_answer
    words_other_cutover
    words_retry_under_way
    words_valid_flood
    words_while_closing
    notified
    notified_blocked
    notified_given_up
    notified_hours
    words_void_flood
    create_503
    create_reply_lost
    cutover_watch_frozen
    decisions_watch_frozen
    delete_reply_lost
    endpoints_watch_frozen
    nodes_watch_frozen
    own_503
    own_denied
    pods_watch_frozen
    request_answer_lost
    request_crash
    sensitive
    sensitive_forbidden
    request_idempotent
    request_sent
    send_reply_lost
    send_waits_for_its_record
    start_denied
    start_reply_lost
    workload_watch_frozen
    before_restore
    before_restore_cut
    before_restore_nobody
    before_restore_unrecorded
    closing_crash
    closing_denied
    closing_fought
    closing_kept
    closing_switch
    closing_switch_back
    closing_switch_one
    single_writer
    stop_target
    undo_before_late
}

#[test]
fn a_run_that_takes_longer_than_its_timeouts_is_found() {
    let mut line = play(&load("minimal_release"), None);
    assert_eq!(line.clock.check(&line.cluster.plan, EPOCH), None);
    line.cluster.status.state = RunState::Active;
    line.clock.tick(&line.cluster);
    line.cluster.now += SignedDuration::from_hours(24);
    line.clock.tick(&line.cluster);
    let broken = line.clock.check(&line.cluster.plan, EPOCH);
    assert!(broken.as_ref().is_some_and(|why| why.starts_with("P10")), "{broken:?}");
}

#[test]
fn every_scenario_file_is_played() {
    let files = std::fs::read_dir(folder()).expect("tests/simulate");
    for file in files.flatten() {
        let path = file.path();
        if path.is_dir() {
            continue;
        }
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        assert!(NAMES.contains(&stem), "{} belongs to no scenario of the list", path.display());
    }
}

/// Runs as they stand in the API server, one for each phase that a scenario goes through: what the target `run` of
/// `tests/fuzz` begins with. `UPDATE_EXPECT=1` writes them anew.
#[test]
fn runs_that_are_fuzzed_are_those_of_this_version() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/run");
    for name in
        ["good_release", "approval_rollback_given", "follow_ups", "finish_fails", "restore_denied", "trigger_asks"]
    {
        let line = play(&load(name), None);
        let last = [("end".to_owned(), line.cluster.status.clone())];
        let phases = line.phases.iter().map(|(phase, status)| (phase.to_string(), status.clone()));
        for (phase, status) in phases.chain(last) {
            let plan = serde_json::to_value(&*line.cluster.plan).expect("a plan");
            let (cutover, cutover_uid) = ("web".to_owned(), "c".to_owned());
            let spec = CutoverRunSpec { cutover, cutover_uid, plan_version: PLAN_VERSION, plan };
            let mut run = CutoverRun::new(&line.cluster.run.0, spec);
            run.metadata.namespace = Some("prod".into());
            run.metadata.uid = Some(line.cluster.run.1.clone());
            run.metadata.creation_timestamp = Some(Time(EPOCH));
            run.status = Some(status);
            let text = serde_json::to_string_pretty(&run).expect("a run") + "\n";
            let path = corpus.join(format!("{name}-{phase}.json"));
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                std::fs::write(&path, &text).expect("a file");
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(found == text, "{} is of another version (UPDATE_EXPECT=1 writes it)", path.display());
        }
    }
}
