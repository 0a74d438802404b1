//! The meta page: page 0 of every data file, which says what the file is.
//!
//! Owns [`MetaFields`] and their place on the page. Promises that a file of a later build, of
//! another page size or with features this build lacks is recognised as such and not taken for
//! damage. Must never: hold what changes with every transaction.

use crate::access::{PageBytes, PageBytesMut, Plain};
use crate::access_method::AccessMethod;
use crate::error::{Corrupt, FormatError};
use crate::features::Features;
use crate::ids::{EnvironmentId, PageNo};
use crate::limits::is_page_size;
use crate::map::map_page;
use crate::page::{self, Kind};

/// What a data file begins its meta fields with.
pub const MAGIC: [u8; 8] = *b"CampData";
/// The version of data files that this build reads and writes.
pub const VERSION: u16 = 1;
/// The meta page of every file.
pub const META_PAGE: PageNo = PageNo(0);

/// [`MAGIC`] (8 bytes).
pub const MAGIC_AT: usize = 64;
/// [`VERSION`] (u16).
pub const VERSION_AT: usize = 72;
/// Zero (u16).
pub const RESERVED_AT: usize = 74;
/// Page size (u32).
pub const PAGE_BYTES_AT: usize = 76;
/// Feature bits a reader must know (u32).
pub const REQUIRED_AT: usize = 80;
/// Feature bits a reader may ignore (u32).
pub const IGNORABLE_AT: usize = 84;
/// Environment id (16 bytes).
pub const ENVIRONMENT_AT: usize = 88;
/// Number of the access method (u8).
pub const ACCESS_METHOD_AT: usize = 104;
/// Reserved for the treatment of duplicates; zero (u8).
pub const DUPLICATES_AT: usize = 105;
/// Flags of the file (u16).
pub const FILE_FLAGS_AT: usize = 106;
/// Groups that have a map (u32).
pub const GROUPS_AT: usize = 108;
/// Reserved for the name of the key order; zeros mean byte order (32 bytes).
pub const KEY_ORDER_AT: usize = 112;
/// First byte that has no meaning yet; written as zero, ignored when read.
pub const FIELDS_END: usize = 144;
/// File flag: changes are not logged, and recovery makes the file anew, empty.
pub const FLAG_NOT_DURABLE: u16 = 1;

const WHAT: &str = "the data file";

/// What a data file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MetaFields {
    /// Feature bits.
    pub features: Features,
    /// The environment that the file belongs to.
    pub environment: EnvironmentId,
    /// Page size.
    pub page_bytes: u32,
    /// How entries are arranged.
    pub access_method: AccessMethod,
    /// Whether changes are logged; if not, the file is empty after an unclean end.
    pub durable: bool,
    /// Groups of pages that have a space map; at least one. What stands on disk beyond them is
    /// not to be read: after a crash it may be anything.
    pub groups: u32,
}

impl MetaFields {
    /// The fields of an ordinary B+tree.
    #[must_use]
    pub fn new(environment: EnvironmentId, page_bytes: usize, durable: bool) -> MetaFields {
        MetaFields {
            features: Features::NONE,
            environment,
            page_bytes: page_bytes as u32,
            access_method: AccessMethod::BTree,
            durable,
            groups: 1,
        }
    }

