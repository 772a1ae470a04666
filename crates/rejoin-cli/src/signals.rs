//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once.

use tokio::sync::watch;

use crate::exit::Exit;

/// Tells when the user wants the end.
#[derive(Clone, Debug)]
pub(crate) struct Signals(watch::Receiver<Option<i32>>);

impl Signals {
    /// Listens from now on. Must be called inside the runtime.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(None);
        spawn(sender)?;
        Ok(Self(receiver))
    }

    /// Resolves with the exit once the first signal came.
    pub(crate) async fn first(&mut self) -> Exit {
        match self.0.wait_for(Option::is_some).await {
            Ok(number) => Exit::Signal(number.unwrap_or(SIGINT)),
            // The listening task cannot end before the runtime does.
            Err(_) => std::future::pending().await,
        }
    }
}

const SIGINT: i32 = 2;

#[cfg(unix)]
const SIGTERM: i32 = 15;

#[cfg(unix)]
fn spawn(sender: watch::Sender<Option<i32>>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = interrupt.recv() => SIGINT,
                _ = terminate.recv() => SIGTERM,
            };
            if sender.borrow().is_some() {
                std::process::exit(i32::from(Exit::Signal(number).code()));
            }
            sender.send_replace(Some(number));
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn spawn(sender: watch::Sender<Option<i32>>) -> std::io::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if sender.borrow().is_some() {
                std::process::exit(i32::from(Exit::Signal(SIGINT).code()));
            }
            sender.send_replace(Some(SIGINT));
        }
    });
    Ok(())
}
