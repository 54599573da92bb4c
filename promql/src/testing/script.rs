//! Reads test files into commands.

use super::notation::{Item, parse_quoted, parse_series, parse_starts};
use model::labels::Labels;
use model::regex::Regex;

/// Why a test file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScriptError {
    /// From 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// A command of a test file.
#[derive(Debug, Clone)]
pub enum Command {
    /// Drops all data.
    Clear,
    /// Adds series.
    Load(Load),
    /// Runs a query.
    Eval(Box<Eval>),
}

/// Series to add.
#[derive(Debug, Clone)]
pub struct Load {
    /// Line of the command, from 1.
    pub(crate) line: usize,
    pub(crate) step_ms: i64,
    pub(crate) series: Vec<(Labels, Vec<Item>)>,
    /// Per series with start timestamps: how far from each item's time.
    pub(crate) starts: Vec<(Labels, Vec<Option<i64>>)>,
    /// Classic histograms are also stored as native ones with custom buckets.
    pub(crate) with_custom_buckets: bool,
}

/// A query and what it is to return.
#[derive(Debug, Clone)]
pub struct Eval {
    /// Line of the command, from 1.
    pub line: usize,
    /// The query.
    pub expression: String,
    pub(crate) times: Times,
    pub(crate) expect: Expect,
}

/// When a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    Instant { at_ms: i64 },
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// What a query is to return.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expect {
    /// Must fail; how the message looks.
    pub(crate) fail: Option<Pattern>,
    pub(crate) warnings: Vec<Pattern>,
    pub(crate) infos: Vec<Pattern>,
    pub(crate) no_warnings: bool,
    pub(crate) no_infos: bool,
    pub(crate) ordered: bool,
    pub(crate) string: Option<String>,
    /// Times of the values of a range vector: first, last, step.
    pub(crate) range_vector: Option<(i64, i64, i64)>,
    pub(crate) scalar: Option<f64>,
    pub(crate) series: Vec<(Labels, Vec<Item>)>,
}

/// How a message is to look.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    Anything,
    Equal(String),
    Contains(Regex),
}

impl Pattern {
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Equal(expected) => expected == text,
            Self::Contains(regex) => regex.is_match(text),
        }
    }

    /// Reads ` msg: TEXT` or ` regex: RE` after a keyword.
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            Ok(Self::Anything)
        } else if let Some(message) = text.strip_prefix("msg:") {
            Ok(Self::Equal(message.trim().to_owned()))
        } else if let Some(pattern) = text.strip_prefix("regex:") {
            let unanchored = format!(".*(?:{}).*", pattern.trim());
            Regex::new(&unanchored).map(Self::Contains).map_err(|error| error.to_string())
        } else {
            Err(format!("`{text}` is no expectation"))
        }
    }
}

/// Reads a test file.
///
/// # Errors
/// The first line that is not of the language.
pub fn parse(text: &str) -> Result<Vec<Command>, ScriptError> {
    let lines: Vec<&str> =
        text.split('\n').map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let start = at;
        at += 1;
        if line.is_empty() {
            continue;
        }
        let first = line.split(char::is_whitespace).next().unwrap_or_default();
        let word = first.to_lowercase();
        let fail = |line: usize, reason: String| ScriptError { line: line + 1, reason };
        if word == "clear" {
            commands.push(Command::Clear);
            continue;
        }
        let block_end = lines[at..].iter().position(|line| line.is_empty()).map_or(lines.len(), |n| at + n);
        let block: Vec<(usize, &str)> = (at..block_end).map(|i| (i, lines[i])).collect();
        at = block_end;
        let command = format!("{word}{}", &line[first.len()..]);
        let command = if word.starts_with("load") {
            parse_load(&command, start + 1, &block).map(Command::Load)
        } else if word.starts_with("eval") {
            parse_eval(&command, start + 1, &block).map(|eval| Command::Eval(Box::new(eval)))
        } else {
            Err((start, format!("unknown command `{word}`")))
        };
        commands.push(command.map_err(|(line, reason)| fail(if line == usize::MAX { start } else { line }, reason))?);
    }
    Ok(commands)
}

/// A line (from 0; `usize::MAX` for that of the command) and what is wrong there.
type Refusal = (usize, String);

fn duration(text: &str) -> Result<i64, Refusal> {
    model::time::parse_duration(text).map_err(|error| (usize::MAX, error.to_string()))
}

