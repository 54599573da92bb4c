//! Decides whether labels may name a series, and brings them into canonical form.
//!
//! Pure. A label with an empty value is an absent label, whatever else is wrong with it; so a label set means the same
//! whether it is looked up by its bytes or parsed.

use super::options::LabelLimits;
use super::reason::Reason;
use model::labels::METRIC_NAME;

/// Overwrites `out` with the labels in ascending order of names, without empty values.
///
/// # Errors
/// Why they name no series.
pub fn canonicalize<'a>(
    raw: &[(&'a [u8], &'a [u8])],
    limits: &LabelLimits,
    out: &mut Vec<(&'a str, &'a str)>,
) -> Result<(), Reason> {
    out.clear();
    for (name, value) in raw.iter().filter(|(_, value)| !value.is_empty()) {
        let (Ok(name), Ok(value)) = (str::from_utf8(name), str::from_utf8(value)) else {
            return Err(Reason::InvalidUtf8);
        };
        if name.is_empty() {
            return Err(Reason::EmptyLabelName);
        }
        if name.len() > limits.name_bytes_max {
            return Err(Reason::LabelNameTooLong);
        }
        if value.len() > limits.value_bytes_max {
            return Err(Reason::LabelValueTooLong);
        }
        out.push((name, value));
    }
    if out.len() > limits.count_max {
        return Err(Reason::TooManyLabels);
    }
    if !out.is_sorted_by(|a, b| a.0 < b.0) {
        out.sort_by_key(|(name, _)| *name);
        if out.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return Err(Reason::DuplicateLabel);
        }
    }
    match out.binary_search_by_key(&METRIC_NAME, |(name, _)| *name) {
        Ok(_) => Ok(()),
        Err(_) => Err(Reason::MissingMetricName),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(pairs: &[(&str, &str)]) -> Result<String, Reason> {
        let raw: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        let limits = LabelLimits { name_bytes_max: 10, value_bytes_max: 5, count_max: 3 };
        let mut out = Vec::new();
        canonicalize(&raw, &limits, &mut out)?;
        Ok(out.iter().map(|(name, value)| format!("{name}={value} ")).collect())
    }

    #[test]
    fn labels_are_sorted_and_empty_values_left_out() {
        let found = canonical(&[("job", "a"), ("b", ""), ("__name__", "up"), ("a.b c", "é"), ("b", "")]);
        assert_eq!(found.unwrap(), "__name__=up a.b c=é job=a ");
    }

    #[test]
    fn what_names_no_series_is_refused_with_its_reason() {
        let up = ("__name__", "up");
        for (pairs, reason) in [
            (&[("job", "a")][..], Reason::MissingMetricName),
            (&[("__name__", ""), ("job", "a")], Reason::MissingMetricName),
            (&[], Reason::MissingMetricName),
            (&[up, ("job", "a"), ("job", "a")], Reason::DuplicateLabel),
            (&[up, up], Reason::DuplicateLabel),
            (&[up, ("", "a")], Reason::EmptyLabelName),
            (&[up, ("elevenbytes", "a")], Reason::LabelNameTooLong),
            (&[up, ("job", "sixsix")], Reason::LabelValueTooLong),
            (&[up, ("a", "1"), ("b", "2"), ("c", "3")], Reason::TooManyLabels),
        ] {
            assert_eq!(canonical(pairs), Err(reason), "{pairs:?}");
        }
        let raw: [(&[u8], &[u8]); 2] = [(b"__name__", b"up"), (b"a", b"\xff")];
        assert_eq!(canonicalize(&raw, &LabelLimits::default(), &mut Vec::new()), Err(Reason::InvalidUtf8));
    }
}
