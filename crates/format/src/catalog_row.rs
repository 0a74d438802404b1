//! A row of the catalog: what the environment knows of a database besides its name.
//!
//! Owns: the value stored under a database's name in file 1. Promises: a row of a later build is
//! refused when it needs what this build lacks, and can still be listed. Must never: repeat what
//! the file's meta page decides (page size, layout).

use crate::access_method::AccessMethod;
use crate::codec::{Reader, Writer};
use crate::error::{Corrupt, FormatError};
use crate::ids::FileId;

/// The version of catalog rows that this build reads and writes.
pub const CATALOG_ROW_VERSION: u8 = 1;

const WHAT: &str = "the catalog row";

/// How a database treats several values under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Duplicates {
    /// One value a key.
    #[default]
    None,
}

/// What the catalog says of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogRow<'a> {
    /// The data file.
    pub file: FileId,
    /// How entries are arranged.
    pub access_method: AccessMethod,
    /// Several values under one key: reserved.
    pub duplicates: Duplicates,
    /// False: no log records, empty after an unclean end.
    pub durable: bool,
    /// The name of the key order; empty = by bytes, the only one this build has.
    pub key_order: &'a str,
    /// Wall-clock time of creation, microseconds since 1970.
    pub created_us: u64,
}

impl<'a> CatalogRow<'a> {
    /// Flag bit: not durable.
    const NOT_DURABLE: u16 = 1;

    /// A row for an ordinary B+tree.
    #[must_use]
    pub fn new(file: FileId, durable: bool, created_us: u64) -> CatalogRow<'static> {
        CatalogRow {
            file,
            access_method: AccessMethod::BTree,
            duplicates: Duplicates::None,
            durable,
            key_order: "",
            created_us,
        }
    }

    /// The row's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.u8(CATALOG_ROW_VERSION);
        writer.u8(self.access_method.code());
        writer.u8(match self.duplicates {
            Duplicates::None => 0,
        });
        writer.u8(0);
        writer.u16(if self.durable { 0 } else { Self::NOT_DURABLE });
        writer.u16(0);
        writer.u32(self.file.0);
        writer.u64(self.created_us);
        writer.counted_bytes(self.key_order.as_bytes());
        out
    }

    /// Reads a row. Flag bits: the first word is required of readers, the second ignorable.
    pub fn decode(row: &'a [u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(row);
        let version = reader.u8("row version")?;
        if version != CATALOG_ROW_VERSION {
            return Err(FormatError::UnsupportedVersion {
                what: WHAT,
                found: version.into(),
                supported: CATALOG_ROW_VERSION.into(),
            });
        }
        let access_method = AccessMethod::from_code(reader.u8("access method")?, WHAT)?;
        let duplicates = match reader.u8("duplicates")? {
            0 => Duplicates::None,
            other => {
                return Err(FormatError::UnknownTag { what: "duplicates", value: other.into() });
            }
        };
        reader.u8("reserved field")?;
        let required = reader.u16("flags")?;
        let unknown = u32::from(required & !Self::NOT_DURABLE);
        if unknown != 0 {
            let names = format!("flags {unknown:#06x}");
            return Err(FormatError::UnsupportedFeatures { what: WHAT, bits: unknown, names });
        }
        reader.u16("flags")?;
        let file = FileId(reader.u32("file id")?);
        let created_us = reader.u64("creation time")?;
        let key_order_at = reader.position();
        let key_order = std::str::from_utf8(reader.counted_bytes("key order")?)
            .map_err(|_| Corrupt::new("key order", key_order_at))?;
        reader.finish("catalog row (too long)")?;
        let durable = required & Self::NOT_DURABLE == 0;
        Ok(Self { file, access_method, duplicates, durable, key_order, created_us })
    }

    /// Refuses a key order that this build does not have.
    pub fn check_key_order(&self) -> Result<(), FormatError> {
        if self.key_order.is_empty() {
            return Ok(());
        }
        Err(FormatError::UnknownKeyOrder { name: self.key_order.to_owned() })
    }
}