fn parse_load(line: &str, number: usize, block: &[(usize, &str)]) -> Result<Load, Refusal> {
    let (word, step) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let with_custom_buckets = match word {
        "load" => false,
        "load_with_nhcb" => true,
        _ => return Err((usize::MAX, format!("unknown command `{word}`"))),
    };
    let step_ms = duration(step.trim())?;
    let mut series: Vec<(Labels, Vec<Item>)> = Vec::new();
    let mut starts: Vec<(Labels, Vec<Option<i64>>)> = Vec::new();
    let mut pending: Option<(Labels, Vec<Option<i64>>)> = None;
    for (at, line) in block {
        let first = line.split(char::is_whitespace).next().unwrap_or_default();
        if first.ends_with("@st") {
            pending = Some(parse_starts(line).map_err(|reason| (*at, reason))?);
            continue;
        }
        let (labels, items) = parse_series(line).map_err(|reason| (*at, reason))?;
        series.retain(|(known, _)| *known != labels);
        starts.retain(|(known, _)| *known != labels);
        if let Some((of, offsets)) = pending.take() {
            if of != labels || offsets.len() != items.len() {
                return Err((*at, "does not fit the start timestamps above it".to_owned()));
            }
            starts.push((of, offsets));
        }
        series.push((labels, items));
    }
    Ok(Load { line: number, step_ms, series, starts, with_custom_buckets })
}

fn parse_eval(line: &str, number: usize, block: &[(usize, &str)]) -> Result<Eval, Refusal> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim_start();
    let bad = || (usize::MAX, format!("`{line}` is no eval command"));
    let (times, expression) = if let Some(rest) = rest.strip_prefix("instant") {
        let rest = rest.trim_start().strip_prefix("at").ok_or_else(bad)?.trim_start();
        let (at, expression) = rest.split_once(char::is_whitespace).ok_or_else(bad)?;
        (Times::Instant { at_ms: duration(at)? }, expression)
    } else {
        let rest = rest.strip_prefix("range").ok_or_else(bad)?.trim_start();
        parse_range(rest).ok_or_else(bad)??
    };
    let mut expect = Expect::default();
    match word.strip_prefix("eval").ok_or_else(bad)? {
        "" => {}
        "_fail" => expect.fail = Some(Pattern::Anything),
        "_warn" => expect.warnings.push(Pattern::Anything),
        "_info" => expect.infos.push(Pattern::Anything),
        "_ordered" => expect.ordered = true,
        _ => return Err(bad()),
    }
    for (at, line) in block {
        let done = parse_expectation(line, &mut expect).map_err(|reason| (*at, reason))?;
        if done {
            break;
        }
    }
    Ok(Eval { line: number, expression: expression.trim().to_owned(), times, expect })
}

/// `from A to B step C expression`; A and B may hold blanks in principle, C may not.
fn parse_range(rest: &str) -> Option<Result<(Times, &str), Refusal>> {
    let rest = rest.strip_prefix("from")?.trim_start();
    let (start, rest) = rest.split_once(" to ")?;
    let (end, rest) = rest.split_once(" step ")?;
    let (step, expression) = rest.trim_start().split_once(char::is_whitespace)?;
    let times = || {
        let (start_ms, end_ms) = (duration(start.trim())?, duration(end.trim())?);
        if end_ms < start_ms {
            return Err((usize::MAX, "the range ends before it starts".to_owned()));
        }
        Ok((Times::Range { start_ms, end_ms, step_ms: duration(step)? }, expression))
    };
    Some(times())
}

