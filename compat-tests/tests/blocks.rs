//! Other people's programs read our blocks: pyarrow, polars and DuckDB see the same values as we do, bit for bit.
//!
//! They are installed with pip into a virtual environment below the target directory, once for each list of versions.

use anyhow::{Context, bail, ensure};
use compat_tests::api::{Answer, Api};
use compat_tests::drive::flush;
use compat_tests::peer::{Launch, hearth_binary};
use compat_tests::remote_write::{RequestBody, encode_labels, send_accepted, stale_marker};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

const READERS: [&str; 3] = ["pyarrow", "polars", "duckdb"];
const REQUIREMENTS: &str = include_str!("readers.txt");

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {error}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The Python of an environment with the readers.
fn environment() -> anyhow::Result<PathBuf> {
    // Two tests need them, and start at once.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("block-readers");
    let (python, stamp) = (dir.join("bin/python"), dir.join("installed.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(python);
    }
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers.txt");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))?;
    fs::write(stamp, REQUIREMENTS)?;
    Ok(python)
}

/// The same, or `None` where they cannot be installed and that is no mistake.
fn readers() -> anyhow::Result<Option<PathBuf>> {
    match environment() {
        Ok(python) => Ok(Some(python)),
        Err(error) if std::env::var_os("CI").is_none() => {
            // Not by the macro, whose output a passing test keeps to itself.
            let _ = writeln!(
                std::io::stderr(),
                "\nSKIPPED, blocks were not read by other programs: cannot install them with pip: {error:#}\n"
            );
            Ok(None)
        }
        Err(error) => bail!("install the readers with pip: {error:#}"),
    }
}

#[test]
fn pyarrow_polars_and_duckdb_see_every_bit() -> anyhow::Result<()> {
    let Some(python) = readers()? else { return Ok(()) };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = here.join("../storage/tests/golden");
    for version in ["block-v1", "block-v1-packed", "block-v1-thinned"] {
        let expected = fs::read_to_string(golden.join(format!("{version}.txt")))?;
        for reader in READERS {
            let mut command = Command::new(&python);
            command.arg(here.join("tests/blocks.py")).arg(reader).arg(golden.join(version));
            let found = run(&mut command)?;
            let mut pairs = expected.lines().zip(found.lines()).enumerate();
            if let Some((line, (expected, found))) = pairs.find(|(_, (expected, found))| expected != found) {
                bail!("{reader}, {version}, line {}: expected\n{expected}\nfound\n{found}", line + 1);
            }
            ensure!(
                expected.lines().count() == found.lines().count(),
                "{reader}, {version}: lines are missing or too many"
            );
        }
    }
    Ok(())
}

/// Runs the statements of the file and then each query, and prints what each returns as a line of JSON.
const DUCKDB: &str = "
import duckdb, json, sys
connection = duckdb.connect()
connection.execute(open(sys.argv[1]).read())
for query in sys.argv[2:]:
    print(json.dumps(connection.execute(query).fetchall(), default=float))
";

/// Understood by both, over values whose sums are exact in any order.
const QUERIES: [&str; 6] = [
    "SELECT metric, labels['n'], count(*), sum(value), min(value), max(value), max(date_part('epoch', time)) \
     FROM samples GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT metric, labels['n'], date_part('epoch', first_time), date_part('epoch', last_time) \
     FROM series WHERE metric <> 'h' ORDER BY 1, 2",
    "SELECT metric, labels['n'], count(*), sum(count), sum(sum), sum(zero_count), min(schema), \
     min(date_part('epoch', time)) FROM histograms GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT metric, labels['n'], negative, bucket, count(*), sum(count), min(date_part('epoch', time)) \
     FROM hist_buckets WHERE bucket IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
    "SELECT date_part('epoch', time), metric, labels['n'], value, exemplar_labels['trace_id'] FROM exemplars ORDER BY 1, 3",
    "SELECT metric, labels['n'], count(*), sum(\"count\"), sum(\"sum\"), sum(\"min\"), sum(\"max\"), sum(\"first\"), \
     sum(\"last\"), sum(resets), sum(reset_sum), sum(changes), sum(date_part('epoch', first_time)), \
     sum(date_part('epoch', last_time)), min(date_part('epoch', time)) FROM buckets_5m GROUP BY 1, 2 ORDER BY 1, 2",
];

fn push_step(body: &mut RequestBody, base_ms: i64, step: i64) {
    let at_ms = base_ms + step * 60_000;
    for n in ["0", "1"] {
        let labels = |name| encode_labels(&[("__name__", name), ("n", n)]);
        body.push(&labels("c_total"), at_ms, (step % 977) as f64);
        body.push(&labels("g"), at_ms, if step % 50 == 7 { stale_marker() } else { (step % 200 - 100) as f64 / 4.0 });
        if step % 10 == 0 {
            body.push_histogram(&labels("h"), at_ms, step as f64, &[step as u64, 3]);
        }
        if step % 600 == 0 {
            body.push_exemplar(&labels("c_total"), at_ms, step as f64, ("trace_id", n));
        }
    }
}

/// What one reads of a server's files is what its own SQL says, although files of blocks lie there that were merged into others.
#[tokio::test]
async fn duckdb_reads_a_store_by_printed_views_as_the_server_does() -> anyhow::Result<()> {
    let Some(python) = readers()? else { return Ok(()) };
    let directory = tempfile::tempdir()?;
    let config = "self_scrape: {enabled: false}\ntiers: {raw_keep: 30d, tiers: [{resolution: 5m, keep: 60d}]}\n";
    let launch = Launch::hearth(directory.path(), Some(config), &["--web.enable-admin-api"])?;
    let server = launch.start().await?;
    // The day before yesterday and the morning of yesterday, in two parts that are flushed apart.
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let base_ms = (now_ms / 86_400_000 - 2) * 86_400_000;
    for part in 0..2 {
        let steps: Vec<i64> = (part..1_800).step_by(2).collect();
        for steps in steps.chunks(60) {
            let mut body = RequestBody::default();
            for step in steps {
                push_step(&mut body, base_ms, *step);
            }
            let url = format!("{}/api/v1/write", server.url);
            send_accepted(&reqwest::Client::new(), &url, body.take_compressed()).await?;
        }
        flush(&server, false).await?;
    }
    flush(&server, true).await?;
    let printed = run(Command::new(hearth_binary()?)
        .args(["blocks", "duckdb", "--storage.path"])
        .arg(directory.path().join("data")))?;
    let views = directory.path().join("views.sql");
    fs::write(&views, printed)?;
    let found = run(Command::new(&python).args(["-c", DUCKDB]).arg(&views).args(QUERIES))?;
    let api = Api::new(&server.url);
    for (query, found) in QUERIES.iter().zip(found.lines()) {
        let answer = api.get("/api/v1/sql", &[("query", query)]).await?;
        let (expected, found) = (numbers(&answer["rows"]), numbers(&serde_json::from_str(found)?));
        ensure!(expected.as_array().is_some_and(|rows| !rows.is_empty()), "{query}: {answer}");
        ensure!(expected == found, "{query}:\nexpected {expected}\nfound    {found}");
    }
    // A pattern finds the merged parts, too.
    let glob = format!("{}/data/blocks/*/res=raw/*/*/samples.parquet", directory.path().display());
    let all = format!("SELECT (SELECT count(*) FROM read_parquet('{glob}')) > count(*) FROM files_raw_samples");
    let found = run(Command::new(&python).args(["-c", DUCKDB]).arg(&views).arg(&all))?;
    ensure!(found.trim() == "[[true]]", "no file of a merged block is left: {found}");
    Ok(())
}

/// The same with every number as a float.
fn numbers(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(numbers).collect()),
        Value::Number(number) => Value::from(number.as_f64()),
        other => other.clone(),
    }
}

