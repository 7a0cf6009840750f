//! An answer of Prometheus: the status on the first line, then the body. Only one finite number is a value, and only
//! Prometheus' own word makes a query wrong; whatever else comes is inconclusive (DESIGN §6).

use cutover::entrances;
use cutover::world::QueryAnswer;
use serde_json::Value;

use crate::oracle;

/// Longest text of an answer that is no value: 300 characters of Prometheus' own words with what stands around them.
const LONGEST: usize = 400;

/// See [`crate::TARGETS`].
///
/// # Panics
/// An answer is taken for what it is not.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (status, body) = text.split_once('\n').unwrap_or(("200", &text));
    let status = status.trim().parse().unwrap_or(200);
    let answer = entrances::promql(status, body);
    assert_eq!(answer, entrances::promql(status, body), "the same answer is the same value");
    let json = serde_json::from_str::<Value>(body).ok();
    match answer {
        QueryAnswer::Value(value) => {
            let one = json.as_ref().and_then(sample);
            assert_eq!(Some(value), one, "status {status}: {body}");
            assert!(value.is_finite() && status == 200, "status {status}: {body}");
        }
        QueryAnswer::Invalid(why) => {
            let bad = json.as_ref().and_then(|j| j.get("errorType")?.as_str()) == Some("bad_data");
            assert!(bad && status == 400, "status {status}: {body}");
            oracle::bounded("what Prometheus says", &why, LONGEST);
        }
        QueryAnswer::Inconclusive(why) => {
            oracle::bounded("what Prometheus says", &why, LONGEST);
            assert!(why.starts_with("Prometheus: "), "{why}");
        }
    }
}

/// The one number of an answer, read another way than the product does.
fn sample(answer: &Value) -> Option<f64> {
    let data = answer.get("data").filter(|_| answer["status"] == "success")?;
    let sample = match data["resultType"].as_str()? {
        "scalar" => &data["result"],
        "vector" if data["result"].as_array()?.len() == 1 => &data["result"][0]["value"],
        _ => return None,
    };
    sample[1].as_str()?.parse().ok()
}
