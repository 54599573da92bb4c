//! The text format 0.0.4, and 1.0.0 with names in quotes.
//!
//! It has no native histograms, so those are left out, as Prometheus leaves them out; histograms with custom buckets become
//! classic ones.

use super::names::{Escaping, underscored};
use super::{Family, Federated, Kind, Page};
use model::histogram::Histogram;
use model::labels::{is_legacy_label_name, is_legacy_metric_name};
use model::number::push_value;
use std::borrow::Cow;

/// The content type of such a page.
pub(super) fn content_type(escaping: Escaping) -> &'static str {
    match escaping {
        Escaping::AllowUtf8 => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        Escaping::Underscores => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
    }
}

/// Writes families one after the other.
pub(super) fn write(page: &Page, families: &[Family<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families {
        let writable = |sample: &&Federated| match &sample.histogram {
            Some(histogram) => histogram.has_custom_buckets(),
            None => true,
        };
        let mut samples = family.samples.iter().filter(writable).peekable();
        if samples.peek().is_none() {
            continue;
        }
        out.extend_from_slice(b"# TYPE ");
        push_family(page, &mut out, family.name);
        out.extend_from_slice(if family.kind == Kind::Untyped { b" untyped\n" } else { b" histogram\n" });
        for sample in samples {
            match &sample.histogram {
                None => push_line(page, &mut out, family.name, sample, None, sample.value),
                Some(histogram) => push_classic(page, &mut out, family.name, sample, histogram),
            }
        }
    }
    out
}

/// The buckets up to each bound, the sum and the count.
fn push_classic(page: &Page, out: &mut Vec<u8>, name: &str, sample: &Federated, histogram: &Histogram) {
    let buckets = format!("{name}_bucket");
    for (bound, population) in super::cumulative(histogram) {
        push_line(page, out, &buckets, sample, Some(bound), population);
    }
    push_line(page, out, &buckets, sample, Some(f64::INFINITY), histogram.count);
    push_line(page, out, &format!("{name}_sum"), sample, None, histogram.sum);
    push_line(page, out, &format!("{name}_count"), sample, None, histogram.count);
}

fn push_line(page: &Page, out: &mut Vec<u8>, name: &str, sample: &Federated, bound: Option<f64>, value: f64) {
    push_series(page, out, name, sample, bound);
    out.push(b' ');
    push_value(out, value);
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(sample.timestamp_ms).as_bytes());
    out.push(b'\n');
}

fn push_family(page: &Page, out: &mut Vec<u8>, name: &str) {
    if page.escaping == Escaping::AllowUtf8 && !is_legacy_metric_name(name) {
        push_quoted(out, name);
    } else {
        out.extend_from_slice(underscored(name, true).as_bytes());
    }
}

/// The name and the labels; a name in quotes stands inside the braces.
fn push_series(page: &Page, out: &mut Vec<u8>, name: &str, sample: &Federated, bound: Option<f64>) {
    let quotes = page.escaping == Escaping::AllowUtf8;
    let mut separator = b'{';
    if quotes && !is_legacy_metric_name(name) {
        out.push(separator);
        push_quoted(out, name);
        separator = b',';
    } else {
        out.extend_from_slice(underscored(name, true).as_bytes());
    }
    let le = bound.map(|bound| {
        let mut text = Vec::new();
        push_value(&mut text, bound);
        ("le", Cow::Owned(String::from_utf8_lossy(&text).into_owned()))
    });
    let labels = page.labels_of(&sample.labels).map(|(label, value)| (label, Cow::Borrowed(value)));
    for (label, value) in labels.chain(le) {
        out.push(separator);
        separator = b',';
        if quotes && !is_legacy_label_name(label) {
            push_quoted(out, label);
        } else {
            out.extend_from_slice(underscored(label, false).as_bytes());
        }
        out.push(b'=');
        push_quoted(out, &value);
    }
    if separator == b',' {
        out.push(b'}');
    }
}

fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}
