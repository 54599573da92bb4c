//! What is known about a block without opening it: `meta.json`, and its entry in the manifest.

use super::error::BlockError;
use super::schema::{self, FORMAT_VERSION, META_FILE};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

/// A block: immutable, of one tenant, one resolution and one range of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockMeta {
    /// See [`schema::FORMAT_VERSION`].
    pub format_version: u32,
    /// Identity, 26 characters.
    pub ulid: String,
    /// Whose block it is.
    pub tenant: String,
    /// 0 as flushed, one more with each compaction.
    pub level: u8,
    /// Width of a bucket of time; 0 for raw samples.
    pub resolution_ms: u64,
    /// First sample, milliseconds since the Unix epoch.
    pub min_ms: i64,
    /// Last sample, inclusive.
    pub max_ms: i64,
    /// Series, those with nothing but exemplars included.
    pub series: u64,
    /// Float samples; rows of a tier.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Files in no particular order, `meta.json` left out. A kind without rows has no file, but for series, timelines and
    /// samples, which are always there.
    pub files: Vec<BlockFile>,
    /// ULIDs of the blocks, as they were flushed or imported, that it was made from; empty if it is such a block itself.
    pub sources: Vec<String>,
    /// Labels that have a column in the series file, in its order.
    pub label_columns: Vec<String>,
    /// Whether there are labels without a column.
    pub labels_overflow: bool,
    /// The length of the spans for which native histograms are thinned (see [`model::bucket::thin`]); 0 when all are there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub thinned_ms: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The field of `meta.json` that is none of [`BlockMeta`].
const CHECKSUM: &str = "crc32";

/// A file of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockFile {
    /// Name within the block's directory.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// Of a Parquet file: bytes at its end that hold page index, metadata, their length and the magic. Whoever reads these has
    /// all that is needed to find pages.
    pub footer_bytes: u64,
    /// Of a Parquet file: rows.
    pub rows: u64,
    /// CRC-32 (IEEE) of the whole file.
    pub crc32: u32,
}

impl BlockMeta {
    /// The file with this name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&BlockFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// All files of a kind in the order in which row numbers continue; the kind is named by its first file.
    pub fn files_of(&self, first: &str) -> impl Iterator<Item = &BlockFile> {
        (0..).map_while(move |n| self.file(&schema::nth_file(first, n)))
    }

    /// Whether it has samples, and no floats among them.
    #[must_use]
    pub fn has_only_histograms(&self) -> bool {
        self.resolution_ms == 0 && self.samples == 0 && self.histograms > 0
    }

    /// Whether it holds float samples.
    #[must_use]
    pub fn has_floats(&self) -> bool {
        self.resolution_ms == 0 && self.samples > 0
    }

    /// The blocks, as they were flushed or imported, whose samples it holds; perhaps itself.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        let itself = self.sources.is_empty().then_some(self.ulid.as_str());
        self.sources.iter().map(String::as_str).chain(itself)
    }

    /// The oldest of its origins. Where two blocks have a sample of one series at one time, the one with the older origin
    /// counts: what was written first stays.
    #[must_use]
    pub fn oldest_origin(&self) -> &str {
        self.origins().min().unwrap_or_default()
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The content of `meta.json`: the fields, and behind them the CRC-32 (IEEE) of all bytes before the line that holds it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        // The closing brace makes room for one more field.
        text.truncate(text.trim_end_matches(['}', '\n']).len());
        text.push_str(",\n");
        let crc32 = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("  \"{CHECKSUM}\": \"{crc32:08x}\"\n}}\n"));
        text.into_bytes()
    }

    /// Reads `meta.json`.
    ///
    /// # Errors
    /// It is damaged or newer than this program.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BlockError> {
        let damaged = |what: &str| BlockError::Damaged { file: META_FILE.to_owned(), offset: 0, what: what.to_owned() };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
        let line = text.rfind(&format!("  \"{CHECKSUM}\"")).ok_or_else(|| damaged("no checksum"))?;
        let (content, rest) = text.split_at(line);
        let crc32 = crc32fast::hash(content.as_bytes());
        if rest != format!("  \"{CHECKSUM}\": \"{crc32:08x}\"\n}}\n") {
            return Err(damaged("wrong checksum"));
        }
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let malformed = |error: serde_json::Error| damaged(&error.to_string());
        let found = serde_json::from_str::<Version>(text).map_err(malformed)?.format_version;
        if found > FORMAT_VERSION {
            return Err(BlockError::NewerFormat { file: META_FILE.to_owned(), found, known: FORMAT_VERSION });
        }
        serde_json::from_str(text).map_err(malformed)
    }

    /// Where the files are below the root of a store, ending in a slash.
    #[must_use]
    pub fn prefix(&self) -> String {
        let (tenant, resolution, date) =
            (path_part(&self.tenant), resolution_name(self.resolution_ms), date(self.min_ms));
        format!("t={tenant}/res={resolution}/date={date}/block={}/", self.ulid)
    }
}

