//! A socket file of this machine.

use rejoin_core::{TransportError, TransportErrorKind};
use tokio::net::UnixStream;

use super::{BoxStream, transport_error};

pub(super) async fn open(path: &str) -> Result<BoxStream, TransportError> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Box::new(stream)),
        // No file is what a broker leaves that is not running.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(TransportError::new(TransportErrorKind::Refused, format!("{path}: {error}")))
        }
        Err(error) => Err(transport_error(path, &error)),
    }
}
