use super::*;

fn labels(text: &str) -> Labels {
    Labels::from_pairs(text.split_whitespace().map(|pair| pair.split_once('=').unwrap())).unwrap()
}

fn config(action: Action) -> RelabelConfig {
    RelabelConfig { action, ..RelabelConfig::default() }
}

fn sources(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

fn rewritten(config: RelabelConfig, before: &str) -> Option<Labels> {
    let rule = RelabelRule::new(config).unwrap();
    relabel(&[rule], LabelsBuilder::new(&labels(before)))
}

#[test]
fn replace_writes_what_the_expression_found() {
    let base =
        RelabelConfig { source_labels: sources(&["a", "b"]), target_label: "c".into(), ..config(Action::Replace) };
    // Expression, target, replacement; before, after.
    for (regex, target, replacement, before, after) in [
        (None, "c", "$1", "a=1 b=2", "a=1 b=2 c=1;2"),
        (Some("(.+);(.+)"), "c", "${2}-$1", "a=1 b=2", "a=1 b=2 c=2-1"),
        (Some("1"), "c", "x", "a=1 b=2", "a=1 b=2"),
        (Some("1;.*"), "c", "x", "a=1 b=2 c=3", "a=1 b=2 c=x"),
        (Some(".*"), "c", "", "a=1 b=2 c=3", "a=1 b=2"),
        (Some(".*"), "c", "$9", "a=1 b=2 c=3", "a=1 b=2"),
        (Some("(?P<first>.);.*"), "${first}_x", "$first", "a=q b=2", "a=q b=2 q_x=q"),
        (Some("(.*);(.*)"), "$1$2", "v", "", ""),
        (Some("(.*);(.*)"), "${1}.ü", "$2", "a=n b=2", "a=n b=2 n.ü=2"),
        (Some("(.*);(.*)"), "$1", "$2", "a=b b=2", "a=b b=2"),
        (Some("(?i)X;.*"), "c", "$0", "a=x b=2", "a=x b=2 c=x;2"),
        (Some(".*"), "c", "$$1", "a=1 b=2", "a=1 b=2 c=$1"),
    ] {
        let config = RelabelConfig {
            regex: regex.map(str::to_owned),
            target_label: target.into(),
            replacement: replacement.into(),
            ..base.clone()
        };
        assert_eq!(rewritten(config, before), Some(labels(after)), "{regex:?} {target} {replacement} {before}");
    }
}

#[test]
fn a_replacement_without_sources_is_a_constant() {
    let config = RelabelConfig { target_label: "x".into(), replacement: "v".into(), ..config(Action::Replace) };
    assert_eq!(rewritten(config.clone(), "a=1"), Some(labels("a=1 x=v")));
    let never = RelabelConfig { regex: Some(".+".into()), ..config };
    assert_eq!(rewritten(never, "a=1"), Some(labels("a=1")));
}

#[test]
fn keep_and_drop_look_at_the_whole_value() {
    for (action, regex, before, kept) in [
        (Action::Keep, "x", "a=x", true),
        (Action::Keep, "x", "a=xy", false),
        (Action::Keep, "", "b=1", true),
        (Action::Keep, "x|y", "a=y", true),
        (Action::Drop, "x", "a=x", false),
        (Action::Drop, "x", "a=ax", true),
        (Action::Drop, ".*", "", false),
    ] {
        let config = RelabelConfig { source_labels: sources(&["a"]), regex: Some(regex.into()), ..config(action) };
        assert_eq!(rewritten(config, before), kept.then(|| labels(before)), "{action} {regex} {before}");
    }
}

#[test]
fn equality_compares_the_joined_sources_with_the_target() {
    for (names, before, equal) in [
        (&["a"][..], "a=1 t=1", true),
        (&["a"], "a=1 t=2", false),
        (&["a", "b"], "a=1 b=2 t=1;2", true),
        (&["a"], "", true),
        (&[], "t=1", false),
    ] {
        let of = |action| RelabelConfig { source_labels: sources(names), target_label: "t".into(), ..config(action) };
        assert_eq!(rewritten(of(Action::KeepEqual), before).is_some(), equal, "{before}");
        assert_eq!(rewritten(of(Action::DropEqual), before).is_some(), !equal, "{before}");
    }
}

/// As `md5sum` prints it: the digest of nothing is `d41d8cd98f00b204e9800998ecf8427e`, that of `abc` is
/// `900150983cd24fb0d6963f7d28e17f72`.
#[test]
fn hashmod_takes_the_last_half_of_md5() {
    for (before, modulus, expected) in [
        ("", u64::MAX, 0xe980_0998_ecf8_427e_u64),
        ("a=abc", u64::MAX, 0xd696_3f7d_28e1_7f72),
        ("a=abc", 0xd696_3f7d_28e1_7f70, 2),
        ("a=abc", 1, 0),
    ] {
        let config = RelabelConfig {
            source_labels: sources(&["a"]),
            target_label: "shard".into(),
            modulus,
            ..config(Action::HashMod)
        };
        let expected = expected.to_string();
        assert_eq!(rewritten(config, before).unwrap().get("shard"), Some(expected.as_str()), "{before} {modulus}");
    }
}

#[test]
fn names_are_mapped_dropped_and_kept() {
    let with = |action, regex: &str| RelabelConfig { regex: Some(regex.into()), ..config(action) };
    assert_eq!(rewritten(with(Action::LabelMap, "m_(.+)"), "m_a=1 b=2"), Some(labels("m_a=1 a=1 b=2")));
    let renamed = RelabelConfig { replacement: "x_${1}".into(), ..with(Action::LabelMap, "m_(.+)") };
    assert_eq!(rewritten(renamed, "m_a=1 m_b=2"), Some(labels("m_a=1 m_b=2 x_a=1 x_b=2")));
    assert_eq!(rewritten(with(Action::LabelMap, "m_()"), "m_=1"), Some(labels("m_=1")), "no label without a name");
    assert_eq!(rewritten(with(Action::LabelDrop, "m_.*"), "m_a=1 am_b=2"), Some(labels("am_b=2")));
    assert_eq!(rewritten(with(Action::LabelKeep, "m_.*"), "m_a=1 am_b=2"), Some(labels("m_a=1")));
    assert_eq!(rewritten(config(Action::LabelDrop), "a=1"), Some(Labels::empty()));
}

/// Of two labels that get one name the later one wins: those that were there from the beginning come first, by name.
#[test]
fn collisions_are_decided_by_the_order_of_labels() {
    let map = RelabelRule::new(RelabelConfig { regex: Some("._(.+)".into()), ..config(Action::LabelMap) }).unwrap();
    let mut builder = LabelsBuilder::new(&labels("a_x=1 b_x=2"));
    assert_eq!(relabel(std::slice::from_ref(&map), builder.clone()).unwrap().get("x"), Some("2"));
    builder.set("a_x", "3");
    assert_eq!(relabel(&[map], builder).unwrap().get("x"), Some("3"));
}

#[test]
fn letters_change_case_one_by_one() {
    let of = |action| RelabelConfig { source_labels: sources(&["a"]), target_label: "t".into(), ..config(action) };
    for (text, lower, upper) in
        [("AbC", "abc", "ABC"), ("Straße", "straße", "STRAßE"), ("İ", "i", "İ"), ("ΣΑΣ", "σασ", "ΣΑΣ"), ("ᾳ", "ᾳ", "ᾼ")]
    {
        let before = format!("a={text}");
        assert_eq!(rewritten(of(Action::Lowercase), &before).unwrap().get("t"), Some(lower), "{text}");
        assert_eq!(rewritten(of(Action::Uppercase), &before).unwrap().get("t"), Some(upper), "{text}");
    }
    assert_eq!(rewritten(of(Action::Lowercase), "t=1"), Some(Labels::empty()), "an empty value removes the label");
}

#[test]
fn rules_see_what_earlier_rules_wrote() {
    let rule = |config| RelabelRule::new(config).unwrap();
    let rules = [
        rule(RelabelConfig { target_label: "x".into(), replacement: "1".into(), ..config(Action::Replace) }),
        rule(RelabelConfig { source_labels: sources(&["x"]), regex: Some("1".into()), ..config(Action::Keep) }),
        rule(RelabelConfig { source_labels: sources(&["x"]), regex: Some("1".into()), ..config(Action::Drop) }),
    ];
    assert_eq!(relabel(&rules[..2], LabelsBuilder::default()), Some(labels("x=1")));
    assert_eq!(relabel(&rules, LabelsBuilder::default()), None);
}

#[test]
fn what_makes_no_sense_is_refused_in_prometheus_words() {
    let target = |action| RelabelConfig { target_label: "t".into(), ..config(action) };
    for (config, expected) in [
        (config(Action::Replace), "relabel configuration for replace action requires 'target_label' value"),
        (config(Action::Uppercase), "relabel configuration for uppercase action requires 'target_label' value"),
        (target(Action::HashMod), "relabel configuration for hashmod requires non-zero modulus"),
        (
            RelabelConfig { modulus: 2, ..config(Action::HashMod) },
            "relabel configuration for hashmod action requires 'target_label' value",
        ),
        (
            RelabelConfig { replacement: "x".into(), ..target(Action::Lowercase) },
            "'replacement' can not be set for lowercase action",
        ),
        (
            RelabelConfig { replacement: String::new(), ..config(Action::LabelMap) },
            "\"\" is invalid 'replacement' for labelmap action",
        ),
        (
            RelabelConfig { regex: Some("(.*)".into()), ..target(Action::KeepEqual) },
            "keepequal action requires only 'source_labels' and `target_label`, and no other fields",
        ),
        (
            RelabelConfig { separator: ",".into(), ..target(Action::DropEqual) },
            "dropequal action requires only 'source_labels' and `target_label`, and no other fields",
        ),
        (
            RelabelConfig { source_labels: sources(&[]), ..config(Action::LabelDrop) },
            "labeldrop action requires only 'regex', and no other fields",
        ),
        (target(Action::LabelKeep), "labelkeep action requires only 'regex', and no other fields"),
        (RelabelConfig { source_labels: sources(&[""]), ..target(Action::Replace) }, "\"\" is not a valid label name"),
        (
            RelabelConfig { regex: Some("(".into()), ..target(Action::Replace) },
            "error parsing regexp: missing closing ): `(`",
        ),
    ] {
        assert_eq!(RelabelRule::new(config.clone()).unwrap_err().to_string(), expected, "{config:?}");
    }
    assert_eq!("Replace".parse(), Ok(Action::Replace));
    assert_eq!("rename".parse::<Action>().unwrap_err().to_string(), "unknown relabel action \"rename\"");
}
