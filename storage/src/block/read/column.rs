//! Whole pages of flat columns as vectors with one place per row.
//!
//! For the columns of the series and for whatever is read a page at a time; samples have cursors of their own.

use super::delta;
use super::error::PageError;
use super::levels::{Presence, Run, decode_runs};
use super::page::{DataPage, DictionaryPage, Encoding};
use super::text::{Dictionary, TextBuilder};
use parquet::basic::Type;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

const TOO_SHORT: PageError = PageError("the values of the page end early");
const ENCODING: PageError = PageError("the page has an encoding that its column never has");

/// The numbers of a page; doubles by their bits.
#[derive(Debug)]
pub(crate) struct Numbers {
    rows: usize,
    values: Values,
    presence: Presence,
    /// Once they were needed.
    bounds: OnceLock<Option<(i64, i64)>>,
}

/// The numbers of the rows that have one.
#[derive(Debug)]
enum Values {
    Each(Vec<u64>),
    /// Few distinct ones: far fewer bytes than eight a row.
    Keyed {
        ids: Ids,
        dictionary: Arc<Vec<u64>>,
    },
}

impl Numbers {
    /// Decodes a page of numbers of a physical type.
    pub(crate) fn read(page: &DataPage, dictionary: Option<&Arc<Vec<u64>>>, kind: Type) -> Result<Self, PageError> {
        let presence = Presence::read(&page.levels, page.rows, page.nulls)?;
        let count = page.count - page.nulls;
        let values = match dictionary {
            Some(dictionary) if page.encoding == Encoding::Dictionary && dictionary.len() <= count => {
                Values::Keyed { ids: number_ids(page, dictionary.len(), count)?, dictionary: Arc::clone(dictionary) }
            }
            _ => Values::Each(value_numbers(page, dictionary.map(|numbers| numbers.as_slice()), kind)?),
        };
        Ok(Self { rows: page.rows, values, presence, bounds: OnceLock::new() })
    }

    /// How many rows the page has.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn get(&self, row: usize) -> Option<u64> {
        if !self.presence.has(row) {
            return None;
        }
        let at = self.presence.rank(row);
        match &self.values {
            Values::Each(values) => values.get(at).copied(),
            Values::Keyed { ids, dictionary } => dictionary.get(ids.get(at) as usize).copied(),
        }
    }

    /// Numbers between which, as signed ones, are those of all rows, if each has one. They are looked for once.
    pub(crate) fn signed_bounds(&self) -> Option<(i64, i64)> {
        *self.bounds.get_or_init(|| {
            let numbers = match (&self.values, &self.presence) {
                (Values::Each(values), Presence::All) => values,
                (Values::Keyed { dictionary, .. }, Presence::All) => &**dictionary,
                (_, Presence::None | Presence::Some(_)) => return None,
            };
            let signed = numbers.iter().map(|number| *number as i64);
            let (least, greatest) = signed.fold((i64::MAX, i64::MIN), |(l, g), number| (l.min(number), g.max(number)));
            (least <= greatest).then_some((least, greatest))
        })
    }

    /// Hands over what each of some rows has.
    pub(crate) fn for_each(&self, rows: Range<usize>, mut take: impl FnMut(Option<u64>)) {
        match (&self.values, &self.presence) {
            (_, Presence::None) => rows.for_each(|_| take(None)),
            (Values::Each(values), Presence::All) => rows.for_each(|row| take(values.get(row).copied())),
            (Values::Keyed { ids: Ids::Runs(runs), dictionary }, Presence::All) => {
                let mut row = rows.start;
                let first = runs.partition_point(|run| run.0 as usize <= row);
                for (end, id) in runs.get(first..).unwrap_or_default() {
                    let number = dictionary.get(*id as usize).copied();
                    let end = (*end as usize).min(rows.end);
                    (row..end).for_each(|_| take(number));
                    row = row.max(end);
                    if row == rows.end {
                        break;
                    }
                }
            }
            _ => rows.for_each(|row| take(self.get(row))),
        }
    }

    /// Bytes that it takes, but for a dictionary that others share.
    pub(crate) fn memory(&self) -> usize {
        let values = match &self.values {
            Values::Each(values) => values.len() * 8,
            Values::Keyed { ids, .. } => ids.memory(),
        };
        size_of::<Self>() + values + self.presence.memory()
    }
}

/// The numbers of a page's values in a dictionary of so many.
fn number_ids(page: &DataPage, known: usize, count: usize) -> Result<Ids, PageError> {
    if let Some(runs) = long_runs(page, known, count)? {
        return Ok(Ids::Runs(runs));
    }
    let mut ids = Vec::with_capacity(count);
    for_each_id(page, count, |run| {
        match run {
            Run::Same { value, count } => ids.resize(ids.len() + count, value),
            Run::Each(some) => ids.extend_from_slice(some),
        }
        Ok(())
    })?;
    match ids.iter().all(|id| (*id as usize) < known) {
        true => Ok(Ids::new(&ids, known)),
        false => Err(UNKNOWN_ID),
    }
}

