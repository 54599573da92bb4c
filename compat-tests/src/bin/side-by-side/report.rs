//! The tables.

use crate::measure::{Load, Measured};
use crate::memory::QUERIES;
use compat_tests::load::Fleet;
use compat_tests::questions::{self, Ask};
use compat_tests::table::{Table, machine, short};

/// Everything, as the README quotes it.
pub(crate) fn markdown(results: &[Measured], warm: &Fleet, cold: &Fleet) -> String {
    let mut out = format!("{}\n\n", machine(&["victoria-metrics", "prometheus"]));
    out.push_str(&format!(
        "Warm load: {} series × {} scrapes every {} s = {} samples. Cold load: {} new series × {} scrapes. Per server; in brackets the ratio to VictoriaMetrics.\n\n",
        warm.targets * 100,
        warm.scrapes,
        warm.interval_ms / 1000,
        warm.samples(),
        cold.targets * 100,
        cold.scrapes,
    ));
    out.push_str(&costs(results));
    out.push('\n');
    out.push_str(&queries(results, warm));
    out
}

fn costs(results: &[Measured]) -> String {
    let mut table = Table::new(&titles("", results, &[]));
    let mut row = |name: &str, of: &dyn Fn(&Measured) -> Option<f64>| {
        let values: Vec<_> = results.iter().map(of).collect();
        // Of what was not asked for there is nothing to say.
        if values.iter().all(Option::is_none) {
            return;
        }
        let base =
            results.iter().position(|r| r.name == "victoria-metrics").and_then(|i| values.get(i).copied().flatten());
        let cell = |value: &Option<f64>| match (value, base) {
            (None, _) => "–".to_owned(),
            (Some(v), Some(base)) if base > 0.0 => format!("{} ({:.2})", short(*v), v / base),
            (Some(v), _) => short(*v),
        };
        table.row(std::iter::once(name.to_owned()).chain(values.iter().map(cell)));
    };
    row("CPU µs per sample", &|r| Some(r.warm.cpu_micros_per_sample()));
    row("thousand samples/s, wall", &|r| Some(r.warm.samples as f64 / r.warm.wall_seconds / 1e3));
    row("request ms, median", &|r| r.warm.request_ms.first().copied());
    row("request ms, 99 %", &|r| r.warm.request_ms.last().copied());
    row("CPU µs per new series", &|r| cpu_per_new_series(r));
    row("resident bytes per series over empty, cold load", &|r| r.cold.as_ref().map(resident_per_series));
    row("resident MiB, warm load, settled", &|r| Some(r.warm.resident_bytes[1] as f64 / 1_048_576.0));
    row("resident MiB, warm load, peak", &|r| Some(r.warm.resident_bytes[2] as f64 / 1_048_576.0));
    row("disk bytes per sample, logs included", &|r| Some(r.warm.disk_bytes as f64 / r.warm.samples as f64));
    // Otherwise most samples are in logs.
    let has_blocks = results.iter().any(|r| r.warm.blocks.is_some());
    row("disk bytes per sample, final, without logs", &|r| {
        has_blocks.then(|| r.warm.final_bytes as f64 / r.warm.samples as f64)
    });
    let each = |[seconds, samples]: [f64; 2]| seconds * 1e9 / samples;
    row("ns per sample written to blocks", &|r| r.warm.blocks.as_ref().map(|blocks| each(blocks.flushes)));
    row("ns per sample merged with others of its day", &|r| r.warm.blocks.as_ref().map(|blocks| each(blocks.merges)));
    row("seconds from start after kill -9 to a correct answer", &|r| r.restart);
    table.markdown()
}

/// The cold load less what its samples would have cost on known series.
fn cpu_per_new_series(result: &Measured) -> Option<f64> {
    let cold = result.cold.as_ref()?;
    let known = result.warm.cpu_micros_per_sample() * cold.samples as f64;
    Some((cold.cpu_seconds * 1e6 - known) / series_of(cold))
}

fn resident_per_series(load: &Load) -> f64 {
    (load.resident_bytes[1].saturating_sub(load.resident_bytes[0])) as f64 / series_of(load)
}

/// The cold load has ten scrapes and no churn within them.
fn series_of(load: &Load) -> f64 {
    load.samples as f64 / 10.0
}

