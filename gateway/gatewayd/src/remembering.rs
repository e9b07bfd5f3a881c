//! Remembers beside the event loop: a disk may take seconds, and forwarding must not wait for it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::persist::{Memory, Store};

/// Writes what is to be remembered, one after another; of what waits only the newest is written.
pub(crate) struct Remembering {
    newest: watch::Sender<Memory>,
    writer: JoinHandle<()>,
}

impl Remembering {
    /// Begins to write into `store`.
    pub(crate) fn start(store: Store) -> Remembering {
        let (newest, waiting) = watch::channel(Memory::default());
        Remembering { newest, writer: tokio::spawn(write(store, waiting)) }
    }

    /// Has this written instead of what has not been written yet; returns at once.
    pub(crate) fn remember(&self, memory: Memory) {
        // The writer ends after its sender only.
        let _ = self.newest.send(memory);
    }

    /// Waits until the last one is written, for `limit` at most.
    pub(crate) async fn finish(self, limit: Duration) {
        drop(self.newest);
        if tokio::time::timeout(limit, self.writer).await.is_err() {
            tracing::error!(?limit, "the disk does not take what is to be remembered");
        }
    }
}

async fn write(store: Store, mut waiting: watch::Receiver<Memory>) {
    // One that waits is still given out when its sender is gone.
    while waiting.changed().await.is_ok() {
        let (store, memory) = (store.clone(), waiting.borrow_and_update().clone());
        match spawn_blocking(move || store.remember(&memory)).await {
            Ok(Ok(())) => {}
            // The next start then chooses anew; nothing is lost but time.
            Ok(Err(error)) => tracing::error!(error = format!("{error:#}"), "state cannot be remembered"),
            Err(error) => tracing::error!(%error, "state cannot be remembered"),
        }
    }
}
