//! PURE. A JSON endpoint that gives the values of a metric: the request, and what of an answer is the number.

use serde_json::Value;

use crate::api::http::Endpoint;
use crate::api::step::{Http, Method};

use super::select;

/// What is sent. With a body it is a POST that changes nothing, so that it may be sent again.
pub fn request(endpoint: &Endpoint) -> Http {
    Http {
        path: endpoint.path.clone(),
        url: endpoint.url.clone(),
        method: Some(if endpoint.body.is_some() { Method::Post } else { Method::Get }),
        service: endpoint.service.clone(),
        port: endpoint.port.clone(),
        scheme: endpoint.scheme,
        headers: endpoint.headers.clone(),
        headers_from: endpoint.headers_from.clone(),
        body: endpoint.body.clone(),
        idempotent: true,
        ..Http::default()
    }
}

/// The number in the body of an answer.
///
/// # Errors
/// Why there is none. Nothing of the body is said.
pub fn number(endpoint: &Endpoint, body: &str) -> Result<f64, String> {
    let json: Value = serde_json::from_str(body).map_err(|_| "the body is not JSON".to_owned())?;
    let path = &endpoint.value;
    let kind = match select::only(&json, path)? {
        Value::Number(number) => match number.as_f64().filter(|number| number.is_finite()) {
            Some(number) => return Ok(number),
            None => "too large a number",
        },
        Value::Null => "null and not a number",
        Value::Bool(_) => "a boolean and not a number",
        Value::String(_) => "a string and not a number",
        Value::Array(_) => "a list and not a number",
        Value::Object(_) => "an object and not a number",
    };
    Err(format!("{path} is {kind}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_number_of_the_answer_is_a_value_and_nothing_else_is() {
        let endpoint = |value: &str| Endpoint { value: value.into(), ..Endpoint::default() };
        let body =
            r#"{"rate": 0.25, "n": 3, "text": "0.25", "none": null, "yes": true, "list": [1, 2], "of": {"a": 1}}"#;
        for (path, wanted) in [
            ("$.rate", Ok(0.25)),
            ("$.n", Ok(3.0)),
            ("$.list[1]", Ok(2.0)),
            ("$.text", Err("$.text is a string and not a number")),
            ("$.none", Err("$.none is null and not a number")),
            ("$.yes", Err("$.yes is a boolean and not a number")),
            ("$.list", Err("$.list is a list and not a number")),
            ("$.of", Err("$.of is an object and not a number")),
            ("$.list[*]", Err("$.list[*] selects 2 values where one is needed")),
            ("$.missing", Err("$.missing selects nothing in the answer")),
        ] {
            assert_eq!(number(&endpoint(path), body), wanted.map_err(str::to_owned), "{path}");
        }
        for body in ["", "ok", r#"{"rate": NaN}"#, r#"{"rate": 1e999}"#, r#"{"rate": 0.2"#] {
            assert!(number(&endpoint("$.rate"), body).is_err(), "{body}");
        }
    }

    #[test]
    fn with_a_body_it_is_a_post_that_may_be_sent_again() {
        let endpoint: Endpoint = serde_json::from_value(json!({"path": "/q", "value": "$"})).expect("an endpoint");
        assert_eq!(request(&endpoint).method, Some(Method::Get));
        let asked = request(&Endpoint { body: Some("{}".into()), ..endpoint });
        assert_eq!((asked.method, asked.idempotent), (Some(Method::Post), true));
    }
}
