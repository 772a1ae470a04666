//! What can be asked over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next as Rest};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use rejoin::health::Answer;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::assets;
use super::door::Caller;
use super::guard::{Guard, Refusal, Wish};
use super::limits::Limits;
use super::live::Live;
use super::page::PageFile;
use super::probes::{METRICS_TYPE, Probes};
use super::stream::Reader;

/// What may be asked of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// The network may be back: try now.
    Nudge,
    /// Cut the link.
    Cut,
    /// Hold every byte.
    Freeze,
    /// End what was brought about.
    Heal,
    /// Kill the broker and start it again.
    Restart,
}

impl Action {
    /// All of them by name.
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("nudge", Self::Nudge),
        ("cut", Self::Cut),
        ("freeze", Self::Freeze),
        ("heal", Self::Heal),
        ("restart", Self::Restart),
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name)
    }
}

/// A request to act. The answer says why not.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What.
    pub(crate) action: Action,
    /// Where the answer goes.
    pub(crate) reply: oneshot::Sender<Result<(), String>>,
}

/// What the routes of one address share.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) live: Arc<Live>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) probes: Probes,
    pub(crate) asked: mpsc::Sender<Asked>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) limits: Limits,
}

/// Everything: the page, its data, the probes.
pub(crate) fn all(desk: Desk) -> Router {
    let act = Router::new()
        .route("/api/v1/control", post(control))
        .layer(DefaultBodyLimit::max(desk.limits.body))
        .layer(middleware::from_fn_with_state(desk.clone(), may_act));
    let read = Router::new()
        .route("/", get(page))
        .route("/assets/{name}", get(asset))
        .route("/api/v1/snapshot", get(snapshot))
        .route("/api/v1/stream", get(stream))
        .merge(probes())
        .fallback(nothing)
        .layer(middleware::from_fn_with_state(desk.clone(), may_read));
    read.merge(act)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn(hardened))
        .with_state(desk)
}

/// Only what machines ask for.
pub(crate) fn probes_only(desk: Desk) -> Router {
    probes()
        .fallback(nothing)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn_with_state(desk.clone(), may_read))
        .layer(middleware::from_fn(hardened))
        .with_state(desk)
}

fn probes() -> Router<Desk> {
    Router::new().route("/metrics", get(metrics)).route("/livez", get(livez)).route("/readyz", get(readyz))
}

async fn may_read(State(desk): State<Desk>, request: Request, rest: Rest) -> Response {
    pass(&desk.guard, Wish::Read, request, rest).await
}

async fn may_act(State(desk): State<Desk>, request: Request, rest: Rest) -> Response {
    pass(&desk.guard, Wish::Act, request, rest).await
}

async fn pass(guard: &Guard, wish: Wish, request: Request, rest: Rest) -> Response {
    match guard.check(request.headers(), request.uri().query().unwrap_or_default(), wish) {
        Ok(()) => rest.run(request).await,
        Err(Refusal { status, text }) => {
            let mut answer = words(status, text);
            if status == StatusCode::UNAUTHORIZED {
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            answer
        }
    }
}

/// Every answer forbids the browser what the page does not need.
async fn hardened(request: Request, rest: Rest) -> Response {
    let mut answer = rest.run(request).await;
    let headers = answer.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

async fn page(State(desk): State<Desk>, uri: Uri, headers: HeaderMap) -> Response {
    // The token moves from the address, which stays in histories, to a cookie and to the part no server sees.
    if desk.guard.is_closed()
        && let Some(token) = desk.guard.shown_in(uri.query().unwrap_or_default())
    {
        let place =
            [(header::LOCATION, format!("/#token={token}")), (header::SET_COOKIE, desk.guard.set_cookie())];
        return (StatusCode::SEE_OTHER, place).into_response();
    }
    named(assets::PAGE, &headers)
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    named(&name, &headers)
}

fn named(name: &str, headers: &HeaderMap) -> Response {
    match assets::find(name) {
        Some(asset) => file(asset, headers),
        None => words(StatusCode::NOT_FOUND, "there is no such file"),
    }
}

fn file(asset: &PageFile, headers: &HeaderMap) -> Response {
    let tag = assets::tag(asset);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let marks = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, marks).into_response();
    }
    (marks, [(header::CONTENT_TYPE, asset.content_type)], Bytes::from_static(asset.body)).into_response()
}

async fn snapshot(State(desk): State<Desk>) -> Response {
    let (id, json) = desk.live.snapshot();
    ([(header::CONTENT_TYPE, "application/json".to_owned()), (LAST_EVENT_ID, id)], json).into_response()
}

const LAST_EVENT_ID: header::HeaderName = header::HeaderName::from_static("last-event-id");

async fn stream(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let Ok(permit) = Arc::clone(&desk.streams).try_acquire_owned() else {
        let text = format!(
            "{} streams are open already, which is the limit; close pages that you do not use",
            desk.limits.streams
        );
        let mut answer = words(StatusCode::SERVICE_UNAVAILABLE, text);
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        return answer;
    };
    let seen = match headers.get(LAST_EVENT_ID) {
        Some(id) => id.to_str().ok().and_then(|id| desk.live.number(id)),
        None => Some(desk.live.newest()),
    };
    let reader = Reader::new(desk.live, seen, desk.limits, permit);
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(reader)).into_response()
}

async fn control(
    State(desk): State<Desk>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Response {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        action: String,
    }
    let offered = desk.live.read(|document| document.controls.clone());
    let Ok(Wanted { action }) = serde_json::from_slice(&body) else {
        return words(StatusCode::BAD_REQUEST, "write {\"action\": \"NAME\"}");
    };
    let known = Action::ALL.iter().find(|(name, _)| *name == action).filter(|_| offered.contains(&action));
    let Some((name, action)) = known else {
        let action = action.escape_debug();
        let text = format!("`{action}` cannot be asked for here; this program takes: {}", offered.join(", "));
        return words(StatusCode::BAD_REQUEST, text);
    };
    let (reply, answer) = oneshot::channel();
    if desk.asked.try_send(Asked { action: *action, reply }).is_err() {
        return words(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests to act are waiting, or the run is over",
        );
    }
    let _working = caller.working();
    match timeout(desk.limits.act, answer).await {
        Ok(Ok(Ok(()))) => Json(serde_json::json!({ "done": name })).into_response(),
        Ok(Ok(Err(why))) => words(StatusCode::CONFLICT, why),
        Ok(Err(_)) => words(StatusCode::CONFLICT, "the run is over"),
        Err(_) => words(StatusCode::GATEWAY_TIMEOUT, "it was asked for and is not done yet"),
    }
}

async fn metrics(State(desk): State<Desk>) -> Response {
    match desk.probes.metrics() {
        Some(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        None => words(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"),
    }
}

async fn livez(State(desk): State<Desk>) -> Response {
    probe(desk.probes.livez())
}

async fn readyz(State(desk): State<Desk>, uri: Uri) -> Response {
    probe(desk.probes.readyz(is_verbose(&uri)))
}

fn is_verbose(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|word| matches!(word, "verbose" | "verbose="))
}

fn probe(answer: Answer) -> Response {
    words(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), answer.body)
}

async fn nothing(method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(100).collect();
    words(StatusCode::NOT_FOUND, format!("there is no {method} {path}; the page is at /"))
}

async fn other_method(method: Method) -> Response {
    words(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for this address"))
}

fn words(status: StatusCode, text: impl Into<String>) -> Response {
    let mut text: String = text.into();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// How long the end of the program waits for answers under way.
pub(crate) const LINGER: Duration = Duration::from_millis(500);