    /// Reads a meta page that passed [`page::check`].
    pub fn read<P: PageBytes>(page: &P) -> Result<MetaFields, FormatError> {
        if page::kind(page) != Some(Kind::Meta) {
            return Err(Corrupt::new("page kind", page::KIND).into());
        }
        page::check_common(page, Kind::Meta)?;
        if page.word(3) != 0 || page.word(4) != 0 || page.u32_at(40) != 0 {
            return Err(Corrupt::new("reserved meta bytes", page::KIND_FIELDS).into());
        }
        let mut magic = [0; 8];
        page.copy_out(MAGIC_AT, &mut magic);
        if magic != MAGIC {
            return Err(Corrupt::new("file magic", MAGIC_AT).into());
        }
        let found = page.u16_at(VERSION_AT);
        if found != VERSION {
            let supported = VERSION;
            return Err(FormatError::UnsupportedVersion { what: WHAT, found, supported });
        }
        let features =
            Features { required: page.u32_at(REQUIRED_AT), ignorable: page.u32_at(IGNORABLE_AT) };
        features.check(WHAT, 0)?;
        let page_bytes = page.u32_at(PAGE_BYTES_AT);
        if page_bytes as usize != page.len() {
            return Err(Corrupt::new("page size", PAGE_BYTES_AT).into());
        }
        let flags = page.u16_at(FILE_FLAGS_AT);
        if flags & !FLAG_NOT_DURABLE != 0 {
            return Err(Corrupt::new("file flags", FILE_FLAGS_AT).into());
        }
        let access_method = AccessMethod::from_code(page.u8_at(ACCESS_METHOD_AT), WHAT)?;
        let reserved = (RESERVED_AT..PAGE_BYTES_AT)
            .chain(DUPLICATES_AT..FILE_FLAGS_AT)
            .chain(KEY_ORDER_AT..FIELDS_END);
        if let Some(at) = reserved.into_iter().find(|at| page.u8_at(*at) != 0) {
            return Err(Corrupt::new("reserved meta bytes", at).into());
        }
        let mut environment = EnvironmentId::default();
        page.copy_out(ENVIRONMENT_AT, &mut environment.0);
        let durable = flags & FLAG_NOT_DURABLE == 0;
        let groups = page.u32_at(GROUPS_AT);
        let fields =
            MetaFields { features, environment, page_bytes, access_method, durable, groups };
        fields.check_groups(GROUPS_AT)?;
        Ok(fields)
    }

    /// There is a first group, and none beyond the greatest page number.
    pub(crate) fn check_groups(&self, at: usize) -> Result<(), Corrupt> {
        let last = self.groups.checked_sub(1);
        match last.and_then(|last| map_page(self.page_bytes as usize, last)) {
            Some(_) => Ok(()),
            None => Err(Corrupt::new("number of groups", at)),
        }
    }

    /// The page size that the first 512 bytes of a file claim, if they look like a meta page's;
    /// with it, the whole page can be read and checked.
    #[must_use]
    pub fn peek_page_bytes(first: &[u8]) -> Option<usize> {
        let view = Plain(first);
        let page_bytes = view.u32_at(PAGE_BYTES_AT) as usize;
        let is_meta = view.u8_at(page::KIND) == Kind::Meta as u8
            && first.get(MAGIC_AT..VERSION_AT) == Some(&MAGIC);
        (is_meta && is_page_size(page_bytes)).then_some(page_bytes)
    }

    /// Writes the fields. The header is there.
    pub(crate) fn put<P: PageBytesMut>(&self, page: &mut P) {
        page.fill(MAGIC_AT, page.len(), 0);
        page.put_bytes(MAGIC_AT, &MAGIC);
        page.put_u16(VERSION_AT, VERSION);
        page.put_u32(PAGE_BYTES_AT, self.page_bytes);
        page.put_u32(REQUIRED_AT, self.features.required);
        page.put_u32(IGNORABLE_AT, self.features.ignorable);
        page.put_bytes(ENVIRONMENT_AT, &self.environment.0);
        page.put_u8(ACCESS_METHOD_AT, self.access_method.code());
        page.put_u16(FILE_FLAGS_AT, if self.durable { 0 } else { FLAG_NOT_DURABLE });
        page.put_u32(GROUPS_AT, self.groups);
    }
}

/// Checks a meta page for damage. A file of another build is not damaged; [`MetaFields::read`]
/// tells.
pub(crate) fn validate<P: PageBytes>(page: &P) -> Result<(), Corrupt> {
    match MetaFields::read(page) {
        Err(FormatError::Corrupt(corrupt)) => Err(corrupt),
        _ => Ok(()),
    }
}
