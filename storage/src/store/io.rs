//! The threads that wait for the object store, and how everybody else waits for them.

use super::StoreError;
use futures::FutureExt;
use futures::future::BoxFuture;
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

    /// Does of `work` what takes no waiting, and returns what is left of it; `None` if it is done.
    pub(crate) fn begin(&self, mut work: BoxFuture<'static, ()>) -> Option<BoxFuture<'static, ()>> {
        match self.at_once(&mut work) {
            Some(()) => None,
            None => Some(work),
        }
    }

    /// The result of `work` if it takes no waiting. If it is only lent, it can be gone on with else. Nobody is woken: whoever waits for
    /// the rest looks at once whether it can go on.
    pub(crate) fn at_once<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let _within = self.runtime().enter();
        work.now_or_never()
    }

    /// Blocks this thread until `work` is done; what it waits for is driven by the threads of this runtime. What takes no waiting is
    /// done as if it were called. The rest is best not called by a task: one of a runtime with several threads hands the others its
    /// work for that time.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if let Some(done) = self.at_once(work.as_mut()) {
            return done;
        }
        let run = || {
            let _within = self.runtime().enter();
            futures::executor::block_on(work)
        };
        match Handle::try_current() {
            Ok(current) if current.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(run),
            Ok(_) | Err(_) => run(),
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.0.as_ref().expect("the runtime lives as long as its handles")
    }
}
