//! The pages that a thread read last.

use super::block::OpenFile;
use super::cache::{CacheKey, CacheKind, TenantCache};
use super::column::{Numbers, Planes, dictionary_numbers, value_numbers};
use super::delta::{APART, DeltaCursor, Landmarks};
use super::error::{PageError, ReadError};
use super::fetch::Fetched;
use super::layout::{ColumnLayout, PagePlace};
use super::levels::Presence;
use super::lists::row_starts;
use super::page::{DataPage, Encoding, read_data_page, read_dictionary_page};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Pages of whole numbers kept per thread: the columns of a histogram.
const NUMBERS_KEPT: usize = 40;
const TIMELINES_KEPT: usize = 16;

/// Object and offset of a page.
type Place = (u64, u64);

/// What one thread keeps open.
#[derive(Debug, Default)]
pub(super) struct OpenPages {
    mantissa: Option<DeltaPage>,
    ts_row: Option<DeltaPage>,
    raw: Option<RawPage>,
    timelines: VecDeque<(Place, Arc<Vec<i64>>)>,
    numbers: VecDeque<(Place, Arc<Numbers>)>,
    lists: Option<(Place, Arc<NumberLists>)>,
    /// Memory that is used again from series to series.
    pub(super) values: Vec<f64>,
    pub(super) newest: Vec<f64>,
    pub(super) times: Vec<i64>,
    pub(super) ts_rows: Vec<u32>,
    pub(super) absent: Vec<(usize, u64)>,
    /// Of the block that is read.
    cache: Option<TenantCache>,
}

thread_local! {
    static OPEN: RefCell<OpenPages> = RefCell::new(OpenPages::default());
}

/// Lends the pages of this thread to a reader of one block, whose decoded timelines are in `cache`.
pub(super) fn with<T>(cache: &TenantCache, read: impl FnOnce(&mut OpenPages) -> T) -> T {
    OPEN.with_borrow_mut(|open| {
        if !open.cache.as_ref().is_some_and(|before| before.is(cache)) {
            open.cache = Some(cache.clone());
        }
        read(open)
    })
}

fn stored<'a>(fetched: &'a Fetched, file: &OpenFile, offset: u64) -> Result<&'a [u8], ReadError> {
    let missing = || ReadError::not_fetched(&file.object.key, offset);
    fetched.get(&file.object, offset).map(|bytes| &**bytes).ok_or_else(missing)
}

