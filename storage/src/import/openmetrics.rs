//! OpenMetrics text whose samples have timestamps, read line by line.
//!
//! Format: <https://prometheus.io/docs/specs/om/open_metrics_spec/>. Nothing is imported of a text that has a mistake anywhere or
//! does not end with `# EOF`. Of metadata the type counts; exemplars are skipped.

mod line;

use super::room::Room;
use super::spool::{Spool, Spooled};
use super::{ImportError, TextError, Watch};
use line::{Families, Line};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// Longer lines are no text.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Bytes between two reports of progress.
const REPORT_BYTES: u64 = 1 << 20;

/// Reads a file; `directory` is for what does not fit into `room`.
///
/// # Errors
/// The file cannot be read, or is wrong somewhere.
pub fn open(path: &Path, directory: &Path, room: &Room, watch: &dyn Watch) -> Result<Spooled, ImportError> {
    let file = File::open(path).map_err(ImportError::io("open", path))?;
    let bytes = file.metadata().map_err(ImportError::io("look at", path))?.len();
    watch.begin("read", bytes);
    read(BufReader::with_capacity(256 << 10, file), path, Spool::new(directory, room), watch)
}

fn read(mut input: impl BufRead, path: &Path, mut spool: Spool, watch: &dyn Watch) -> Result<Spooled, ImportError> {
    let (mut line, mut digest, mut families) = (Vec::new(), Xxh3::new(), Families::default());
    let (mut number, mut unreported) = (0u64, 0u64);
    let fail = |line, column, problem: String| {
        Err(ImportError::Text { path: path.to_owned(), problem: TextError { line, column, problem } })
    };
    loop {
        line.clear();
        let limited = &mut (&mut input).take(LINE_BYTES_MAX);
        limited.read_until(b'\n', &mut line).map_err(ImportError::io("read", path))?;
        number += 1;
        if line.is_empty() {
            return fail(number, 1, "the text does not end with `# EOF`: is it complete?".to_owned());
        }
        digest.update(&line);
        unreported += line.len() as u64;
        if unreported >= REPORT_BYTES {
            watch.advance(unreported);
            unreported = 0;
        }
        let text = match std::str::from_utf8(&line) {
            Ok(text) => text.strip_suffix('\n').unwrap_or(text),
            Err(error) => {
                let good = line.get(..error.valid_up_to()).unwrap_or_default();
                let column = String::from_utf8_lossy(good).chars().count() as u64 + 1;
                return fail(number, column, "this is no UTF-8".to_owned());
            }
        };
        match line::parse(text, &mut families) {
            Ok(Line::Sample { labels, metric_type, timestamp_ms, value }) => {
                let series = spool.series(&labels, metric_type)?;
                spool.push(series, timestamp_ms, value)?;
            }
            Ok(Line::Other) => {}
            Ok(Line::End) => break,
            Err((column, problem)) => return fail(number, column, problem),
        }
    }
    let mut rest = Vec::new();
    (&mut input).take(1).read_to_end(&mut rest).map_err(ImportError::io("read", path))?;
    if !rest.is_empty() {
        return fail(number + 1, 1, "there is text behind `# EOF`".to_owned());
    }
    watch.advance(unreported);
    spool.finish(digest.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Source;
    use proptest::prelude::*;

    fn samples(text: &str, samples_max: usize) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path(), &Room::new(u64::MAX).with_samples(samples_max));
        let spooled = read(text.as_bytes(), Path::new("x"), spool, &()).map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        for day in spooled.days() {
            let each = &mut |series: &crate::import::ImportedSeries| {
                for (at, value) in series.floats.timestamps_ms.iter().zip(&series.floats.values) {
                    found.push(format!("{day} {} {} {at} {value}", series.labels, series.metric_type));
                }
                Ok(())
            };
            spooled.visit(day, each).unwrap();
        }
        Ok(found)
    }

    #[test]
    fn samples_come_by_day_and_series_and_time() {
        let text = "# TYPE b counter\n# HELP b Of b.\n# UNIT b seconds\nb_total{z=\"1\"} 2 86400.5\nb_total{z=\"1\"} 1 1.001 # {id=\"a\"} 1 1\n\
                    # TYPE a gauge\na{x=\"q\\\"\\\\\\n{}\"} -Inf 1e3\na 7 2\na 8 2\n# EOF\n";
        let expected = [
            r#"0 {__name__="a"} gauge 2000 7"#,
            r#"0 {__name__="a", x="q\"\\\n{}"} gauge 1000000 -inf"#,
            r#"0 {__name__="b_total", z="1"} counter 1001 1"#,
            r#"1 {__name__="b_total", z="1"} counter 86400500 2"#,
        ];
        for samples_max in [1, 2, 3, 100] {
            assert_eq!(samples(text, samples_max).unwrap(), expected, "{samples_max} in memory");
        }
    }

    #[test]
    fn a_mistake_is_named_with_line_and_column() {
        for (text, problem) in [
            ("a 1 1\nbä{ü=\"1\"} 1 1\n# EOF\n", "line 2, column 2: expected `{` or a blank after the name"),
            ("a{b=\"ä\" c=\"1\"} 1 1\n# EOF\n", "line 1, column 9: expected `,` or `}`"),
            ("a{b=1} 1 1\n# EOF\n", "line 1, column 5: expected `\"`"),
            ("a{b=\"c} 1 1\n# EOF\n", "line 1, column 6: this text has no end"),
            ("a x 1\n# EOF\n", "line 1, column 3: `x` is no number"),
            ("a 1\n# EOF\n", "line 1, column 4: the sample has no timestamp"),
            ("a 1 yesterday\n# EOF\n", "line 1, column 5: `yesterday` is no timestamp in seconds"),
            ("a 1 1700000000000\n# EOF\n", "line 1, column 5: `1700000000000` is no timestamp in seconds"),
            ("a 1 1 1\n# EOF\n", "line 1, column 7: expected the end of the line"),
            ("a{b=\"1\",b=\"2\"} 1 1\n# EOF\n", "line 1, column 1: label name \"b\" is not unique"),
            ("a 1 1\n", "line 2, column 1: the text does not end with `# EOF`: is it complete?"),
            ("# EOF\na 1 1\n", "line 2, column 1: there is text behind `# EOF`"),
        ] {
            assert_eq!(samples(text, 9).unwrap_err(), format!("x: {problem}"));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a{}=\",\\\\n 1#é\n.]{0,80}") {
            let _ = samples(&text, 2);
        }
    }
}
