//! Probes and health as routes of an axum server (feature `axum`).

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::client::Client;
use crate::command::Shared;
use crate::health::{Answer, Ready, livez_of, readyz_of};

/// Routes for a server of the application: `GET /livez`, `GET /readyz` and `GET /health`.
///
/// - `/livez`: see [`crate::health::livez`]. 200 through an outage of the broker.
/// - `/readyz`: see [`crate::health::readyz`]. `?policy=will-deliver` (the default), `link-open` or `subscribed`;
///   `?verbose` for one line per check. 400 for a policy that does not exist.
/// - `/health`: [`Client::health`] as JSON; 503 when unhealthy.
///
/// The routes do not keep the client alive. They tell filters that were refused and where the queue is: serve them where
/// operators are, not to the world.
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let app = axum::Router::new().merge(rejoin::web::router(&client));
/// # drop(app);
/// # Ok(()) }
/// ```
pub fn router(client: &Client) -> Router {
    let (live, ready, health) = (shared(client), shared(client), shared(client));
    Router::new()
        .route("/livez", get(move || async move { plain(livez_of(&live)) }))
        .route("/readyz", get(move |uri: Uri| async move { readyz(&ready, uri.query().unwrap_or_default()) }))
        .route("/health", get(move || async move { json(&health) }))
}

fn shared(client: &Client) -> Arc<Shared> {
    Arc::clone(client.shared())
}

fn readyz(shared: &Shared, query: &str) -> Response {
    let mut policy = Ready::WillDeliver;
    let mut verbose = false;
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            None if part == "verbose" => verbose = true,
            Some(("verbose", value)) => verbose = !matches!(value, "0" | "false"),
            Some(("policy", name)) => match Ready::from_name(name) {
                Some(known) => policy = known,
                None => {
                    let body = "policy: write will-deliver, link-open or subscribed\n";
                    return (StatusCode::BAD_REQUEST, body).into_response();
                }
            },
            // What others put into a query is not ours to judge.
            _ => {}
        }
    }
    plain(readyz_of(shared, policy, verbose))
}

fn plain(Answer { status, body }: Answer) -> Response {
    (code(status), [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

fn json(shared: &Shared) -> Response {
    let health = shared.health();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (code(health.http_status()), headers, health.to_json()).into_response()
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
