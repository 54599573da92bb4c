use super::*;

/// The tokens as their texts, or the error with its offset.
fn cut(query: &str) -> Result<Vec<&str>, (u32, String)> {
    let tokens = tokenize(query, &ParseOptions::all());
    match tokens.error {
        Some(error) => Err((error.at, error.message)),
        None => {
            let (end, list) = tokens.list.split_last().expect("never empty");
            assert_eq!(end.kind, TokenKind::End);
            Ok(list.iter().map(|token| &query[token.span.start as usize..token.span.end as usize]).collect())
        }
    }
}

fn kinds(query: &str) -> Vec<TokenKind> {
    tokenize(query, &ParseOptions::all()).list.iter().map(|token| token.kind).collect()
}

#[test]
fn texts_are_cut_at_the_right_bytes() {
    let cases: [(&str, &[&str]); 12] = [
        ("", &[]),
        (" \t\r\n# only a comment", &[]),
        ("a+b # c\n-d", &["a", "+", "b", "-", "d"]),
        ("foo:bar{le=~\"é\",x!='y'}", &["foo:bar", "{", "le", "=~", "\"é\"", ",", "x", "!=", "'y'", "}"]),
        ("{`raw\n`, a!~\"\"}", &["{", "`raw\n`", ",", "a", "!~", "\"\"", "}"]),
        ("x[5m:1m]@-1.5e3", &["x", "[", "5m", ":", "1m", "]", "@", "-", "1.5e3"]),
        (
            "a</b>/c<=d>=e==f!=g<h>i",
            &["a", "</", "b", ">/", "c", "<=", "d", ">=", "e", "==", "f", "!=", "g", "<", "h", ">", "i"],
        ),
        ("x[1+(STep()-5)*2]", &["x", "[", "1", "+", "(", "STep", "(", ")", "-", "5", ")", "*", "2", "]"]),
        ("x[5m # why\n]", &["x", "[", "5m", "]"]),
        ("0x1F 1_000 .5 5. 1e-3 1h30m", &["0x1F", "1_000", ".5", "5.", "1e-3", "1h30m"]),
        ("sum by(le)(x)", &["sum", "by", "(", "le", ")", "(", "x", ")"]),
        ("{a=\"#}\"}#}", &["{", "a", "=", "\"#}\"", "}"]),
    ];
    for (query, expected) in cases {
        assert_eq!(cut(query).as_deref(), Ok(expected), "{query}");
    }
}

#[test]
fn words_are_keywords_in_any_case_but_not_in_braces() {
    assert_eq!(kinds("SuM"), [TokenKind::Aggregate(AggregateOp::Sum), TokenKind::End]);
    assert_eq!(kinds("iNf"), [TokenKind::Number, TokenKind::End]);
    assert_eq!(kinds("summ"), [TokenKind::Identifier, TokenKind::End]);
    assert_eq!(kinds(":a"), [TokenKind::MetricIdentifier, TokenKind::End]);
    assert_eq!(kinds("{sum")[1], TokenKind::Identifier);
}

#[test]
fn fill_is_a_modifier_only_before_a_parenthesis() {
    assert_eq!(kinds("fill \n(")[0], TokenKind::Keyword(Keyword::Fill));
    assert_eq!(
        kinds("fill + fill_left"),
        [TokenKind::Identifier, TokenKind::Operator(BinaryOp::Add), TokenKind::Identifier, TokenKind::End]
    );
}

#[test]
fn what_cannot_be_cut_is_refused_with_its_place() {
    let cases = [
        ("a $", 2, "unexpected character: '$'"),
        ("a é", 2, "unexpected character: 'é'"),
        ("a =~ b", 2, "unexpected character after '=': '~'"),
        ("a !b", 2, "unexpected character after '!': 'b'"),
        ("(a", 2, "unclosed left parenthesis"),
        ("a)", 2, "unexpected right parenthesis ')'"),
        ("a}", 1, "unexpected character: '}'"),
        ("a]", 1, "unexpected right bracket ']'"),
        ("a[", 2, "unexpected end of input in duration expression"),
        ("a[5m", 4, "unclosed left bracket"),
        ("a[5m[", 4, "unexpected left bracket '['"),
        ("a[foo]", 2, "unexpected character in duration expression: 'f'"),
        ("a[5m x]", 5, "unexpected character: 'x', expected ':'"),
        ("a[5m:5m:]", 7, "unexpected colon ':'"),
        ("a{", 2, "unexpected end of input inside braces"),
        ("a{{", 2, "unexpected left brace '{'"),
        ("a{b!c}", 3, "unexpected character after '!' inside braces: 'c'"),
        ("a{b:c}", 3, "unexpected character inside braces: ':'"),
        ("5mx", 0, "bad number or duration syntax: \"5mx\""),
        ("1.2.3", 0, "bad number or duration syntax: \"1.2.\""),
        ("1e", 0, "bad number or duration syntax: \"1e\""),
        ("\"abc", 0, "unterminated quoted string"),
        ("\"a\nb\"", 0, "unterminated quoted string"),
        ("`abc", 0, "unterminated raw string"),
        (r#""\q""#, 0, "unknown escape sequence U+0071 'q'"),
        (r#""\'""#, 0, "unknown escape sequence U+0027 '''"),
        (r#""\xZZ""#, 0, "illegal character U+005A 'Z' in escape sequence"),
        (r#""\400""#, 0, "escape sequence is an invalid Unicode code point"),
        (r#""\ud800""#, 0, "escape sequence is an invalid Unicode code point"),
        ("\"\\", 0, "escape sequence not terminated"),
        ("\"\u{fffd}\"", 0, "invalid UTF-8 rune"),
    ];
    for (query, at, message) in cases {
        assert_eq!(cut(query), Err((at, message.to_owned())), "{query}");
    }
}

#[test]
fn input_beyond_a_cap_is_refused_before_it_is_built() {
    let options =
        ParseOptions { query_bytes_max: 20, tokens_max: 8, depth_max: 3, operators_max: 2, ..ParseOptions::all() };
    let refused = |query: &str| tokenize(query, &options).error.map(|error| (error.kind, error.at));
    assert_eq!(refused("12345678901234567890"), None);
    assert_eq!(refused("123456789012345678901"), Some((ErrorKind::TooLarge, 0)));
    assert_eq!(refused("a a a a a a a a"), None);
    assert_eq!(refused("a a a a a a a a a"), Some((ErrorKind::TooLarge, 16)));
    assert_eq!(refused("((()))"), None);
    assert_eq!(refused("(((("), Some((ErrorKind::TooLarge, 3)));
    assert_eq!(refused("1+-1"), None);
    assert_eq!(refused("1+--1"), Some((ErrorKind::TooLarge, 3)));
}
