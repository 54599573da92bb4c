//! Texts of a column: a dictionary, or one after the other in pages that have none.

use super::delta::DeltaCursor;
use super::error::PageError;
use super::page::{DataPage, DictionaryPage, Encoding};
use hashbrown::HashMap;

const TOO_SHORT: PageError = PageError("the texts of the page end early");
const NO_TEXT: PageError = PageError("the page has a text that is not UTF-8");

/// Distinct texts by number, in one allocation.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    text: String,
    ends: Vec<u32>,
}

impl Dictionary {
    /// Reads a dictionary page: each text behind its length.
    pub(crate) fn read(page: &DictionaryPage) -> Result<Self, PageError> {
        let mut dictionary = Self::default();
        dictionary.text.reserve(page.values.len().saturating_sub(4 * page.count));
        for_each_plain(&page.values, page.count, |text| dictionary.push(text))?;
        Ok(dictionary)
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len() as u32);
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A text by its number; no text has the empty one.
    pub(crate) fn get(&self, id: u32) -> &str {
        let at = id as usize;
        let Some(end) = self.ends.get(at) else { return "" };
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.text.get(start as usize..*end as usize).unwrap_or("")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|id| self.get(id))
    }

    pub(crate) fn memory(&self) -> usize {
        self.text.len() + 4 * self.ends.len()
    }
}

/// Makes a dictionary of texts that come in any order.
#[derive(Debug, Default)]
pub(crate) struct TextBuilder {
    dictionary: Dictionary,
    ids: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
}

impl TextBuilder {
    pub(crate) fn id_of(&mut self, text: &str) -> u32 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = self.dictionary.len() as u32;
        self.dictionary.push(text);
        self.ids.insert(text.into(), id);
        id
    }

    pub(crate) fn finish(self) -> Dictionary {
        self.dictionary
    }
}

/// Decodes the texts of a page that has no dictionary.
pub(crate) fn decode(page: &DataPage, count: usize) -> Result<Vec<Box<str>>, PageError> {
    let mut texts = Vec::with_capacity(count);
    match page.encoding {
        Encoding::Plain => for_each_plain(&page.values, count, |text| texts.push(text.into()))?,
        Encoding::DeltaLengthByteArray => {
            let (lengths, mut rest) = packed(&page.values, count)?;
            for length in lengths {
                let length = usize::try_from(length).map_err(|_| TOO_SHORT)?;
                let (text, behind) = rest.split_at_checked(length).ok_or(TOO_SHORT)?;
                texts.push(std::str::from_utf8(text).map_err(|_| NO_TEXT)?.into());
                rest = behind;
            }
        }
        Encoding::DeltaByteArray => {
            let (prefixes, rest) = packed(&page.values, count)?;
            let (lengths, mut rest) = packed(rest, count)?;
            let mut before: Vec<u8> = Vec::new();
            for (prefix, length) in prefixes.into_iter().zip(lengths) {
                let (prefix, length) = (usize::try_from(prefix), usize::try_from(length));
                let (Ok(prefix), Ok(length)) = (prefix, length) else { return Err(TOO_SHORT) };
                if prefix > before.len() {
                    return Err(TOO_SHORT);
                }
                before.truncate(prefix);
                let (suffix, behind) = rest.split_at_checked(length).ok_or(TOO_SHORT)?;
                before.extend_from_slice(suffix);
                texts.push(std::str::from_utf8(&before).map_err(|_| NO_TEXT)?.into());
                rest = behind;
            }
        }
        _ => return Err(PageError("the page has an encoding that its column never has")),
    }
    if texts.len() == count { Ok(texts) } else { Err(TOO_SHORT) }
}

/// Packed integers, `count` of them, and what lies behind.
fn packed(bytes: &[u8], count: usize) -> Result<(Vec<i64>, &[u8]), PageError> {
    let mut cursor = DeltaCursor::new(bytes)?;
    if cursor.count() != count {
        return Err(TOO_SHORT);
    }
    let mut numbers = vec![0; count];
    cursor.fill(bytes, &mut numbers, |number| number)?;
    Ok((numbers, bytes.get(cursor.end()..).ok_or(TOO_SHORT)?))
}

fn for_each_plain(bytes: &[u8], count: usize, mut take: impl FnMut(&str)) -> Result<(), PageError> {
    let mut rest = bytes;
    for _ in 0..count {
        let (length, behind) = rest.split_first_chunk::<4>().ok_or(TOO_SHORT)?;
        let (text, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(TOO_SHORT)?;
        take(std::str::from_utf8(text).map_err(|_| NO_TEXT)?);
        rest = behind;
    }
    Ok(())
}