/// The numbers of a page without those that are absent.
pub(crate) fn value_numbers(page: &DataPage, dictionary: Option<&[u64]>, kind: Type) -> Result<Vec<u64>, PageError> {
    let count = page.count - page.nulls;
    let values = match page.encoding {
        Encoding::Plain => plain_numbers(&page.values, count, kind)?,
        Encoding::DeltaBinaryPacked => {
            let narrow = |number: i64| if kind == Type::INT32 { u64::from(number as u32) } else { number as u64 };
            let mut cursor = delta::DeltaCursor::new(&page.values)?;
            let mut values = vec![0; count];
            cursor.fill(&page.values, &mut values, narrow)?;
            values
        }
        Encoding::ByteStreamSplit if kind == Type::DOUBLE => {
            let mut values = Vec::with_capacity(count);
            let planes = Planes::new(&page.values, count)?;
            values.extend((0..count).map(|at| planes.get(at).to_bits()));
            values
        }
        Encoding::Dictionary => {
            let dictionary = dictionary.ok_or(PageError("the page needs a dictionary that is not there"))?;
            let mut values = Vec::with_capacity(count);
            for_each_id(page, count, |run| {
                let unknown = PageError("the page has a dictionary id that is not known");
                match run {
                    Run::Same { value, count } => {
                        let number = *dictionary.get(value as usize).ok_or(unknown)?;
                        values.resize(values.len() + count, number);
                    }
                    Run::Each(ids) => {
                        for id in ids {
                            values.push(*dictionary.get(*id as usize).ok_or(unknown)?);
                        }
                    }
                }
                Ok(())
            })?;
            values
        }
        Encoding::Rle if kind == Type::BOOLEAN => {
            // Preceded by its length.
            let packed = page.values.get(4..).ok_or(TOO_SHORT)?;
            let mut values = Vec::with_capacity(count);
            decode_runs(packed, 1, count, |run| {
                match run {
                    Run::Same { value, count } => values.resize(values.len() + count, u64::from(value)),
                    Run::Each(bits) => values.extend(bits.iter().map(|bit| u64::from(*bit))),
                }
                Ok(())
            })?;
            values
        }
        _ => return Err(ENCODING),
    };
    Ok(values)
}

/// The numbers of a dictionary.
pub(crate) fn dictionary_numbers(page: &DictionaryPage, kind: Type) -> Result<Vec<u64>, PageError> {
    plain_numbers(&page.values, page.count, kind)
}

fn plain_numbers(bytes: &[u8], count: usize, kind: Type) -> Result<Vec<u64>, PageError> {
    let values: Vec<u64> = match kind {
        Type::INT32 => bytes.as_chunks::<4>().0.iter().take(count).map(|b| u64::from(u32::from_le_bytes(*b))).collect(),
        Type::INT64 | Type::DOUBLE => {
            bytes.as_chunks::<8>().0.iter().take(count).map(|b| u64::from_le_bytes(*b)).collect()
        }
        Type::BOOLEAN => {
            let bit = |at: usize| bytes.get(at / 8).map(|byte| u64::from(byte >> (at % 8) & 1));
            (0..count).map_while(bit).collect()
        }
        _ => return Err(ENCODING),
    };
    if values.len() == count { Ok(values) } else { Err(TOO_SHORT) }
}

/// Puts each value in the place of its row.
fn spread<T: Copy>(values: Vec<T>, presence: &Presence, rows: usize, absent: T) -> Vec<T> {
    match presence {
        Presence::All => values,
        Presence::None => vec![absent; rows],
        Presence::Some(_) => {
            let mut values = values.into_iter();
            (0..rows).map(|row| if presence.has(row) { values.next().unwrap_or(absent) } else { absent }).collect()
        }
    }
}

fn for_each_id(
    page: &DataPage,
    count: usize,
    take: impl FnMut(Run<'_>) -> Result<(), PageError>,
) -> Result<(), PageError> {
    if count == 0 {
        return Ok(());
    }
    let (width, runs) = page.values.split_first().ok_or(TOO_SHORT)?;
    decode_runs(runs, *width, count, take)
}

/// Doubles whose first, second, … bytes lie together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planes<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Planes<'a> {
    pub(crate) fn new(bytes: &'a [u8], count: usize) -> Result<Self, PageError> {
        if bytes.len() != count.saturating_mul(8) {
            return Err(TOO_SHORT);
        }
        Ok(Self { bytes, count })
    }

    pub(crate) fn get(&self, at: usize) -> f64 {
        let byte = |plane: usize| self.bytes.get(plane * self.count + at).copied().unwrap_or(0);
        f64::from_le_bytes(std::array::from_fn(byte))
    }
}

/// Which text each row of a page has, by its number in a dictionary; [`ABSENT`] where it has none.
#[derive(Debug)]
pub(crate) enum Ids {
    /// Long runs: ends of runs, ascending, and the id of each.
    Runs(Vec<(u32, u32)>),
    Bytes(Vec<u8>),
    Words(Vec<u16>),
    Longs(Vec<u32>),
}

/// The id of no text.
pub(crate) const ABSENT: u32 = u32::MAX;

