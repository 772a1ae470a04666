//! The routes of an axum server, asked as a server would ask them.

use std::future::poll_fn;

use axum::body::{Body, HttpBody};
use axum::http::Request;
use rejoin::web::router;
use std::pin::pin;
use std::task::Poll;

use crate::peer::{LIMIT, Listener, limited};

/// Status and body. Without a server: a router is a service.
async fn get(app: &axum::Router, path: &str) -> (u16, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let mut app = app.clone();
    let response = call(&mut app, request).await;
    let status = response.status().as_u16();
    let mut body = pin!(response.into_body());
    let mut text = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        text.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    (status, String::from_utf8(text).unwrap())
}

async fn call(app: &mut axum::Router, request: Request<Body>) -> axum::response::Response {
    use tower_service::Service;
    let ready = poll_fn(|cx| match Service::<Request<Body>>::poll_ready(app, cx) {
        Poll::Ready(ready) => Poll::Ready(ready),
        Poll::Pending => Poll::Pending,
    });
    ready.await.unwrap();
    app.call(request).await.unwrap()
}

#[tokio::test]
async fn the_routes_answer_by_policy() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let app = router(&client);
    assert_eq!(get(&app, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&app, "/readyz").await.0, 200, "what is handed over will be delivered");
    let (status, body) = get(&app, "/readyz?policy=link-open").await;
    assert!(status == 503 && body.starts_with("not ready: link-open: "), "{body}");
    assert_eq!(get(&app, "/readyz?policy=nonsense").await.0, 400);
    let _peer = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    let (status, body) = get(&app, "/readyz?verbose&policy=subscribed").await;
    assert!(
        status == 200 && body.contains("[+]link ok: open\n") && body.ends_with("readyz check passed\n"),
        "{body}"
    );
    let (status, body) = get(&app, "/health").await;
    assert!(status == 200 && body.starts_with("{\"status\":\"healthy\""), "{body}");
    drop(client);
    assert_eq!(get(&app, "/livez").await.0, 200, "the routes do not keep it alive, and it ended in order");
}
