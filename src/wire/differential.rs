//! The walker against the generated decoder: any encoding of any message, whole or broken, is accepted or refused alike and
//! says the same.

use super::oracle::{Content, generated};
use super::prost_types::{v1, v2};
use super::{Limits, Protocol, WireErrorKind, WriteTable, decode};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use storage::append::LabelHash;

fn walked(protocol: Protocol, body: &[u8]) -> Option<Content> {
    super::oracle::walked(protocol, body, &Limits::for_decoded_bytes(1 << 20))
}

// Encodings. Each strategy yields the bytes of some fields; a message is any number of them in any order.

type Bytes = BoxedStrategy<Vec<u8>>;

fn varint(mut value: u64, padding: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    for _ in 0..padding.min(10 - out.len()) {
        *out.last_mut().unwrap() |= 0x80;
        out.push(0);
    }
    out
}

/// A key; now and then longer than need be.
fn key(field: u32, wire_type: u32) -> Bytes {
    prop_oneof![20 => Just(0usize), 1 => 1usize..4]
        .prop_map(move |padding| varint(u64::from(field << 3 | wire_type), padding))
        .boxed()
}

fn field(number: u32, wire_type: u32, value: impl Strategy<Value = Vec<u8>> + 'static) -> Bytes {
    (key(number, wire_type), value).prop_map(|(key, value)| [key, value].concat()).boxed()
}

fn delimited(number: u32, inner: impl Strategy<Value = Vec<u8>> + 'static) -> Bytes {
    let padding = prop_oneof![20 => Just(0usize), 1 => 1usize..3];
    let framed = (inner, padding).prop_map(|(inner, padding)| [varint(inner.len() as u64, padding), inner].concat());
    field(number, 2, framed)
}

fn number() -> Bytes {
    let value = prop_oneof![0u64..9, any::<u64>(), 1_700_000_000_000u64..1_800_000_000_000];
    (value, prop_oneof![20 => Just(0usize), 1 => 1usize..9]).prop_map(|(value, padding)| varint(value, padding)).boxed()
}

fn fixed64() -> Bytes {
    any::<f64>().prop_map(|value| value.to_le_bytes().to_vec()).boxed()
}

fn unknown() -> Bytes {
    let leaf = prop_oneof![
        field(30, 0, number()),
        field(31, 1, fixed64()),
        delimited(32, vec(any::<u8>(), 0..5)),
        field(1000, 5, vec(any::<u8>(), 4)),
    ];
    leaf.prop_recursive(6, 12, 3, |inner| {
        vec(inner, 0..3).prop_map(|fields| {
            let end = varint(40 << 3 | 4, 0);
            [varint(40 << 3 | 3, 0), fields.concat(), end].concat()
        })
    })
    .boxed()
}

/// A known field in a wire type that it cannot have.
fn wrong_type(fields: u32) -> Bytes {
    (1..=fields, prop_oneof![Just(0u32), Just(1), Just(2), Just(5)], vec(any::<u8>(), 8))
        .prop_map(|(number, wire_type, bytes)| [varint(u64::from(number << 3 | wire_type), 0), bytes].concat())
        .boxed()
}

fn message(frequent: Vec<Bytes>, known: u32, count: usize) -> Bytes {
    let mut choices: Vec<(u32, Bytes)> = frequent.into_iter().map(|field| (12, field)).collect();
    choices.push((2, unknown()));
    choices.push((1, wrong_type(known)));
    vec(proptest::strategy::Union::new_weighted(choices), 0..count).prop_map(|fields| fields.concat()).boxed()
}

fn text() -> Bytes {
    prop_oneof![
        prop_oneof![Just("__name__"), Just("job"), Just("a"), Just(""), Just("é")].prop_map(|s| s.as_bytes().to_vec()),
        vec(any::<u8>(), 0..6),
        (120usize..140).prop_map(|length| vec![b'x'; length]),
    ]
    .boxed()
}

fn label() -> Bytes {
    let usual = (text(), text()).prop_map(|(name, value)| v1::Label { name, value }.encode_to_vec());
    prop_oneof![5 => usual, 1 => message(vec![delimited(1, text()), delimited(2, text())], 2, 4)].boxed()
}

fn sample(fields: u32) -> Bytes {
    let plain =
        (any::<f64>(), any::<i64>()).prop_map(|(value, timestamp)| v1::Sample { value, timestamp }.encode_to_vec());
    let started = (any::<f64>(), any::<i64>(), any::<i64>()).prop_map(|(value, timestamp, start_timestamp)| {
        v2::Sample { value, timestamp, start_timestamp }.encode_to_vec()
    });
    let usual = prop_oneof![2 => plain, 1 => started];
    let any_form = vec![field(1, 1, fixed64()), field(2, 0, number()), field(3, 0, number())];
    prop_oneof![5 => usual, 1 => message(any_form, fields, 4)].boxed()
}

