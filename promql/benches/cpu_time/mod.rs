//! What is measured: time of the thread on a CPU, so that a busy machine does not matter.

use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// The time that this thread has spent on a CPU.
pub(crate) struct CpuTime;

/// In nanoseconds since some moment.
fn cpu_time() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat");
    let on_cpu = told.ok().and_then(|text| text.split(' ').next().and_then(|first| first.parse().ok()));
    on_cpu.unwrap_or_else(|| {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
    })
}

impl Measurement for CpuTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        cpu_time()
    }

    fn end(&self, start: u64) -> u64 {
        cpu_time() - start
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
