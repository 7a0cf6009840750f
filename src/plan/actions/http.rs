//! PURE. `http`: a request, which `request` resolves for steps and triggers alike.

use crate::api::duration::Duration;
use crate::api::run::ObjectRef;
use crate::api::step::{FormField, Header, Http, WorkloadRef};
use crate::plan::Plan;
use crate::plan::request;
use crate::plan::resolving::Cx;
use crate::plan::scope::{Captured, Type, Usage, Variable};

use super::{Action, ActionPlace, Given, Planned, quick};

/// Variables of `http.expect` beside those of every expression.
const VARIABLES: &[Variable] = &[
    Variable("status", Type::Int(200)),
    Variable("headers", Type::Map),
    Variable("body", Type::Text),
    Variable("json", Type::Any),
    Variable("latency", Type::Duration),
];

impl Given for Http {
    fn texts(&self, at: &str) -> Vec<Usage> {
        let mut all = vec![];
        for (name, text) in [("path", &self.path), ("url", &self.url)] {
            all.extend(text.iter().map(|text| Usage::text(format!("{at}.{name}"), text)));
        }
        all.extend(self.body.iter().map(|text| Usage::sealed(format!("{at}.body"), text)));
        let header = |(i, h): (usize, &Header)| Usage::sealed(format!("{at}.headers[{i}].value"), &h.value);
        all.extend(self.headers.iter().enumerate().map(header));
        let field = |(i, f): (usize, &FormField)| {
            f.value.as_ref().map(|value| Usage::sealed(format!("{at}.form[{i}].value"), value))
        };
        all.extend(self.form.iter().enumerate().filter_map(field));
        all.extend(Usage::exprs(&format!("{at}.expect"), VARIABLES, &self.expect));
        all
    }

    fn captures(&self, at: &str) -> Vec<Captured> {
        Captured::of(&self.capture, at)
    }

    fn resolve(&self, cx: &mut Cx, place: &ActionPlace, at: &str) -> Action {
        let place = request::RequestPlace {
            to: place.stage.default_side(),
            services: cx.services,
            read_only: place.read_only(),
            repeated: false,
        };
        Action::Http(request::resolve(self, place, at, cx.refusals))
    }
}

impl Planned for Http {
    fn only_reads(&self) -> bool {
        self.method.unwrap_or_default().is_safe()
    }

    fn workloads(&self) -> Vec<WorkloadRef> {
        vec![]
    }

    fn changes(&self, _plan: &Plan) -> Vec<ObjectRef> {
        vec![]
    }

    fn time(&self, attempts: u32, every: Duration) -> Duration {
        quick(attempts, every)
    }

    fn captured(&self) -> Vec<String> {
        self.capture.iter().map(|c| c.name.clone()).collect()
    }

    fn sensitive(&self) -> Vec<String> {
        self.capture.iter().filter(|c| c.sensitive).map(|c| c.name.clone()).collect()
    }
}
