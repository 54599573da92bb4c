//! The run of one query: what it reads from, what it may use, who works on it, and what it leaves behind besides values.
//!
//! Work is handed out as numbered tasks whose results come back in order of their numbers. What a task is depends on the
//! data alone, never on the number of threads, so every sum is folded in the same order on any machine.

use super::profile::{Counters, Profile};
use super::row::Row;
use super::shared::Shared;
use super::steps::Steps;
use super::windows::{WindowCache, Windows};
use crate::annotation::{Annotations, Severity};
use crate::ast::Span;
use crate::budget::{Budget, Charge};
use crate::query_error::QueryError;
use crate::resolution::SourceResolution;
use crate::source::{SeriesSource, TimelineToken};
use model::sample::SampleColumns;
use rayon::prelude::*;
use std::iter::Sum;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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
            // One by one: a thread that got several at once would still be busy with them when the others have nothing left.
            Some(pool) if count > 1 => pool.install(|| (0..count).into_par_iter().with_max_len(1).map(run).collect()),
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

    /// Runs `task` over `0..series`, whose rows have `steps` values each, in consecutive chunks and returns the chunks' results.
    pub(crate) fn map_rows<T: Send>(
        &self,
        series: usize,
        steps: usize,
        task: impl Fn(std::ops::Range<usize>, &mut Worker<'_, 'q>) -> Result<T, QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        self.map_chunks(series, rows_at_once(steps), task)
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
        Worker { exec: self, scratch: Some(scratch), counted: Samples::default() }
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

/// How many rows of `steps` values are worth a task. The cheapest values take nanoseconds each, those of a quantile over a window
/// hundreds: a thousand series over some dozen steps have to be tasks enough for all threads to end at about the same time.
fn rows_at_once(steps: usize) -> usize {
    const VALUES: usize = 1 << 12;
    const VALUES_MAX: usize = 1 << 14;
    /// Tasks and series cost something of their own.
    const ROWS_LEAST: usize = 16;
    const ROWS_MAX: usize = 256;
    let steps = steps.max(1);
    (VALUES / steps).clamp(ROWS_LEAST, ROWS_MAX).min(VALUES_MAX / steps).max(1)
}

/// Memory that tasks hand to each other.
struct Scratch<'q> {
    columns: Vec<SampleColumns>,
    rows: Vec<Row>,
    windows: WindowCache,
    /// The samples of one series, and the windows.
    held: Charge<'q>,
}

/// One task's access to the run and to recycled memory.
pub(crate) struct Worker<'e, 'q> {
    pub(crate) exec: &'e Exec<'q>,
    /// `None` only while being dropped.
    scratch: Option<Scratch<'q>>,
    /// Added to those of all when it ends: threads that counted into one number would wait for each other at every series.
    counted: Samples,
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

    /// The windows of a timeline of a selector, by its ordinal in the plan; those with a token are kept and charged.
    pub(crate) fn windows(
        &mut self,
        selector: u32,
        token: Option<TimelineToken>,
        make: impl FnOnce() -> Windows,
    ) -> Result<Arc<Windows>, QueryError> {
        let Scratch { windows, held, .. } = self.scratch();
        let found = windows.get(selector, token, make);
        held.raise_bytes_to(windows.charged_bytes())?;
        Ok(found)
    }

    /// Counts the samples of one series; `per_step` returns those of one step of the selector's own grid.
    pub(crate) fn count(
        &mut self,
        counting: Counting,
        all: Samples,
        own_steps: usize,
        per_step: impl Fn(usize) -> Samples,
    ) {
        self.counted += self.exec.tally.add(counting, all, own_steps, per_step);
    }

    /// Accounts for samples of one series held while it is evaluated. Not released before the query ends: the memory is
    /// not either.
    pub(crate) fn hold_samples(&mut self, count: usize) -> Result<(), QueryError> {
        self.scratch().held.raise_samples_to(count)
    }
}

impl Drop for Worker<'_, '_> {
    fn drop(&mut self) {
        self.exec.tally.total.add(self.counted);
        if let (Some(scratch), Ok(mut pool)) = (self.scratch.take(), self.exec.scratch.lock()) {
            pool.push(scratch);
        }
    }
}

/// Two counters.
#[derive(Debug, Default)]
struct Cell {
    used: AtomicU64,
    fresh: AtomicU64,
}

impl Cell {
    fn add(&self, samples: Samples) {
        self.used.fetch_add(samples.used, Ordering::Relaxed);
        self.fresh.fetch_add(samples.fresh, Ordering::Relaxed);
    }

    fn get(&self) -> Samples {
        Samples { used: self.used.load(Ordering::Relaxed), fresh: self.fresh.load(Ordering::Relaxed) }
    }
}

