//! The one door to the processor: work above half a millisecond runs here and not on the threads that wait for the network.
//!
//! Jobs are spread over a few lanes, each a thread pool as wide as the machine, and a job splits itself within its lane.
//! So one heavy job uses all cores when it is alone, and a light job beside it gets its share from the operating system
//! instead of waiting until the heavy one has nothing left to split. One more lane is reserved for rules: heavy jobs in all others
//! do not delay them. Invariant: a job that panics ends as
//! [`JobPanicked`], never as the end of the process.

use promql::source::SourceError;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Lanes when nothing else is said: that many heavy jobs may run before a light one has to wait for one of them.
const LANES: usize = 4;

/// Evaluators and regular expressions recurse; their depth is capped for this much.
pub const STACK_BYTES: usize = 8 << 20;

/// A job ended by a panic, which is a bug of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unexpected error: {message}")]
pub struct JobPanicked {
    /// What the panic said.
    pub message: String,
    /// No bug: the job could not go on, see [`give_up`].
    pub gave_up: Option<SourceError>,
}

impl JobPanicked {
    /// A bug.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), gave_up: None }
    }
}

/// Ends the job that the calling thread works on, where whoever called it takes no errors.
pub fn give_up(error: SourceError) -> ! {
    // Without the hook for panics: nothing has to be looked into.
    std::panic::resume_unwind(Box::new(error))
}

/// The threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("start the threads of the CPU pool")]
pub struct CpuPoolError(#[from] rayon::ThreadPoolBuildError);

/// A bounded set of threads for computing. Cheap to clone; the threads end with the last clone.
#[derive(Clone, Debug)]
pub struct CpuPool {
    lanes: Arc<[Lane]>,
    /// For jobs that must not wait for those of the others.
    reserved: Option<Arc<[Lane]>>,
}

#[derive(Debug)]
struct Lane {
    threads: rayon::ThreadPool,
    running: AtomicUsize,
}

impl CpuPool {
    /// A pool for this machine.
    ///
    /// # Errors
    /// The system refuses the threads.
    pub fn new() -> Result<Self, CpuPoolError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_reserve(LANES, cores)
    }

    /// A pool of `lanes` times `threads` threads, at least one each, and as many as one lane has for [`CpuPool::run_reserved`].
    ///
    /// # Errors
    /// The system refuses the threads.
    pub fn with_reserve(lanes: usize, threads: usize) -> Result<Self, CpuPoolError> {
        Ok(Self { reserved: Some(self::lanes(1, threads, "reserved")?), ..Self::with_size(lanes, threads)? })
    }

    /// A pool of `lanes` times `threads` threads, at least one each.
    ///
    /// # Errors
    /// The system refuses the threads.
    pub fn with_size(lanes: usize, threads: usize) -> Result<Self, CpuPoolError> {
        Ok(Self { lanes: self::lanes(lanes, threads, "cpu")?, reserved: None })
    }

    /// Runs `job` on the pool and lends it the threads of its lane for splitting. Dropping the future does not stop the job,
    /// it only forgets the result: a job that may have to stop watches a signal of its own.
    ///
    /// # Errors
    /// The job panicked.
    pub fn run<T, J>(&self, job: J) -> impl Future<Output = Result<T, JobPanicked>> + Send + 'static + use<T, J>
    where
        T: Send + 'static,
        J: FnOnce(&rayon::ThreadPool) -> T + Send + 'static,
    {
        Self::run_in(&self.lanes, job)
    }

    /// As [`CpuPool::run`], on threads that those jobs never take: only the cores are shared with them. A pool without such threads
    /// runs it beside the others.
    ///
    /// # Errors
    /// The job panicked.
    pub fn run_reserved<T, J>(
        &self,
        job: J,
    ) -> impl Future<Output = Result<T, JobPanicked>> + Send + 'static + use<T, J>
    where
        T: Send + 'static,
        J: FnOnce(&rayon::ThreadPool) -> T + Send + 'static,
    {
        Self::run_in(self.reserved.as_ref().unwrap_or(&self.lanes), job)
    }

    fn run_in<T, J>(
        lanes: &Arc<[Lane]>,
        job: J,
    ) -> impl Future<Output = Result<T, JobPanicked>> + Send + 'static + use<T, J>
    where
        T: Send + 'static,
        J: FnOnce(&rayon::ThreadPool) -> T + Send + 'static,
    {
        let (reply, result) = tokio::sync::oneshot::channel();
        let lanes = Arc::clone(lanes);
        let index = least_busy(&lanes);
        if let Some(lane) = Arc::clone(&lanes).get(index) {
            lane.running.fetch_add(1, Ordering::Relaxed);
            lane.threads.spawn(move || {
                let Some(lane) = lanes.get(index) else { return };
                let outcome = catch_unwind(AssertUnwindSafe(|| job(&lane.threads)));
                lane.running.fetch_sub(1, Ordering::Relaxed);
                // Nobody waits when the future was dropped.
                let _ = reply.send(outcome.map_err(|panic| panicked(panic.as_ref())));
            });
        }
        async move { result.await.unwrap_or_else(|_| Err(JobPanicked::new("the job was lost"))) }
    }

    /// Runs `job`, which must be known to take well below half a millisecond, on the calling thread: waking another one and
    /// being woken by it would take longer.
    ///
    /// # Errors
    /// The job panicked.
    pub fn run_here<T>(job: impl FnOnce() -> T) -> Result<T, JobPanicked> {
        catch_unwind(AssertUnwindSafe(job)).map_err(|panic| panicked(panic.as_ref()))
    }

    /// How many threads one job is lent.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.lanes.first().map_or(1, |lane| lane.threads.current_num_threads())
    }

    /// How many jobs are running or waiting for a thread.
    #[must_use]
    pub fn jobs(&self) -> usize {
        let lanes = self.lanes.iter().chain(self.reserved.iter().flat_map(|lanes| lanes.iter()));
        lanes.map(|lane| lane.running.load(Ordering::Relaxed)).sum()
    }
}

