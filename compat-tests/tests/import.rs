//! What Prometheus has stored and not deleted is imported sample by sample, and what is exported, promtool reads.

use anyhow::{Context, ensure};
use compat_tests::peer::{Launch, hearth_binary};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {error}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn promtool(arguments: &[&str], path: &Path) -> anyhow::Result<String> {
    run(Command::new("/usr/bin/promtool").args(["tsdb"]).args(arguments).arg(path))
}

fn hearth(arguments: &[&str], data: &Path) -> anyhow::Result<String> {
    run(Command::new(hearth_binary()?).args(arguments).arg("--storage.path").arg(data))
}

/// Three days from the evening of a day on: counters at two phases, gauges of full precision, labels that need escapes.
fn text() -> String {
    let mut text = "# TYPE requests counter\n".to_owned();
    for series in 0..20u32 {
        let mut value = 0u64;
        for minute in 0..2 * 1440 + 100u32 {
            value = if minute % 1000 == 999 { 0 } else { value + u64::from((minute * 7 + series * 13) % 5) };
            let at = 1_700_000_000.0 + f64::from(minute) * 60.0 + f64::from(series % 2) / 2.0;
            let labels = format!("job=\"j{}\",instance=\"i{series}\",path=\"/\\\"\\\\\\n\"", series % 3);
            let _ = writeln!(text, "requests_total{{{labels}}} {value} {at}");
        }
    }
    text.push_str("# TYPE temperature gauge\n");
    for series in 0..5u32 {
        for step in 0..500u32 {
            let value = (f64::from(step) * 0.37 + f64::from(series)).sin() / 3.0;
            let _ = writeln!(text, "temperature{{le=\"{series}\"}} {value:?} {}", 1_700_000_000 + step * 300);
        }
    }
    for (value, at) in ["+Inf", "-Inf", "NaN", "-0", "5e-324"].iter().zip(1_700_000_001..) {
        let _ = writeln!(text, "odd {value} {at}");
    }
    text + "# EOF\n"
}

type Samples = BTreeMap<(String, i64), u64>;

fn bits(text: &str) -> anyhow::Result<u64> {
    let value: f64 = text.parse().with_context(|| format!("{text} is no number"))?;
    Ok(if value.is_nan() { u64::MAX } else { value.to_bits() })
}

/// `{…} value time` lines.
fn dumped(text: &str) -> anyhow::Result<Samples> {
    let parse = |line: &str| {
        let (rest, at) = line.rsplit_once(' ').context("no time")?;
        let (series, value) = rest.rsplit_once(' ').context("no value")?;
        Ok(((series.to_owned(), at.parse()?), bits(value)?))
    };
    text.lines().map(parse).collect()
}

/// `time,value,"{…}"` lines.
fn exported(text: &str) -> anyhow::Result<Samples> {
    let parse = |line: &str| {
        let (at, rest) = line.split_once(',').context("no time")?;
        let (value, series) = rest.split_once(',').context("no value")?;
        let series = series.trim_matches('"').replace("\"\"", "\"");
        Ok(((series, at.parse()?), bits(value)?))
    };
    text.lines().skip(1).map(parse).collect()
}

#[tokio::test]
async fn blocks_of_prometheus_are_imported_sample_by_sample() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (prometheus, input) = (directory.path().join("prometheus"), directory.path().join("in.om"));
    std::fs::write(&input, text())?;
    let input = input.display().to_string();
    promtool(&["create-blocks-from", "openmetrics", &input], &prometheus)?;
    // A server merges some of the blocks and takes a deletion down.
    let launch = Launch::prometheus(directory.path(), "global: {}")?.with_arguments(&["--web.enable-admin-api"]);
    let server = launch.start().await?;
    let deletion = "match[]=requests_total{instance=\"i4\"}&start=1700050000&end=1700100000";
    let url = format!("{}/api/v1/admin/tsdb/delete_series?{deletion}", server.url);
    let answer = reqwest::Client::new().post(url).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    ensure!(server.terminate()?, "Prometheus did not end well");
    let theirs = dumped(&promtool(&["dump"], &prometheus)?)?;
    ensure!(theirs.len() > 55_000, "Prometheus has {} samples", theirs.len());

    let data = directory.path().join("data");
    let told = hearth(&["import", &prometheus.display().to_string()], &data)?;
    let ours = exported(&hearth(&["blocks", "export", "--format", "csv"], &data)?)?;
    for (sample, value) in &theirs {
        ensure!(ours.get(sample) == Some(value), "{sample:?}: {value:x} became {:x?}; {told}", ours.get(sample));
    }
    ensure!(ours.len() == theirs.len(), "{} samples instead of {}", ours.len(), theirs.len());

    // And back again.
    let (file, back) = (directory.path().join("out.om"), directory.path().join("back"));
    let name = file.display().to_string();
    hearth(&["blocks", "export", "--output", &name], &data)?;
    promtool(&["create-blocks-from", "openmetrics", &name], &back)?;
    std::fs::create_dir_all(back.join("wal"))?;
    ensure!(dumped(&promtool(&["dump"], &back)?)? == theirs, "promtool reads something else than was exported");
    Ok(())
}