/// Reads one line below an eval command; whether it ends the block.
fn parse_expectation(line: &str, expect: &mut Expect) -> Result<bool, String> {
    if let Some(rest) = line.strip_prefix("expect range vector") {
        let (times, _) =
            parse_range(&format!("{} x", rest.trim_start())).ok_or("no range")?.map_err(|(_, reason)| reason)?;
        if let Times::Range { start_ms, end_ms, step_ms } = times {
            expect.range_vector = Some((start_ms, end_ms, step_ms));
        }
        return Ok(false);
    }
    if let Some(rest) = line.strip_prefix("expect string ") {
        expect.string = Some(parse_quoted(rest)?.0);
        return Ok(false);
    }
    if let Some(rest) = line.strip_prefix("expect ") {
        let (kind, pattern) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
        match kind {
            "fail" => expect.fail = Some(Pattern::parse(pattern)?),
            "warn" => expect.warnings.push(Pattern::parse(pattern)?),
            "info" => expect.infos.push(Pattern::parse(pattern)?),
            "no_warn" => expect.no_warnings = true,
            "no_info" => expect.no_infos = true,
            "ordered" => expect.ordered = true,
            _ => return Err(format!("unknown expectation `{kind}`")),
        }
        return Ok(false);
    }
    if expect.fail.is_some() {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            expect.fail = Some(Pattern::parse(&format!(" msg:{text}"))?);
            return Ok(true);
        }
        if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            expect.fail = Some(Pattern::parse(&format!(" regex:{}", pattern.trim()))?);
            return Ok(true);
        }
    }
    if let Some(number) = parse_number(line) {
        expect.scalar = Some(number);
        return Ok(true);
    }
    let (labels, items) = parse_series(line)?;
    expect.series.push((labels, items));
    Ok(false)
}

/// An integer in any of Go's notations, or a float.
fn parse_number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let integer = |digits: &str, radix| i64::from_str_radix(&digits.replace('_', ""), radix).ok();
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0b", 2), ("0B", 2), ("0o", 8), ("0O", 8), ("0", 8)] {
        let Some(digits) = unsigned.strip_prefix(prefix).filter(|digits| !digits.starts_with(['+', '-'])) else {
            continue;
        };
        if let Some(value) = integer(digits, radix) {
            return Some(sign * value as f64);
        }
    }
    let is_number = unsigned.starts_with(|c: char| c.is_ascii_digit());
    if is_number { text.replace('_', "").parse().ok() } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_follow_each_other() {
        let text = "clear\nload 5m\n  x 1 2\n# gone\n\neval instant at 50m x + 1\n  expect warn msg: odd (1:1)\n  {} 1\n\n\
                    eval_fail range from 0 to 1h step 5m y\n";
        let commands = parse(text).expect("a script");
        assert_eq!(commands.len(), 4);
        let Command::Eval(eval) = &commands[2] else { panic!("an eval") };
        assert_eq!((eval.line, eval.expression.as_str()), (6, "x + 1"));
        assert!(eval.expect.warnings[0].matches("odd (1:1)") && eval.expect.series.len() == 1);
    }

    #[test]
    fn numbers_are_those_of_go() {
        let cases = [("0x1F", 31.0), ("-0b11", -3.0), ("0O17", 15.0), ("010", 8.0), ("1_000", 1000.0), ("0", 0.0)];
        for (text, value) in cases.into_iter().chain([("0.5", 0.5), ("-1e3", -1000.0), ("+Inf", f64::INFINITY)]) {
            assert_eq!(parse_number(text), Some(value), "{text}");
        }
        assert!(parse_number("-0").is_some_and(f64::is_sign_negative) && parse_number("NaN").is_some_and(f64::is_nan));
        assert_eq!([parse_number("x"), parse_number("0x"), parse_number("0x-1"), parse_number("{}")], [None; 4]);
    }

    #[test]
    fn failures_may_be_described_below_the_old_command() {
        let fail = |lines: &str| {
            let commands = parse(&format!("eval_fail instant at 1m x\n{lines}")).expect("a script");
            let Some(Command::Eval(eval)) = commands.into_iter().next() else { panic!("an eval") };
            eval.expect.fail.expect("a failure")
        };
        let message = fail("  expected_fail_message it is so\n");
        assert!(message.matches("it is so") && !message.matches("it is so not"));
        let pattern = fail("  expected_fail_regexp i[st] so$\n");
        assert!(pattern.matches("it is so") && !pattern.matches("so it is"));
        assert!(fail("").matches("anything"));
    }

    #[test]
    fn commands_may_be_in_capitals() {
        let text = "LOAD 5m\n  X 1\n\nEval instant at 0m X\n  X 1\n\nCLEAR\n";
        assert_eq!(parse(text).expect("a script").len(), 3);
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(parse("\n\nfoo bar").expect_err("unknown").line, 3);
        assert_eq!(parse("load 5m\n x 1\n x{ 1").expect_err("a brace").line, 3);
        assert_eq!(parse("\neval instant at 5q x").expect_err("a unit").line, 2);
    }
}