/// Histograms of both versions; field 17 is unknown to the first.
fn histogram(fields: u32) -> Bytes {
    let packed_numbers = vec(number(), 0..4).prop_map(|numbers| numbers.concat());
    let packed_doubles = vec(fixed64(), 0..4).prop_map(|numbers| numbers.concat());
    let span = message(vec![field(1, 0, number()), field(2, 0, number())], 2, 3);
    let forms = vec![
        field(1, 0, number()),
        field(2, 1, fixed64()),
        field(3, 1, fixed64()),
        field(4, 0, number()),
        field(5, 1, fixed64()),
        field(6, 0, number()),
        field(7, 1, fixed64()),
        delimited(8, span.clone()),
        delimited(9, packed_numbers.clone()),
        field(9, 0, number()),
        delimited(10, packed_doubles.clone()),
        field(13, 1, fixed64()),
        delimited(11, span),
        delimited(12, packed_numbers),
        field(14, 0, number()),
        field(15, 0, number()),
        delimited(16, packed_doubles),
        field(17, 0, number()),
    ];
    message(forms, fields, 8)
}

fn write_request() -> Bytes {
    let exemplar = message(vec![delimited(1, label()), field(2, 1, fixed64()), field(3, 0, number())], 3, 4);
    let series = message(
        vec![
            delimited(1, label()),
            delimited(1, label()),
            delimited(2, sample(2)),
            delimited(3, exemplar),
            delimited(4, histogram(16)),
        ],
        4,
        8,
    );
    // Labels first, then samples, as senders write it.
    let usual = (vec(delimited(1, label()), 0..4), vec(delimited(2, sample(2)), 0..3))
        .prop_map(|(labels, samples)| [labels.concat(), samples.concat()].concat());
    let texts = vec![field(1, 0, number()), delimited(2, text()), delimited(4, text()), delimited(5, text())];
    message(vec![delimited(1, usual), delimited(1, series), delimited(3, message(texts, 5, 5))], 3, 6)
}

fn request() -> Bytes {
    let reference = || prop_oneof![20 => 0u64..6, 1 => any::<u64>()].prop_map(|value| varint(value, 0));
    let packed = vec((reference(), reference()), 0..4)
        .prop_map(|pairs| pairs.into_iter().flat_map(|(name, value)| [name, value].concat()).collect::<Vec<u8>>());
    let exemplar = message(vec![delimited(1, packed.clone()), field(2, 1, fixed64()), field(3, 0, number())], 3, 4);
    let metadata = message(vec![field(1, 0, number()), field(3, 0, reference()), field(4, 0, reference())], 4, 4);
    let pair = (reference(), reference())
        .prop_map(|(name, value)| [varint(1 << 3, 0), name, varint(1 << 3, 0), value].concat());
    let series = message(
        vec![
            delimited(1, packed.clone()),
            pair.boxed(),
            delimited(2, sample(3)),
            delimited(3, histogram(17)),
            delimited(4, exemplar),
            delimited(5, metadata),
        ],
        5,
        7,
    );
    // References first, then samples, as senders write it.
    let usual = (delimited(1, packed), vec(delimited(2, sample(3)), 0..3))
        .prop_map(|(labels, samples)| [labels, samples.concat()].concat());
    let symbol = || delimited(4, text());
    message(vec![symbol(), symbol(), delimited(5, usual), delimited(5, series)], 5, 12)
}

#[derive(Debug, Clone)]
enum Damage {
    None,
    CutAt(prop::sample::Index),
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
}

