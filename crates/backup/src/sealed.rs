//! Small files of text that prove to be whole: one line of JSON, one line with its checksum.
//!
//! Owns the two lines. Promises that what is read back is what was written, or an error. Must
//! never be used for anything large.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The text of a file that holds `value`.
///
/// # Panics
/// Never, on structures of numbers, text and lists.
pub fn seal<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).expect("plain structures have a JSON form");
    format!("{json}\ncrc32 {:08x}\n", crc32fast::hash(json.as_bytes()))
}

/// What the file holds; why not, in words, if it is not whole.
pub fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let (json, rest) = text.split_once('\n').ok_or("its checksum line is missing")?;
    let stated = rest.trim_end().strip_prefix("crc32 ").ok_or("its checksum line is missing")?;
    let stated = u32::from_str_radix(stated, 16).map_err(|_| "its checksum is no number")?;
    if stated != crc32fast::hash(json.as_bytes()) {
        return Err("its checksum does not hold".to_owned());
    }
    serde_json::from_str(json).map_err(|error| format!("it is of another format ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_reads_back_and_every_flipped_bit_is_found() {
        let text = seal(&("a name", 7u32));
        assert_eq!(unseal::<(String, u32)>(text.as_bytes()), Ok(("a name".to_owned(), 7)));
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = unseal::<(String, u32)>(&bytes);
            let same = read == Ok(("a name".to_owned(), 7));
            // A digit of the checksum in the other case is the same number.
            let spelling = bytes[bit / 8].eq_ignore_ascii_case(&text.as_bytes()[bit / 8]);
            assert!(read.is_err() || (same && (spelling || bit / 8 + 1 == text.len())), "{bit}");
        }
        for len in 0..text.len() - 2 {
            assert!(unseal::<(String, u32)>(&text.as_bytes()[..len]).is_err(), "cut at {len}");
        }
    }
}
