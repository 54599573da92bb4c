//! The text format 0.0.4, and 1.0.0 with names in quotes.
//!
//! It has no native histograms, so those are left out, as Prometheus leaves them out; histograms with custom buckets become
//! classic ones.

use super::names::Escaping;
use super::{Family, Federated, Kind, Page};
use model::histogram::Histogram;
use model::number::push_value;
use std::borrow::Cow;

/// The content type of such a page.
pub(super) fn content_type(escaping: Escaping) -> String {
    let version = if escaping == Escaping::AllowUtf8 { "1.0.0" } else { "0.0.4" };
    format!("text/plain; version={version}; charset=utf-8; escaping={}", escaping.as_str())
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
        // Before what names of classic histograms end with.
        let name = Name::of(page.escaping, family.name, true);
        out.extend_from_slice(b"# TYPE ");
        push_name(&mut out, &name);
        out.extend_from_slice(if family.kind == Kind::Untyped { b" untyped\n" } else { b" histogram\n" });
        for sample in samples {
            match &sample.histogram {
                None => push_line(page, &mut out, &name, sample, None, sample.value),
                Some(histogram) => push_classic(page, &mut out, &name, sample, histogram),
            }
        }
    }
    out
}

/// A name as the page has it.
struct Name<'a> {
    text: Cow<'a, str>,
    /// Whether it stands without quotes.
    is_legacy: bool,
}

impl<'a> Name<'a> {
    fn of(escaping: Escaping, name: &'a str, is_metric: bool) -> Self {
        let (text, is_legacy) = escaping.name_and_form(name, is_metric);
        Self { text, is_legacy }
    }

    /// With an ending that any name may have.
    fn ending_in(&self, end: &str) -> Self {
        Self { text: format!("{}{end}", self.text).into(), is_legacy: self.is_legacy || self.text.is_empty() }
    }
}

/// The buckets up to each bound, the sum and the count.
fn push_classic(page: &Page, out: &mut Vec<u8>, name: &Name<'_>, sample: &Federated, histogram: &Histogram) {
    let buckets = name.ending_in("_bucket");
    for (bound, population) in super::cumulative(histogram) {
        push_line(page, out, &buckets, sample, Some(bound), population);
    }
    push_line(page, out, &buckets, sample, Some(f64::INFINITY), histogram.count);
    push_line(page, out, &name.ending_in("_sum"), sample, None, histogram.sum);
    push_line(page, out, &name.ending_in("_count"), sample, None, histogram.count);
}

fn push_line(page: &Page, out: &mut Vec<u8>, name: &Name<'_>, sample: &Federated, bound: Option<f64>, value: f64) {
    push_series(page, out, name, sample, bound);
    out.push(b' ');
    push_value(out, value);
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(sample.timestamp_ms).as_bytes());
    out.push(b'\n');
}

/// A name, in quotes where it needs them.
fn push_name(out: &mut Vec<u8>, name: &Name<'_>) {
    if name.is_legacy {
        out.extend_from_slice(name.text.as_bytes());
    } else {
        push_quoted(out, &name.text);
    }
}

/// The name, which is escaped already, and the labels; a name in quotes stands inside the braces.
fn push_series(page: &Page, out: &mut Vec<u8>, name: &Name<'_>, sample: &Federated, bound: Option<f64>) {
    let mut separator = b'{';
    if !name.is_legacy {
        out.push(separator);
        separator = b',';
    }
    push_name(out, name);
    let le = bound.map(|bound| {
        let mut text = Vec::new();
        push_value(&mut text, bound);
        ("le", Cow::Owned(String::from_utf8_lossy(&text).into_owned()))
    });
    let labels = page.labels_of(&sample.labels).map(|(label, value)| (label, Cow::Borrowed(value)));
    for (label, value) in labels.chain(le) {
        out.push(separator);
        separator = b',';
        push_name(out, &Name::of(page.escaping, label, false));
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
