//! Hostile queries over HTTP: each is answered or refused within its budget, in bounded time and memory, and whoever asks
//! something small meanwhile gets the right answer.

use anyhow::{Context, bail, ensure};
use compat_tests::api::{Api, seconds};
use compat_tests::peer::{Launch, Server};
use compat_tests::remote_write::{RequestBody, encode_labels, send};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BASE_MS: i64 = 1_700_000_000_000;
const SERIES: usize = 100_000;
const METRICS: usize = 100;
/// Longest time of a query, as the server is told.
const TIMEOUT_S: u64 = 20;
/// What a query may hold, as the server is told.
const QUERY_BYTES_MAX: u64 = 256 << 20;
/// What the process may grow by while one such query runs: parsed texts and compiled expressions count as well, and what
/// was freed is given back a little later.
const GROWTH_BYTES_MAX: u64 = 2 * QUERY_BYTES_MAX;

/// What is asked, and what has to come of it.
struct Hostile {
    name: &'static str,
    path: &'static str,
    parameters: Vec<(&'static str, String)>,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Answered,
    /// The status, and a part of the message.
    Refused(u16, &'static str),
    /// Answered, or refused because it takes too long on this machine.
    AnsweredInTime,
}

use Outcome::{Answered, AnsweredInTime, Refused};

fn instant(name: &'static str, query: impl Into<String>, outcome: Outcome) -> Hostile {
    let parameters = vec![("query", query.into()), ("time", seconds(BASE_MS + 20_000))];
    Hostile { name, path: "/api/v1/query", parameters, outcome }
}

fn range(name: &'static str, query: &str, (start, end, step): (i64, i64, &str), outcome: Outcome) -> Hostile {
    let parameters =
        vec![("query", query.into()), ("start", seconds(start)), ("end", seconds(end)), ("step", step.into())];
    Hostile { name, path: "/api/v1/query_range", parameters, outcome }
}

/// Texts that are large or deep.
fn texts() -> Vec<Hostile> {
    const MEBIBYTE: usize = 1 << 20;
    let many_or = vec!["m0"; MEBIBYTE / 6].join(" or ");
    let nested = |count| format!("{}m0{}", "(".repeat(count), ")".repeat(count));
    let value = |length| format!("m0{{x=\"{}\"}}", "v".repeat(length));
    vec![
        instant("10,000 parentheses", nested(10_000), Refused(400, "nests deeper than 200 parentheses")),
        instant("as many as there may be", nested(200), Answered),
        instant("nested calls", "abs(".repeat(200) + "m0" + &")".repeat(200), Answered),
        instant("signs", "-".repeat(MEBIBYTE - 2) + "m0", Refused(400, "more than 1000 operators")),
        instant("a mebibyte of or", many_or.clone(), Refused(400, "more than 1000 operators")),
        instant("as many or as there may be", vec!["m0"; 1001].join(" or "), Answered),
        instant("a label value of a mebibyte", value(MEBIBYTE - 10), Answered),
        instant("one that is too long", value(MEBIBYTE), Refused(400, "longer than 1048576 bytes")),
        instant("an expression of a mebibyte", value(MEBIBYTE - 20).replace('=', "=~"), Refused(400, "")),
        Hostile {
            path: "/api/v1/format_query",
            ..instant("a mebibyte of or to be printed", many_or, Refused(400, "more than 1000 operators"))
        },
    ]
}

/// Regular expressions that explode elsewhere. Each series has a label of its own that begins with forty `a` and a `!`.
fn expressions() -> Vec<Hostile> {
    let all = |pattern: &str| format!("count({{__name__=~\"m.*\", a=~\"{pattern}\"}})");
    let many = |pattern: &str, count| format!("m0{{{}}}", format!("a=~\"{pattern}\",").repeat(count));
    vec![
        instant("(a+)+$", all("(a+)+$"), Answered),
        instant("(a|aa)+", all("(a|aa)+!?b"), Answered),
        instant("(a*)*", format!("count({{__name__=~\"m.*\", a!~\"{}b\"}})", "(a*)*".repeat(20)), Answered),
        instant("(.*)(.*)(.*)", all(&("(.*)".repeat(100) + "x")), Answered),
        instant(".{1000}{1000}", all(".{1000}{1000}"), Refused(400, "")),
        instant("((a{30}){30}){30}", all("((a{30}){30}){30}"), Refused(400, "")),
        instant(".{1000}", all(".{1000}"), Answered),
        instant(
            "hundreds of .{1000}",
            many(".{1000}", 400),
            Refused(400, "regular expressions of the query need more"),
        ),
        instant(
            "((a+)+)+ in label_replace",
            "count(label_replace({__name__=~\"m.*\"}, \"to\", \"$1\", \"a\", \"((a+)+)+!.*\"))",
            Answered,
        ),
    ]
}

/// Durations, times and grids without measure.
fn times() -> Vec<Hostile> {
    const TEN_YEARS_MS: i64 = 10 * 365 * 86_400_000;
    let decade = (BASE_MS - TEN_YEARS_MS, BASE_MS, "0.001");
    vec![
        instant("[1e300]", "rate(m0[1e300])", Refused(400, "duration out of range")),
        instant("offset 1e300", "m0 offset 1e300", Refused(400, "duration out of range")),
        instant("@ 1e300", "m0 @ 1e300", Refused(400, "")),
        instant("[5m:1e300]", "rate(m0[5m:1e300])", Refused(400, "duration out of range")),
        instant("[0]", "rate(m0[0])", Refused(400, "duration must be greater than 0")),
        instant("[290y]", "count(rate(m0[290y] offset -290y))", Answered),
        range("steps of 1 ms over ten years", "m0", decade, Refused(400, "exceeded maximum resolution")),
        range("a step of nothing", "m0", (BASE_MS, BASE_MS, "1e-300"), Refused(400, "")),
        range("a step of 1e300", "m0", (BASE_MS, BASE_MS, "1e300"), Refused(400, "")),
        instant("a subquery of 1 ms over ten years", "sum_over_time(m0[10y:1ms])", Refused(422, "too many samples")),
        instant("a subquery as the result", "vector(1)[10y:1ms]", Refused(422, "too many samples")),
        instant(
            "subqueries in subqueries",
            format!("{}m0{}", "max_over_time(".repeat(40), "[50d:1s])".repeat(40)),
            Refused(422, ""),
        ),
        range(
            "a day of seconds at each of 11,000 steps",
            "quantile_over_time(0.5, vector(1)[1d:1s])",
            (BASE_MS, BASE_MS + 10_999_000, "1"),
            AnsweredInTime,
        ),
    ]
}

/// Everything there is, in every form.
fn selections() -> Vec<Hostile> {
    const EVERYTHING: &str = "{__name__=~\".+\"}";
    let eleven_thousand = (BASE_MS, BASE_MS + 10_999_000, "1");
    let everything = |form: &str| form.replace("ALL", EVERYTHING);
    let mut cases = vec![
        instant("everything", EVERYTHING, Answered),
        instant("everything counted", everything("count(ALL)"), Answered),
        instant("everything sorted", everything("count(sort(topk(100000, ALL)))"), Answered),
        instant("everything by value", everything("count_values(\"v\", ALL)"), Answered),
        instant("everything with everything", everything("count(ALL + ALL)"), Answered),
        instant(
            "everything with each of everything",
            everything("ALL + on (__name__) ALL"),
            Refused(422, "duplicate series"),
        ),
        instant("everything and everything", everything("count(ALL and ALL or ALL unless ALL)"), Answered),
        range("everything at 11,000 steps", EVERYTHING, eleven_thousand, Refused(422, "")),
        range("everything joined", &everything("ALL and ALL"), eleven_thousand, Refused(422, "")),
        range("everything summed", &everything("sum(ALL)"), eleven_thousand, AnsweredInTime),
        range("everything in groups", &everything("count by (i) (ALL)"), eleven_thousand, Refused(422, "")),
        instant("everything again and again", everything(&vec!["count(ALL)"; 100].join(" + ")), Answered),
    ];
    for path in ["/api/v1/series", "/api/v1/labels"] {
        let parameters = vec![("match[]", EVERYTHING.to_owned()), ("start", seconds(BASE_MS)), ("limit", "0".into())];
        cases.push(Hostile { name: "everything looked up", path, parameters, outcome: Answered });
    }
    cases
}

/// Writes the series, two samples each.
async fn fill(client: &reqwest::Client, server: &Server) -> anyhow::Result<()> {
    let url = format!("{}/api/v1/write", server.url);
    let mut body = RequestBody::default();
    for first in (0..SERIES).step_by(5_000) {
        for time_ms in [BASE_MS, BASE_MS + 15_000] {
            for i in first..first + 5_000 {
                let (name, number) = (format!("m{}", i % METRICS), i.to_string());
                let long = format!("{}!{i}", "a".repeat(40));
                let labels = encode_labels(&[("__name__", &name), ("a", &long), ("i", &number)]);
                body.push(&labels, time_ms, i as f64);
            }
        }
        let (status, text) = send(client, &url, body.take_compressed()).await?;
        ensure!((200..300).contains(&status), "{status}: {text}");
    }
    Ok(())
}

/// Asks for little again and again until told to stop; returns how often, and the longest time that an answer took.
async fn neighbour(url: String, stop: Arc<AtomicBool>) -> anyhow::Result<(usize, Duration)> {
    let api = Api::new(&url);
    let (mut asked, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        let answer = api.instant("sum(m7{i=~\"7|107|207\"})", BASE_MS + 20_000).await.context("a small query")?;
        ensure!(answer.values().eq([&vec![(BASE_MS + 20_000, 321.0)]]), "{answer:?}");
        asked += 1;
        longest = longest.max(started.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((asked, longest))
}

/// Asks, checks what comes of it, and returns how long it took.
async fn attack(client: &reqwest::Client, server: &Server, hostile: &Hostile) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let request = client.post(format!("{}{}", server.url, hostile.path)).form(&hostile.parameters);
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let text = answer.text().await?;
    let start: String = text.chars().take(300).collect();
    match hostile.outcome {
        Answered => ensure!(status == 200, "{status}: {start}"),
        Refused(expected, message) => ensure!(status == expected && text.contains(message), "{status}: {start}"),
        AnsweredInTime if status == 200 => {}
        AnsweredInTime => ensure!(status == 503 && text.contains("timed out"), "{status}: {start}"),
    }
    // Half a second for the end of an evaluation, and what a busy machine needs to send an answer.
    ensure!(started.elapsed() < Duration::from_secs(TIMEOUT_S + 20), "it took {:?}", started.elapsed());
    Ok(started.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_queries_harm_nobody() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let limits = [
        format!("--query.timeout={TIMEOUT_S}s"),
        format!("--query.max-bytes={QUERY_BYTES_MAX}"),
        "--query.max-samples=20000000".to_owned(),
    ];
    let limits: Vec<&str> = limits.iter().map(String::as_str).collect();
    let server = Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &limits)?.start().await?;
    let client = reqwest::Client::new();
    fill(&client, &server).await?;
    let (stop, loaded_bytes) = (Arc::new(AtomicBool::new(false)), server.resident_bytes().0);
    let neighbour = tokio::spawn(neighbour(server.url.clone(), Arc::clone(&stop)));
    let mut failures = Vec::new();
    for hostile in [texts(), expressions(), times(), selections()].into_iter().flatten() {
        match attack(&client, &server, &hostile).await {
            Ok(time) => println!("{}: {time:?}", hostile.name),
            Err(error) => failures.push(format!("{}: {error:#}", hostile.name)),
        }
        if neighbour.is_finished() {
            bail!("{} harmed a small query: {:?}", hostile.name, neighbour.await);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (asked, longest) = neighbour.await??;
    let peak_bytes = server.resident_bytes().1;
    println!(
        "{asked} small queries, {longest:?} at most; {} MiB, {} MiB at most",
        loaded_bytes >> 20,
        peak_bytes >> 20
    );
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    ensure!(longest < Duration::from_secs(TIMEOUT_S / 2), "a small query took {longest:?}");
    ensure!(peak_bytes < loaded_bytes + GROWTH_BYTES_MAX, "{loaded_bytes} bytes grew to {peak_bytes}");
    ensure!(server.terminate()?, "it did not end well");
    Ok(())
}
