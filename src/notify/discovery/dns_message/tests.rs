use super::*;
use proptest::prelude::*;

/// An answer to `question` with records of (kind, data), their names pointing at the question's.
pub(in crate::notify::discovery) fn reply(question: &[u8], flags: u16, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut end = 12;
    while question[end] != 0 {
        end += 1 + usize::from(question[end]);
    }
    let asked = &question[12..end + 5];
    let mut message = question[..2].to_vec();
    for number in [0x8180 | flags, 1, u16::try_from(records.len()).unwrap(), 0, 0] {
        message.extend(number.to_be_bytes());
    }
    message.extend(asked);
    for (kind, data) in records {
        message.extend([0xc0, 12]);
        for number in [*kind, CLASS_IN, 0, 60, u16::try_from(data.len()).unwrap()] {
            message.extend(number.to_be_bytes());
        }
        message.extend(data);
    }
    message
}

/// Data of an SRV record whose target has one part.
pub(in crate::notify::discovery) fn srv(part: &str, port: u16) -> Vec<u8> {
    let mut data = vec![0, 1, 0, 2];
    data.extend(port.to_be_bytes());
    data.push(u8::try_from(part.len()).unwrap());
    data.extend(part.as_bytes());
    data.push(0);
    data
}

fn asked(kind: Kind) -> Vec<u8> {
    question(7, "_am._tcp.example.org", kind, true).unwrap()
}

#[test]
fn a_question_is_as_the_standard_has_it() {
    let mut expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x02bc\x00\x00\x21\x00\x01".to_vec();
    expected.extend(b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00");
    assert_eq!(question(0x1234, "a.bc.", Kind::Srv, true).unwrap(), expected);
    for name in ["a..b", ".a", &"a".repeat(64), &"a.".repeat(200)] {
        assert_eq!(question(1, name, Kind::A, false), Err(MessageError::BadName), "{name}");
    }
}

#[test]
fn records_of_every_kind_are_read_and_others_are_skipped() {
    let question = asked(Kind::Srv);
    let mut mx = vec![0, 10, 4];
    mx.extend(b"mail\xc0");
    mx.push(12 + 4 + 5); // "example.org" in the question
    let records = [
        (33, srv("a", 9093)),
        (1, vec![127, 0, 0, 1]),
        (28, vec![0; 16]),
        (15, mx),
        (2, b"\x02ns\x00".to_vec()),
        (5, b"\x01c\x00".to_vec()),
    ];
    let read = answer(&question, &reply(&question, 0, &records)).unwrap();
    assert_eq!(read.code, ResponseCode::Success);
    assert_eq!(
        read.records,
        [
            Record::Srv { target: "a.".into(), port: 9093 },
            Record::A(Ipv4Addr::LOCALHOST),
            Record::Aaaa(Ipv6Addr::UNSPECIFIED),
            Record::Mx("mail.example.org.".into()),
            Record::Ns("ns.".into()),
        ]
    );
}

#[test]
fn what_is_no_answer_to_the_question_is_refused() {
    let question = asked(Kind::A);
    let good = reply(&question, 0, &[(1, vec![1, 2, 3, 4])]);
    assert!(answer(&question, &good).is_ok());
    let other = super::question(7, "_am._tcp.example.com", Kind::A, true).unwrap();
    assert_eq!(answer(&other, &good), Err(MessageError::Unrelated));
    assert_eq!(answer(&asked(Kind::Aaaa), &good), Err(MessageError::Unrelated));
    assert_eq!(answer(&question, &question), Err(MessageError::Unrelated), "a question is no answer");
    for end in 0..good.len() {
        assert!(answer(&question, &good[..end]).is_err(), "{end}");
    }
    let no_such_name = answer(&question, &reply(&question, 3, &[])).unwrap();
    assert_eq!((no_such_name.code, no_such_name.records.len()), (ResponseCode::NoSuchName, 0));
    let cut = reply(&question, 0x0200, &[(1, vec![1, 2, 3, 4])]);
    assert!(answer(&question, &cut[..cut.len() - 2]).unwrap().truncated);
}

#[test]
fn names_that_point_at_themselves_end() {
    let question = asked(Kind::Ns);
    let at = u8::try_from(reply(&question, 0, &[(2, Vec::new())]).len()).unwrap();
    let message = reply(&question, 0, &[(2, vec![0xc0, at])]);
    assert_eq!(answer(&question, &message), Err(MessageError::Malformed));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..80, byte: u8) {
        let question = asked(Kind::Srv);
        let mut message = reply(&question, 0, &[(33, srv("host", 1)), (15, b"\x00\x01\xc0\x0c".to_vec())]);
        if let Some(old) = message.get_mut(at) {
            *old = byte;
        }
        let _ = answer(&question, &message);
        let _ = answer(&question, &bytes);
        let mut with_id = question[..2].to_vec();
        with_id.extend([0x80, 0]);
        with_id.extend(&bytes);
        let _ = answer(&question, &with_id);
    }
}
