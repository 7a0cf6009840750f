//! What happens to a Cutover, step by step. After each step the controller does all that it has to do.

use cutover::api::phase::Phase;
use cutover::api::template::Template;
use cutover::world::Proven;
use serde_json::json;

use crate::api_server::{Server, spec};

/// What somebody does, in words and as a change of the cluster.
type Act = (&'static str, fn(&mut Server));

/// A scenario.
pub struct Scenario {
    /// Its name, and that of its log.
    pub name: &'static str,
    /// What is there before the operator starts.
    pub before: fn(&mut Server),
    /// What happens then.
    pub acts: &'static [Act],
}

/// A Cutover that is idle on blue.
fn idle(server: &mut Server) {
    server.apply("web", spec("blue", "1"));
}

/// A Cutover that wants green.
fn wanted(server: &mut Server) {
    server.apply("web", spec("green", "2"));
}

fn want_green(server: &mut Server) {
    server.want("web", "green", "2");
}

fn rolls_back(server: &mut Server) {
    server.close("web-1", Phase::RolledBack);
}

fn completes(server: &mut Server) {
    server.close("web-1", Phase::Completed);
}

fn retry(server: &mut Server) {
    server.decide("again", "web", None, "Retry");
}

fn delete(server: &mut Server) {
    server.delete("web");
}

fn account(server: &mut Server) {
    server.accounts.insert("cutover".into());
}

fn with_template(server: &mut Server) {
    let mut spec = spec("green", "2");
    spec["templates"] = json!([{"name": "smoke"}]);
    server.apply("web", spec);
}

fn template(server: &mut Server) {
    let template: Template = serde_json::from_value(json!({
        "phases": {"verify": {"steps": [{"name": "pause", "wait": {"for": "1s"}}]}}
    }))
    .expect("a template");
    server.templates.insert("smoke".into(), (1, template));
}

/// All of them.
pub fn all() -> &'static [Scenario] {
    &[
        Scenario { name: "first_sight_idle", before: idle, acts: &[("nothing is asked", |_| {})] },
        Scenario {
            name: "start",
            before: idle,
            acts: &[
                ("green is wanted", want_green),
                ("the run is under way", |s| s.drive("web-1", Phase::Observing)),
                ("the run completes", completes),
            ],
        },
        Scenario {
            name: "next_release_while_one_rests",
            before: wanted,
            acts: &[
                ("the run completes, and waits for its follow-ups", |s| s.drive("web-1", Phase::Completed)),
                ("the next release is wanted", |s| s.want("web", "blue", "3")),
                ("the run ends", completes),
            ],
        },
        Scenario {
            name: "retry_accepted",
            before: wanted,
            acts: &[
                ("the run rolls back", rolls_back),
                ("a person decides Retry", retry),
                ("the second run completes", |s| {
                    s.close("web-2", Phase::Completed);
                }),
            ],
        },
        Scenario {
            name: "retry_refused",
            before: wanted,
            acts: &[
                ("the run rolls back", rolls_back),
                ("blue is wanted again", |s| s.want("web", "blue", "1")),
                ("a person decides Retry", retry),
                ("and for a run that never was", |s| s.decide("lost", "web", Some("nobody"), "Retry")),
                ("and for a Cutover that is not there", |s| s.decide("none", "api", Some("nobody"), "Retry")),
            ],
        },
        Scenario {
            name: "retry_while_it_cannot_start",
            before: wanted,
            acts: &[
                ("the run rolls back", rolls_back),
                ("the account is gone", |s| s.accounts.clear()),
                ("a person decides Retry", retry),
                ("the account is back", account),
            ],
        },
        Scenario {
            name: "retry_unproven",
            before: wanted,
            acts: &[
                ("the run rolls back", rolls_back),
                ("the admission policies are gone", |s| s.proven = Proven::Open("the policy is missing".into())),
                ("a person decides Retry", retry),
                ("the policies are back", |s| s.proven = Proven::Holds),
                ("a person decides Retry once more", |s| s.decide("again-2", "web", None, "Retry")),
                ("the second run completes", |s| {
                    s.close("web-2", Phase::Completed);
                }),
            ],
        },
        Scenario {
            name: "retry_of_unknown_origin",
            before: wanted,
            acts: &[
                ("the run rolls back", rolls_back),
                ("nobody knows whether forgeries are denied", |s| s.proven = Proven::Unknown("503".into())),
                ("a person decides Retry", retry),
                ("the second run completes", |s| {
                    s.close("web-2", Phase::Completed);
                }),
            ],
        },
        Scenario {
            name: "revalidate",
            before: wanted,
            acts: &[
                ("the run completes", completes),
                ("a person decides Revalidate", |s| s.decide("checks", "web", None, "Revalidate")),
                ("the checks are made again", |s| s.revalidated("web-1", "checks")),
            ],
        },
        Scenario {
            name: "run_lost",
            before: wanted,
            acts: &[
                ("the run is under way", |s| s.drive("web-1", Phase::Observing)),
                ("somebody destroys the run", |s| s.destroy_run("web-1")),
                ("a new attempt is wanted", |s| {
                    let mut spec = spec("green", "2");
                    spec["release"]["attempt"] = json!(2);
                    s.apply("web", spec);
                }),
            ],
        },
        Scenario {
            name: "former_cutover_of_the_name",
            before: wanted,
            acts: &[
                ("the run is under way", |s| s.drive("web-1", Phase::Observing)),
                ("the Cutover is orphaned and created again", |s| {
                    if let Some(cutover) = s.cutovers.get_mut("web") {
                        cutover.metadata.finalizers = None;
                    }
                    s.cutovers.remove("web");
                    s.apply("web", spec("green", "3"));
                }),
                ("the former run rolls back", rolls_back),
            ],
        },
        Scenario {
            name: "deleted_with_an_active_run",
            before: wanted,
            acts: &[("the Cutover is deleted", delete), ("the run is aborted", |s| s.close("web-1", Phase::Aborted))],
        },
        Scenario {
            name: "deleted_with_the_namespace",
            before: wanted,
            acts: &[("the namespace is deleted", |s| {
                s.namespace_goes = true;
                s.delete_run("web-1");
                s.delete("web");
            })],
        },
        Scenario {
            name: "drift",
            before: idle,
            acts: &[
                ("somebody points the Service elsewhere", |s| s.point("web", "red")),
                ("green is wanted", want_green),
                ("the Service points to blue again", |s| s.point("web", "blue")),
            ],
        },
        Scenario {
            name: "service_missing",
            before: |s| {
                wanted(s);
                s.services.clear();
            },
            acts: &[("the Service is created", |s| s.point("web", "blue"))],
        },
        Scenario {
            name: "target_is_live",
            before: idle,
            acts: &[
                ("another release of the live side", |s| s.want("web", "blue", "2")),
                ("it is taken back", |s| {
                    s.want("web", "blue", "1");
                }),
            ],
        },
        Scenario {
            name: "two_cutovers_with_one_service",
            before: |s| {
                s.apply("web", spec("green", "2"));
                s.now += std::time::Duration::from_secs(1);
                s.apply("api", spec("green", "2"));
            },
            acts: &[("the run of the older one completes", completes)],
        },
        Scenario {
            name: "pruning",
            before: |s| {
                let mut spec = spec("green", "2");
                spec["historyLimit"] = json!(1);
                s.apply("web", spec);
            },
            acts: &[
                ("the run rolls back", rolls_back),
                ("a person decides Retry", retry),
                ("the second run rolls back", |s| {
                    s.close("web-2", Phase::RolledBack);
                }),
            ],
        },
        Scenario { name: "template_missing", before: with_template, acts: &[("the template is created", template)] },
        Scenario {
            name: "receiver_unusable",
            before: |s| {
                let mut spec = spec("blue", "1");
                spec["notify"] = json!([{"name": "team", "teams": {"secret": {"name": "teams", "key": "url"}}}]);
                s.apply("web", spec);
                s.wrong_receivers.insert("team".into());
            },
            acts: &[
                ("green is wanted all the same", want_green),
                ("it completes", completes),
                ("the Secret is put right", |s| s.wrong_receivers.clear()),
                ("blue is wanted", |s| s.want("web", "blue", "3")),
            ],
        },
        Scenario {
            name: "account_missing",
            before: |s| {
                wanted(s);
                s.accounts.clear();
            },
            acts: &[("the account is created", account)],
        },
        Scenario {
            name: "target_was_retired",
            before: |s| {
                idle(s);
                s.replicas.insert("web-green".into(), 0);
            },
            acts: &[("green was retired once, and is wanted", |s| {
                if let Some(status) = s.cutovers.get_mut("web").and_then(|c| c.status.as_mut()) {
                    status.retired.insert("green".into(), [("Deployment/web-green".to_owned(), 3)].into());
                }
                want_green(s);
            })],
        },
    ]
}