impl Ids {
    /// Chooses the smallest form for ids below `known`.
    fn new(ids: &[u32], known: usize) -> Self {
        let changes = ids.iter().zip(ids.iter().skip(1)).filter(|(id, next)| id != next).count();
        let runs = changes + usize::from(!ids.is_empty());
        // The largest number of each width stands for ABSENT.
        let width = if known < 0xff {
            1
        } else if known < 0xffff {
            2
        } else {
            4
        };
        if runs * 8 <= ids.len() * width {
            let mut found: Vec<(u32, u32)> = Vec::with_capacity(runs);
            for (row, id) in ids.iter().enumerate() {
                match found.last_mut() {
                    Some(last) if last.1 == *id => last.0 = row as u32 + 1,
                    _ => found.push((row as u32 + 1, *id)),
                }
            }
            return Self::Runs(found);
        }
        match width {
            1 => Self::Bytes(ids.iter().map(|id| *id as u8).collect()),
            2 => Self::Words(ids.iter().map(|id| *id as u16).collect()),
            _ => Self::Longs(ids.to_vec()),
        }
    }

    pub(crate) fn get(&self, row: usize) -> u32 {
        match self {
            Self::Runs(runs) => {
                let at = runs.partition_point(|run| run.0 as usize <= row);
                runs.get(at).map_or(ABSENT, |run| run.1)
            }
            Self::Bytes(ids) => ids.get(row).filter(|id| **id != u8::MAX).map_or(ABSENT, |id| u32::from(*id)),
            Self::Words(ids) => ids.get(row).filter(|id| **id != u16::MAX).map_or(ABSENT, |id| u32::from(*id)),
            Self::Longs(ids) => ids.get(row).copied().unwrap_or(ABSENT),
        }
    }

    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Runs(runs) => runs.len() * 8,
            Self::Bytes(ids) => ids.len(),
            Self::Words(ids) => ids.len() * 2,
            Self::Longs(ids) => ids.len() * 4,
        }
    }
}

/// Which texts the rows of a page have: those of the column's dictionary, or the page's own when it has none.
pub(crate) fn text_ids(
    page: &DataPage,
    dictionary: Option<&Dictionary>,
) -> Result<(Ids, Option<Dictionary>), PageError> {
    if let (0, Encoding::Dictionary, Some(dictionary)) = (page.nulls, page.encoding, dictionary)
        && let Some(runs) = long_runs(page, dictionary.len(), page.rows)?
    {
        return Ok((Ids::Runs(runs), None));
    }
    let presence = Presence::read(&page.levels, page.rows, page.nulls)?;
    let (ids, own) = value_ids(page, dictionary)?;
    let known = own.as_ref().or(dictionary).map_or(0, Dictionary::len);
    Ok((Ids::new(&spread(ids, &presence, page.rows, ABSENT), known), own))
}

const UNKNOWN_ID: PageError = PageError("the page has a dictionary id that is not known");

/// The ids of the `count` values of a page as runs, one by one never; `None` if the runs are short.
fn long_runs(page: &DataPage, known: usize, count: usize) -> Result<Option<Vec<(u32, u32)>>, PageError> {
    const SHORT: PageError = PageError("the runs are short");
    let mut runs: Vec<(u32, u32)> = Vec::new();
    let mut add = |id: u32, count: usize| {
        let (start, length) = (runs.last().map_or(0, |run| run.0), runs.len());
        match runs.last_mut() {
            Some(last) if last.1 == id => last.0 += count as u32,
            _ if length * 8 >= count => return Err(SHORT),
            _ if id as usize >= known => return Err(UNKNOWN_ID),
            _ => runs.push((start + count as u32, id)),
        }
        Ok(())
    };
    let done = for_each_id(page, count, |run| match run {
        Run::Same { value, count } => add(value, count),
        Run::Each(ids) => ids.iter().try_for_each(|id| add(*id, 1)),
    });
    match done {
        Ok(()) => Ok(Some(runs)),
        Err(SHORT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The id of each value of a page, and the dictionary they are of if it is the page's own.
pub(crate) fn value_ids(
    page: &DataPage,
    dictionary: Option<&Dictionary>,
) -> Result<(Vec<u32>, Option<Dictionary>), PageError> {
    let count = page.count - page.nulls;
    if page.encoding != Encoding::Dictionary {
        let mut own = TextBuilder::default();
        let ids = super::text::decode(page, count)?.iter().map(|text| own.id_of(text)).collect();
        return Ok((ids, Some(own.finish())));
    }
    let known = dictionary.ok_or(PageError("the page needs a dictionary that is not there"))?.len();
    let mut ids = Vec::with_capacity(count);
    let mut largest = 0;
    for_each_id(page, count, |run| {
        match run {
            Run::Same { value, count } => {
                largest = largest.max(value);
                ids.resize(ids.len() + count, value);
            }
            Run::Each(some) => {
                largest = some.iter().fold(largest, |largest, id| largest.max(*id));
                ids.extend_from_slice(some);
            }
        }
        Ok(())
    })?;
    if count > 0 && largest as usize >= known {
        return Err(UNKNOWN_ID);
    }
    Ok((ids, None))
}