fn damaged(body: Bytes) -> Bytes {
    let place = any::<prop::sample::Index>;
    let damage = prop_oneof![
        3 => Just(Damage::None),
        1 => place().prop_map(Damage::CutAt),
        1 => (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        1 => (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        1 => place().prop_map(Damage::Remove),
    ];
    (body, damage)
        .prop_map(|(mut body, damage)| {
            if body.is_empty() {
                return body;
            }
            match damage {
                Damage::None => {}
                Damage::CutAt(at) => body.truncate(at.index(body.len())),
                Damage::Replace(at, byte) => {
                    let at = at.index(body.len());
                    body[at] = byte;
                }
                Damage::Insert(at, byte) => body.insert(at.index(body.len()), byte),
                Damage::Remove(at) => drop(body.remove(at.index(body.len()))),
            }
            body
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn version_1_is_read_as_the_generated_decoder_reads_it(body in damaged(write_request())) {
        prop_assert_eq!(walked(Protocol::V1, &body), generated(Protocol::V1, &body));
    }

    #[test]
    fn version_2_is_read_as_the_generated_decoder_reads_it(body in damaged(request())) {
        prop_assert_eq!(walked(Protocol::V2, &body), generated(Protocol::V2, &body));
    }

    #[test]
    fn noise_is_read_as_the_generated_decoder_reads_it(body in vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(walked(Protocol::V1, &body), generated(Protocol::V1, &body));
        prop_assert_eq!(walked(Protocol::V2, &body), generated(Protocol::V2, &body));
    }
}

proptest! {
    #[test]
    fn labels_in_the_order_of_the_rules_hash_to_the_identity_of_their_series(
        labels in prop::collection::btree_map("[a-z]{1,4}", "[a-z]{1,140}", 0..6),
        samples_between: bool,
    ) {
        let identity = LabelHash::of_pairs(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())), &mut Vec::new());
        let sample = v1::Sample { value: 1.0, timestamp: 1 };
        let mut series = Vec::new();
        for (name, value) in &labels {
            let label = v1::Label { name: name.clone().into(), value: value.clone().into() };
            prost::encoding::message::encode(1, &label, &mut series);
            if samples_between {
                prost::encoding::message::encode(2, &sample, &mut series);
            }
        }
        let body = [&[0x0a], varint(series.len() as u64, 0).as_slice(), &series].concat();
        let mut table = WriteTable::default();
        decode(Protocol::V1, &body, &Limits::for_decoded_bytes(1 << 20), &mut table).unwrap();
        prop_assert_eq!(table.hashes(), [identity]);

        let symbols: Vec<Vec<u8>> = labels.iter().flat_map(|(n, v)| [n.clone().into(), v.clone().into()]).collect();
        let labels_refs = (0..symbols.len() as u32).collect();
        let request = v2::Request { symbols, timeseries: vec![v2::TimeSeries { labels_refs, ..Default::default() }] };
        let limits = Limits::for_decoded_bytes(1 << 20);
        decode(Protocol::V2, &request.encode_to_vec(), &limits, &mut table).unwrap();
        prop_assert_eq!(table.hashes(), [identity]);
    }
}

/// Most bodies of the strategies above must be valid, or the comparison would only ever see refusals.
#[test]
fn the_strategies_yield_valid_and_invalid_bodies() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for (protocol, strategy) in [(Protocol::V1, damaged(write_request())), (Protocol::V2, damaged(request()))] {
        let name = protocol.version();
        let bodies: Vec<Vec<u8>> =
            (0..400).map(|_| strategy.new_tree(&mut runner).expect("no filters").current()).collect();
        let contents: Vec<Content> = bodies.iter().filter_map(|body| generated(protocol, body)).collect();
        let samples: usize = contents.iter().flat_map(|c| &c.series).map(|series| series.samples.len()).sum();
        assert!((100..380).contains(&contents.len()), "{name}: {} of 400 are valid", contents.len());
        assert!(samples > 100, "{name}: only {samples} samples");
    }
}

#[test]
fn groups_may_nest_a_hundred_levels_and_no_more() {
    for depth in [1, 98, 99, 100, 101, 5000] {
        let body = [vec![0x3b; depth], vec![0x3c; depth]].concat();
        assert_eq!(walked(Protocol::V1, &body), generated(Protocol::V1, &body), "{depth}");
        let in_series = [vec![0x0a], varint(body.len() as u64, 0), body].concat();
        assert_eq!(walked(Protocol::V1, &in_series), generated(Protocol::V1, &in_series), "{depth}");
    }
}

#[test]
fn hostile_bodies_do_not_fill_the_memory() {
    let limits = Limits::for_decoded_bytes(1 << 20);
    // Two bytes each: empty series, empty samples of one series, empty symbols, empty metadata.
    let samples = [0x12, 0].repeat(1 << 19);
    let one_series = [&[0x0a], varint(samples.len() as u64, 0).as_slice(), &samples].concat();
    for (protocol, body, what) in [
        (Protocol::V1, [0x0a, 0].repeat(1 << 19), "series"),
        (Protocol::V1, one_series, "samples"),
        (Protocol::V1, [0x1a, 0].repeat(1 << 19), "metadata entries"),
        (Protocol::V2, [0x2a, 0].repeat(1 << 19), "series"),
        (Protocol::V2, [0x22, 0].repeat(1 << 19), "symbols"),
    ] {
        let mut table = WriteTable::default();
        let error = decode(protocol, &body, &limits, &mut table).unwrap_err();
        assert!(matches!(error.kind, WireErrorKind::TooMany { what: found, .. } if found == what), "{error}");
        assert!(table.capacity_bytes() < 3 << 20, "{} bytes for {what}", table.capacity_bytes());
    }
}
