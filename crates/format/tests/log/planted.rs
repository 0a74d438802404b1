//! Planted bugs: off unless asked for, and noticed.

#[cfg(feature = "planted-bugs")]
mod on {
    use campanile_format::frame;
    use campanile_format::planted::{self, Bug};

    use crate::samples::{self, AT};

    #[test]
    fn a_bug_is_on_inside_with_and_only_there() {
        assert!(!planted::is(Bug::UndoSkipped));
        planted::with(Bug::UndoSkipped, || {
            assert!(planted::is(Bug::UndoSkipped));
            assert!(!planted::is(Bug::LogSyncSkipped));
            assert_eq!(planted::fired(), 1);
            std::thread::spawn(|| assert!(!planted::is(Bug::UndoSkipped))).join().unwrap();
        });
        assert!(!planted::is(Bug::UndoSkipped));
    }

    #[test]
    fn a_thread_that_takes_over_the_selection_has_the_bug_and_counts_with_the_others() {
        planted::with(Bug::UndoSkipped, || {
            let selection = planted::Selection::here();
            let thread = std::thread::spawn(move || {
                selection.on(|| assert!(planted::is(Bug::UndoSkipped)));
                assert!(!planted::is(Bug::UndoSkipped));
            });
            thread.join().unwrap();
            assert_eq!(planted::fired(), 1);
        });
        let nothing = planted::Selection::here();
        planted::with(Bug::UndoSkipped, || nothing.on(|| assert!(!planted::is(Bug::UndoSkipped))));
    }

    /// Counts the bit flips of the sample records that go unnoticed.
    fn missed_flips() -> usize {
        let mut missed = 0;
        for (_, record) in samples::records() {
            let mut bytes = samples::framed(&record);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                missed += usize::from(frame::parse(&bytes, AT, &samples::identity()).is_ok());
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        missed
    }

    #[test]
    fn the_bit_flip_test_notices_a_weak_checksum() {
        assert_eq!(missed_flips(), 0);
        assert!(planted::with(Bug::FrameChecksumIgnored, missed_flips) > 0);
        assert!(planted::with(Bug::FrameChecksumSkipsHeader, missed_flips) > 0);
    }
}

#[cfg(not(feature = "planted-bugs"))]
#[test]
fn without_the_feature_no_bug_is_on() {
    use campanile_format::planted::{self, Bug};
    assert!(Bug::ALL.iter().all(|bug| !planted::is(*bug)));
}