impl OpenPages {
    pub(super) fn mantissa_page(
        &mut self,
        fetched: &Fetched,
        file: &OpenFile,
        column: &ColumnLayout,
        page: &PagePlace,
    ) -> Result<OpenDelta<'_>, ReadError> {
        let cache = self.cache.as_ref();
        Ok(OpenDelta { page: DeltaPage::open(&mut self.mantissa, cache, fetched, file, column, page)?, cache })
    }

    pub(super) fn ts_row_page(
        &mut self,
        fetched: &Fetched,
        file: &OpenFile,
        column: &ColumnLayout,
        page: &PagePlace,
    ) -> Result<OpenDelta<'_>, ReadError> {
        let cache = self.cache.as_ref();
        Ok(OpenDelta { page: DeltaPage::open(&mut self.ts_row, cache, fetched, file, column, page)?, cache })
    }

    pub(super) fn raw_page(
        &mut self,
        fetched: &Fetched,
        file: &OpenFile,
        column: &ColumnLayout,
        page: &PagePlace,
    ) -> Result<&RawPage, ReadError> {
        let place = (file.object.id, page.offset);
        if self.raw.as_ref().is_none_or(|open| open.place != place) {
            let memory = self.raw.take().map(|open| open.data.values).unwrap_or_default();
            let bytes = stored(fetched, file, page.offset)?;
            let opened = read_data_page(bytes, column.compression, memory).and_then(|data| RawPage::new(place, data));
            self.raw = Some(opened.map_err(|error| error.at(&file.object.key, page.offset))?);
        }
        self.raw.as_ref().ok_or_else(|| PageError("the page was lost").at(&file.object.key, page.offset))
    }

    /// The timestamps of a page of the timelines file.
    pub(super) fn timeline(
        &mut self,
        fetched: &Fetched,
        file: &OpenFile,
        column: &ColumnLayout,
        page: &PagePlace,
    ) -> Result<Arc<Vec<i64>>, ReadError> {
        let place = (file.object.id, page.offset);
        if let Some((_, times)) = self.timelines.iter().find(|(other, _)| *other == place) {
            return Ok(Arc::clone(times));
        }
        let key = CacheKey { object: place.0, kind: CacheKind::Timeline, place: place.1 };
        let cached = self.cache.as_ref().and_then(|cache| cache.get::<Vec<i64>>(&key));
        let times = match cached {
            Some(times) => times,
            None => {
                let bytes = stored(fetched, file, page.offset)?;
                let decoded = read_data_page(bytes, column.compression, Vec::new()).and_then(|data| {
                    let mut page = DeltaPage::new(Arc::new(Opened::new(place, data)?))?;
                    let mut times = Vec::new();
                    let rows = 0..page.page.data.rows;
                    OpenDelta { page: &mut page, cache: None }.read(rows, &mut times, |ms| ms)?;
                    Ok(times)
                });
                let times = Arc::new(decoded.map_err(|error| error.at(&file.object.key, page.offset))?);
                if let Some(cache) = &self.cache {
                    cache.insert(key, Arc::clone(&times), times.len() * 8);
                }
                times
            }
        };
        if self.timelines.len() >= TIMELINES_KEPT {
            self.timelines.pop_front();
        }
        self.timelines.push_back((place, Arc::clone(&times)));
        Ok(times)
    }

    /// The numbers of a page.
    pub(super) fn numbers(
        &mut self,
        fetched: &Fetched,
        file: &OpenFile,
        column: &ColumnLayout,
        page: &PagePlace,
    ) -> Result<Arc<Numbers>, ReadError> {
        let place = (file.object.id, page.offset);
        if let Some((_, numbers)) = self.numbers.iter().find(|(other, _)| *other == place) {
            return Ok(Arc::clone(numbers));
        }
        let key = Opened::key(place);
        let decoded = match self.cache.as_ref().and_then(|cache| cache.get::<Numbers>(&key)) {
            Some(decoded) => decoded,
            None => {
                let dictionary = dictionary_of(fetched, file, column, page)?.map(Arc::new);
                let decoded = read_data_page(stored(fetched, file, page.offset)?, column.compression, Vec::new())
                    .and_then(|data| Numbers::read(&data, dictionary.as_ref(), column.kind))
                    .map_err(|error| error.at(&file.object.key, page.offset))?;
                let decoded = Arc::new(decoded);
                // A page has the rows of many series, which a query reads one after the other from many blocks.
                if let Some(cache) = &self.cache {
                    let bytes = decoded.memory() + dictionary.map_or(0, |numbers| numbers.len() * 8);
                    cache.insert(key, Arc::clone(&decoded), bytes);
                }
                decoded
            }
        };
        if self.numbers.len() >= NUMBERS_KEPT {
            self.numbers.pop_front();
        }
        self.numbers.push_back((place, Arc::clone(&decoded)));
        Ok(decoded)
    }

    /// The lists of numbers of a page.
    pub(super) fn lists(
        &mut self,
        fetched: &Fetched,
        file: &OpenFile,
        column: &ColumnLayout,
        page: &PagePlace,
    ) -> Result<Arc<NumberLists>, ReadError> {
        let place = (file.object.id, page.offset);
        if let Some((_, lists)) = self.lists.as_ref().filter(|(other, _)| *other == place) {
            return Ok(Arc::clone(lists));
        }
        let dictionary = dictionary_of(fetched, file, column, page)?;
        let decoded = read_data_page(stored(fetched, file, page.offset)?, column.compression, Vec::new())
            .and_then(|data| {
                let starts = row_starts(&data, column.definition_max)?;
                Ok(NumberLists { starts, values: value_numbers(&data, dictionary.as_deref(), column.kind)? })
            })
            .map_err(|error| error.at(&file.object.key, page.offset))?;
        let decoded = Arc::new(decoded);
        self.lists = Some((place, Arc::clone(&decoded)));
        Ok(decoded)
    }
}

/// A page whose rows are lists of numbers.
#[derive(Debug)]
pub(super) struct NumberLists {
    starts: Vec<u32>,
    values: Vec<u64>,
}

impl NumberLists {
    /// The numbers in a row.
    pub(super) fn get(&self, row: usize) -> &[u64] {
        let range = self.starts.get(row).zip(self.starts.get(row + 1)).map(|(from, to)| *from as usize..*to as usize);
        range.and_then(|range| self.values.get(range)).unwrap_or_default()
    }
}

