//! A POST of the whole letter as JSON, signed where a key is named: `Cutover-Signature` is `v0=` and the HMAC-SHA256, in hex, of
//! `v0:TIME:BODY`, where TIME is the value of `Cutover-Timestamp`. `Idempotency-Key` is the same however often it is sent.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::text::{self, Texts};
use super::{Found, Post, Secrets};
use crate::api::notify::Webhook;
use crate::effect::letter::Letter;

pub(super) struct Form<'a> {
    pub to: &'a Webhook,
    pub texts: &'a Texts,
}

impl super::Form for Form<'_> {
    fn look(&self, secrets: &Secrets<'_>, found: &mut Found) {
        found.url("webhook.secret", secrets, &self.to.secret);
        if let Some(key) = &self.to.sign_with {
            found.text("webhook.signWith", secrets, key, |_| None);
        }
    }

    fn posts(&self, letter: &Letter, secrets: &Secrets<'_>, _: Option<&str>) -> Result<Vec<Post>, String> {
        let mut body = serde_json::to_value(letter).map_err(|e| e.to_string())?;
        body["title"] = json!(text::title(letter));
        body["text"] = json!(text::text(letter, self.texts)?);
        body["warning"] = json!(super::is_warning(letter.event));
        let mut post = Post::json(secrets.url(&self.to.secret)?, &body).with("Idempotency-Key", letter.id.clone());
        if let Some(key) = &self.to.sign_with {
            // What is signed does not change from try to try, so that neither does the signature: it proves who wrote it and
            // when it happened. Whoever wants no old ones compares the time.
            let time = letter.at.as_second();
            let signature = sign(secrets.get(key)?.as_bytes(), time, &post.body)?;
            post = post.with("Cutover-Timestamp", time.to_string()).with("Cutover-Signature", signature);
        }
        Ok(vec![post])
    }
}

fn sign(key: &[u8], time: i64, body: &str) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|e| e.to_string())?;
    mac.update(format!("v0:{time}:").as_bytes());
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    Ok(format!("v0={hex}"))
}