fn queries(results: &[Measured], fleet: &Fleet) -> String {
    let mut table =
        Table::new(&titles("query, median ms", results, &["÷ faster peer", "CPU ms, Hearth", "as Prometheus"]));
    let hearth = results.iter().position(|r| r.name == "hearth");
    let mut slower = 0;
    let mut logs: Vec<(&str, Vec<f64>)> = results.iter().map(|r| (r.name, Vec::new())).collect();
    for (i, query) in questions::list(fleet).iter().enumerate() {
        let medians: Vec<_> =
            results.iter().map(|r| r.queries.get(i).map_or(f64::NAN, |asked| asked.median_ms)).collect();
        let ours = hearth.and_then(|h| medians.get(h).copied()).unwrap_or(f64::NAN);
        let peers = medians.iter().enumerate().filter(|(j, _)| Some(*j) != hearth).map(|(_, m)| *m);
        let ratio = ours / peers.fold(f64::INFINITY, f64::min);
        slower += usize::from(ratio > 1.0);
        for ((_, logs), median) in logs.iter_mut().zip(&medians) {
            logs.push((ours / median).ln());
        }
        let asked = hearth.and_then(|h| results.get(h)).and_then(|r| r.queries.get(i));
        let agrees = match asked.and_then(|a| a.difference.as_deref()) {
            Some(difference) => format!("no: {}", difference.chars().take(120).collect::<String>()),
            None if matches!(query.ask, Ask::Metadata { .. }) => "–".into(),
            None => "yes".into(),
        };
        let kind = match query.ask {
            Ask::Instant { .. } => "instant",
            Ask::Range { start_ms, end_ms, step_ms } if (end_ms - start_ms) / step_ms > 110 => "fine range",
            Ask::Range { .. } => "range",
            Ask::Metadata { .. } => "labels",
        };
        let mut cells = vec![format!("{kind}: {}", query.name)];
        cells.extend(medians.iter().map(|m| short(*m)));
        cells.extend([short(ratio), asked.map_or_else(String::new, |a| short(a.cpu_ms)), agrees]);
        table.row(cells);
    }
    let first = |of: usize| -> Vec<f64> {
        results.get(of).into_iter().flat_map(|r| &r.queries).map(|asked| asked.first_ms).collect()
    };
    let ours = hearth.map(first).unwrap_or_default();
    let first: Vec<(&str, Vec<f64>)> = (results.iter().enumerate())
        .map(|(i, r)| (r.name, first(i).iter().zip(&ours).map(|(theirs, ours)| (ours / theirs).ln()).collect()))
        .collect();
    let mean = |logs: &[f64]| (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp();
    let peers = logs.iter().filter(|(name, _)| *name != "hearth");
    let of_peers = |(name, logs): &(&str, Vec<f64>)| format!("{:.2} of {name}'s", mean(logs));
    let means: Vec<_> = peers.map(of_peers).collect();
    let first: Vec<_> = first.iter().filter(|(name, _)| *name != "hearth").map(of_peers).collect();
    if means.is_empty() {
        return table.markdown();
    }
    format!(
        "{}\nHearth's times in the geometric mean: {}; slower than the faster peer: {slower} of {} queries. Each asked \
         for the first time after the restart: {}.\n",
        table.markdown(),
        means.join(", "),
        questions::list(fleet).len(),
        first.join(", "),
    )
}

/// By how much each query of [`QUERIES`] made each server grow.
pub(crate) fn memory(names: &[&str], rises: &[Vec<u64>]) -> String {
    let titles: Vec<_> =
        std::iter::once("MiB that a query over every series needs").chain(names.iter().copied()).collect();
    let mut table = Table::new(&titles);
    for (i, query) in QUERIES.iter().enumerate() {
        let rise = |of: &Vec<u64>| short(of.get(i).map_or(f64::NAN, |bytes| *bytes as f64 / 1_048_576.0));
        table.row(std::iter::once(format!("`{query}`")).chain(rises.iter().map(rise)));
    }
    table.markdown()
}

/// One sentence about the way from a sample to its alert.
pub(crate) fn alert_delays(delays_ms: &[f64]) -> String {
    let at =
        |q: usize| delays_ms.get(((delays_ms.len() * q).div_ceil(100)).saturating_sub(1)).copied().unwrap_or(f64::NAN);
    format!(
        "From an acknowledged sample to its alert at the Alertmanager, rules every {} ms, {} trials: median {} ms, 99 % {} ms.\n",
        crate::alerts::INTERVAL.as_millis(),
        delays_ms.len(),
        short(at(50)),
        short(at(99)),
    )
}

fn titles<'a>(first: &'a str, results: &'a [Measured], more: &[&'a str]) -> Vec<&'a str> {
    std::iter::once(first).chain(results.iter().map(|r| r.name)).chain(more.iter().copied()).collect()
}
