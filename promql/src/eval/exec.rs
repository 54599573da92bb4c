//! The run of one query: what it reads from, what it may use, who works on it, and what it leaves behind besides values.
//!
//! Work is handed out as numbered tasks whose results come back in order of their numbers. What a task is depends on the
//! data alone, never on the number of threads, so every sum is folded in the same order on any machine.

use super::profile::{Counters, Profile};
use super::row::Row;
use super::shared::Shared;
use super::steps::Steps;
use super::windows::WindowCache;
use crate::annotation::{Annotations, Severity};
use crate::ast::Span;
use crate::budget::{Budget, Charge};
use crate::query_error::QueryError;
use crate::resolution::SourceResolution;
use crate::source::SeriesSource;
use model::sample::SampleColumns;
use rayon::prelude::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the engine decided before the query began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    pub(crate) lookback_ms: i64,
    pub(crate) subquery_step_ms: i64,
    pub(crate) delayed_name_removal: bool,
    pub(crate) type_and_unit_labels: bool,
    pub(crate) start_timestamps: bool,
    pub(crate) source_resolution: SourceResolution,
}

/// The run of one query.
pub(crate) struct Exec<'q> {
    pub(crate) source: &'q dyn SeriesSource,
    pub(crate) budget: &'q Budget,
    pub(crate) settings: Settings,
    pub(crate) tally: Tally,
    /// Aggregations that stand in the query more than once.
    pub(crate) shared: Shared<'q>,
    /// Counters for `explain`; absent in every other query.
    profile: Option<Profile>,
    pool: Option<&'q rayon::ThreadPool>,
    annotations: Mutex<Annotations>,
    scratch: Mutex<Vec<Scratch<'q>>>,
}

impl<'q> Exec<'q> {
    pub(crate) fn new(
        source: &'q dyn SeriesSource,
        budget: &'q Budget,
        settings: Settings,
        pool: Option<&'q rayon::ThreadPool>,
        tally: Tally,
        shared: Shared<'q>,
        profile: Option<Profile>,
    ) -> Self {
        Self {
            source,
            budget,
            settings,
            tally,
            shared,
            profile,
            pool,
            annotations: Mutex::new(Annotations::default()),
            scratch: Mutex::new(Vec::new()),
        }
    }

    /// The counters of one part of the plan, when the query is to be explained.
    pub(crate) fn profiled(&self, ordinal: u32) -> Option<&Counters> {
        self.profile.as_ref()?.part(ordinal)
    }

    pub(crate) fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// How many threads share the work.
    pub(crate) fn threads(&self) -> usize {
        self.pool.map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// Runs tasks `0..count`, on all threads of the pool when there is one, and returns their results in order.
    pub(crate) fn map<T: Send>(
        &self,
        count: usize,
        task: impl Fn(usize, &mut Worker<'_, 'q>) -> Result<T, QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        let run = |number: usize| {
            let mut worker = self.worker();
            self.budget.check().and_then(|()| task(number, &mut worker))
        };
        match self.pool {
            Some(pool) if count > 1 => pool.install(|| (0..count).into_par_iter().map(run).collect()),
            _ => (0..count).map(run).collect(),
        }
    }

    /// Runs `task` over `0..items` in consecutive chunks of at least `least` items and returns the chunks' results.
    pub(crate) fn map_chunks<T: Send>(
        &self,
        items: usize,
        least: usize,
        task: impl Fn(std::ops::Range<usize>, &mut Worker<'_, 'q>) -> Result<T, QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        let size = least.max(items.div_ceil(CHUNKS_MAX)).max(1);
        self.map(items.div_ceil(size), |chunk, worker| {
            let start = chunk * size;
            task(start..items.min(start + size), worker)
        })
    }

    /// A worker of the calling thread.
    pub(crate) fn worker(&self) -> Worker<'_, 'q> {
        let recycled = self.scratch.lock().ok().and_then(|mut pool| pool.pop());
        let scratch = recycled.unwrap_or_else(|| Scratch {
            columns: Vec::new(),
            rows: Vec::new(),
            windows: WindowCache::default(),
            held: Charge::none(self.budget),
        });
        Worker { exec: self, scratch: Some(scratch) }
    }

    pub(crate) fn annotate(&self, severity: Severity, message: String, ordinal: u32, span: Span) {
        if let Ok(mut annotations) = self.annotations.lock() {
            annotations.add(severity, message, ordinal, span);
        }
    }

    pub(crate) fn with_annotations(&self, change: impl FnOnce(&mut Annotations)) {
        if let Ok(mut annotations) = self.annotations.lock() {
            change(&mut annotations);
        }
    }

    /// The remarks made so far.
    pub(crate) fn take_annotations(&self) -> Annotations {
        self.annotations.lock().map(|mut annotations| std::mem::take(&mut *annotations)).unwrap_or_default()
    }
}

/// More chunks than this never pay, however many cores there are.
const CHUNKS_MAX: usize = 256;

/// Memory that tasks hand to each other.
struct Scratch<'q> {
    columns: Vec<SampleColumns>,
    rows: Vec<Row>,
    windows: WindowCache,
    held: Charge<'q>,
}