/// How many samples of a series were counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Samples {
    /// By every step that used them.
    pub(crate) used: u64,
    /// Those of them that no earlier step had used.
    pub(crate) fresh: u64,
}

impl Samples {
    /// Samples that one step uses.
    pub(crate) fn once(count: u64) -> Self {
        Self { used: count, fresh: count }
    }
}

impl AddAssign for Samples {
    fn add_assign(&mut self, other: Self) {
        self.used += other.used;
        self.fresh += other.fresh;
    }
}

impl Sum for Samples {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, own| {
            sum += own;
            sum
        })
    }
}

/// The samples that selectors handed to the expression (used), and those that they read (fresh).
#[derive(Debug)]
pub(crate) struct Tally {
    /// What workers counted that have ended.
    total: Cell,
    per_step: Option<Vec<Cell>>,
    steps: Steps,
}

/// Numbers of samples; those per step are empty unless asked for.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    total: Samples,
    per_step: Vec<Samples>,
}

impl Counted {
    /// What was counted after `before`.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        let subtract = |count: &mut Samples, before: &Samples| {
            count.used -= before.used;
            count.fresh -= before.fresh;
        };
        subtract(&mut self.total, &before.total);
        self.per_step.iter_mut().zip(&before.per_step).for_each(|(count, before)| subtract(count, before));
        self
    }
}

/// To which steps of the query the samples of a selector count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// Inside a subquery that feeds a function: the function counts what it gets. What is read counts to the first step.
    Off,
    /// To the step that used them.
    PerStep,
    /// Evaluated once, used by every step, read by the first.
    EveryStep,
    /// A subquery that is the query's result: to its last step.
    LastStep,
}

impl Tally {
    pub(crate) fn new(steps: Steps, per_step: bool) -> Self {
        let per_step = per_step.then(|| (0..steps.count).map(|_| Cell::default()).collect());
        Self { total: Cell::default(), per_step, steps }
    }

    /// Adds the samples of one series to its steps, if they are counted, and returns what it adds to the total.
    fn add(&self, counting: Counting, all: Samples, own_steps: usize, per_step: impl Fn(usize) -> Samples) -> Samples {
        let used = match counting {
            Counting::Off => 0,
            Counting::PerStep | Counting::LastStep => all.used,
            Counting::EveryStep => all.used * self.steps.count as u64,
        };
        if let Some(cells) = &self.per_step {
            add_to_steps(cells, counting, all, own_steps, per_step);
        }
        Samples { used, ..all }
    }

    /// What was counted so far.
    pub(crate) fn counted(&self) -> Counted {
        Counted { total: self.total(), per_step: self.per_step.iter().flatten().map(Cell::get).collect() }
    }

    /// Counts samples that were counted already once more.
    pub(crate) fn add_again(&self, counted: &Counted) {
        self.total.add(counted.total);
        for (cell, count) in self.per_step.iter().flatten().zip(&counted.per_step) {
            cell.add(*count);
        }
    }

    pub(crate) fn total(&self) -> Samples {
        self.total.get()
    }

    /// The time of each step and its samples, if they are counted.
    pub(crate) fn per_step(&self) -> Option<Vec<(i64, Samples)>> {
        let cells = self.per_step.as_ref()?;
        Some(cells.iter().enumerate().map(|(i, cell)| (self.steps.time(i), cell.get())).collect())
    }
}

fn add_to_steps(
    cells: &[Cell],
    counting: Counting,
    all: Samples,
    own_steps: usize,
    per_step: impl Fn(usize) -> Samples,
) {
    let (used, fresh) = (Samples { fresh: 0, ..all }, Samples { used: 0, ..all });
    match (counting, cells.first(), cells.last()) {
        (Counting::Off, Some(first), _) => first.add(fresh),
        (Counting::PerStep, ..) => {
            for (step, cell) in cells.iter().enumerate().take(own_steps) {
                cell.add(per_step(step));
            }
        }
        (Counting::EveryStep, Some(first), _) => {
            cells.iter().for_each(|cell| cell.add(used));
            first.add(fresh);
        }
        (Counting::LastStep, _, Some(last)) => last.add(all),
        (_, None, _) | (_, _, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_series_are_tasks_enough_for_all_threads() {
        for steps in [1, 48, 100, 1440] {
            let tasks = 1000_usize.div_ceil(rows_at_once(steps));
            assert!(tasks >= 4, "{tasks} tasks of {steps} steps");
        }
        assert_eq!([0, 1, 48, 100, 1000, 1440, 1 << 20].map(rows_at_once), [256, 256, 85, 40, 16, 11, 1]);
    }
}
