//! Records: round trips, refusals, descriptions, and bytes that are no records.

use campanile_format::codec::Writer;
use campanile_format::frame::{self, FRAME_BYTES, FrameHeader};
use campanile_format::record::{Body, PageChange, Record, Undo, kind};
use campanile_format::{FileId, FormatError, Lsn, PageId, PageNo, PageOp, TxnId, Value, describe};
use proptest::prelude::*;

use crate::{arbitrary, samples};

fn with_payload(kind: u8, access_method: u8, flags: u16, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { kind, access_method, flags, txn: TxnId(1), prev: Lsn::NONE };
    let mut bytes = Vec::new();
    frame::begin(&header, &mut bytes, |out| out.extend_from_slice(payload));
    bytes
}

proptest! {
    #[test]
    fn records_round_trip(record in arbitrary::record()) {
        let mut bytes = vec![0xaa; 3];
        record.encode(&mut bytes);
        let frame = &bytes[3..];
        prop_assert_eq!(frame.len() % frame::FRAME_ALIGN, 0);
        let decoded = Record::decode(frame).unwrap();
        prop_assert_eq!(&decoded, &record);
        let mut again = Vec::new();
        decoded.encode(&mut again);
        prop_assert_eq!(frame, &again[..]);
    }

    #[test]
    fn every_record_is_described_on_one_line(record in arbitrary::record()) {
        let line = describe::line(&record);
        prop_assert!(line.starts_with(record.body.name()), "{}", line);
        prop_assert!(!line.contains('\n'), "{}", line);
    }

    #[test]
    fn random_payloads_never_panic_and_decode_to_what_they_encode(
        kind in 0u8..14,
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let paged = [kind::UPDATE, kind::COMPENSATE, kind::COMPENSATE_WITHIN];
        let access_method = u8::from(paged.contains(&kind));
        let bytes = with_payload(kind, access_method, 0, &payload);
        if let Ok(record) = Record::decode(&bytes) {
            let mut again = Vec::new();
            record.encode(&mut again);
            prop_assert_eq!(bytes, again);
        }
    }

    #[test]
    fn a_damaged_payload_never_panics(
        record in arbitrary::record(),
        at in any::<prop::sample::Index>(),
        byte: u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let mut damaged = bytes.clone();
        let place = at.index(bytes.len());
        damaged[place] = byte;
        let _ = Record::decode(&damaged);
        let _ = Record::decode(&bytes[..cut.index(bytes.len())]);
        let payload = &bytes[FRAME_BYTES..];
        let short = &payload[..cut.index(payload.len() + 1)];
        let _ = Record::decode(&with_payload(record.body.kind(), 1, 0, short));
    }

    #[test]
    fn random_bytes_are_no_record(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::decode(&bytes);
        let _ = frame::split(&bytes);
        prop_assert!(frame::parse(&bytes, samples::AT, &samples::identity()).is_err());
    }
}

#[test]
fn an_insert_does_not_log_its_key_twice() {
    let key = [b'k'; 100];
    let op = PageOp::LeafInsert { slot: 0, key: &key, value: Value::Inline(b"v") };
    let page = PageId::new(FileId(16), PageNo(2));
    let changes = vec![PageChange { page, prev_page_lsn: Lsn::NONE, ops: vec![op] }];
    let undo = Undo::Insert { file: FileId(16), key: &key };
    let record = Record { txn: TxnId(1), prev: Lsn::NONE, body: Body::Update { changes, undo } };
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    assert!(bytes.len() < FRAME_BYTES + key.len() + 32, "{} bytes", bytes.len());
    assert_eq!(Record::decode(&bytes).unwrap(), record);
}

#[test]
fn an_unknown_kind_is_refused_by_number_unless_marked_ignorable() {
    let error = Record::decode(&with_payload(200, 0, 0, b"?")).unwrap_err();
    assert_eq!(error, FormatError::UnknownRecordKind { kind: 200 });
    assert!(error.to_string().contains("200"));
    let bytes = with_payload(200, 0, FrameHeader::IGNORABLE, b"?");
    let body = Record::decode(&bytes).unwrap().body;
    assert_eq!(body, Body::Ignorable { kind: 200, bytes: b"?" });
}