fn lanes(lanes: usize, threads: usize, name: &'static str) -> Result<Arc<[Lane]>, CpuPoolError> {
    let lane = |lane| {
        let builder = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .stack_size(STACK_BYTES)
            .thread_name(move |thread| format!("{name}-{lane}-{thread}"));
        Ok(Lane { threads: builder.build()?, running: AtomicUsize::new(0) })
    };
    (0..lanes.max(1)).map(lane).collect()
}

fn least_busy(lanes: &[Lane]) -> usize {
    let busy = lanes.iter().map(|lane| lane.running.load(Ordering::Relaxed)).enumerate();
    busy.min_by_key(|(_, running)| *running).map_or(0, |(index, _)| index)
}

fn panicked(panic: &(dyn Any + Send)) -> JobPanicked {
    if let Some(error) = panic.downcast_ref::<SourceError>() {
        return JobPanicked { message: error.to_string(), gave_up: Some(error.clone()) };
    }
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
    JobPanicked::new(message.unwrap_or_else(|| "panic without a message".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_pool_lives_on() {
        let pool = CpuPool::with_size(1, 1).unwrap();
        let failed = pool.run(|_| -> u8 { panic!("no {}", "way") }).await;
        assert_eq!(failed, Err(JobPanicked::new("no way")));
        assert_eq!(pool.run(|_| 7).await, Ok(7));
        assert_eq!(pool.jobs(), 0);
    }

    #[tokio::test]
    async fn a_job_can_give_up_with_a_reason() {
        let pool = CpuPool::with_size(1, 1).unwrap();
        let reason = SourceError::Unavailable("nobody there".into());
        let thrown = reason.clone();
        let failed = pool.run(move |threads| -> u8 { threads.install(|| give_up(thrown)) }).await.unwrap_err();
        assert_eq!(failed.gave_up, Some(reason));
    }

    #[tokio::test]
    async fn a_light_job_does_not_wait_for_a_heavy_one() {
        let pool = CpuPool::with_size(2, 1).unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let heavy = pool.run(move |_| wait.recv().is_ok());
        assert_eq!(pool.run(|_| 1).await, Ok(1));
        assert_eq!(pool.run(|_| 2).await, Ok(2));
        go.send(()).unwrap();
        assert_eq!(heavy.await, Ok(true));
    }

    #[tokio::test]
    async fn a_reserved_thread_is_free_whatever_the_others_do() {
        let pool = CpuPool::with_reserve(2, 1).unwrap();
        let gate = Arc::new(std::sync::Barrier::new(3));
        let heavy = [(); 2].map(|()| {
            let gate = Arc::clone(&gate);
            pool.run(move |_| gate.wait().is_leader())
        });
        assert_eq!(pool.run_reserved(|_| 7).await, Ok(7));
        gate.wait();
        assert!(futures::future::join_all(heavy).await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn splitting_stays_on_the_pool() {
        use rayon::prelude::*;
        let pool = CpuPool::with_size(2, 3).unwrap();
        let names = pool.run(|_| {
            let name = |_| std::thread::current().name().unwrap_or_default().to_owned();
            (0..64).into_par_iter().map(name).collect::<Vec<_>>()
        });
        assert!(names.await.unwrap().iter().all(|name| name.starts_with("cpu-")));
    }
}
