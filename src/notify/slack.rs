//! Slack. With a bot's token: one message for each run, which changes, and what happened in its thread. An incoming webhook can
//! change nothing, so that it gets a message for each letter.

use serde_json::{Value, json};

use super::text::{self, Texts};
use super::{Answer, Found, Post, Response, Secrets, by_status, is_warning};
use crate::api::notify::{NotifyEvent, Slack};
use crate::effect::letter::Letter;

/// Where Slack's own API is.
const API: &str = "https://slack.com/api";

pub(super) struct Form<'a> {
    pub to: &'a Slack,
    pub texts: &'a Texts,
}

impl super::Form for Form<'_> {
    fn look(&self, secrets: &Secrets<'_>, found: &mut Found) {
        if self.to.channel.is_none() {
            return found.url("slack.secret", secrets, &self.to.secret);
        }
        let at = found.api("slack.secret", secrets, &self.to.secret, API);
        found.text("slack.secret", secrets, &self.to.secret, |token| {
            // A bot's token, and one that is renewed. What is elsewhere has tokens of its own.
            let is_bots = ["xoxb-", "xoxe.xoxb-"].iter().any(|start| token.starts_with(start));
            (at == API && !is_bots).then_some("it is no token of a bot; one begins with xoxb-")
        });
    }

    fn posts(&self, letter: &Letter, secrets: &Secrets<'_>, thread: Option<&str>) -> Result<Vec<Post>, String> {
        let mut message = self.message(letter)?;
        let Some(channel) = &self.to.channel else {
            return Ok(vec![Post::json(secrets.url(&self.to.secret)?, &message)]);
        };
        let (token, api) = (secrets.get(&self.to.secret)?, secrets.api(&self.to.secret, API));
        let call = |method: &str, body: &Value| {
            let post = Post::json(format!("{api}/{method}"), body).with("Authorization", format!("Bearer {token}"));
            Post { sensitive: &["Authorization"], ..post }
        };
        let Some((channel, ts)) = thread.and_then(|t| t.split_once('/')) else {
            message["channel"] = json!(channel);
            return Ok(vec![call("chat.postMessage", &message)]);
        };
        (message["channel"], message["ts"]) = (json!(channel), json!(ts));
        let text = format!("{:.0} {}\n{}", letter.at, text::title(letter), text::text(letter, self.texts)?);
        let reply = json!({"channel": channel, "thread_ts": ts, "text": escape(&text)});
        Ok(vec![call("chat.update", &message), call("chat.postMessage", &reply)])
    }

    fn answer(&self, response: &Response<'_>) -> Answer {
        let by_status = by_status(response);
        if self.to.channel.is_none() || matches!(by_status, Answer::Not { .. }) {
            return by_status;
        }
        let body: Value = serde_json::from_slice(response.body).unwrap_or_default();
        if body["ok"] != json!(true) {
            // Slack's codes are words.
            let code = body["error"]
                .as_str()
                .filter(|e| e.len() <= 64 && e.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            let why = code.map_or("Slack's answer is not understood".into(), |code| format!("Slack answered {code}"));
            return Answer::Not { why, pause: response.retry_after };
        }
        let thread = body["channel"].as_str().zip(body["ts"].as_str()).map(|(channel, ts)| format!("{channel}/{ts}"));
        Answer::Taken { answer: response.status.to_string(), thread }
    }
}

impl Form<'_> {
    fn message(&self, letter: &Letter) -> Result<Value, String> {
        let title = text::title(letter);
        let icon = match letter.event {
            NotifyEvent::Completed => ":white_check_mark:",
            event if is_warning(event) => ":rotating_light:",
            _ => ":arrows_counterclockwise:",
        };
        let facts: Vec<Value> = text::facts(letter)
            .into_iter()
            .map(|(name, value)| json!({"type": "mrkdwn", "text": format!("*{name}*\n{}", escape(&value))}))
            .collect();
        let text = text::text(letter, self.texts)?;
        let mut blocks = vec![json!({"type": "section", "text": {
            "type": "mrkdwn", "text": format!("{icon} *{}*\n{}", escape(&title), escape(&text)),
        }})];
        blocks.extend(facts.chunks(10).map(|ten| json!({"type": "section", "fields": ten})));
        Ok(json!({"text": escape(&title), "blocks": blocks, "unfurl_links": false, "unfurl_media": false}))
    }
}

/// The three characters that Slack reads as its own: with them a text could address a whole channel.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
