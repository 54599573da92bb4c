//! Rules whose results contain native histograms.

use super::*;
use crate::ports::Element;
use crate::testing::{labels, latest};
use crate::view::RulesView;
use model::histogram::{Histogram, Span};
use promql::value::SampleValue;

/// `count` observations between 1 and 2.
fn histogram(count: f64) -> SampleValue {
    SampleValue::Histogram(Arc::new(Histogram {
        count,
        sum: 1.5 * count,
        positive_spans: vec![Span { offset: 1, length: 1 }],
        positive_buckets: vec![count],
        ..Histogram::default()
    }))
}

fn element(pairs: &[(&str, &str)], value: SampleValue) -> Element {
    Element { labels: labels(pairs), value }
}

#[test]
fn histograms_and_floats_of_one_result_are_recorded_and_end_with_stale_markers() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n    labels: {a: b}\n");
    let mut evaluation = 0;
    world.answer("up", move |_, _| {
        evaluation += 1;
        Ok(QueryValue::Vector(match evaluation {
            1 => vec![element(&[("job", "h")], histogram(2.0)), element(&[("job", "f")], SampleValue::Float(7.0))],
            // What was a float may become a histogram.
            2 => vec![element(&[("job", "f")], histogram(3.0))],
            _ => Vec::new(),
        }))
    });
    world.run(&group, 3 * MINUTE);
    let values = |job| -> Vec<_> {
        let values = world.values(&[("__name__", "r"), ("a", "b"), ("job", job)]);
        values.into_iter().map(|(_, value)| value).collect()
    };
    assert_eq!(values("h"), [Some(histogram(2.0)), None]);
    assert_eq!(values("f"), [Some(SampleValue::Float(7.0)), Some(histogram(3.0)), None]);
    assert_eq!(lock(&group).rules()[0].health, Health::Good);
}

#[test]
fn a_rule_reads_the_histogram_that_an_earlier_one_wrote_in_the_same_slot() {
    let world = World::at(START);
    let group =
        group("groups:\n- name: g\n  rules:\n  - record: h\n    expr: sum(x)\n  - record: n\n    expr: count(h)\n");
    let first = first_slot(&group, START);
    world.answer("sum(x)", |_, _| Ok(QueryValue::Vector(vec![element(&[], histogram(2.0))])));
    world.answer("count(h)", |at, store| {
        let recorded = latest(store, at, |labels| labels.metric_name() == Some("h"));
        assert_eq!(recorded, [element(&[("__name__", "h")], histogram(2.0))]);
        Ok(QueryValue::Scalar(recorded.len() as f64))
    });
    world.run(&group, MINUTE);
    assert_eq!(world.samples(&[("__name__", "n")]), [(first, Some(1.0))]);
}

/// A difference of histograms may have negative buckets: the series it had before is not to look alive.
#[test]
fn a_histogram_that_cannot_be_stored_makes_the_rule_unhealthy_and_ends_its_series() {
    let world = World::at(START);
    let group = group("groups:\n- name: g\n  rules:\n  - record: r\n    expr: up\n  - record: other\n    expr: up\n");
    let mut evaluation = 0;
    world.answer("up", move |_, _| {
        evaluation += 1;
        let count = if evaluation <= 2 { 2.0 } else { -2.0 };
        Ok(QueryValue::Vector(vec![element(&[], histogram(count))]))
    });
    world.run(&group, 3 * MINUTE);
    let values: Vec<_> = world.values(&[("__name__", "r")]).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [Some(histogram(2.0)), None], "one marker is enough");
    let reason = "negative".to_owned();
    assert_eq!(lock(&group).rules()[0].health, Health::Bad(crate::error::RuleError::SamplesDiscarded { reason }));
}

#[test]
fn alerts_on_histograms_print_them_and_their_series_are_floats() {
    let world = World::at(START);
    let group = group(
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    labels: {observed: '{{ $value.Count }}'}\n    \
         annotations:\n      asked: '{{ with query \"up\" | first }}{{ .Value.Sum }} {{ value . }}{{ end }}'\n      human: \
         '{{ humanize $value }}'\n      summary: '{{ $value }}'\n",
    );
    world.answer("up", |_, _| Ok(QueryValue::Vector(vec![element(&[("job", "a")], histogram(2.0))])));
    world.run(&group, MINUTE);
    let sent = world.take_sent();
    assert_eq!(sent[0].1.labels, labels(&[("alertname", "A"), ("job", "a"), ("observed", "2")]));
    let texts: Vec<&str> = sent[0].1.annotations.iter().map(|(_, text)| &**text).collect();
    assert_eq!((texts[0], texts[2]), ("3 {count:2, sum:3, (1,2]:2}", "{count:2, sum:3, (1,2]:2}"));
    assert!(texts[1].contains("can't convert *histogram.FloatHistogram to float"), "{}", texts[1]);
    let firing = [("__name__", ALERTS), ("alertname", "A"), ("alertstate", "firing"), ("job", "a"), ("observed", "2")];
    assert_eq!(world.samples(&firing)[0].1, Some(1.0));
    let view = AlertsView::of(std::slice::from_ref(&group));
    assert_eq!(view.alerts[0].value, 0.0, "as in Prometheus, whose alerts have a float for their value");
    let rules = RulesView::of(&[group], &crate::filter::RulesFilter::default()).expect("no page");
    assert!(serde_json::to_string(&rules).expect("views print").contains(r#""value":"0e+00""#));
}
