use super::*;
use proptest::prelude::*;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

/// What RE2 says: the pattern, texts that match, texts that do not.
const FACTS: &[(&str, &[&str], &[&str])] = &[
    // the whole text must match
    ("", &[""], &["a", "\n"]),
    ("foo", &["foo"], &["", "fo", "xfoo", "foox", "FOO", "foo\n"]),
    ("foo|", &["foo", ""], &["bar"]),
    ("a|bc", &["a", "bc"], &["ac", "abc", "b"]),
    ("^foo$", &["foo"], &["foo\n", "\nfoo"]),
    ("foo$|^bar", &["foo", "bar"], &["foobar"]),
    ("a$b", &[], &["ab", "a$b", "a\nb"]),
    (r"\Afoo\z", &["foo"], &["foo\n"]),
    // dot matches newline unless turned off
    (".", &["a", "\n", "é", "😀"], &["", "ab"]),
    ("a.b", &["a\nb", "axb"], &["ab"]),
    ("(?-s)a.b", &["axb"], &["a\nb"]),
    ("(?-s:.)(?s:.)", &["a\n", "ab"], &["\na"]),
    // lines
    ("(?m)a$\n^b", &["a\nb"], &["ab"]),
    ("(?m:^)a(?m:$)", &["a"], &["a\n"]),
    // repetition
    ("a*", &["", "a", "aaa"], &["b", "ab"]),
    ("a+?b", &["ab", "aab"], &["b"]),
    ("ab?c", &["abc", "ac"], &["abbc"]),
    ("(?:ab){2}", &["abab"], &["ab", "ababab"]),
    ("a{2,}", &["aa", "aaaa"], &["a"]),
    ("a{2,3}", &["aa", "aaa"], &["a", "aaaa"]),
    ("a{0}b", &["b"], &["ab"]),
    ("(?U)a+b", &["aab"], &["b"]),
    ("^*a", &["a"], &["^a"]),
    // braces that open no repetition are literal
    ("{", &["{"], &[""]),
    ("a{", &["a{"], &["a"]),
    ("a{b}", &["a{b}"], &["ab"]),
    ("a{,2}", &["a{,2}"], &["", "a", "aa"]),
    ("a{1", &["a{1"], &["a"]),
    ("a{01}", &["a{01}"], &["a"]),
    ("}", &["}"], &[]),
    // escapes
    (r"\.\*\+\?\(\)\[\]\{\}\|\^\$\\", &[r".*+?()[]{}|^$\"], &[]),
    (r"\-\/\_\<\>\&\~\#\%\ ", &["-/_<>&~#% "], &["-/_"]),
    (r"\a\f\n\r\t\v", &["\x07\x0c\n\r\t\x0b"], &[]),
    (r"\x41\x{42}\x{1F600}\103", &["AB😀C"], &[]),
    (r"\0\01\0123", &["\0\x01\n3"], &[]),
    (r"\Qa.b\E.", &["a.bx"], &["axbx"]),
    (r"\Q[(*", &["[(*"], &[]),
    (r"\Qab\E+", &["abb"], &["abab"]),
    (r"\Q\E", &[""], &["a"]),
    // ASCII classes
    (r"\d+", &["0123456789"], &["٣", "a", ""]),
    (r"\w+", &["aZ_9"], &["é", "-"]),
    (r"\s+", &[" \t\n\r\x0c"], &["\x0b", "\u{a0}"]),
    (r"\D\W\S", &["é-x", "a\u{a0}\x0b"], &["1-x"]),
    (r"a\b.x\Bb", &["a-xb"], &["axxb", "a-b"]),
    (r"é\b", &[], &["é"]),
    (r"a\b", &["a"], &[]),
    // classes in brackets
    ("[abc]", &["a", "b", "c"], &["d", "", "ab"]),
    ("[^abc]", &["d", "\n", "é"], &["a"]),
    ("[a-c-e]", &["a", "c", "-", "e"], &["d"]),
    ("[]a]", &["]", "a"], &["b"]),
    ("[^]a]", &["b"], &["]", "a"]),
    ("[a-]", &["a", "-"], &["b"]),
    ("[-a]", &["a", "-"], &["b"]),
    ("[a&&b]", &["a", "&", "b"], &["&&"]),
    ("[a~~b]", &["~", "a", "b"], &[]),
    ("[[a]]", &["[]", "a]"], &["a", "[a]"]),
    ("[[]", &["["], &["]"]),
    (r"[\d\-x]", &["5", "-", "x"], &["\\", "d"]),
    (r"[^\d\s]", &["a", "é"], &["5", " "]),
    (r"[\]\[\^\\]", &["]", "[", "^", "\\"], &["a"]),
    (r"[\x41-\x{43}\n]", &["A", "B", "C", "\n"], &["D"]),
    ("[[:alpha:][:digit:]]+", &["aZ09"], &["_", "é"]),
    ("[[:^space:]]", &["a"], &[" "]),
    ("[[:word:]-]", &["_", "-", "a"], &["é"]),
    ("[[:a]]", &["[]", ":]", "a]"], &["a"]),
    ("[#-&]", &["#", "$", "%", "&"], &["'"]),
    ("[(|)*+?.{}]", &["(", "|", ")", "*", "+", "?", ".", "{", "}"], &["a"]),
    ("[α-ω]", &["α", "ω"], &["a"]),
    // Unicode classes
    (r"\p{Greek}+", &["αω"], &["a"]),
    (r"\P{Greek}\p{^Greek}", &["ab"], &["αb"]),
    (r"\pL\pN", &["é٣"], &["3a"]),
    (r"[\p{Lu}\pN]", &["É", "1"], &["é"]),
    (r"\p{Any}", &["a", "\n"], &[""]),
    (r"\p{ascii}\p{Assigned}", &["aé"], &["éa", "a\u{378}"]),
    (r"\p{uppercase letter}\p{Lowercase_Letter}\p{LC}\p{Cn}", &["Aaa\u{378}"], &["aaa\u{378}"]),
    (r"\p{Thai}\p{yi}\p{Old-Italic}\pl", &["กꀀ𐌀a"], &["aꀀ𐌀a"]),
    // case
    ("(?i)foo", &["foo", "FOO", "fOo"], &["bar"]),
    ("(?i:a)b", &["ab", "Ab"], &["aB"]),
    ("a(?i)b|c", &["ab", "aB", "c", "C"], &["A", "Ab"]),
    ("(?i)[a-c]k", &["Ak", "cK", "b\u{212a}"], &["dk"]),
    ("(?i)[^a]", &["b"], &["a", "A"]),
    ("(?i)É", &["é", "É"], &["e"]),
    ("(?i)a(?-i)b", &["ab", "Ab"], &["aB"]),
    ("((?i)a)b", &["Ab"], &["AB"]),
    (r"(?i)\Qab\E", &["AB"], &[]),
    (r"(?i)\w", &["a", "\u{17f}", "\u{212a}"], &["é"]),
    // groups
    ("(a)(?:b)(?P<n>c)(?<m>d)", &["abcd"], &["abc"]),
    ("(?P<n>a)(?P<n>b)", &["ab"], &[]),
    ("(|a)(b|)", &["", "a", "b", "ab"], &["ba"]),
    ("()", &[""], &["a"]),
    ("(?i)(?)a", &["A"], &[]),
    ("a||b", &["a", "", "b"], &["ab"]),
    // never
    (r"\x{D800}", &[], &["\u{fffd}", ""]),
    (r"[\x{D800}-\x{E000}]", &["\u{e000}"], &["\u{fffd}"]),
    (r"[^\x00-\x{10FFFF}]", &[], &["", "a"]),
];

#[test]
fn patterns_mean_what_they_mean_in_re2() {
    for (pattern, matching, other) in FACTS {
        let regex = regex(pattern);
        for text in *matching {
            assert!(regex.is_match(text), "{pattern} should match {text:?}");
        }
        for text in *other {
            assert!(!regex.is_match(text), "{pattern} should not match {text:?}");
        }
    }
}

#[test]
fn what_re2_refuses_is_refused_in_its_words() {
    let cases = [
        ("(", "missing closing ): `(`"),
        ("a(b", "missing closing ): `a(b`"),
        (")", "unexpected ): `)`"),
        ("a)(b", "unexpected ): `a)(b`"),
        ("[a", "missing closing ]: `[a`"),
        ("x[", "missing closing ]: `[`"),
        ("[]", "missing closing ]: `[]`"),
        ("[a-", "missing closing ]: `[a-`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("(+)", "missing argument to repetition operator: `+`"),
        ("a|?b", "missing argument to repetition operator: `?`"),
        ("{2}", "missing argument to repetition operator: `{2}`"),
        (r"\Q\E*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a++", "invalid nested repetition operator: `++`"),
        ("a*?+", "invalid nested repetition operator: `*?+`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{99999999999999999999}", "invalid repeat count: `{99999999999999999999}`"),
        ("(a{100}){11}", "invalid repeat count: `{11}`"),
        ("((a{10}b|c){10}|d){11}", "invalid repeat count: `{11}`"),
        ("((a{600}){0,}){2}", "invalid repeat count: `{2}`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[a--b]", "invalid character class range: `a--`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
        (r"\p{{Greek}", r"invalid character class range: `\p{{Greek}`"),
        (r"\p{IsGreek}", r"invalid character class range: `\p{IsGreek}`"),
        (r"[\p{Grek}]", r"invalid character class range: `\p{Grek}`"),
        (r"\p{gc=Lu}", r"invalid character class range: `\p{gc=Lu}`"),
        (r"\p{}", r"invalid character class range: `\p{}`"),
        (r"\p", r"invalid character class range: `\p`"),
        (r"\p{Greek", r"invalid character class range: `\p{Greek`"),
        (r"\pX", r"invalid character class range: `\pX`"),
        (r"\", "trailing backslash at end of expression: ``"),
        (r"[\", "trailing backslash at end of expression: ``"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\E", r"invalid escape sequence: `\E`"),
        (r"[\b]", r"invalid escape sequence: `\b`"),
        (r"\é", r"invalid escape sequence: `\é`"),
        (r"\x4", r"invalid escape sequence: `\x4`"),
        (r"\xg1", r"invalid escape sequence: `\xg1`"),
        (r"\x{}", r"invalid escape sequence: `\x{}`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?<!a)", "invalid named capture: `(?<!a)`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?i", "invalid or unsupported Perl syntax: `(?i`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?P<a b>c)", "invalid named capture: `(?P<a b>`"),
        ("(?P<>c)", "invalid named capture: `(?P<>`"),
        ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
    ];
    for (pattern, message) in cases {
        let error = Regex::new(pattern).expect_err(pattern);
        assert_eq!(error.to_string(), format!("error parsing regexp: {message}"));
    }
}

#[test]
fn products_of_counts_up_to_a_thousand_are_allowed() {
    for pattern in ["a{1000}", "(a{10}){100}", "(?:[a-z]{4}){0,250}", "((a{1}){1000}){1}", "(a{500}|b{400}){2}"] {
        regex(pattern);
    }
    // A count of zero drops what is inside.
    regex("((a{500}){0}){500}");
}

#[test]
fn patterns_that_would_need_too_much_are_refused() {
    let nested = |depth: usize| format!("{}{}", "(".repeat(depth), ")".repeat(depth));
    regex(&nested(250));
    let too_deep = Regex::new(&nested(251)).expect_err("deeper than allowed");
    assert!(too_deep.to_string().starts_with("error parsing regexp: expression nests too deeply"));
    for pattern in [r"\pL".repeat(30_000), r"(?i)(\pL{100}){10}".to_owned(), format!("[{}]", r"\pL".repeat(30_000))] {
        let too_large = Regex::new(&pattern).expect_err("larger than allowed");
        assert!(too_large.to_string().starts_with("error parsing regexp: expression too large"));
    }
}

/// Inputs of this size show quadratic behaviour as a test that does not end.
#[test]
fn long_patterns_are_read_in_linear_time() {
    let size = 300_000;
    for (unit, accepted) in [
        ("{", true),
        ("a{1", true),
        ("[[:", false),
        ("()", false),
        ("a|", true),
        ("(?P<n>a)", false),
        ("é", true),
        ("[ab]", false),
        (r"\Qa", true),
    ] {
        let result = Regex::new(&unit.repeat(size / unit.len()));
        assert!(
            result.is_ok() || !accepted,
            "{unit}: {:.100}",
            result.err().map(|e| e.to_string()).unwrap_or_default()
        );
    }
    assert!(Regex::new(&format!("[{}]", "abcdefé".repeat(size / 8))).is_ok());
    assert!(Regex::new(&format!("[{}", "[:".repeat(size / 2))).is_err());
}

#[test]
fn literals_are_complete_sets() {
    let cases: [(&str, Option<&[&str]>); 31] = [
        ("", Some(&[""])),
        ("foo", Some(&["foo"])),
        ("^foo$", Some(&["foo"])),
        ("foo|bar|baz|foo", Some(&["bar", "baz", "foo"])),
        ("a(b|c)", Some(&["ab", "ac"])),
        ("(a|b)(c|d)", Some(&["ac", "ad", "bc", "bd"])),
        ("[ab]x", Some(&["ax", "bx"])),
        ("colou?r", Some(&["color", "colour"])),
        ("a{2,3}", Some(&["aa", "aaa"])),
        ("(?:)", Some(&[""])),
        ("|x", Some(&["", "x"])),
        (r"a\.b", Some(&["a.b"])),
        (r"\Qa.*\E", Some(&["a.*"])),
        ("(?P<n>foo)", Some(&["foo"])),
        ("foo|foobar", Some(&["foo", "foobar"])),
        (r"[^\x00-\x{10FFFF}]", Some(&[])),
        ("[0-9]x|[ab]", Some(&["0x", "1x", "2x", "3x", "4x", "5x", "6x", "7x", "8x", "9x", "a", "b"])),
        (".", None),
        ("foo.*", None),
        ("a*", None),
        ("a+", None),
        ("(?i)foo", None),
        ("(?i:f)oo", None),
        ("a^b", None),
        (r"a\b", None),
        ("(?m)^foo$", None),
        ("[a-z]{4}", None),
        ("[^a]", None),
        (r"\d{3}", None),
        ("(a|b){20}", None),
        ("a{1000}", None),
    ];
    for (pattern, expected) in cases {
        let regex = regex(pattern);
        let literals = regex.literals().map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(literals.as_deref(), expected, "{pattern}");
    }
    let many: Vec<String> = (0..5_000).map(|i| format!("value-{i:05}")).collect();
    assert_eq!(regex(&many.join("|")).literals(), Some(&many[..]));
}

#[test]
fn prefixes_are_what_every_match_begins_with() {
    let cases = [
        ("", ""),
        ("foo", "foo"),
        ("foo.*", "foo"),
        ("foo.*bar", "foo"),
        ("^foo.+$", "foo"),
        ("(foo)(bar).*", "foobar"),
        ("foo(bar|baz).*", "fooba"),
        ("é(è|ê)x*", "é"),
        ("foo|bar", ""),
        ("foo|foobar", "foo"),
        ("a+b", "a"),
        ("(ab)+c", "ab"),
        ("a*b", ""),
        (".*foo", ""),
        ("(?i)foo", ""),
        ("foo(?i)bar", "foo"),
        (r"foo\d", "foo"),
        ("foo|", ""),
    ];
    for (pattern, expected) in cases {
        assert_eq!(regex(pattern).prefix(), expected, "{pattern}");
    }
}

#[test]
fn simple_forms_need_no_automaton() {
    for pattern in [".*", ".+", "foo.*", "foo.+", ".*foo", ".+foo", ".*foo.*", ".+foo.+", "(.*)foo(.*)", "^.*foo$"] {
        assert!(regex(pattern).shape.shortcut.is_some(), "{pattern}");
    }
    for pattern in ["foo", ".*.*", ".+.*", "(?-s).*", "foo.*bar", ".", ".{2,}", "[^a]*", "(?i)foo.*", ".*?foo|x"] {
        assert!(regex(pattern).shape.shortcut.is_none(), "{pattern}");
    }
}

#[test]
fn templates_expand_as_in_go() {
    let regex = regex(r"(?P<first>a+)(b)?(?P<last>c.*)");
    let cases = [
        ("", ""),
        ("plain", "plain"),
        ("$1-$2-$3", "aa--cé"),
        ("${1}x$0", "aaxaacé"),
        ("$first/${last}", "aa/cé"),
        ("$firsts", ""),
        ("$1x", ""),
        ("${1}x", "aax"),
        ("$$1", "$1"),
        ("$", "$"),
        ("$-", "$-"),
        ("${", "${"),
        ("${1", "${1"),
        ("${a b}", "${a b}"),
        ("$99999999999999999999", ""),
        ("$01", ""),
        ("a$", "a$"),
        ("$é", ""),
    ];
    for (template, expected) in cases {
        assert_eq!(regex.expand("aacé", template).as_deref(), Some(expected), "{template}");
    }
    assert_eq!(regex.expand("xaac", "$1"), None);
    assert_eq!(super::Regex::new("(?P<n>a)|(?P<n>b)").expect("valid").expand("b", "$n").as_deref(), Some("b"));
    assert_eq!(regex.capture_names()[1].as_deref(), Some("first"));
}

/// Patterns of what both languages share, as text.
fn shared_pattern() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[abc]{1,3}",
        Just(".".to_owned()),
        Just(".*".to_owned()),
        Just(".+".to_owned()),
        Just("[ab]".to_owned()),
        Just("[^a]".to_owned()),
        Just("é".to_owned()),
        Just(String::new()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join("|"))),
            (inner.clone(), prop_oneof![Just("*"), Just("+"), Just("?"), Just("{2}"), Just("{1,2}"), Just("{2,}?")])
                .prop_map(|(part, repeat)| format!("(?:{part}){repeat}")),
            inner.prop_map(|part| format!("(?i:{part})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Our parser and the engine's agree where the languages do, and no shortcut changes an answer.
    #[test]
    fn agrees_with_the_engine_on_shared_syntax(pattern in shared_pattern(), texts in prop::collection::vec("[abcAé\n]{0,5}", 8)) {
        let ours = regex(&pattern);
        let engine = meta::Regex::new(&format!("^(?s:{pattern})$")).expect("shared syntax");
        let more = ours.literals().unwrap_or_default().iter().take(8);
        for text in texts.iter().chain(more) {
            let expected = engine.is_match(text);
            prop_assert_eq!(ours.is_match(text), expected, "{} on {:?}", pattern, text);
            prop_assert_eq!(ours.automaton().is_match(text), expected, "{} on {:?}", pattern, text);
            if expected {
                prop_assert!(text.starts_with(ours.prefix()), "{} prefix {:?}", pattern, ours.prefix());
            }
            if let Some(literals) = ours.literals() {
                prop_assert_eq!(literals.contains(text), expected, "{} on {:?}", pattern, text);
            }
        }
    }

    /// What is true of two patterns follows for either of them, for one after the other, and for none or many of one.
    #[test]
    fn facts_hold_in_combination(a in prop::sample::select(FACTS), b in prop::sample::select(FACTS), times in 0usize..4) {
        let ((a, a_texts, a_others), (b, b_texts, b_others)) = (a, b);
        // A quotation or the name of a class that is not closed takes in what follows.
        let is_closed = |pattern: &str, open: &str, close: &str| !pattern.contains(open) || pattern.contains(close);
        prop_assume!([a, b].iter().all(|pattern| is_closed(pattern, r"\Q", r"\E") && is_closed(pattern, "[:", ":]")));
        let (one, other) = (regex(a), regex(b));
        let either = regex(&format!("(?:{a})|({b})"));
        for text in a_texts.iter().chain(a_others).chain(b_texts).chain(b_others) {
            let expected = one.is_match(text) || other.is_match(text);
            prop_assert_eq!(either.is_match(text), expected, "{}|{} on {:?}", a, b, text);
        }
        // Those that look around see something else in company.
        prop_assume!([a, b].iter().all(|pattern| !["^", "$", r"\A", r"\b", r"\B"].iter().any(|look| pattern.contains(look))));
        let both = regex(&format!("({a})(?:{b})"));
        let repeated = regex(&format!("(?:{a}){{{times}}}(?:{b})?"));
        for text in a_texts {
            let many = text.repeat(times);
            prop_assert!(repeated.is_match(&many), "({}){{{}}} on {:?}", a, times, many);
            for more in b_texts {
                prop_assert!(both.is_match(&format!("{text}{more}")), "{}{} on {:?}{:?}", a, b, text, more);
                prop_assert!(repeated.is_match(&format!("{many}{more}")), "({}){{{}}}{} on {:?}", a, times, b, many);
            }
        }
    }

    #[test]
    fn no_pattern_panics(pattern in r"[\[\](){}|*+?.^$\\a-cpPQEdwxzAbB<>:,=!0-9é-]{0,24}") {
        let _ = Regex::new(&pattern);
    }
}
