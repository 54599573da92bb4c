//! Reads the exemplars of series.

use super::cache::CacheKind;
use super::columns::ColumnBytes;
use super::error::ReadError;
use super::fetch;
use super::histograms::numbers;
use super::open_pages;
use super::overflow::{KEYS, VALUES, page_strings};
use super::samples::for_each_part;
use super::selection::{BlockPages, BlockSeries, want_rows};
use crate::block::schema::column as c;
use model::exemplar::Exemplar;
use model::labels::Labels;
use std::sync::Arc;

/// Object and offset of a page, and the texts of each of its rows.
type LastPage = ((u64, u64), Vec<Vec<Box<str>>>);

impl BlockSeries {
    /// The exemplars with `start_ms <= t <= end_ms` of each selected series that has some, by its index, in order of time.
    /// Series that have nothing else are selected by [`Block::select_all`](super::Block::select_all).
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn exemplars(&self, start_ms: i64, end_ms: i64) -> Result<Vec<(usize, Vec<Exemplar>)>, ReadError> {
        if self.block.exemplars.is_empty() {
            return Ok(Vec::new());
        }
        let files = self.block.open_all(&self.block.exemplars).await?;
        let mut wanted = Vec::new();
        for index in 0..self.len() {
            let rows = self.exemplar_rows(index)?;
            if rows.is_empty() {
                continue;
            }
            for path in [c::TIMESTAMP, c::VALUE, KEYS, VALUES] {
                want_rows(&files, path, &rows, &mut wanted)?;
            }
        }
        let fetched = fetch::fetch(&self.block.source, CacheKind::Page, wanted, &self.account).await?;
        let pages = BlockPages { fetched, histograms: Vec::new(), hist_buckets: Vec::new() };
        let mut found = Vec::new();
        // Series that follow each other share pages: the last one of each column.
        let mut last: [Option<LastPage>; 2] = [None, None];
        for index in 0..self.len() {
            let rows = self.exemplar_rows(index)?;
            if rows.is_empty() {
                continue;
            }
            let (times, values) = open_pages::with(&self.block.source.cache, |open| {
                let times = numbers(open, &pages, &files, c::TIMESTAMP, rows.clone())?;
                Ok::<_, ReadError>((times, numbers(open, &pages, &files, c::VALUE, rows.clone())?))
            })?;
            let texts = |path: &str, last: &mut Option<LastPage>| {
                let mut texts = Vec::new();
                for_each_part(&files, path, rows.clone(), |file, column, place, part| {
                    let known = last.take().filter(|(of, _)| *of == (file.object.id, place.offset));
                    let (_, of_page) = match known {
                        Some(known) => last.insert(known),
                        None => {
                            let bytes = ColumnBytes {
                                object: Arc::clone(&file.object),
                                cache: self.block.source.cache.clone(),
                                whole: None,
                                parts: pages.fetched.clone(),
                            };
                            last.insert(((file.object.id, place.offset), page_strings(&bytes, column, place)?))
                        }
                    };
                    texts.extend(of_page.get(part).unwrap_or_default().iter().cloned());
                    Ok(())
                })?;
                Ok::<_, ReadError>(texts)
            };
            let [last_names, last_texts] = &mut last;
            let (names, texts) = (texts(KEYS, last_names)?, texts(VALUES, last_texts)?);
            let mut exemplars = Vec::new();
            for (((time, value), names), texts) in times.iter().zip(&values).zip(&names).zip(&texts) {
                let timestamp_ms = time.unwrap_or(0) as i64;
                if timestamp_ms < start_ms || timestamp_ms > end_ms {
                    continue;
                }
                let unreadable = |error| ReadError::unreadable(&self.block.series.object.key, error);
                let labels = Labels::from_pairs(names.iter().zip(texts)).map_err(unreadable)?;
                exemplars.push(Exemplar { labels, value: f64::from_bits(value.unwrap_or(0)), timestamp_ms });
            }
            if !exemplars.is_empty() {
                found.push((index, exemplars));
            }
        }
        Ok(found)
    }
}
