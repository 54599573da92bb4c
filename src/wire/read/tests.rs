//! What is written is read back by the naive readers of this file and by the generated decoder.

use super::bits::BitWriter;
use super::chunks::{Chunk, Chunks, SAMPLES_MAX};
use super::request::{self, QUERIES_MAX, RequestError, ResponseType};
use super::response::{push_frames, push_result, push_series};
use crate::wire::prost_types::v1;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, HistogramColumns, Span};
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::sample::{SampleColumns, stale_marker};
use proptest::prelude::*;
use prost::Message;
use std::sync::Arc;
use storage::crc32c::crc32c;

/// Room for any expression of these tests.
const REGEX_BYTES_MAX: usize = 64 << 20;

#[derive(Clone, PartialEq, Message)]
struct ReadRequestMessage {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<QueryMessage>,
    #[prost(int32, repeated, tag = "2")]
    accepted: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryMessage {
    #[prost(int64, tag = "1")]
    start_ms: i64,
    #[prost(int64, tag = "2")]
    end_ms: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<MatcherMessage>,
    #[prost(bytes = "vec", tag = "4")]
    hints: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct MatcherMessage {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseMessage {
    #[prost(message, repeated, tag = "1")]
    results: Vec<v1::WriteRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct FrameMessage {
    #[prost(message, repeated, tag = "1")]
    series: Vec<ChunkedSeriesMessage>,
    #[prost(int64, tag = "2")]
    query_index: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ChunkedSeriesMessage {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<v1::Label>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<ChunkMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ChunkMessage {
    #[prost(int64, tag = "1")]
    min_ms: i64,
    #[prost(int64, tag = "2")]
    max_ms: i64,
    #[prost(int32, tag = "3")]
    encoding: i32,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

/// Reads bits as Prometheus' `bstreamReader` does.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bits(&mut self, count: u32) -> u64 {
        (0..count).fold(0, |value, _| {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            value << 1 | u64::from(bit)
        })
    }

    fn uvarint(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.bits(8);
            value |= (byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }

    fn varint(&mut self) -> i64 {
        let value = self.uvarint();
        (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
    }

    /// A number of one of the sizes after so many ones; the last size has no zero behind its ones.
    fn sized(&mut self, sizes: &[u32]) -> (u64, u32) {
        let mut ones = 0;
        while ones < sizes.len() - 1 && self.bits(1) == 1 {
            ones += 1;
        }
        (self.bits(sizes[ones]), sizes[ones])
    }

    /// Numbers above half of the range are negative.
    fn signed(&mut self, sizes: &[u32]) -> i64 {
        match self.sized(sizes) {
            (value, 64) => value.cast_signed(),
            (value, size) if size > 0 && value > 1 << (size - 1) => value.cast_signed() - (1 << size),
            (value, _) => value.cast_signed(),
        }
    }

    fn varbit_int(&mut self) -> i64 {
        self.signed(&[0, 3, 6, 9, 12, 18, 25, 56, 64])
    }

    fn varbit_uint(&mut self) -> u64 {
        self.sized(&[0, 3, 6, 9, 12, 18, 25, 56, 64]).0
    }

    fn float(&mut self) -> f64 {
        f64::from_bits(self.bits(64))
    }

    fn xor(&mut self, last: &mut (f64, u32, u32)) -> f64 {
        if self.bits(1) == 1 {
            if self.bits(1) == 1 {
                let leading = self.bits(5) as u32;
                let significant = match self.bits(6) as u32 {
                    0 => 64,
                    some => some,
                };
                (last.1, last.2) = (leading, 64 - leading - significant);
            }
            let delta = self.bits(64 - last.1 - last.2) << last.2;
            last.0 = f64::from_bits(last.0.to_bits() ^ delta);
        }
        last.0
    }
}

fn floats_of(data: &[u8]) -> Vec<(i64, u64)> {
    let count = u16::from_be_bytes([data[0], data[1]]);
    let mut bits = Bits { bytes: &data[2..], at: 0 };
    let (mut at, mut delta) = (bits.varint(), 0);
    let mut value = (bits.float(), 0, 0);
    let mut samples = vec![(at, value.0.to_bits())];
    for index in 1..count {
        delta = if index == 1 { bits.uvarint().cast_signed() } else { delta + bits.signed(&[0, 14, 17, 20, 64]) };
        at += delta;
        samples.push((at, bits.xor(&mut value).to_bits()));
    }
    samples
}

fn histograms_of(data: &[u8]) -> Vec<(i64, Histogram)> {
    let count = u16::from_be_bytes([data[0], data[1]]);
    let first_hint = match data[2] >> 6 {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::NotReset,
        2 => CounterResetHint::Reset,
        _ => CounterResetHint::Gauge,
    };
    let mut bits = Bits { bytes: &data[3..], at: 0 };
    let zero_threshold = match bits.bits(8) {
        0 => 0.0,
        255 => bits.float(),
        exponent => 0.5 * 2f64.powi(exponent as i32 - 243),
    };
    let schema = bits.varbit_int() as i8;
    let [positive_spans, negative_spans] = [(); 2].map(|()| {
        let spans = 0..bits.varbit_uint();
        spans
            .map(|_| {
                let length = bits.varbit_uint() as u32;
                Span { offset: bits.varbit_int() as i32, length }
            })
            .collect::<Vec<_>>()
    });
    let mut custom_values = Vec::new();
    if schema == CUSTOM_BUCKETS_SCHEMA {
        for _ in 0..bits.varbit_uint() {
            custom_values.push(match bits.varbit_uint() {
                0 => bits.float(),
                thousandths => (thousandths - 1) as f64 / 1000.0,
            });
        }
    }
    let length = |spans: &[Span]| spans.iter().map(|span| span.length as usize).sum::<usize>();
    let (positive, negative) = (length(&positive_spans), length(&negative_spans));
    let (mut at, mut delta) = (bits.varbit_int(), 0);
    let mut columns: Vec<_> = (0..3 + positive + negative).map(|_| (bits.float(), 0, 0)).collect();
    let mut samples = Vec::new();
    for index in 0..count {
        if index > 0 {
            delta += bits.varbit_int();
            at += delta;
            for column in 0..columns.len() {
                if column == 3 && model::sample::is_stale_marker(columns[2].0) {
                    break;
                }
                bits.xor(&mut columns[column]);
            }
        }
        let sum = columns[2].0;
        if model::sample::is_stale_marker(sum) {
            samples.push((at, Histogram { sum, ..Histogram::default() }));
            continue;
        }
        let populations: Vec<f64> = columns[3..].iter().map(|column| column.0).collect();
        let counter_reset_hint = match (index, first_hint) {
            (0, hint) => hint,
            (_, CounterResetHint::Gauge) => CounterResetHint::Gauge,
            _ => CounterResetHint::NotReset,
        };
        samples.push((
            at,
            Histogram {
                counter_reset_hint,
                schema,
                zero_threshold,
                zero_count: columns[1].0,
                count: columns[0].0,
                sum,
                positive_spans: positive_spans.clone(),
                negative_spans: negative_spans.clone(),
                positive_buckets: populations[..positive].to_vec(),
                negative_buckets: populations[positive..].to_vec(),
                custom_values: custom_values.as_slice().into(),
            },
        ));
    }
    samples
}

fn columns(samples: &[(i64, f64)]) -> SampleColumns {
    let mut columns = SampleColumns::default();
    samples.iter().for_each(|(at, value)| columns.push(*at, *value));
    columns
}

fn histogram(hint: CounterResetHint, buckets: &[f64]) -> Arc<Histogram> {
    Arc::new(Histogram {
        counter_reset_hint: hint,
        schema: 3,
        zero_threshold: 2f64.powi(-128),
        zero_count: 1.5,
        count: 12.0,
        sum: -4.25,
        positive_spans: vec![Span { offset: -70_000, length: 1 }, Span { offset: 4, length: buckets.len() as u32 - 1 }],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        positive_buckets: buckets.to_vec(),
        negative_buckets: vec![7.0],
        custom_values: [].into(),
    })
}

/// Times of any distance: the kinds of distances that the encoding tells apart, and some of every size.
fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let distance = prop_oneof![Just(15_000i64), 14_990i64..15_010, 1i64..600_000, 1i64..(1 << 40)];
    let value = prop_oneof![any::<f64>(), Just(1.0), (-100i32..100).prop_map(f64::from), Just(stale_marker())];
    let start = -(1i64 << 50)..(1i64 << 50);
    (start, prop::collection::vec((distance, value), 1..300)).prop_map(|(start, steps)| {
        let mut at = start;
        steps
            .into_iter()
            .map(|(distance, value)| {
                at += distance;
                (at, value)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn floats_come_back_from_their_chunks_bit_for_bit(samples in samples()) {
        let mut found = Vec::new();
        for chunk in Chunks::new(columns(&samples), HistogramColumns::default()) {
            let inside = floats_of(&chunk.data);
            prop_assert_eq!((chunk.min_ms, chunk.max_ms), (inside[0].0, inside[inside.len() - 1].0));
            prop_assert!(inside.len() <= SAMPLES_MAX && chunk.encoding == 1);
            found.extend(inside);
        }
        let expected: Vec<_> = samples.iter().map(|(at, value)| (*at, value.to_bits())).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn numbers_come_back_from_their_bits(numbers: Vec<(i64, u64)>, shift in 0u32..64) {
        let mut out = BitWriter::with_header(&[]);
        for (signed, unsigned) in &numbers {
            out.varbit_int(signed >> shift);
            out.varbit_uint(unsigned >> shift);
            out.varint(*signed);
        }
        let bytes = out.into_bytes();
        let mut bits = Bits { bytes: &bytes, at: 0 };
        for (signed, unsigned) in &numbers {
            prop_assert_eq!((bits.varbit_int(), bits.varbit_uint()), (signed >> shift, unsigned >> shift));
            prop_assert_eq!(bits.varint(), *signed);
        }
    }

    #[test]
    fn no_body_panics(body: Vec<u8>) {
        let _ = request::decode(&body, REGEX_BYTES_MAX);
    }

    #[test]
    fn requests_are_read_as_the_generated_decoder_reads_them(
        queries in prop::collection::vec((any::<i64>(), any::<i64>(), prop::collection::vec((0..4i32, ".*"), 0..4)), 0..4),
        accepted in prop::collection::vec(-1..4i32, 0..4),
        cut in 0usize..400,
    ) {
        let message = ReadRequestMessage {
            queries: queries.iter().map(|(start_ms, end_ms, matchers)| QueryMessage {
                start_ms: *start_ms,
                end_ms: *end_ms,
                matchers: matchers.iter().map(|(kind, text)| {
                    MatcherMessage { kind: kind % 2, name: text.clone(), value: text.clone() }
                }).collect(),
                hints: vec![8, 1],
            }).collect(),
            accepted: accepted.clone(),
        };
        let mut body = message.encode_to_vec();
        let found = request::decode(&body, REGEX_BYTES_MAX).unwrap();
        prop_assert_eq!(&found.accepted, &accepted);
        for (found, sent) in found.queries.iter().zip(&message.queries) {
            prop_assert_eq!((found.start_ms, found.end_ms), (sent.start_ms, sent.end_ms));
            for (found, sent) in found.matchers.iter().zip(&sent.matchers) {
                let op = if sent.kind == 0 { MatchOp::Equal } else { MatchOp::NotEqual };
                prop_assert_eq!((found.op(), found.name(), found.value()), (op, sent.name.as_str(), sent.value.as_str()));
            }
        }
        body.truncate(cut);
        prop_assert_eq!(request::decode(&body, REGEX_BYTES_MAX).is_ok(), ReadRequestMessage::decode(body.as_slice()).is_ok());
    }
}

#[test]
fn histograms_come_back_from_their_chunks() {
    use CounterResetHint::{Gauge, NotReset, Unknown};
    let stale = Arc::new(Histogram { sum: stale_marker(), ..Histogram::default() });
    let custom = Arc::new(Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        positive_spans: vec![Span { offset: 0, length: 3 }],
        positive_buckets: vec![1.0, 2.0, 3.0],
        custom_values: [-1.0, 0.005, 33_554.43, 1e9].into(),
        zero_threshold: 0.0,
        ..Histogram::default()
    });
    let list = [
        histogram(Unknown, &[1.0, 2.0]),
        histogram(NotReset, &[1.5, 2.0]),
        Arc::clone(&stale),
        // Another layout, then a reset, then a gauge, then listed bounds.
        histogram(NotReset, &[1.0, 2.0, 3.0]),
        histogram(Unknown, &[1.0, 2.0, 3.0]),
        histogram(Gauge, &[1.0, 2.0, 3.0]),
        histogram(Gauge, &[0.0, 1e300, 3.0]),
        custom,
    ];
    let mut histograms = HistogramColumns::default();
    list.iter().enumerate().for_each(|(i, h)| histograms.push(1000 + (i * i) as i64 * 77, Arc::clone(h)));
    // A float in the middle cuts a chunk.
    let chunks: Vec<Chunk> = Chunks::new(columns(&[(1400, 5.0), (99_000, 6.0)]), histograms.clone()).collect();
    assert!(chunks.windows(2).all(|pair| pair[0].max_ms < pair[1].min_ms));
    assert_eq!(chunks.iter().filter(|chunk| chunk.encoding == 1).count(), 2);
    let found: Vec<_> =
        chunks.iter().filter(|chunk| chunk.encoding == 3).flat_map(|chunk| histograms_of(&chunk.data)).collect();
    assert_eq!(found.len(), list.len());
    for ((at, found), (expected_at, expected)) in
        found.iter().zip(histograms.timestamps_ms.iter().zip(&histograms.histograms))
    {
        assert_eq!(at, expected_at);
        if expected.is_stale() {
            assert!(found.is_stale());
        } else {
            assert_eq!(found, &**expected);
        }
    }
}

#[test]
fn checksums_are_castagnolis() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(b""), 0);
}

#[test]
fn frames_are_cut_at_their_size_and_carry_their_checksum() {
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]).unwrap();
    let samples: Vec<_> = (0..1000).map(|i| (i * 15_000, (i as f64).sqrt())).collect();
    let mut chunks = Chunks::new(columns(&samples), HistogramColumns::default());
    let mut out = Vec::new();
    assert!(push_frames(&mut out, &labels, 7, &mut chunks, 2500, 4000), "the portion is full");
    assert!(!push_frames(&mut out, &labels, 7, &mut chunks, 2500, usize::MAX));
    let (mut rest, mut frames, mut found) = (out.as_slice(), 0, Vec::new());
    while !rest.is_empty() {
        let length = prost::encoding::decode_varint(&mut rest).unwrap() as usize;
        let (checksum, tail) = rest.split_first_chunk::<4>().unwrap();
        let (message, tail) = tail.split_at(length);
        assert_eq!(u32::from_be_bytes(*checksum), crc32c(message));
        let frame = FrameMessage::decode(message).unwrap();
        assert_eq!((frame.query_index, frame.series.len(), frame.series[0].labels.len()), (7, 1, 2));
        assert!(length < 2500 + 1500, "{length}");
        found.extend(frame.series[0].chunks.iter().flat_map(|chunk| floats_of(&chunk.data)));
        (rest, frames) = (tail, frames + 1);
    }
    assert!(frames > 2, "{frames}");
    assert_eq!(found, samples.iter().map(|(at, value)| (*at, value.to_bits())).collect::<Vec<_>>());
}

#[test]
fn samples_come_back_from_the_message() {
    let labels = Labels::from_pairs([("__name__", "up")]).unwrap();
    let mut histograms = HistogramColumns::default();
    histograms.push(3000, histogram(CounterResetHint::NotReset, &[1.0, 2.0]));
    let (mut result, mut message) = (Vec::new(), Vec::new());
    push_series(&mut result, &labels, &columns(&[(0, 0.0), (-1000, -0.0), (2000, f64::INFINITY)]), &histograms);
    push_result(&mut message, &result);
    push_result(&mut message, &[]);
    let found = ResponseMessage::decode(message.as_slice()).unwrap();
    assert_eq!(found.results.len(), 2);
    let series = &found.results[0].timeseries[0];
    let samples: Vec<_> = series.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect();
    assert_eq!(samples, [(0, 0), (-1000, (-0.0f64).to_bits()), (2000, f64::INFINITY.to_bits())]);
    let found = &series.histograms[0];
    assert_eq!((found.timestamp, found.schema, found.reset_hint, found.sum), (3000, 3, 2, -4.25));
    assert_eq!(found.count, Some(crate::wire::prost_types::histogram::Count::Float(12.0)));
    assert_eq!((found.positive_counts.as_slice(), found.positive_spans[0].offset), ([1.0, 2.0].as_slice(), -70_000));
}

#[test]
fn the_first_known_form_is_chosen() {
    let chosen = |accepted: &[i32]| {
        let message = ReadRequestMessage { queries: vec![], accepted: accepted.to_vec() };
        request::decode(&message.encode_to_vec(), REGEX_BYTES_MAX).unwrap().response_type().ok()
    };
    assert_eq!(chosen(&[]), Some(ResponseType::Samples));
    assert_eq!(chosen(&[1, 0]), Some(ResponseType::StreamedChunks));
    assert_eq!(chosen(&[7, 0, 1]), Some(ResponseType::Samples));
    assert_eq!(chosen(&[7]), None);
}

#[test]
fn all_kinds_of_matchers_are_read_and_wrong_ones_refused() {
    let matcher = |kind, value: &str| MatcherMessage { kind, name: "job".into(), value: value.into() };
    let decode = |matchers: Vec<MatcherMessage>| {
        let query = QueryMessage { matchers, ..QueryMessage::default() };
        request::decode(&ReadRequestMessage { queries: vec![query], accepted: vec![] }.encode_to_vec(), REGEX_BYTES_MAX)
    };
    let kinds = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
    let all = decode((0..4).map(|kind| matcher(kind, "a|b")).collect()).unwrap();
    let expected: Vec<_> = kinds.iter().map(|op| Matcher::new("job", *op, "a|b").unwrap()).collect();
    assert_eq!(all.queries[0].matchers, expected);
    assert!(matches!(decode(vec![matcher(4, "a")]), Err(RequestError::MatcherType(4))));
    assert!(matches!(decode(vec![matcher(2, "(")]), Err(RequestError::Regex { .. })));
    let many = ReadRequestMessage { queries: vec![QueryMessage::default(); QUERIES_MAX + 1], accepted: vec![] };
    assert!(matches!(
        request::decode(&many.encode_to_vec(), REGEX_BYTES_MAX),
        Err(RequestError::TooMany { what: "queries", .. })
    ));
}