/// One task's access to the run and to recycled memory.
pub(crate) struct Worker<'e, 'q> {
    pub(crate) exec: &'e Exec<'q>,
    /// `None` only while being dropped.
    scratch: Option<Scratch<'q>>,
}

impl<'q> Worker<'_, 'q> {
    fn scratch(&mut self) -> &mut Scratch<'q> {
        self.scratch.as_mut().expect("a worker has its scratch until it is dropped")
    }

    /// Empty sample columns; give them back with [`Worker::give_columns`].
    pub(crate) fn take_columns(&mut self) -> SampleColumns {
        self.scratch().columns.pop().unwrap_or_default()
    }

    pub(crate) fn give_columns(&mut self, mut columns: SampleColumns) {
        columns.clear();
        self.scratch().columns.push(columns);
    }

    /// A row of any content; give it back with [`Worker::give_row`].
    pub(crate) fn take_row(&mut self) -> Row {
        self.scratch().rows.pop().unwrap_or_default()
    }

    pub(crate) fn give_row(&mut self, row: Row) {
        self.scratch().rows.push(row);
    }

    pub(crate) fn windows(&mut self) -> &mut WindowCache {
        &mut self.scratch().windows
    }

    /// Accounts for samples of one series held while it is evaluated. Not released before the query ends: the memory is
    /// not either.
    pub(crate) fn hold_samples(&mut self, count: usize) -> Result<(), QueryError> {
        self.scratch().held.raise_samples_to(count)
    }
}

impl Drop for Worker<'_, '_> {
    fn drop(&mut self) {
        if let (Some(scratch), Ok(mut pool)) = (self.scratch.take(), self.exec.scratch.lock()) {
            pool.push(scratch);
        }
    }
}

/// How many threads count without meeting.
const TOTALS: usize = 16;

/// A counter with a cache line to itself.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Apart(AtomicU64);

/// Samples that selectors handed to the expression.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The sum of all is the total: threads that counted into one would wait for each other at every series.
    totals: [Apart; TOTALS],
    per_step: Option<Vec<AtomicU64>>,
    steps: Steps,
}

/// Numbers of samples; those per step are empty unless asked for.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    total: u64,
    per_step: Vec<u64>,
}

impl Counted {
    /// What was counted after `before`.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        self.total -= before.total;
        self.per_step.iter_mut().zip(&before.per_step).for_each(|(count, before)| *count -= before);
        self
    }
}

/// To which steps of the query the samples of a selector count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// Inside a subquery that feeds a function: the function counts what it gets.
    Off,
    /// To the step that used them.
    PerStep,
    /// Evaluated once, used by every step.
    EveryStep,
    /// A subquery that is the query's result: to its last step.
    LastStep,
}

impl Tally {
    pub(crate) fn new(steps: Steps, per_step: bool) -> Self {
        let per_step = per_step.then(|| (0..steps.count).map(|_| AtomicU64::new(0)).collect());
        Self { totals: Default::default(), per_step, steps }
    }

    /// Adds the samples of one series; `per_step` returns those of one step of the selector's own grid.
    pub(crate) fn add(&self, counting: Counting, total: u64, own_steps: usize, per_step: impl Fn(usize) -> u64) {
        let times = match counting {
            Counting::Off => return,
            Counting::PerStep | Counting::LastStep => 1,
            Counting::EveryStep => self.steps.count as u64,
        };
        let own = rayon::current_thread_index().unwrap_or(0) % TOTALS;
        self.totals[own].0.fetch_add(total * times, Ordering::Relaxed);
        let Some(cells) = &self.per_step else { return };
        match counting {
            Counting::Off => {}
            Counting::PerStep => {
                for (step, cell) in cells.iter().enumerate().take(own_steps) {
                    cell.fetch_add(per_step(step), Ordering::Relaxed);
                }
            }
            Counting::EveryStep => {
                for cell in cells {
                    cell.fetch_add(total, Ordering::Relaxed);
                }
            }
            Counting::LastStep => {
                if let Some(cell) = cells.last() {
                    cell.fetch_add(total, Ordering::Relaxed);
                }
            }
        }
    }

    /// What was counted so far.
    pub(crate) fn counted(&self) -> Counted {
        let cells = self.per_step.iter().flatten();
        Counted { total: self.total(), per_step: cells.map(|cell| cell.load(Ordering::Relaxed)).collect() }
    }

    /// Counts samples that were counted already once more.
    pub(crate) fn add_again(&self, counted: &Counted) {
        self.totals[0].0.fetch_add(counted.total, Ordering::Relaxed);
        for (cell, count) in self.per_step.iter().flatten().zip(&counted.per_step) {
            cell.fetch_add(*count, Ordering::Relaxed);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.totals.iter().map(|total| total.0.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn per_step(&self) -> Option<Vec<(i64, u64)>> {
        let cells = self.per_step.as_ref()?;
        Some(cells.iter().enumerate().map(|(i, cell)| (self.steps.time(i), cell.load(Ordering::Relaxed))).collect())
    }
}
