use super::super::{Refused, Spanned, read_one};
use super::*;
use std::collections::BTreeMap;

type Texts = BTreeMap<String, Spanned<String>>;

/// The values of a map with their places.
fn read(text: &str) -> Result<Vec<(String, String)>, Refused> {
    let texts = read_one::<Texts>("f", text)?;
    Ok(texts.into_values().map(|text| (text.value, text.at.to_string())).collect())
}

#[track_caller]
fn reads(text: &str, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(value, at)| ((*value).to_owned(), (*at).to_owned())).collect();
    assert_eq!(read(text).as_ref(), Ok(&expected), "{text}");
}

#[test]
fn escaped_single_quotes_and_lone_dashes_are_read_and_what_follows_keeps_its_place() {
    reads(r#"{a: "it\'s \'b\'", c: d}"#, &[("it's 'b'", "1:5"), ("d", "1:23")]);
    reads(r#"{a: -, b: -, c: d}"#, &[("-", "1:5"), ("-", "1:11"), ("d", "1:17")]);
    reads(r#"{a: "\'", b: -, c: "\'", d: e}"#, &[("'", "1:5"), ("-", "1:14"), ("'", "1:20"), ("e", "1:29")]);
    reads("{ö: -, ü: \"ä\\'\",\r\n b: c, d: -}", &[("c", "2:5"), ("-", "2:11"), ("-", "1:5"), ("ä'", "1:11")]);
    reads("a: \"b\\'\n  c\\' \\\n  \\'d\\\\\"\nx: \"\\'y\" # \\'\n", &[("b' c' 'd\\", "1:4"), ("'y", "4:4")]);
    reads("{\"a\\'\":-,\"b\" :-}", &[("-", "1:8"), ("-", "1:15")]);
}

/// Only the scanner knows what is between double quotes, so what looks alike elsewhere stays.
#[test]
fn only_what_the_scanner_refuses_is_changed() {
    let texts =
        "a: \"\\'\"\nb: 'x\\'\nc: |\n  \"\\'\" {-}\nd: x\\'\ne: x \"\\'\" # \"\\'\"\nf: \"\\\\'\"\ng: \"\\\"\\'\"\n";
    let values = read(texts).unwrap().into_iter().map(|(value, _)| value).collect::<Vec<_>>();
    assert_eq!(values, ["'", "x\\", "\"\\'\" {-}\n", "x\\'", "x \"\\'\"", "\\'", "\"'"]);
}

#[test]
fn what_go_refuses_as_well_is_refused() {
    for text in ["{a: - }", "{a: -\n}", "{a: - b}", "{a: -[b]}", "{a: -{b: c}}", "a: -", "a: \"\\'\\q\"", "a: \"\\'"] {
        assert!(read(text).is_err(), "{text}");
    }
}

/// Messages and excerpts are about the text as it was written.
#[test]
fn errors_after_a_mended_place_have_the_place_and_the_text_of_the_file() {
    let (at, message) = read("x: y\na: {b: \"it\\'s\", c: -, d: [}\n").unwrap_err();
    assert_eq!(at, Some(Place { line: 2, column: 4 }), "a map is no text: {message}");
    let (at, message) = read_one::<BTreeMap<String, u64>>("f", "{\"it\\'s\": 1, b: x}").unwrap_err();
    assert_eq!(at, Some(Place { line: 1, column: 17 }), "{message}");
    assert_eq!(message, "invalid u64\n --> f:1:17\n  |\n1 | {\"it\\'s\": 1, b: x}\n  |                 ^");
}

/// Every mended place is one more scan up to there, so many of them in a large file would take the square of its size.
#[test]
fn a_file_full_of_them_is_mended_or_refused_in_bounded_time() {
    let text = format!("a: \"{}\"\n", "\\'".repeat(100_000));
    assert_eq!(read(&text).unwrap()[0].0.len(), 100_000, "those of one text are one place");
    let text = "- \"\\'\"\n".repeat(1_000);
    let error = serde_yaml::from_str::<IgnoredAny>(&text).unwrap_err();
    let mended = |bytes_max| mend_within(&text, &error, bytes_max);
    assert_eq!(mended(SCANNED_BYTES_MAX).unwrap().unwrap().text, "- \"'\"\n".repeat(1_000));
    let (at, message) = mended(6 * 100 * 101 / 2 + 100 * (7_000 / MOVED_BYTES_PER_SCANNED)).unwrap_err();
    assert_eq!((at.line, at.column), (101, 3), "{message}");
    let text = format!("{text}# {}\n", "x".repeat(256_000));
    let (at, message) = mend_within(&text, &error, 6 * 100 * 101 / 2).unwrap_err();
    assert_eq!((at.line, at.column), (29, 3), "what is moved counts: {message}");
}
