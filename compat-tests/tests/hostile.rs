//! Hostile requests over HTTP: each is answered or refused within its budget, in bounded time and memory, one after the other
//! and all at once, and whoever asks or writes something small meanwhile is served as ever.
//!
//! `HEARTH_HOSTILE_SERIES=1000000` asks them of so many series; 100,000 otherwise.

use anyhow::{Context, bail, ensure};
use compat_tests::api::{Api, seconds};
use compat_tests::peer::{Launch, Server};
use compat_tests::remote_read::{self, ResponseType};
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
    ask: Ask,
    outcome: Outcome,
}

enum Ask {
    Form(Vec<(&'static str, String)>),
    /// The same, where only GET will do.
    Url(Vec<(&'static str, String)>),
    /// A request of remote read.
    Read(Vec<u8>),
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
    let ask = Ask::Form(vec![("query", query.into()), ("time", seconds(BASE_MS + 20_000))]);
    Hostile { name, path: "/api/v1/query", ask, outcome }
}

fn range(name: &'static str, query: &str, (start, end, step): (i64, i64, &str), outcome: Outcome) -> Hostile {
    let parameters =
        vec![("query", query.into()), ("start", seconds(start)), ("end", seconds(end)), ("step", step.into())];
    Hostile { name, path: "/api/v1/query_range", ask: Ask::Form(parameters), outcome }
}

/// A look-up with selectors.
fn lookup(name: &'static str, path: &'static str, selectors: &[String], outcome: Outcome) -> Hostile {
    let selectors = selectors.iter().map(|selector| ("match[]", selector.clone()));
    let parameters = selectors.chain([("start", seconds(BASE_MS))]).collect();
    let is_form = matches!(path, "/api/v1/series" | "/api/v1/labels");
    Hostile { name, path, ask: if is_form { Ask::Form(parameters) } else { Ask::Url(parameters) }, outcome }
}

/// A remote read of the series whose names and labels `a` match.
fn read(name: &'static str, (metric, a): (&str, &[&str]), accepted: ResponseType, outcome: Outcome) -> Hostile {
    let regexes: Vec<_> = [("__name__", metric)].into_iter().chain(a.iter().map(|a| ("a", *a))).collect();
    let ask = Ask::Read(remote_read::request_where(&regexes, BASE_MS, BASE_MS + 20_000, accepted));
    Hostile { name, path: "/api/v1/read", ask, outcome }
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
        instant("as many or as there may be", vec!["m0"; 1001].join(" or "), AnsweredInTime),
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

/// The same where there is no query around them.
fn expressions_elsewhere() -> Vec<Hostile> {
    use ResponseType::{Samples, StreamedChunks};
    const REPEATED: &str = "(a+)+b";
    const HUGE: &str = ".{1000}{1000}";
    const LARGE: &str = ".{1000}";
    let selector = |pattern: &str| format!("{{__name__=~\"m.*\", a=~\"{pattern}\"}}");
    let many = vec![selector(LARGE); 400];
    let mut cases = Vec::new();
    for path in ["/api/v1/series", "/api/v1/labels", "/api/v1/label/i/values", "/federate"] {
        cases.push(lookup("match[]=(a+)+b", path, &[selector(REPEATED)], Answered));
        cases.push(lookup("match[]=(a*)*…", path, &[selector(&("(a*)*".repeat(20) + "b"))], Answered));
        cases.push(lookup("match[]=.{1000}{1000}", path, &[selector(HUGE)], Refused(400, "")));
        cases.push(lookup("hundreds of match[]=.{1000}", path, &many, Refused(400, "regular expressions need more")));
    }
    let exemplars = lookup("exemplars of (a+)+b", "/api/v1/query_exemplars", &[], Answered);
    let parameters = vec![("query", selector(REPEATED)), ("start", seconds(BASE_MS)), ("end", seconds(BASE_MS))];
    cases.push(Hostile { ask: Ask::Url(parameters), ..exemplars });
    for accepted in [Samples, StreamedChunks] {
        cases.push(read("a read of (a+)+b", ("m.*", &[REPEATED]), accepted, Answered));
        cases.push(read("a read of (m|mm)+…", ("(m|mm|[0-9]|[0-9]+)+x", &[]), accepted, Answered));
        cases.push(read("a read of .{1000}{1000}", ("m.*", &[HUGE]), accepted, Refused(400, "")));
        cases.push(read(
            "a read of hundreds of .{1000}",
            ("m.*", &[LARGE; 400]),
            accepted,
            Refused(400, "bytes of regular expressions in one request"),
        ));
    }
    cases.push(read("a read of everything", (".+", &[]), StreamedChunks, Answered));
    cases
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
        cases.push(Hostile { name: "everything looked up", path, ask: Ask::Form(parameters), outcome: Answered });
    }
    cases
}

/// All of them, the cheap ones first.
fn everything() -> impl Iterator<Item = Hostile> {
    [texts(), expressions(), expressions_elsewhere(), times(), selections()].into_iter().flatten()
}

/// Writes so many series, two samples each.
async fn fill(client: &reqwest::Client, server: &Server, series: usize) -> anyhow::Result<()> {
    let url = format!("{}/api/v1/write", server.url);
    let mut body = RequestBody::default();
    for first in (0..series).step_by(5_000) {
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

/// Asks, and returns the status and the text of the answer.
async fn asked(client: &reqwest::Client, url: &str, hostile: &Hostile) -> anyhow::Result<(u16, String)> {
    let place = format!("{url}{}", hostile.path);
    let answer = match &hostile.ask {
        Ask::Form(parameters) => client.post(place).form(parameters).send().await?,
        Ask::Url(parameters) => client.get(place).query(parameters).send().await?,
        Ask::Read(body) => remote_read::post(client, url, body.clone()).await?,
    };
    let status = answer.status().as_u16();
    let bytes = answer.bytes().await?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// Asks, checks what comes of it, and returns how long it took.
async fn attack(
    client: &reqwest::Client,
    server: &Server,
    hostile: &Hostile,
    series: usize,
) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let (status, text) = asked(client, &server.url, hostile).await?;
    let start: String = text.chars().take(300).collect();
    match hostile.outcome {
        // Of so many series more does not fit the budget, or takes too long.
        Answered if series > SERIES && matches!(status, 422 | 503) => {}
        Answered => ensure!(status == 200, "{status}: {start}"),
        Refused(expected, message) => ensure!(status == expected && text.contains(message), "{status}: {start}"),
        AnsweredInTime if status == 200 => {}
        AnsweredInTime if series > SERIES && status == 422 && text.contains("selects more than") => {}
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
    let series = std::env::var("HEARTH_HOSTILE_SERIES").map_or(Ok(SERIES), |text| text.parse())?;
    fill(&client, &server, series).await?;
    let (stop, loaded_bytes) = (Arc::new(AtomicBool::new(false)), server.resident_bytes().0);
    let neighbour = tokio::spawn(neighbour(server.url.clone(), Arc::clone(&stop)));
    let mut failures = Vec::new();
    for hostile in everything() {
        match attack(&client, &server, &hostile, series).await {
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

/// Writes again and again until told to stop; returns how many samples were taken.
async fn writer(client: reqwest::Client, url: String, stop: Arc<AtomicBool>) -> anyhow::Result<usize> {
    let mut body = RequestBody::default();
    let (mut written, mut time_ms) = (0, BASE_MS);
    while !stop.load(Ordering::Relaxed) {
        for i in 0..50 {
            body.push(&encode_labels(&[("__name__", "written"), ("i", &i.to_string())]), time_ms, 1.0);
        }
        let (status, text) = send(&client, &format!("{url}/api/v1/write"), body.take_compressed()).await?;
        ensure!(status == 204, "{status}: {text}");
        (written, time_ms) = (written + 50, time_ms + 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(written)
}

/// Everything hostile at once, three times over, in front of a server with little room: memory stays within what so many
/// queries may hold, small queries are answered, and no sample that was taken is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_hostile_requests_harms_nobody() -> anyhow::Result<()> {
    const AT_ONCE: u64 = 4;
    const EACH_BYTES_MAX: u64 = 32 << 20;
    // What is held, as much again of texts, expressions and answers on their way, and what was freed a moment ago.
    const GROWTH_BYTES_MAX: u64 = 3 * AT_ONCE * EACH_BYTES_MAX;
    let directory = tempfile::tempdir()?;
    let limits = [
        format!("--query.max-bytes={EACH_BYTES_MAX}"),
        format!("--query.max-concurrency={AT_ONCE}"),
        "--query.timeout=5s".to_owned(),
        "--query.max-samples=2000000".to_owned(),
    ];
    let limits: Vec<&str> = limits.iter().map(String::as_str).collect();
    let server = Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &limits)?.start().await?;
    let client = reqwest::Client::new();
    fill(&client, &server, 10_000).await?;
    let (stop, loaded_bytes) = (Arc::new(AtomicBool::new(false)), server.resident_bytes().0);
    let neighbour = tokio::spawn(neighbour(server.url.clone(), Arc::clone(&stop)));
    let writer = tokio::spawn(writer(client.clone(), server.url.clone(), Arc::clone(&stop)));

    let mut burst = tokio::task::JoinSet::new();
    for hostile in (0..3).flat_map(|_| everything()) {
        let (client, url) = (client.clone(), server.url.clone());
        burst.spawn(async move {
            let is_read = matches!(hostile.ask, Ask::Read(_));
            let (status, text) = match asked(&client, &url, &hostile).await {
                // What is streamed can only be broken off when its time is over.
                Err(_) if is_read => return Ok(0),
                answer => answer.with_context(|| hostile.name)?,
            };
            // There is less room than when each comes alone, so what is answered there may be refused here.
            let known = matches!(status, 200 | 422 | 503) || matches!(hostile.outcome, Refused(..)) && status == 400;
            let known = known || status == 400 && is_read;
            ensure!(known, "{}: {status}: {}", hostile.name, text.chars().take(300).collect::<String>());
            Ok(status)
        });
    }
    let mut answers: std::collections::BTreeMap<u16, usize> = std::collections::BTreeMap::new();
    let mut failures = Vec::new();
    while let Some(ended) = burst.join_next().await {
        match ended? {
            Ok(status) => *answers.entry(status).or_default() += 1,
            Err(failure) => failures.push(format!("{failure:#}")),
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (asked, longest) = neighbour.await??;
    let written = writer.await??;
    let peak_bytes = server.resident_bytes().1;
    println!(
        "{answers:?}; {asked} small queries, {longest:?} at most; {written} samples written; {} MiB, {} MiB at most",
        loaded_bytes >> 20,
        peak_bytes >> 20
    );
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    // Two hundred requests share the processor with it, perhaps in a debug build.
    ensure!(longest < Duration::from_secs(TIMEOUT_S), "a small query took {longest:?}");
    let stored = Api::new(&server.url).instant("sum(count_over_time(written[1d]))", BASE_MS + 3_600_000).await?;
    ensure!(stored.values().eq([&vec![(BASE_MS + 3_600_000, written as f64)]]), "{written} samples: {stored:?}");
    ensure!(peak_bytes < loaded_bytes + GROWTH_BYTES_MAX, "{loaded_bytes} bytes grew to {peak_bytes}");
    ensure!(server.terminate()?, "it did not end well");
    Ok(())
}
