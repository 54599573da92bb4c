//! Native histograms as Prometheus' API writes them.

use model::histogram::{Bucket, Histogram};
use model::number::push_value;

/// `{"count":"3","sum":"4","buckets":[[0,"1","2","3"]]}`: of each populated bucket which of its ends belong to it (0: the
/// upper, 1: the lower, 2: none, 3: both), its ends, its population. Without populated buckets the list is left out.
pub fn push_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(b"{\"count\":");
    push_quoted(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    push_quoted(out, histogram.sum);
    let mut any = false;
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(if any { b"," } else { b",\"buckets\":[" });
        any = true;
        push_bucket(out, &bucket);
    }
    out.extend_from_slice(if any { b"]}" } else { b"}" });
}

fn push_bucket(out: &mut Vec<u8>, bucket: &Bucket) {
    out.push(b'[');
    out.push(match (bucket.lower_inclusive, bucket.upper_inclusive) {
        (false, true) => b'0',
        (true, false) => b'1',
        (false, false) => b'2',
        (true, true) => b'3',
    });
    for number in [bucket.lower, bucket.upper, bucket.count] {
        out.push(b',');
        push_quoted(out, number);
    }
    out.push(b']');
}

fn push_quoted(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    push_value(out, value);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    fn written(histogram: &Histogram) -> String {
        let mut out = Vec::new();
        push_histogram(&mut out, histogram);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn buckets_say_which_ends_are_theirs() {
        let histogram = Histogram {
            count: 7.0,
            sum: -1.5,
            zero_threshold: 0.5,
            zero_count: 1.0,
            positive_spans: vec![Span { offset: 1, length: 3 }],
            positive_buckets: vec![1.0, 0.0, 2.0],
            negative_spans: vec![Span { offset: 0, length: 1 }],
            negative_buckets: vec![3.0],
            ..Histogram::default()
        };
        let expected = concat!(
            r#"{"count":"7","sum":"-1.5","buckets":[[1,"-1","-0.5","3"],[3,"-0.5","0.5","1"],"#,
            r#"[0,"1","2","1"],[0,"4","8","2"]]}"#
        );
        assert_eq!(written(&histogram), expected);
        assert_eq!(written(&Histogram::default()), r#"{"count":"0","sum":"0"}"#);
    }

    #[test]
    fn listed_bounds_end_at_infinity() {
        let histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 3.0,
            sum: f64::NAN,
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive_buckets: vec![1.0, 2.0],
            custom_values: [0.5].into(),
            ..Histogram::default()
        };
        let expected = r#"{"count":"3","sum":"NaN","buckets":[[3,"-Inf","0.5","1"],[0,"0.5","+Inf","2"]]}"#;
        assert_eq!(written(&histogram), expected);
    }
}
