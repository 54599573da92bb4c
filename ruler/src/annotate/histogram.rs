//! A native histogram as templates see it: a pointer to Prometheus' structure, with its fields, that prints itself.

use model::histogram::{CounterResetHint, Histogram, Span};
use std::sync::Arc;
use template::{Integer, IntegerKind, List, Object, Value};

/// The value of a histogram sample in a template.
pub(super) fn template_value(histogram: Arc<Histogram>) -> Value {
    Value::object(FloatHistogram(histogram)).pointer()
}

#[derive(Debug)]
struct FloatHistogram(Arc<Histogram>);

/// In the order of Prometheus' declaration.
const FIELDS: [&str; 11] = [
    "CounterResetHint",
    "Schema",
    "ZeroThreshold",
    "ZeroCount",
    "Count",
    "Sum",
    "PositiveSpans",
    "NegativeSpans",
    "PositiveBuckets",
    "NegativeBuckets",
    "CustomValues",
];

impl Object for FloatHistogram {
    fn type_name(&self) -> &str {
        "histogram.FloatHistogram"
    }

    fn fields(&self) -> Vec<(&str, Value)> {
        FIELDS.iter().filter_map(|name| Some((*name, self.field(name)?))).collect()
    }

    fn field(&self, name: &str) -> Option<Value> {
        let histogram = &*self.0;
        Some(match name {
            "CounterResetHint" => Value::Integer(Integer::new(hint(histogram), IntegerKind::Uint8)),
            "Schema" => Value::int(histogram.schema.into()),
            "ZeroThreshold" => histogram.zero_threshold.into(),
            "ZeroCount" => histogram.zero_count.into(),
            "Count" => histogram.count.into(),
            "Sum" => histogram.sum.into(),
            "PositiveSpans" => spans(&histogram.positive_spans),
            "NegativeSpans" => spans(&histogram.negative_spans),
            "PositiveBuckets" => floats(&histogram.positive_buckets),
            "NegativeBuckets" => floats(&histogram.negative_buckets),
            "CustomValues" => floats(&histogram.custom_values),
            _ => return None,
        })
    }

    fn text(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

fn hint(histogram: &Histogram) -> i64 {
    match histogram.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    }
}

fn floats(numbers: &[f64]) -> Value {
    Value::List(Arc::new(List::new("[]float64", numbers.iter().map(|number| Value::Float(*number)).collect())))
}

fn spans(spans: &[Span]) -> Value {
    let items = spans.iter().map(|span| Value::object(BucketSpan(*span))).collect();
    Value::List(Arc::new(List::new("[]histogram.Span", items)))
}

#[derive(Debug)]
struct BucketSpan(Span);

impl Object for BucketSpan {
    fn type_name(&self) -> &str {
        "histogram.Span"
    }

    fn fields(&self) -> Vec<(&str, Value)> {
        vec![("Offset", Value::int(self.0.offset.into())), ("Length", Value::int(self.0.length.into()))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use template::{NoFunctions, Options, Template};

    fn expand(text: &str, histogram: Histogram) -> String {
        let template = Template::parse("t", text, template::FunctionNames::NONE).expect("a template");
        template.execute(template_value(Arc::new(histogram)), &NoFunctions, &Options::default()).expect("no failure")
    }

    /// The histogram of Prometheus' own test of alerts.
    fn upstream() -> Histogram {
        let span = |offset, length| Span { offset, length };
        Histogram {
            count: 30.0,
            sum: 1111.1,
            zero_threshold: 0.001,
            zero_count: 2.0,
            positive_spans: vec![span(0, 1), span(1, 5)],
            positive_buckets: vec![1.0, 1.0, 2.0, 1.0, 1.0, 1.0],
            negative_spans: vec![span(1, 4), span(4, 3)],
            negative_buckets: vec![-2.0, 2.0, 2.0, 7.0, 5.0, 5.0, 2.0],
            ..Histogram::default()
        }
    }

    #[test]
    fn histograms_print_as_prometheus_prints_them() {
        assert_eq!(
            expand("{{ . }}", upstream()),
            "{count:30, sum:1111.1, [-2048,-1024):2, [-1024,-512):5, [-512,-256):5, [-16,-8):7, [-8,-4):2, [-4,-2):2, \
             [-2,-1):-2, [-0.001,0.001]:2, (0.5,1]:1, (2,4]:1, (4,8]:2, (8,16]:1, (16,32]:1, (32,64]:1}"
        );
        let custom = Histogram {
            schema: model::histogram::CUSTOM_BUCKETS_SCHEMA,
            count: 2_500_000.0,
            sum: f64::NAN,
            custom_values: Arc::from([0.00005, 1e6]),
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![0.5, 0.0, 1.0],
            ..Histogram::default()
        };
        assert_eq!(expand("{{ . }}", custom), "{count:2.5e+06, sum:NaN, [-Inf,5e-05]:0.5, (1e+06,+Inf]:1}");
        assert_eq!(expand("{{ . }}", Histogram::default()), "{count:0, sum:0}");
    }

    #[test]
    fn templates_reach_the_fields_of_a_histogram() {
        assert_eq!(expand("{{ .Count }} {{ .Sum }} {{ if . }}true{{ end }}", upstream()), "30 1111.1 true");
        assert_eq!(expand("{{ range .PositiveSpans }}{{ .Offset }}+{{ .Length }} {{ end }}", upstream()), "0+1 1+5 ");
        assert_eq!(
            expand("{{ printf \"%T %+v\" . .NegativeBuckets }}", upstream()),
            "*histogram.FloatHistogram [-2 2 2 7 5 5 2]"
        );
        let hinted = Histogram { counter_reset_hint: CounterResetHint::Gauge, ..upstream() };
        assert_eq!(
            expand("{{ printf \"%#v\" . }}", hinted),
            "&histogram.FloatHistogram{CounterResetHint:0x3, Schema:0, ZeroThreshold:0.001, ZeroCount:2, Count:30, \
             Sum:1111.1, PositiveSpans:[]histogram.Span{histogram.Span{Offset:0, Length:1}, histogram.Span{Offset:1, \
             Length:5}}, NegativeSpans:[]histogram.Span{histogram.Span{Offset:1, Length:4}, histogram.Span{Offset:4, \
             Length:3}}, PositiveBuckets:[]float64{1, 1, 2, 1, 1, 1}, NegativeBuckets:[]float64{-2, 2, 2, 7, 5, 5, 2}, \
             CustomValues:[]float64{}}"
        );
    }
}
