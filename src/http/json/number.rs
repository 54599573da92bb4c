//! Timestamps as Prometheus' HTTP API prints them. Sample values are in [`model::number`].

/// Appends milliseconds as seconds, with three decimals when they are not zero.
pub fn push_timestamp(out: &mut Vec<u8>, timestamp_ms: i64) {
    let mut buffer = itoa::Buffer::new();
    let magnitude = timestamp_ms.unsigned_abs();
    if timestamp_ms < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(buffer.format(magnitude / 1000).as_bytes());
    let millis = magnitude % 1000;
    if millis != 0 {
        let digit = |n: u64| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis)]);
    }
}

/// Appends milliseconds as seconds the way Go prints a float: decimals without zeros at the end. Scalars and texts.
pub fn push_float_timestamp(out: &mut Vec<u8>, timestamp_ms: i64) {
    push_timestamp(out, timestamp_ms);
    if timestamp_ms % 1000 != 0 {
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn timestamps_print_like_the_reference(timestamp_ms: i64) {
            let expected = model::time::Timestamp(timestamp_ms).to_string();
            prop_assert_eq!(text(|out| push_timestamp(out, timestamp_ms)), expected);
        }
    }

    #[test]
    fn timestamps_of_scalars_have_no_zeros_at_the_end() {
        for (timestamp_ms, expected) in [(1500, "1.5"), (1050, "1.05"), (1000, "1"), (0, "0"), (-250, "-0.25")] {
            assert_eq!(text(|out| push_float_timestamp(out, timestamp_ms)), expected);
        }
    }
}
