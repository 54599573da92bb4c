//! Tells whether the machine stood still: tests of what happens in which second mean nothing when it did.

use std::future::Future;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A pause of threads or of the disk of this length spoils a test whose seconds count.
const STALL_MS: u64 = 400;
/// How often a spoilt test is done again.
const REPEATS: usize = 2;

/// Does `test` again when it failed while the machine stood still.
///
/// # Errors
/// It failed undisturbed, or was disturbed each time.
pub async fn undisturbed<F: Future<Output = anyhow::Result<()>>>(test: impl Fn() -> F) -> anyhow::Result<()> {
    for repeat in 0.. {
        let watch = StallWatch::start()?;
        let outcome = test().await;
        let worst_ms = watch.worst_ms();
        match outcome {
            Err(problem) if worst_ms >= STALL_MS && repeat < REPEATS => {
                eprintln!("the machine stood still for {worst_ms} ms, so once more; the problem was: {problem:#}");
            }
            outcome => return outcome,
        }
    }
    Ok(())
}

/// A thread that writes a few bytes to the disk again and again, and takes the time.
struct StallWatch {
    worst_ms: Arc<AtomicU64>,
    is_done: Arc<AtomicBool>,
}

impl StallWatch {
    fn start() -> anyhow::Result<Self> {
        let watch = Self { worst_ms: Arc::default(), is_done: Arc::default() };
        let (worst_ms, is_done) = (Arc::clone(&watch.worst_ms), Arc::clone(&watch.is_done));
        let mut file = tempfile::tempfile()?;
        std::thread::spawn(move || {
            const PAUSE: Duration = Duration::from_millis(100);
            while !is_done.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::sleep(PAUSE);
                let written = file.write_all(b"tick").and_then(|()| file.sync_data());
                let late = began.elapsed().saturating_sub(PAUSE);
                worst_ms.fetch_max(late.as_millis() as u64, Ordering::Relaxed);
                if written.is_err() {
                    return;
                }
            }
        });
        Ok(watch)
    }

    fn worst_ms(&self) -> u64 {
        self.worst_ms.load(Ordering::Relaxed)
    }
}

impl Drop for StallWatch {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed);
    }
}
