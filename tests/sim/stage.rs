//! Carries out the cues of a script: what people, the kubelet and misfortune do.

use cutover::api::step::WorkloadRef;
use cutover::world::ContainerEnd;
use jiff::SignedDuration;

use super::cluster::Who;
use super::script::Act;
use super::timeline::Timeline;

impl Timeline {
    /// Carries out a cue.
    pub(super) fn cue(&mut self, i: usize) {
        let Some(cue) = self.scenario.script.get(i).cloned() else { return };
        let now = self.cluster.now;
        self.log.line(now, "WORLD", &cue.say);
        self.cued.insert(cue.say.clone(), now);
        self.people(&cue.act);
        self.misfortune(&cue.act);
    }

    fn people(&mut self, act: &Act) {
        let cluster = &mut self.cluster;
        if let Some(word) = &act.decide {
            cluster.say(word);
        }
        if let Some(cutover) = &mut cluster.cutover {
            if let Some(side) = &act.activate {
                cutover.activate.clone_from(side);
            }
            if let Some(release) = &act.release {
                cutover.release = release.clone();
            }
            if let Some(suspend) = act.suspend {
                cutover.suspend = suspend;
            }
            cutover.deleting |= act.delete_cutover;
        }
        if let Some(p) = &act.point {
            cluster.point_by_others(&p.service, &p.side);
        }
        if let Some(s) = &act.select {
            cluster.write_selector(&s.service, s.selector.clone());
        }
        if let Some(name) = &act.annotate {
            cluster.annotate(name, "kubectl-annotate");
        }
        if act.gates {
            cluster.set_gates();
        }
        if let Some(name) = &act.delete_service {
            cluster.delete_service(name);
        }
        if let Some(p) = &act.create_service {
            let side = cluster.side(&p.side).clone();
            cluster.create_service(&p.service, &side);
        }
        if let Some(name) = &act.lag {
            let gates = vec!["example.com/never".to_owned()];
            cluster.setting.workloads.entry(name.clone()).or_default().gates = gates;
        }
        if let Some(s) = &act.scale {
            let wanted = |w: &&WorkloadRef| s.workload.as_ref().is_none_or(|name| name == &w.name);
            for w in cluster.side(&s.side).workloads.iter().filter(wanted).cloned().collect::<Vec<_>>() {
                cluster.set_wanted(&w, s.replicas, Who::Others);
            }
        }
        for (name, suspended) in &act.suspend_jobs {
            if let Some(job) = cluster.cron_jobs.get_mut(name) {
                job.suspended = *suspended;
            }
        }
        if let Some(side) = &act.template {
            cluster.change_template(side);
        }
        if let Some(i) = &act.image {
            for w in cluster.side(&i.side).workloads.clone() {
                if let Some(view) = cluster.workloads.get_mut(&w) {
                    view.template["spec"]["containers"][0]["image"] = i.image.clone().into();
                }
            }
            cluster.change_template(&i.side);
        }
        if let Some(step) = &act.delete_job
            && let Some(job) = cluster.job_of(step)
        {
            cluster.remove_job(&job, Who::Others);
        }
        if let Some(step) = &act.ready_made_job {
            cluster.ready_made_job(step);
        }
    }

    fn misfortune(&mut self, act: &Act) {
        let now = self.cluster.now;
        let until = act.lasting.map(|d| now + d.signed());
        let cluster = &mut self.cluster;
        if act.heal {
            cluster.faults.0.clear();
        }
        if let Some(h) = &act.health {
            cluster.set_health(&h.side, h.healthy);
            if let Some(ready) = h.ready {
                cluster.keep_ready(&h.side, ready);
            }
        }
        for (name, ready) in &act.nodes {
            cluster.set_node(name, *ready);
        }
        if let Some(p) = &act.pods_on {
            cluster.set_pods_on(&p.node, p.side.as_deref(), p.ready);
        }
        if let Some(side) = &act.delete_ready_pods {
            cluster.delete_ready_pods(side);
        }
        if let Some(r) = &act.restarts {
            let owners = cluster.side(&r.side).workloads.clone();
            for (_, pod) in cluster.pods.values_mut().filter(|(o, _)| owners.contains(o)) {
                for c in &mut pod.containers {
                    c.restarts += r.count;
                    c.waiting.clone_from(&r.waiting);
                    c.terminated =
                        r.reason.clone().map(|reason| ContainerEnd { reason, id: format!("{}-{now}", c.name) });
                }
            }
        }
        for rule in act.http.iter().rev() {
            cluster.web.http.insert(0, rule.clone());
        }
        cluster.web.metrics.extend(act.metrics.clone());
        cluster.web.alerts.extend(act.alerts.iter().map(|name| (name.clone(), now)));
        cluster.web.logs.extend(act.logs.clone());
        cluster.web.memory.extend(act.memory.clone());
        cluster.web.objects.extend(act.objects.clone());
        if let Some(down) = act.prometheus_down {
            cluster.web.prometheus_down = down;
        }
        if let Some(fault) = &act.fault {
            let mut fault = fault.clone();
            fault.until = until;
            cluster.faults.0.push(fault);
        }
        if let (Some(kind), Some(until)) = (&act.freeze, until) {
            self.frozen.insert(kind.clone(), until);
            self.thaw_at(until);
        }
        if let Some(seconds) = act.clock {
            self.cluster.clock_ahead = SignedDuration::from_secs(seconds);
        }
        if act.crash {
            self.log.line(now, "operator", "dies");
            self.crash(1000);
        }
    }
}
