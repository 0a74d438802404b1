//! Redo, tried at once: every change is replayed from its log record while the page is at hand.
//!
//! Owns: [`RedoCheck`], on in debug builds. Promises: a record that would not bring recovery to
//! the same bytes is found by the call that made it, not by the next crash. Must never: run in a
//! release build unless asked for.

use campanile_format::record::{Body, Record};
use campanile_format::{Lsn, PageBytes, PlainMut, TxnId, page_op};

use crate::apply::Change;

/// Where the checksum stands in a page: it is made when the page is written back.
const CHECKSUM: std::ops::Range<usize> = 0..4;

/// The pages as they were, and the record as recovery will read it.
#[derive(Debug)]
pub(crate) struct RedoCheck {
    record: Vec<u8>,
    pages: Vec<Vec<u8>>,
}

impl RedoCheck {
    /// Copies the pages, if wanted.
    pub fn before(
        wanted: bool,
        body: &Body<'_>,
        changes: &[Change<'_, '_, '_>],
    ) -> Option<RedoCheck> {
        if !wanted {
            return None;
        }
        let mut record = Vec::new();
        Record { txn: TxnId(1), prev: Lsn::NONE, body: body.clone() }.encode(&mut record);
        let pages = changes.iter().map(|change| {
            let mut copy = vec![0; change.page.bytes().len()];
            change.page.copy_page(&mut copy);
            copy
        });
        Some(RedoCheck { record, pages: pages.collect() })
    }

    /// Replays the record on the copies and compares.
    pub fn after(mut self, changes: &[Change<'_, '_, '_>], lsn: Lsn) {
        let record = Record::decode(&self.record).expect("a record decodes as it was encoded");
        let (Body::Update { changes: logged, .. } | Body::Compensate { changes: logged, .. }) =
            &record.body
        else {
            panic!("record {lsn} changed its kind on the way through the codec");
        };
        for page in logged {
            let at = changes
                .iter()
                .position(|change| change.page.id() == page.page)
                .expect("a record names the pages it was made for");
            let mut copy = PlainMut(&mut self.pages[at]);
            page_op::check_all(&page.ops, page.page, &copy)
                .expect("operations that fitted once fit again");
            page_op::apply_all(&page.ops, page.page, &mut copy, lsn);
            let mut now = vec![0; changes[at].page.bytes().len()];
            changes[at].page.copy_page(&mut now);
            now[CHECKSUM].fill(0);
            self.pages[at][CHECKSUM].fill(0);
            assert!(now == self.pages[at], "redo of {lsn} gives another {}", page.page);
        }
    }
}