/// The dictionary of numbers that a page uses.
fn dictionary_of(
    fetched: &Fetched,
    file: &OpenFile,
    column: &ColumnLayout,
    page: &PagePlace,
) -> Result<Option<Vec<u64>>, ReadError> {
    let dictionary = column.groups.get(page.group as usize).map(|group| &group.dictionary);
    let Some(range) = dictionary.filter(|range| !range.is_empty()) else { return Ok(None) };
    let read = read_dictionary_page(stored(fetched, file, range.start)?, column.compression)
        .and_then(|page| dictionary_numbers(&page, column.kind));
    read.map(Some).map_err(|error| error.at(&file.object.key, range.start))
}

/// A page of packed integers, decompressed.
#[derive(Debug)]
struct Opened {
    place: Place,
    data: DataPage,
    presence: Presence,
    /// Once they were needed.
    landmarks: OnceLock<Landmarks>,
}

impl Opened {
    fn new(place: Place, data: DataPage) -> Result<Self, PageError> {
        let presence = Presence::read(&data.levels, data.rows, data.nulls)?;
        Ok(Self { place, data, presence, landmarks: OnceLock::new() })
    }

    fn cursor(&self) -> Result<Option<DeltaCursor>, PageError> {
        let data = &self.data;
        let cursor = match (data.rows > data.nulls, data.encoding) {
            (false, _) => None,
            (true, Encoding::DeltaBinaryPacked) => Some(DeltaCursor::new(&data.values)?),
            (true, _) => return Err(PageError("the page has an encoding that its column never has")),
        };
        if cursor.as_ref().is_some_and(|cursor| cursor.count() != data.rows - data.nulls) {
            return Err(PageError("the page has more or fewer values than its header says"));
        }
        Ok(cursor)
    }

    fn key(place: Place) -> CacheKey {
        CacheKey { object: place.0, kind: CacheKind::Opened, place: place.1 }
    }
}

/// A page of packed integers, open at some row.
#[derive(Debug)]
pub(super) struct DeltaPage {
    page: Arc<Opened>,
    /// `None` when no row has a value.
    cursor: Option<DeltaCursor>,
}

/// The same, as it is lent.
#[derive(Debug)]
pub(super) struct OpenDelta<'a> {
    page: &'a mut DeltaPage,
    /// Where other threads and later queries find the page.
    cache: Option<&'a TenantCache>,
}

/// A skip of this many numbers is worth going through the page once, and keeping it.
const FAR: usize = 1024;

/// So is a shorter one to read no more than one of so many numbers. Reading straight through skips nothing, however short series are.
const SMALL: usize = 16;

impl DeltaPage {
    fn new(page: Arc<Opened>) -> Result<Self, PageError> {
        Ok(Self { cursor: page.cursor()?, page })
    }

    fn open<'a>(
        slot: &'a mut Option<Self>,
        cache: Option<&TenantCache>,
        fetched: &Fetched,
        file: &OpenFile,
        column: &ColumnLayout,
        page: &PagePlace,
    ) -> Result<&'a mut Self, ReadError> {
        let place = (file.object.id, page.offset);
        if slot.as_ref().is_none_or(|open| open.page.place != place) {
            let before = slot.take();
            let opened = match cache.and_then(|cache| cache.get::<Opened>(&Opened::key(place))) {
                Some(opened) => Ok(opened),
                None => {
                    let memory = before.and_then(|open| Arc::into_inner(open.page)).map(|page| page.data.values);
                    let bytes = stored(fetched, file, page.offset)?;
                    let data = read_data_page(bytes, column.compression, memory.unwrap_or_default());
                    data.and_then(|data| Opened::new(place, data)).map(Arc::new)
                }
            };
            let opened = opened.and_then(Self::new);
            *slot = Some(opened.map_err(|error| error.at(&file.object.key, page.offset))?);
        }
        slot.as_mut().ok_or_else(|| PageError("the page was lost").at(&file.object.key, page.offset))
    }
}

