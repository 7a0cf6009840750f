//! Sends a notification: Secrets are read as the Cutover's account, each request of the receiver's form is sent under the
//! address rules, and what the answers mean is said by [`crate::notify`].

use std::collections::BTreeSet;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, timeout_at};

use super::address::Origin;
use super::keys::{self, Source, Unread};
use super::request::{self, BODY_LIMIT, message};
use super::wire::{self, Route};
use super::{Asker, Net};
use crate::api::Duration;
use crate::api::notify::Notify;
use crate::api::step::KeyRef;
use crate::effect::Outcome;
use crate::effect::letter::Told;
use crate::effect::protocol::Notification;
use crate::notify::{Answer, Post, Response, Secrets, form, mail};
use crate::world::{HttpError, HttpResponse};

/// Longest time of a notification, Secrets and all of its requests together.
const LIMIT: Duration = Duration::from_secs(10);

impl Net {
    /// Sends a notification once.
    pub(crate) async fn notify(&self, asker: &Asker<'_>, it: &Notification) -> Outcome {
        let deadline = Instant::now() + LIMIT.std();
        match timeout_at(deadline, self.tell(asker, it, deadline)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(why)) => Outcome::Told(Told::Not { why, pause: None }),
            Err(_) => Outcome::Told(Told::Not { why: format!("no answer within {LIMIT}"), pause: None }),
        }
    }

    async fn tell(&self, asker: &Asker<'_>, it: &Notification, deadline: Instant) -> Result<Outcome, String> {
        let form = form(&it.receiver).ok_or("this version knows no receiver of its kind")?;
        let names = secrets_of(&it.receiver);
        let read = keys::read_all(asker.account, asker.namespace, names.into_iter().map(Source::Secret)).await;
        let unread = read.values().find_map(|found| match found {
            Err(Unread::Transient(why)) => Some(why.clone()),
            _ => None,
        });
        if let Some(why) = unread {
            return Err(why);
        }
        let get = |key: &KeyRef| {
            let value = request::value(&read, &Source::Secret(key.name.clone()), key)?;
            let source = Source::Secret(key.name.clone());
            String::from_utf8(value.to_vec()).map_err(|_| format!("{source}, key {}: it is no text", key.key))
        };
        let secrets = Secrets(&get);
        let (mut answer, mut thread) = ("nothing to send".to_owned(), it.thread.clone());
        for post in form.posts(&it.letter, &secrets, it.thread.as_deref())? {
            let response = self.post(asker, &post, deadline).await?;
            let retry_after = response.headers.get("retry-after").and_then(|text| text.trim().parse().ok());
            let response = Response { status: response.status, retry_after, body: response.body.as_bytes() };
            match form.answer(&response) {
                Answer::Taken { answer: said, thread: of } => {
                    answer = said;
                    // What is sent into a thread has a name of its own, which nobody needs.
                    thread = thread.or(of);
                }
                Answer::Not { why, pause } => {
                    let pause = pause.map(|seconds| Duration::from_secs(seconds.min(3600)));
                    return Ok(Outcome::Told(Told::Not { why, pause }));
                }
            }
        }
        Ok(Outcome::Told(Told::Received { answer, thread }))
    }

    async fn post(&self, asker: &Asker<'_>, post: &Post, deadline: Instant) -> Result<HttpResponse, String> {
        let words = |e: HttpError| match e {
            HttpError::NotSent(why) | HttpError::Unread(why) | HttpError::Lost(why) => why,
        };
        if mail::is_mail(&post.url) {
            return self.mail(asker, post, deadline).await.map_err(words);
        }
        let target = self.url(&post.url, None, Origin::Url, deadline).await.map_err(words)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(post.content_type));
        for (name, value) in &post.headers {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| format!("header {name}: the Secret has characters that no header may have"))?;
            value.set_sensitive(post.sensitive.contains(name));
            let name: HeaderName = name.parse().map_err(|_| format!("header {name}: not the name of a header"))?;
            headers.insert(name, value);
        }
        let message = message(http::Method::POST, &target, &headers, Bytes::from(post.body.clone())).map_err(words)?;
        let route = Route {
            to: target.to,
            tls: target.tls.clone(),
            deadline,
            limit: BODY_LIMIT,
            roots: &self.inner.roots,
            namespace: asker.namespace,
            budget: &self.inner.budget,
        };
        wire::exchange(&route, message).await.map_err(words)
    }
}

/// The Secrets that a receiver names.
fn secrets_of(receiver: &Notify) -> BTreeSet<String> {
    crate::notify::secrets(receiver).into_iter().map(|key| key.name.clone()).collect()
}