#[test]
fn a_known_kind_is_read_even_when_marked_ignorable() {
    let bytes = with_payload(kind::ABORT, 0, FrameHeader::IGNORABLE, b"");
    assert_eq!(Record::decode(&bytes).unwrap().body, Body::Abort);
}

#[test]
fn an_unknown_access_method_is_refused_by_name() {
    let error = Record::decode(&with_payload(kind::UPDATE, 2, 0, &[0, 0])).unwrap_err();
    assert!(error.to_string().contains("hash"), "{error}");
    let error = Record::decode(&with_payload(kind::COMMIT, 1, 0, &[0; 16])).unwrap_err();
    assert!(error.is_corruption(), "{error}");
}

#[test]
fn unknown_required_flags_are_refused_and_ignorable_ones_pass() {
    let error = Record::decode(&with_payload(kind::ABORT, 0, 1 << 3, b"")).unwrap_err();
    assert!(matches!(error, FormatError::UnsupportedFeatures { bits: 8, .. }), "{error}");
    assert!(Record::decode(&with_payload(kind::ABORT, 0, 1 << 12, b"")).is_ok());
}

#[test]
fn bytes_behind_the_payload_are_damage() {
    let error = Record::decode(&with_payload(kind::ABORT, 0, 0, b"x")).unwrap_err();
    assert!(error.is_corruption(), "{error}");
}

#[test]
fn a_count_that_the_record_cannot_hold_is_refused() {
    for kind in [kind::UPDATE, kind::ACTIVE_TXNS] {
        let mut payload = Vec::new();
        Writer::new(&mut payload).varint(u64::MAX >> 1);
        let access_method = u8::from(kind == kind::UPDATE);
        let error = Record::decode(&with_payload(kind, access_method, 0, &payload)).unwrap_err();
        assert!(error.is_corruption(), "{error}");
    }
}

#[test]
fn kinds_are_distinct_and_every_body_has_a_known_one() {
    let records = samples::records();
    for number in kind::ALL {
        assert_eq!(kind::ALL.iter().filter(|other| **other == number).count(), 1);
        assert!(records.iter().any(|(_, record)| record.body.kind() == number), "kind {number}");
    }
}

#[test]
fn accessors_say_what_recovery_asks() {
    let find = |wanted: &str| {
        let records = samples::records();
        records.into_iter().find(|(name, _)| *name == wanted).unwrap().1
    };
    assert_eq!(find("compensate").undo_next(), Lsn::new(2, 512));
    assert_eq!(find("update-insert").undo_next(), Lsn::new(2, 4096));
    assert_eq!(find("file-create").undo(), Undo::CreateFile { file: FileId(16) });
    assert_eq!(find("compensate").undo(), Undo::None);
    assert_eq!(find("commit").proves_durable(), Some(Lsn::new(3, 600)));
    assert_eq!(find("checkpoint").proves_durable(), Some(Lsn::new(3, 600)));
    assert_eq!(find("abort").proves_durable(), None);
    assert_eq!(find("prepare").time_us(), Some(samples::TIME_US));
    assert_eq!(find("update-split").changes().len(), 3);
    assert_eq!(find("update-delete").undo().file(), Some(FileId(16)));
}

#[test]
fn lines_read_well() {
    let records = samples::records();
    let line =
        |wanted: &str| describe::line(&records.iter().find(|(name, _)| *name == wanted).unwrap().1);
    assert_eq!(
        line("update-insert"),
        "update txn=77 prev=2/4096 changes=[file=16 page=2 prev_page_lsn=3/512 ops=[leaf_insert \
         slot=4 key=\"alice\" value=\"100\"]] undo={insert file=16 key=\"alice\"}"
    );
    assert_eq!(line("abort"), "abort txn=77 prev=2/4096");
    assert_eq!(
        line("compensate-file"),
        "compensate txn=77 prev=2/4096 undo_next=none changes=[] \
         remove_file=16"
    );
}
