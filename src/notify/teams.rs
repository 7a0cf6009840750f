//! A workflow of Microsoft Teams that takes an Adaptive Card.

use serde_json::{Value, json};

use super::text::{self, Texts};
use super::{Found, Post, Secrets, is_warning};
use crate::api::notify::{NotifyEvent, NotifyTo};
use crate::effect::letter::Letter;

pub(super) struct Form<'a> {
    pub to: &'a NotifyTo,
    pub texts: &'a Texts,
}

impl super::Form for Form<'_> {
    fn look(&self, secrets: &Secrets<'_>, found: &mut Found) {
        found.url("teams.secret", secrets, &self.to.secret);
    }

    fn posts(&self, letter: &Letter, secrets: &Secrets<'_>, _: Option<&str>) -> Result<Vec<Post>, String> {
        let colour = match letter.event {
            NotifyEvent::Completed => "Good",
            event if is_warning(event) => "Attention",
            _ => "Default",
        };
        let facts: Vec<Value> = text::facts(letter)
            .into_iter()
            .map(|(name, value)| json!({"title": name, "value": plain(&value)}))
            .collect();
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": [
                {"type": "TextBlock", "size": "Medium", "weight": "Bolder", "wrap": true, "color": colour,
                 "text": plain(&text::title(letter))},
                {"type": "TextBlock", "wrap": true, "text": plain(&text::text(letter, self.texts)?)},
                {"type": "FactSet", "facts": facts},
            ],
        });
        let message = json!({"type": "message", "attachments": [
            {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card},
        ]});
        Ok(vec![Post::json(secrets.url(&self.to.secret)?, &message)])
    }
}

/// A card reads Markdown: what would be a link, or a word in bold, is shown as it is.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '[' | ']' | '(' | ')' | '*' | '_' | '`' | '#' | '<' | '>') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
