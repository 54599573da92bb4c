//! Pages of both formats.

use super::protobuf::MetricFamily;
use super::*;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};
use prost::Message;

fn page(escaping: Escaping) -> Page {
    let external_labels = BTreeMap::from([("cluster".to_owned(), "lab".to_owned()), (INSTANCE.into(), String::new())]);
    Page { external_labels, escaping }
}

fn sample(pairs: &[(&str, &str)], histogram: Option<Histogram>) -> Federated {
    let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
    Federated { labels, timestamp_ms: 1500, value: 1e-9, histogram: histogram.map(Arc::new) }
}

fn text_of(escaping: Escaping, samples: &[Federated]) -> String {
    String::from_utf8(page(escaping).write(Format::Text, samples)).unwrap()
}

fn families_of(samples: &[Federated]) -> Vec<MetricFamily> {
    let bytes = page(Escaping::AllowUtf8).write(Format::Protobuf, samples);
    let mut rest = bytes.as_slice();
    std::iter::from_fn(|| (!rest.is_empty()).then(|| MetricFamily::decode_length_delimited(&mut rest).unwrap()))
        .collect()
}

fn native() -> Histogram {
    Histogram {
        schema: 2,
        count: 12.0,
        sum: 18.5,
        zero_threshold: 0.001,
        zero_count: 2.0,
        positive_spans: vec![Span { offset: -1, length: 2 }],
        positive_buckets: vec![4.0, 3.0],
        negative_spans: vec![Span { offset: 3, length: 1 }],
        negative_buckets: vec![3.0],
        ..Histogram::default()
    }
}

fn custom() -> Histogram {
    Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: 9.0,
        sum: 7.5,
        custom_values: vec![0.5, 1.0, 2.5].into(),
        positive_spans: vec![Span { offset: 0, length: 1 }, Span { offset: 1, length: 2 }],
        positive_buckets: vec![2.0, 3.0, 4.0],
        ..Histogram::default()
    }
}

#[test]
fn external_labels_are_added_where_they_are_absent() {
    let labels = [("__name__", "up"), ("cluster", "own"), ("job", "a\"\\\n")];
    let text = text_of(Escaping::Underscores, &[sample(&labels, None)]);
    let expected = "# TYPE up untyped\nup{cluster=\"own\",job=\"a\\\"\\\\\\n\",instance=\"\"} 1e-09 1500\n";
    assert_eq!(text, expected);
    let text = text_of(Escaping::Underscores, &[sample(&[("__name__", "up"), ("instance", "i")], None)]);
    assert_eq!(text, "# TYPE up untyped\nup{instance=\"i\",cluster=\"lab\"} 1e-09 1500\n");
}

#[test]
fn foreign_names_are_quoted_for_those_who_understand_it() {
    let samples = [sample(&[("__name__", "9my.metric"), ("a.b", "c")], None)];
    let rest = "cluster=\"lab\",instance=\"\"} 1e-09 1500\n";
    assert_eq!(
        text_of(Escaping::AllowUtf8, &samples),
        format!("# TYPE \"9my.metric\" untyped\n{{\"9my.metric\",\"a.b\"=\"c\",{rest}")
    );
    assert_eq!(
        text_of(Escaping::Underscores, &samples),
        format!("# TYPE _my_metric untyped\n_my_metric{{a_b=\"c\",{rest}")
    );
    assert_eq!(
        text_of(Escaping::Dots, &samples),
        format!("# TYPE __my_dot_metric untyped\n__my_dot_metric{{a_dot_b=\"c\",{rest}")
    );
    assert_eq!(
        text_of(Escaping::Values, &samples),
        format!("# TYPE U___39_my_2e_metric untyped\nU___39_my_2e_metric{{U__a_2e_b=\"c\",{rest}")
    );
    assert!(text::content_type(Escaping::Values).ends_with("; version=0.0.4; charset=utf-8; escaping=values"));
}

/// As in Prometheus names of classic histograms end with what tells their series apart, escaped names too.
#[test]
fn suffixes_of_classic_histograms_are_not_escaped() {
    let samples = [sample(&[("__name__", "h.1_x"), ("cluster", "a"), ("instance", "i")], Some(custom()))];
    for (escaping, expected) in [
        (Escaping::AllowUtf8, r#"{"h.1_x_count",cluster="a",instance="i"} 9 1500"#),
        (Escaping::Underscores, r#"h_1_x_count{cluster="a",instance="i"} 9 1500"#),
        (Escaping::Dots, r#"h_dot_1__x_count{cluster="a",instance="i"} 9 1500"#),
        (Escaping::Values, r#"U__h_2e_1__x_count{cluster="a",instance="i"} 9 1500"#),
    ] {
        assert_eq!(text_of(escaping, &samples).lines().last().unwrap(), expected);
    }
}

#[test]
fn text_leaves_native_histograms_out_and_writes_custom_buckets_as_classic_ones() {
    let name = [("__name__", "h"), ("cluster", "a"), ("instance", "i")];
    let samples = [sample(&name, Some(native())), sample(&name, Some(custom()))];
    let labels = "cluster=\"a\",instance=\"i\"";
    let expected = [
        "# TYPE h histogram".to_owned(),
        format!("h_bucket{{{labels},le=\"0.5\"}} 2 1500"),
        format!("h_bucket{{{labels},le=\"1\"}} 2 1500"),
        format!("h_bucket{{{labels},le=\"2.5\"}} 5 1500"),
        format!("h_bucket{{{labels},le=\"+Inf\"}} 9 1500"),
        format!("h_sum{{{labels}}} 7.5 1500"),
        format!("h_count{{{labels}}} 9 1500"),
    ];
    assert_eq!(text_of(Escaping::Underscores, &samples).lines().collect::<Vec<_>>(), expected);
    assert_eq!(text_of(Escaping::Underscores, &samples[..1]), "");
}

#[test]
fn protobuf_has_everything_in_families_of_one_kind() {
    let name = [("__name__", "h.1")];
    let gauge = Histogram { counter_reset_hint: CounterResetHint::Gauge, ..native() };
    let samples = [
        sample(&name, None),
        sample(&name, Some(native())),
        sample(&name, Some(custom())),
        sample(&name, Some(gauge)),
        sample(&[("__name__", "up")], None),
    ];
    let families = families_of(&samples);
    let kinds: Vec<_> = families
        .iter()
        .map(|family| (family.name.as_deref().unwrap(), family.r#type.unwrap(), family.metric.len()))
        .collect();
    assert_eq!(kinds, [("h.1", 3, 1), ("h.1", 4, 2), ("h.1", 5, 1), ("up", 3, 1)]);
    assert_eq!(families[0].metric[0].untyped.unwrap().value, Some(1e-9));
    assert_eq!(families[0].metric[0].timestamp_ms, Some(1500));
    let labels: Vec<_> = families[3].metric[0].label.iter().map(|label| label.name.as_deref().unwrap()).collect();
    assert_eq!(labels, ["cluster", "instance"]);

    let [native, classic] = families[1].metric.as_slice() else { panic!("two histograms") };
    let native = native.histogram.as_ref().unwrap();
    assert_eq!((native.schema, native.sample_count_float, native.zero_count_float), (Some(2), Some(12.0), Some(2.0)));
    assert_eq!((&native.positive_count, &native.negative_count), (&vec![4.0, 3.0], &vec![3.0]));
    assert_eq!(native.positive_span[0].offset, Some(-1));
    let classic = classic.histogram.as_ref().unwrap();
    assert_eq!((classic.schema, classic.bucket.len()), (None, 3));
    assert_eq!(classic.bucket[2].cumulative_count_float, Some(5.0));
}
