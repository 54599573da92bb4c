use super::*;

fn kinds(input: &str) -> Vec<Kind> {
    tokens(input).list.into_iter().map(|token| token.kind).collect()
}

#[test]
fn trim_markers_take_the_blanks_of_the_text_around() {
    let tokens = tokens("a \n{{- 1 -}}\t b");
    let texts: Vec<_> = tokens.list.iter().map(|t| t.text).collect();
    assert_eq!(texts, ["a", "{{", "1", "}}", "b", ""]);
}

#[test]
fn a_dash_without_a_blank_is_a_sign() {
    assert_eq!(kinds("{{-3}}"), [Kind::LeftDelimiter, Kind::Number, Kind::RightDelimiter, Kind::Eof]);
}

#[test]
fn comments_vanish_and_may_trim() {
    let tokens = tokens("x {{- /* }} */ -}} y");
    let texts: Vec<_> = tokens.list.iter().map(|t| t.text).collect();
    assert_eq!(texts, ["x", "y", ""]);
}

#[test]
fn tokens_know_their_line_and_offset() {
    let tokens = tokens("a\n{{ `x\ny`\n.b }}");
    let places: Vec<_> = tokens.list.iter().map(|t| (t.text, t.line, t.position)).collect();
    let expected = [("a\n", 1, 0), ("{{", 2, 2), (" ", 2, 4), ("`x\ny`", 2, 5), ("\n", 3, 10), (".b", 4, 11)];
    assert_eq!(places.get(..6), Some(expected.as_slice()));
}

#[test]
fn broken_actions_end_in_an_error_token() {
    let cases = [
        ("{{", "unclosed action"),
        ("{{(}}", "unclosed left paren"),
        ("{{)}}", "unexpected right paren"),
        ("{{\"}}", "unterminated quoted string"),
        ("{{`}}", "unterminated raw quoted string"),
        ("{{'}}", "unterminated character constant"),
        ("{{/*}}", "unclosed comment"),
        ("{{/* */ }}", "comment ends before closing delimiter"),
        ("{{3k}}", "bad number syntax: \"3k\""),
        ("{{$x+2}}", "bad character U+002B '+'"),
        ("{{\u{a0}}}", "unrecognized character in action: U+00A0"),
        ("{{a:b}}", "expected :="),
    ];
    for (input, message) in cases {
        let tokens = tokens(input);
        assert_eq!(tokens.error.as_deref(), Some(message), "{input}");
        assert_eq!(tokens.list.last().map(|token| token.kind), Some(Kind::Error), "{input}");
    }
}