impl OpenDelta<'_> {
    /// Whether every row has a value.
    pub(super) fn is_dense(&self) -> bool {
        matches!(self.page.page.presence, Presence::All)
    }

    /// Whether a row has a value.
    pub(super) fn has(&self, row: usize) -> bool {
        self.page.page.presence.has(row)
    }

    /// Appends the values of some rows as `convert` gives them, those without one left out. Cheapest in ascending order of rows.
    #[inline]
    pub(super) fn read<T: Copy + Default>(
        &mut self,
        rows: Range<usize>,
        into: &mut Vec<T>,
        convert: impl Fn(i64) -> T,
    ) -> Result<(), PageError> {
        let DeltaPage { page, cursor } = &mut *self.page;
        if rows.end > page.data.rows {
            return Err(PageError("the page has too few rows"));
        }
        let (from, to) = (page.presence.rank(rows.start), page.presence.rank(rows.end));
        let Some(cursor) = cursor.as_mut().filter(|_| from < to) else { return Ok(()) };
        let far = from.abs_diff(cursor.position());
        let is_part = far >= FAR || far > 0 && (to - from) * SMALL <= cursor.count();
        if is_part && page.landmarks.get().is_none() {
            keep(page, self.cache)?;
        }
        if let Some(landmarks) = page.landmarks.get().filter(|_| far >= APART) {
            cursor.approach(&page.data.values, landmarks, from)?;
        }
        if cursor.position() > from {
            *cursor = DeltaCursor::new(&page.data.values)?;
        }
        cursor.skip(&page.data.values, from - cursor.position())?;
        let start = into.len();
        into.resize(start + to - from, T::default());
        cursor.fill(&page.data.values, into.get_mut(start..).unwrap_or_default(), convert)
    }
}

/// Finds the landmarks of a page and keeps both for all.
#[cold]
fn keep(page: &Arc<Opened>, cache: Option<&TenantCache>) -> Result<(), PageError> {
    let landmarks = Landmarks::of(&page.data.values)?;
    let bytes = page.data.values.len() + page.data.levels.len() + landmarks.bytes();
    // Another thread may have been faster, with the same.
    let _ = page.landmarks.set(landmarks);
    if let Some(cache) = cache {
        cache.insert(Opened::key(page.place), Arc::clone(page), bytes);
    }
    Ok(())
}

/// A page of doubles.
#[derive(Debug)]
pub(super) struct RawPage {
    place: Place,
    data: DataPage,
    presence: Presence,
}

impl RawPage {
    fn new(place: Place, data: DataPage) -> Result<Self, PageError> {
        let presence = Presence::read(&data.levels, data.rows, data.nulls)?;
        if data.values.len() != (data.rows - data.nulls) * 8 {
            return Err(PageError("the values of the page end early"));
        }
        if !matches!(data.encoding, Encoding::ByteStreamSplit | Encoding::Plain) {
            return Err(PageError("the page has an encoding that its column never has"));
        }
        Ok(Self { place, data, presence })
    }

    /// The value in a row.
    pub(super) fn get(&self, row: usize) -> Option<f64> {
        if !self.presence.has(row) {
            return None;
        }
        let at = self.presence.rank(row);
        if self.data.encoding == Encoding::Plain {
            let bytes = self.data.values.get(at * 8..)?.first_chunk::<8>()?;
            return Some(f64::from_le_bytes(*bytes));
        }
        let count = self.data.rows - self.data.nulls;
        Planes::new(&self.data.values, count).ok().map(|planes| planes.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 4096;

    /// A page of the numbers from 0 on.
    fn page() -> DeltaPage {
        // Blocks of 128 in four parts, 4096 numbers, and the first; then of each block the least difference, and no bits for others.
        let mut values = vec![128, 1, 4, 128, 32, 0];
        (1..ROWS).step_by(128).for_each(|_| values.extend([2, 0, 0, 0, 0]));
        let (repetition, levels) = (Box::default(), Box::default());
        let encoding = Encoding::DeltaBinaryPacked;
        let data = DataPage { encoding, rows: ROWS, count: ROWS, nulls: 0, repetition, levels, values };
        DeltaPage::new(Arc::new(Opened::new((1, 2), data).unwrap())).unwrap()
    }

    #[test]
    fn landmarks_are_kept_for_those_who_skip_and_not_for_those_who_read_straight_through() {
        let mut straight = page();
        let read = |page: &mut DeltaPage, rows: Range<usize>| {
            let mut found = Vec::new();
            OpenDelta { page, cache: None }.read(rows.clone(), &mut found, |number| number).unwrap();
            assert!(found.into_iter().eq(rows.start as i64..rows.end as i64));
            page.page.landmarks.get().is_some()
        };
        for start in (0..ROWS).step_by(64) {
            assert!(!read(&mut straight, start..start + 64), "at {start}");
        }
        assert!(read(&mut straight, 0..64), "back");
        let mut skipping = page();
        assert!(!read(&mut skipping, 0..64));
        assert!(read(&mut skipping, 128..192));
    }
}
