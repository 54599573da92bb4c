//! The threads that wait for the object store, and how everybody else waits for them.

use super::StoreError;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::{Handle, Runtime, RuntimeFlavor};

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
        let runtime =
            built.map_err(|source| StoreError::io("start threads for", Path::new("the object store"))(source))?;
        Ok(Self { runtime: Arc::new(Threads(Some(runtime))) })
    }

    /// Blocks this thread until `work` is done. Best not called by a task: a task of a runtime with several threads hands the
    /// others its work for that time.
    ///
    /// # Panics
    /// Within a task of a runtime that has a single thread.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        let runtime = self.runtime.0.as_ref().expect("the runtime lives as long as its handles");
        match Handle::try_current() {
            Ok(current) if current.runtime_flavor() == RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(|| runtime.block_on(work))
            }
            Ok(_) | Err(_) => runtime.block_on(work),
        }
    }
}
