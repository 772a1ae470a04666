//! A byte stream that the application opens itself.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use rejoin_core::TransportError;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{BoxStream, transport_error};
use crate::url::ServerUrl;

type Opening = Pin<Box<dyn Future<Output = io::Result<BoxStream>> + Send>>;

/// The application's own way to a server.
#[derive(Clone)]
pub(crate) struct Connector(Arc<dyn Fn(ServerUrl) -> Opening + Send + Sync>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    pub(crate) fn new<F, Fut, S>(open: F) -> Self
    where
        F: Fn(ServerUrl) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(Arc::new(move |server| {
            let opening = open(server);
            Box::pin(async move {
                let stream: BoxStream = Box::new(opening.await?);
                Ok(stream)
            })
        }))
    }

    pub(super) async fn connect(&self, server: ServerUrl) -> Result<BoxStream, TransportError> {
        let place = server.place();
        (self.0)(server).await.map_err(|error| transport_error(&place, &error))
    }
}
