//! Metrics of the process as a whole, by the names that every Prometheus client uses, and of its allocator.
//!
//! Read from `/proc` at each scrape; a figure that the system does not tell is left out.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Collects `process_*` and `hearth_memory_*`.
#[derive(Debug)]
pub struct ProcessCollector {
    started_seconds: f64,
}

impl ProcessCollector {
    /// Remembers now as the start of the process.
    #[must_use]
    pub fn new() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_seconds: started.as_secs_f64() }
    }
}

impl Default for ProcessCollector {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
        };
        gauge(
            "process_start_time_seconds",
            "Start time of the process since the Unix epoch.",
            None,
            self.started_seconds,
        )?;
        if let Some(memory) = memory() {
            gauge("process_resident_memory_bytes", "Resident memory size.", None, memory.resident)?;
            gauge("process_virtual_memory_bytes", "Virtual memory size.", None, memory.virtual_size)?;
        }
        if let Some(open) = open_files() {
            gauge("process_open_fds", "Number of open file descriptors.", None, open)?;
        }
        if let Some(limit) = open_files_max() {
            gauge("process_max_fds", "Maximum number of open file descriptors.", None, limit)?;
        }
        if let Some(heap) = Heap::read() {
            gauge(
                "hearth_memory_allocated_bytes",
                "Bytes in use by the program, as the allocator counts them.",
                None,
                heap.allocated,
            )?;
            gauge("hearth_memory_active_bytes", "Bytes in pages that the allocator holds in use.", None, heap.active)?;
            gauge("hearth_memory_mapped_bytes", "Bytes that the allocator has mapped.", None, heap.mapped)?;
        }
        if let Some(seconds) = cpu_seconds() {
            let metric = ConstCounter::new(seconds);
            let help = "Total user and system CPU time spent in seconds.";
            metric.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}

struct Memory {
    resident: f64,
    virtual_size: f64,
}

/// From `/proc/self/statm`: sizes in pages of 4 KiB, total first, resident second.
fn memory() -> Option<Memory> {
    const PAGE_BYTES: f64 = 4096.0;
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = text.split_ascii_whitespace().map(str::parse::<f64>);
    let virtual_size = fields.next()?.ok()? * PAGE_BYTES;
    let resident = fields.next()?.ok()? * PAGE_BYTES;
    Some(Memory { resident, virtual_size })
}

fn open_files() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn open_files_max() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// From `/proc/self/stat`: user and system time in ticks of 10 ms are the 14th and 15th field; the second is the name in
/// parentheses and may itself contain blanks.
fn cpu_seconds() -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11).map(str::parse::<f64>);
    let user = fields.next()?.ok()?;
    let system = fields.next()?.ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

struct Heap {
    allocated: f64,
    active: f64,
    mapped: f64,
}

impl Heap {
    fn read() -> Option<Self> {
        use tikv_jemalloc_ctl::{epoch, stats};
        epoch::advance().ok()?;
        Some(Self {
            allocated: stats::allocated::read().ok()? as f64,
            active: stats::active::read().ok()? as f64,
            mapped: stats::mapped::read().ok()? as f64,
        })
    }
}
