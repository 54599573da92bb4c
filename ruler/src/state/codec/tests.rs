use super::*;
use crate::testing::labels;
use proptest::prelude::*;

fn rule() -> Arc<RuleId> {
    let group = Arc::new(GroupId { file: "r.yml".into(), name: "g".into() });
    Arc::new(RuleId { group, name: "Down".into(), labels: [("severity".into(), "page".into())].into(), nth: 2 })
}

fn instance(state: AlertState) -> AlertInstance {
    let annotations = Arc::from([(Arc::from("summary"), Arc::from("It is down.")), (Arc::from("z"), Arc::from(""))]);
    AlertInstance {
        state,
        active_at: Timestamp(-5),
        value: f64::NEG_INFINITY,
        annotations,
        last_sent_at: Some(Timestamp(i64::MAX)),
        seq: 300,
    }
}

fn departure() -> Departure {
    let fired_at = Timestamp(1_700_000_000_000);
    let states = [
        AlertState::Pending,
        AlertState::Firing { fired_at, keep_firing_since: None },
        AlertState::Firing { fired_at, keep_firing_since: Some(Timestamp(i64::MIN)) },
        AlertState::Resolved { fired_at, resolved_at: Timestamp(0) },
    ];
    let mut changes: Vec<Change> = (0..)
        .zip(states)
        .map(|(i, state)| Change {
            labels: labels(&[("alertname", "Down"), ("i", &format!("{i}"))]),
            instance: Some(instance(state)),
            leaves_until: (i > 0).then_some(Timestamp(7)),
        })
        .collect();
    changes.push(Change { labels: Labels::empty(), instance: None, leaves_until: None });
    Departure { rule: rule(), expr: "up == 0".into(), slot: Timestamp(60_000), last_good: None, changes }
}

#[test]
fn departures_and_messages_come_back_as_they_were() {
    let departure = departure();
    let mut bytes = Vec::new();
    encode_departure(&departure, &mut bytes);
    assert_eq!(decode_departure(&bytes), Ok(departure.clone()));
    for message in departure.messages() {
        let mut bytes = Vec::new();
        encode_message(&message, &mut bytes);
        assert_eq!(decode_message(&bytes), Ok(message));
    }
    assert_eq!(departure.messages().count(), 3, "pending alerts do not leave");
}

#[test]
fn every_prefix_is_refused() {
    let mut bytes = Vec::new();
    encode_departure(&departure(), &mut bytes);
    for length in 0..bytes.len() {
        assert!(decode_departure(&bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn what_a_newer_program_wrote_is_refused() {
    let mut bytes = Vec::new();
    encode_departure(&departure(), &mut bytes);
    bytes[0] = VERSION + 1;
    assert_eq!(decode_departure(&bytes), Err(DecodeError::Version(VERSION + 1)));
}

proptest! {
    #[test]
    fn numbers_come_back(value: u64, signed: i64) {
        let mut bytes = Vec::new();
        put_number(&mut bytes, value);
        put_signed(&mut bytes, signed);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!((reader.number(), reader.signed(), reader.end()), (Ok(value), Ok(signed), Ok(())));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes: Vec<u8>, flips in prop::collection::vec((0usize..400, 1u8..), 0..4)) {
        let _ = decode_message(&bytes);
        let _ = decode_departure(&bytes);
        bytes.clear();
        encode_departure(&departure(), &mut bytes);
        for (at, mask) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        let _ = decode_departure(&bytes);
    }
}
