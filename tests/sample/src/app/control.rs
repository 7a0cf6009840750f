//! The private port on which tests set faults.

use super::{App, AppBody, FaultChange, routes};
use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use serde_json::json;

/// Answers one request on the control port.
pub async fn handle(app: &App, request: Request<Incoming>) -> Response<AppBody> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/fault") => routes::json(StatusCode::OK, &json!(app.faults.view())),
        (&Method::POST, "/fault") => change(app, request).await,
        (&Method::POST, "/exit") => exit(app, request.uri().query()),
        (&Method::GET, "/health") => routes::json(StatusCode::OK, &json!({"status": "ok"})),
        _ => refuse(StatusCode::NOT_FOUND, "use GET or POST /fault, or POST /exit?code=N"),
    }
}

async fn change(app: &App, request: Request<Incoming>) -> Response<AppBody> {
    let body = match Limited::new(request.into_body(), 64 * 1024).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let change: FaultChange = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if let Err(message) = app.faults.change(&change) {
        return refuse(StatusCode::BAD_REQUEST, &message);
    }
    if change.crash {
        app.exit.send_replace(Some(1));
    }
    routes::json(StatusCode::OK, &json!(app.faults.view()))
}

fn exit(app: &App, query: Option<&str>) -> Response<AppBody> {
    let code = routes::query(query).remove("code");
    match code.as_deref().unwrap_or("1").parse() {
        Ok(code @ 0..=255) => {
            app.exit.send_replace(Some(code));
            routes::json(StatusCode::ACCEPTED, &json!({"exiting": code}))
        }
        _ => refuse(StatusCode::BAD_REQUEST, "code must be a number from 0 to 255"),
    }
}

fn refuse(status: StatusCode, message: &str) -> Response<AppBody> {
    routes::json(status, &json!({"error": message}))
}
