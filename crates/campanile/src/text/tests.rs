//! The dump format against real dumps of Berkeley DB, and against every trap a loader can fall in.

use std::io::Read;

use proptest::prelude::*;

use super::{AccessMethod, Duplicates, Format, Header, Override, Reader, Writer, check};
use crate::ErrorKind;

const HEAD: &str = "VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n";

fn shipped(name: &str) -> Vec<u8> {
    let path = format!("{}/../tools/data/{name}.zst", env!("CARGO_MANIFEST_DIR"));
    let packed = std::fs::read(path).unwrap();
    let mut text = Vec::new();
    zstd::Decoder::new(&packed[..]).unwrap().read_to_end(&mut text).unwrap();
    text
}

fn copy(text: &[u8], format: Option<Format>) -> Vec<u8> {
    let mut reader = Reader::new(text, "copy");
    let mut writer = Writer::new(Vec::new());
    while let Some(mut header) = reader.next_section().unwrap() {
        header.format = format.unwrap_or(header.format);
        writer.begin(&header).unwrap();
        while let Some((key, value)) = reader.next_pair().unwrap() {
            writer.pair(key, value).unwrap();
        }
        writer.end().unwrap();
    }
    writer.finish().unwrap()
}

fn refused(text: &str) -> String {
    check(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn real_dumps_come_back_byte_for_byte() {
    for name in ["packages.dump", "packages.print.dump", "depends.dump", "depends.print.dump"] {
        let text = shipped(name);
        assert!(copy(&text, None) == text, "{name} changed on its way through");
    }
}

#[test]
fn the_two_spellings_of_real_data_agree() {
    for name in ["packages", "depends"] {
        let hex = shipped(&format!("{name}.dump"));
        let print = shipped(&format!("{name}.print.dump"));
        assert!(copy(&hex, Some(Format::Print)) == print, "{name}: hex to print");
        assert!(copy(&print, Some(Format::Bytevalue)) == hex, "{name}: print to hex");
    }
}

#[test]
fn real_dumps_hold_what_is_said_of_them() {
    let summary = check(&shipped("packages.dump")).unwrap();
    assert_eq!((summary.sections, summary.pairs), (1, 15_928));
    let depends = shipped("depends.dump");
    assert_eq!(check(&depends).unwrap().pairs, 16_398);
    let mut reader = Reader::new(&depends[..], "depends");
    let header = reader.next_section().unwrap().unwrap();
    assert_eq!(header.duplicates, Duplicates::Sorted);
    assert_eq!(header.page_bytes, Some(4096));
}

#[test]
fn a_text_without_its_end_is_refused() {
    for (text, line) in [
        (format!("{HEAD} 61\n 62\n"), 6),
        (format!("{HEAD} 61\n 62\nDATA=EN"), 7),
        (HEAD.to_string(), 4),
        ("VERSION=3\nformat=print\n".to_string(), 2),
    ] {
        let message = refused(&text);
        assert!(message.starts_with(&format!("text:{line}: ")), "{message}");
    }
    assert!(refused("").contains("empty"));
}

#[test]
fn half_a_pair_is_refused() {
    let message = refused(&format!("{HEAD} 61\n 62\n 63\nDATA=END\n"));
    assert_eq!(message, "text:8: the last key has no value: half a pair");
}

#[test]
fn bad_digits_are_refused_with_their_line() {
    for (line, what) in [
        (" 6", "odd number"),
        (" 6A", "upper-case"),
        (" 6g", "not a hexadecimal digit"),
        (" 61 ", "not a hexadecimal digit"),
        (" 61\r", "carriage return"),
        ("61", "begins with one space"),
        ("", "begins with one space"),
        ("\t61", "begins with one space"),
        ("DATA=END\r", "CR LF"),
        ("DATA=END ", "begins with one space"),
        ("HEADER=END", "begins with one space"),
    ] {
        let message = refused(&format!("{HEAD} 61\n{line}\nDATA=END\n"));
        assert!(message.starts_with("text:6: ") && message.contains(what), "{line:?}: {message}");
    }
}

#[test]
fn bad_escapes_are_refused_with_their_line() {
    let head = HEAD.replace("bytevalue", "print");
    for (line, what) in [
        (" \\", "inside a backslash escape"),
        (" \\0", "inside a backslash escape"),
        (" \\0A", "upper-case"),
        (" \\n", "not a hexadecimal digit"),
        (" a\tb", "control byte 0x09"),
        (" a\r", "carriage return"),
    ] {
        let message = refused(&format!("{head} 61\n{line}\nDATA=END\n"));
        assert!(message.starts_with("text:6: ") && message.contains(what), "{line:?}: {message}");
    }
}

#[test]
fn bad_headers_are_refused_with_their_line() {
    for (header, line, what) in [
        ("format=print\ntype=btree\nHEADER=END\n", 3, "no VERSION"),
        ("VERSION=3\ntype=btree\nHEADER=END\n", 3, "no format"),
        ("VERSION=3\nformat=print\nHEADER=END\n", 3, "type of the database"),
        ("VERSION=1\n", 1, "VERSION=1"),
        ("VERSION=4\n", 1, "VERSION=4"),
        ("VERSION=3\r\n", 1, "CR LF"),
        ("VERSION=3\nVERSION=3\n", 2, "twice"),
        ("VERSION=3\nformat=hex\n", 2, "neither bytevalue nor print"),
        ("VERSION=3\nfrobnicate=1\n", 2, "unknown keyword"),
        ("VERSION=3\nHEADER\n", 2, "NAME=VALUE"),
        ("VERSION=3\n\n", 2, "empty line"),
        ("VERSION=3\ntype=cabbage\n", 2, "not a type"),
        ("VERSION=3\nduplicates=2\n", 2, "neither 0 nor 1"),
        ("VERSION=3\ndb_pagesize=1000\n", 2, "power of two"),
        ("VERSION=3\nbt_minkey=two\n", 2, "not a number"),
        ("VERSION=3\ndatabase=a\\\n", 2, "escape"),
        ("VERSION=3\ndatabase=\\ff\n", 2, "not UTF-8"),
        ("VERSION=3\ndatabase=a\nsubdatabase=b\n", 3, "twice"),
        (" 61\n", 1, "outside of a section"),
    ] {
        let message = refused(header);
        let start = format!("text:{line}: ");
        assert!(message.starts_with(&start) && message.contains(what), "{header:?}: {message}");
    }
}

#[test]
fn what_is_not_in_this_build_is_refused_by_name() {
    for (keyword, what) in [
        ("type=recno", "recno databases"),
        ("type=queue", "queue databases"),
        ("type=heap", "heap databases"),
        ("recnum=1", "record numbers"),
        ("keys=1", "record-number keys"),
        ("re_len=8", "fixed-length records"),
        ("re_pad=0x2e", "fixed-length records"),
        ("renumber=1", "renumbered records"),
        ("nparts=3", "partitioned databases"),
        ("extentsize=4", "queue databases"),
        ("heap_bytes=4", "heap databases"),
    ] {
        let text = format!("VERSION=3\nformat=print\n{keyword}\nHEADER=END\nDATA=END\n");
        let error = check(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{keyword}");
        let message = error.to_string();
        assert!(message.starts_with("text:3: ") && message.contains(what), "{message}");
    }
}

#[test]
fn a_reader_that_failed_stays_failed() {
    let text = format!("{HEAD} 6\n 62\n 63\n 64\nDATA=END\n");
    let mut reader = Reader::new(text.as_bytes(), "text");
    reader.next_section().unwrap();
    assert!(reader.next_pair().is_err());
    assert!(reader.next_pair().is_err());
    assert!(reader.next_section().is_err());
}

#[test]
fn several_sections_are_read_in_order_and_unread_pairs_are_still_checked() {
    let one =
        "VERSION=3\nformat=print\ndatabase=a\\5cb\ntype=btree\nHEADER=END\n k\n v\nDATA=END\n";
    let two = "VERSION=3\nformat=print\ndatabase=c\ntype=hash\nh_nelem=2\nHEADER=END\nDATA=END";
    let text = format!("{one}{two}");
    let mut reader = Reader::new(text.as_bytes(), "text");
    let first = reader.next_section().unwrap().unwrap();
    assert_eq!(first.database.as_deref(), Some("a\\b"));
    let second = reader.next_section().unwrap().unwrap();
    assert_eq!(second.access_method, AccessMethod::Hash);
    assert_eq!(second.hints, [("h_nelem".to_string(), "2".to_string())]);
    assert!(reader.next_section().unwrap().is_none());
    assert!(refused(&format!("{}{two}", one.replace(" v\n", ""))).contains("half a pair"));
}

#[test]
fn the_command_line_wins_over_the_header() {
    let text = "VERSION=3\nformat=print\ntype=hash\ndatabase=a\nHEADER=END\nDATA=END\n";
    let overrides = vec![Override::new("type", "btree"), Override::new("database", "b")];
    let mut reader = Reader::new(text.as_bytes(), "text").with_overrides(overrides);
    let header = reader.next_section().unwrap().unwrap();
    assert_eq!(header.access_method, AccessMethod::Btree);
    assert_eq!(header.database.as_deref(), Some("b"));
    let format = vec![Override::new("format", "print")];
    let mut reader = Reader::new(text.as_bytes(), "text").with_overrides(format);
    assert_eq!(reader.next_section().unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn plain_text_is_pairs_of_lines() {
    let btree = || vec![Override::new("type", "btree")];
    let text = "k\t1\nv\\0a\\\\\nk2\n\n";
    let mut reader = Reader::plain(text.as_bytes(), "text").with_overrides(btree());
    assert!(reader.next_section().unwrap().is_some());
    assert_eq!(reader.next_pair().unwrap(), Some((&b"k\t1"[..], &b"v\n\\"[..])));
    assert_eq!(reader.next_pair().unwrap(), Some((&b"k2"[..], &b""[..])));
    assert_eq!(reader.next_pair().unwrap(), None);
    assert!(reader.next_section().unwrap().is_none());

    for (text, what) in [("k\n", "half a pair"), ("k\r\nv\r\n", "carriage return")] {
        let mut reader = Reader::plain(text.as_bytes(), "text").with_overrides(btree());
        reader.next_section().unwrap();
        assert!(reader.next_pair().unwrap_err().to_string().contains(what));
    }
    assert!(Reader::plain(&b""[..], "text").next_section().is_err(), "the type must be named");
}

#[test]
fn every_cut_of_a_text_is_refused() {
    let text = format!("{HEAD} 6161\n 6262\n 63\n\x20\nDATA=END\n");
    for end in 0..text.len() - 1 {
        assert!(check(&text.as_bytes()[..end]).is_err(), "cut at byte {end} was accepted");
    }
    assert_eq!(check(text.as_bytes()).unwrap().pairs, 2);
}

proptest! {
    #[test]
    fn any_pairs_come_back(
        pairs in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40),
                                        prop::collection::vec(any::<u8>(), 0..40)), 0..20),
        print: bool,
        name in prop::option::of(".*"),
        capacity in 1_usize..80,
    ) {
        let format = if print { Format::Print } else { Format::Bytevalue };
        let mut header = Header::new(format);
        header.database = name;
        header.page_bytes = Some(8192);
        let mut writer = Writer::new(Vec::new());
        writer.begin(&header).unwrap();
        for (index, (key, value)) in pairs.iter().enumerate() {
            if index % 2 == 0 {
                writer.pair(key, value).unwrap();
            } else {
                writer.pair_streamed(key, &value[..]).unwrap();
            }
        }
        writer.end().unwrap();
        let text = writer.finish().unwrap();
        let input = std::io::BufReader::with_capacity(capacity, &text[..]);
        let mut reader = Reader::new(input, "text");
        let mut read = reader.next_section().unwrap().unwrap();
        read.line = 0;
        prop_assert_eq!(read, header);
        for (key, value) in &pairs {
            prop_assert_eq!(reader.next_pair().unwrap(), Some((&key[..], &value[..])));
        }
        prop_assert_eq!(reader.next_pair().unwrap(), None);
        prop_assert!(reader.next_section().unwrap().is_none());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&bytes);
        let _ = check(&[HEAD.as_bytes(), &bytes].concat());
    }
}