#[tokio::test]
async fn a_server_lists_its_blocks_and_what_their_series_are_made_of() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let launch = Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &["--web.enable-admin-api"])?;
    let server = launch.start().await?;
    let mut body = RequestBody::default();
    push_step(&mut body, 1_700_000_000_000, 0);
    let url = format!("{}/api/v1/write", server.url);
    send_accepted(&reqwest::Client::new(), &url, body.take_compressed()).await?;
    flush(&server, true).await?;
    let api = Api::new(&server.url);
    let listed = api.get("/api/v1/status/tsdb/blocks", &[]).await?;
    let block = &listed["blocks"][0];
    let stats = serde_json::json!({"numSamples": 6, "numFloatSamples": 4, "numHistogramSamples": 2, "numSeries": 6});
    ensure!(block["stats"] == stats && block["compaction"]["level"] == 2, "{listed}");
    ensure!(block["minTime"] == 1_700_000_000_000_i64 && block["maxTime"] == 1_700_000_000_001_i64, "{listed}");
    let ulid = block["ulid"].as_str().context("no ulid")?;
    let tables = api.get(&format!("/api/v1/status/tsdb/blocks/{ulid}"), &[("limit", "2")]).await?;
    let expected = serde_json::json!([{"name": "c_total", "value": 2}, {"name": "g", "value": 2}]);
    ensure!(tables["seriesCountByMetricName"] == expected, "{tables}");
    ensure!(tables["seriesCountByLabelValuePair"][0]["name"] == "n=0", "{tables}");
    ensure!(api.get("/api/v1/status/tsdb/blocks/01M", &[]).await.is_err(), "there is no such block");
    Ok(())
}

#[tokio::test]
async fn a_deletion_can_be_tried_before_it_is_done() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let launch = Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &["--web.enable-admin-api"])?;
    let server = launch.start().await?;
    let client = reqwest::Client::new();
    for step in 0..20 {
        let mut body = RequestBody::default();
        push_step(&mut body, 1_700_000_000_000, step);
        send_accepted(&client, &format!("{}/api/v1/write", server.url), body.take_compressed()).await?;
        if step == 9 {
            flush(&server, false).await?;
        }
    }
    let url = format!("{}/api/v1/admin/tsdb/delete_series", server.url);
    let sets = [("match[]", "{n=\"0\"}"), ("match[]", "h"), ("end", "1700000900")];
    let delete = |more: &[(&str, &str)]| client.post(&url).form(&[&sets[..], more].concat()).send();
    // Of n="0" the counter and the gauge at 0 to 15 minutes and histograms at 0 and 10; of the other one, these histograms alone.
    let tried: Value = serde_json::from_str(&delete(&[("dry_run", "true")]).await?.text().await?)?;
    ensure!(tried["data"] == serde_json::json!({"series": 4, "samples": 36}), "{tried}");
    let all = "sum(count_over_time(c_total[1h])) + sum(count_over_time(g[1h])) \
               + (sum(count_over_time(h[1h])) or vector(0))";
    let count = async || Api::new(&server.url).instant(all, 1_700_002_000_000).await;
    let before = count().await?;
    ensure!(delete(&[]).await?.status() == 204, "not deleted");
    let samples = |answer: &Answer| answer.values().flatten().map(|(_, value)| *value).sum::<f64>();
    // A stale marker is no sample to PromQL.
    ensure!(samples(&before) - samples(&count().await?) == 35.0, "{before:?}");
    Ok(())
}
