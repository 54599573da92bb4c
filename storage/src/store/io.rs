//! The threads that wait for the object store, and how everybody else waits for them.

use super::StoreError;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use tokio::runtime::Runtime;

/// Threads that wait: requests of all queries and of the lifecycle share them.
const THREADS: usize = 2;

/// A small runtime of its own, so that whoever computes may wait for the store without being a task.
#[derive(Debug, Clone)]
pub(crate) struct Io {
    runtime: Arc<Threads>,
}

#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        // The last handle may be dropped by a task of another runtime, where waiting is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Io {
    pub(crate) fn start() -> Result<Self, StoreError> {
        let built = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("storage-io")
            .enable_all()
            .build();
        let runtime = built.map_err(|source| StoreError::io("start threads for", Path::new("the object store"))(source))?;
        Ok(Self { runtime: Arc::new(Threads(Some(runtime))) })
    }

    /// Runs `work` on the threads that wait and blocks this one until it is done.
    ///
    /// # Panics
    /// If `work` does.
    pub(crate) fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = mpsc::sync_channel(1);
        let runtime = self.runtime.0.as_ref().expect("the runtime lives as long as its handles");
        runtime.spawn(async move {
            // The receiver is gone only if its thread is.
            let _ = sender.send(work.await);
        });
        receiver.recv().expect("work that waits for the object store does not panic")
    }
}