/// How a resolution is called in paths: `raw`, `5m`, `1h`.
#[must_use]
pub fn resolution_name(resolution_ms: u64) -> String {
    match resolution_ms {
        0 => "raw".to_owned(),
        _ => model::time::format_duration(i64::try_from(resolution_ms).unwrap_or(i64::MAX)),
    }
}

/// A tenant's name as part of a path: what is neither letter, digit, `-`, `_` nor `.` is written `%XX`, and so is a leading dot.
#[must_use]
pub fn path_part(tenant: &str) -> String {
    let mut out = String::with_capacity(tenant.len());
    for (at, byte) in tenant.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || byte == b'.' && at > 0;
        if plain { out.push(char::from(byte)) } else { out.push_str(&format!("%{byte:02X}")) }
    }
    out
}

/// The tenant whose name [`path_part`] wrote; `None` for what it never writes.
#[must_use]
pub fn tenant_of_part(part: &str) -> Option<String> {
    let name = percent_decode_str(part).decode_utf8().ok()?;
    (path_part(&name) == part).then(|| name.into_owned())
}

/// The UTC day of a point in time, `2026-09-01`.
#[must_use]
pub fn date(ms: i64) -> String {
    // Days since 1 March of the year 0 of the proleptic Gregorian calendar, split into 400-year cycles of 146,097 days.
    let days = ms.div_euclid(86_400_000) + 719_468;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_cycle = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A ULID: 48 bits of milliseconds and 80 bits of anything, in Crockford's base 32. It sorts by time.
#[must_use]
pub fn ulid(ms: u64, rest: u128) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let number = u128::from(ms) << 80 | rest & ((1 << 80) - 1);
    let digit = |at: u32| DIGITS.get((number >> (5 * at) & 31) as usize).copied().map_or('0', char::from);
    (0..26).rev().map(digit).collect()
}

/// When a block was begun, from its identity: ten digits of Crockford's base 32.
pub(crate) fn created_ms(ulid: &str) -> i64 {
    let digit = |byte: u8| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".iter().position(|digit| *digit == byte).unwrap_or(0);
    ulid.bytes().take(10).fold(0, |ms, byte| ms << 5 | digit(byte) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        let cases = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400_000, "2000-02-29"),
            (1_790_001_000_000, "2026-09-21"),
            (4_107_542_399_999, "2100-02-28"),
            (4_107_542_400_000, "2100-03-01"),
        ];
        for (ms, expected) in cases {
            assert_eq!(date(ms), expected, "{ms}");
        }
    }

    #[test]
    fn ulids_are_printed_in_base_32() {
        assert_eq!(ulid(0, 0), "0".repeat(26));
        assert_eq!(ulid(1_469_918_176_385, 0), "01ARYZ6S410000000000000000");
        assert_eq!(ulid(u64::MAX >> 16, u128::MAX), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    }

    #[test]
    fn a_tenant_cannot_leave_its_directory() {
        assert_eq!(path_part("../a b/ü"), "%2E.%2Fa%20b%2F%C3%BC");
        assert_eq!(path_part("team-1_x.y"), "team-1_x.y");
        for tenant in ["../a b/ü", "team-1_x.y", "a/b", ".x", "team-1!*'()"] {
            assert_eq!(tenant_of_part(&path_part(tenant)).as_deref(), Some(tenant));
        }
        for other in ["%2x", "%61", "a/b", "%FF"] {
            assert_eq!(tenant_of_part(other), None, "{other}");
        }
    }

    #[test]
    fn files_of_a_kind_are_found_in_order() {
        let file = |name: &str| BlockFile { name: name.to_owned(), bytes: 1, footer_bytes: 0, rows: 0, crc32: 0 };
        let meta = BlockMeta {
            format_version: 1,
            ulid: ulid(1, 2),
            tenant: "a/b".into(),
            level: 0,
            resolution_ms: 300_000,
            min_ms: 1_790_001_000_000,
            max_ms: 0,
            series: 0,
            samples: 0,
            histograms: 0,
            exemplars: 0,
            files: ["samples-1.parquet", "series.parquet", "samples.parquet"].map(file).to_vec(),
            sources: Vec::new(),
            label_columns: Vec::new(),
            labels_overflow: false,
            thinned_ms: 0,
        };
        let names: Vec<_> = meta.files_of(schema::SAMPLES_FILE).map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["samples.parquet", "samples-1.parquet"]);
        assert_eq!(meta.prefix(), "t=a%2Fb/res=5m/date=2026-09-21/block=00000000010000000000000002/");
        let mut json = meta.to_json();
        assert_eq!(BlockMeta::from_json(&json).unwrap(), meta);
        for bit in 0..json.len() * 8 {
            json[bit / 8] ^= 1 << (bit % 8);
            assert!(BlockMeta::from_json(&json).is_err(), "bit {bit}");
            json[bit / 8] ^= 1 << (bit % 8);
        }
        let newer = String::from_utf8(BlockMeta { format_version: 2, ..meta }.to_json()).unwrap();
        let error = BlockMeta::from_json(newer.as_bytes()).unwrap_err();
        assert!(matches!(error, BlockError::NewerFormat { found: 2, .. }), "{error}");
    }
}
