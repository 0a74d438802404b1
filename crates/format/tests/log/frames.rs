//! Frames: a record out of place, from another log, or with any bit changed does not parse.

use campanile_format::frame::{self, FRAME_BYTES, FrameError, LogIdentity};
use campanile_format::record::Record;
use campanile_format::{EnvironmentId, Lsn, Timeline};
use proptest::prelude::*;

use crate::arbitrary;
use crate::samples::{self, AT, BACK, ENVIRONMENT, TIMELINE};

#[test]
fn a_frame_parses_in_its_place() {
    for (name, record) in samples::records() {
        let bytes = samples::framed(&record);
        let frame = frame::parse(&bytes, AT, &samples::identity()).unwrap();
        assert_eq!(frame.back, BACK, "{name}");
        assert_eq!(frame.total_bytes(), bytes.len(), "{name}");
        assert_eq!(frame.header.kind, record.body.kind(), "{name}");
        assert_eq!(Record::from_frame(&frame).unwrap(), record, "{name}");
    }
}

#[test]
fn any_single_bit_flip_is_detected() {
    for (name, record) in samples::records() {
        let mut bytes = samples::framed(&record);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let result = frame::parse(&bytes, AT, &samples::identity());
            assert!(result.is_err(), "{name}: bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_record_moved_to_any_other_place_of_its_file_is_detected() {
    let (_, record) = &samples::records()[0];
    let bytes = samples::framed(record);
    for offset in (0..1 << 20).step_by(8).filter(|offset| *offset != AT.offset()) {
        let moved = Lsn::new(AT.file(), offset);
        assert!(frame::parse(&bytes, moved, &samples::identity()).is_err(), "{moved}");
    }
}

#[test]
fn a_record_left_over_in_a_recycled_file_is_detected() {
    let (_, record) = &samples::records()[0];
    let bytes = samples::framed(record);
    for file in (0..200_000).filter(|file| *file != AT.file()) {
        let moved = Lsn::new(file, AT.offset());
        assert!(frame::parse(&bytes, moved, &samples::identity()).is_err(), "{moved}");
    }
}

#[test]
fn a_record_of_another_history_is_detected() {
    let (_, record) = &samples::records()[0];
    let bytes = samples::framed(record);
    for timeline in (0..200_000).map(Timeline).filter(|timeline| *timeline != TIMELINE) {
        let identity = LogIdentity::new(ENVIRONMENT, timeline);
        assert!(frame::parse(&bytes, AT, &identity).is_err(), "timeline {timeline}");
    }
}

#[test]
fn zeros_are_no_record_and_not_damage() {
    let identity = samples::identity();
    assert_eq!(frame::parse(&[0; 64], AT, &identity), Err(FrameError::Zero));
    let short = Err(FrameError::Short { needed: FRAME_BYTES });
    assert_eq!(frame::parse(&[0; 31], AT, &identity), short);
}

#[test]
fn a_record_cut_off_says_how_much_is_needed() {
    let (_, record) = &samples::records()[0];
    let bytes = samples::framed(record);
    for len in FRAME_BYTES..bytes.len() {
        let short = Err(FrameError::Short { needed: bytes.len() });
        assert_eq!(frame::parse(&bytes[..len], AT, &samples::identity()), short);
    }
}

#[test]
fn an_impossible_length_is_named() {
    let mut bytes = [0xff; 64];
    let error = frame::parse(&bytes, AT, &samples::identity()).unwrap_err();
    assert_eq!(error, FrameError::BadLength { len: u32::MAX });
    bytes[..4].copy_from_slice(&[31, 0, 0, 0]);
    let error = frame::parse(&bytes, AT, &samples::identity()).unwrap_err();
    assert_eq!(error, FrameError::BadLength { len: 31 });
}

proptest! {
    #[test]
    fn a_record_in_another_place_or_log_is_detected(
        record in arbitrary::record(),
        at: u64,
        other_at: u64,
        back: u32,
        environment: [u8; 16],
        other_environment: [u8; 16],
        timeline: u32,
        other_timeline: u32,
    ) {
        let identity = |environment, timeline| {
            LogIdentity::new(EnvironmentId(environment), Timeline(timeline))
        };
        let right = identity(environment, timeline);
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        frame::finish(&mut bytes, Lsn(at), back, &right);
        let parsed = frame::parse(&bytes, Lsn(at), &right).unwrap();
        prop_assert_eq!(&Record::from_frame(&parsed).unwrap(), &record);
        prop_assume!(at != other_at && timeline != other_timeline);
        prop_assume!(environment != other_environment);
        prop_assert!(frame::parse(&bytes, Lsn(other_at), &right).is_err());
        let wrong = identity(other_environment, timeline);
        prop_assert!(frame::parse(&bytes, Lsn(at), &wrong).is_err());
        let wrong = identity(environment, other_timeline);
        prop_assert!(frame::parse(&bytes, Lsn(at), &wrong).is_err());
    }

    #[test]
    fn any_bit_flip_of_any_record_is_detected(
        record in arbitrary::record(),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut bytes = samples::framed(&record);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(frame::parse(&bytes, AT, &samples::identity()).is_err());
    }
}
