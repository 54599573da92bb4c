//! Columns whose rows are lists: the bounds of histograms, and the keys and values of label maps.

use super::error::PageError;
use super::levels::{Run, decode_runs};
use super::page::DataPage;

/// Where the values of each row are, in a page of a column with lists of present values.
///
/// Place `n` of the result is where the values of row `n` start among all values of the page; one more place is the end.
pub(crate) fn row_starts(page: &DataPage, definition_max: u32) -> Result<Vec<u32>, PageError> {
    let repetition = levels(&page.repetition, 1, page.count)?;
    let width = (u32::BITS - definition_max.leading_zeros()) as u8;
    let definition = levels(&page.levels, width, page.count)?;
    let mut starts = Vec::with_capacity(page.rows + 1);
    let mut values = 0u32;
    for (repeats, defined) in repetition.into_iter().zip(definition) {
        if repeats == 0 {
            starts.push(values);
        }
        values += u32::from(defined == definition_max);
    }
    starts.push(values);
    if starts.len() != page.rows + 1 || values as usize != page.count - page.nulls {
        return Err(PageError("the levels of the page contradict its header"));
    }
    Ok(starts)
}

fn levels(bytes: &[u8], width: u8, count: usize) -> Result<Vec<u32>, PageError> {
    let mut levels = Vec::with_capacity(count);
    if bytes.is_empty() {
        return Ok(vec![0; count]);
    }
    decode_runs(bytes, width, count, |run| {
        match run {
            Run::Same { value, count } => levels.resize(levels.len() + count, value),
            Run::Each(some) => levels.extend_from_slice(some),
        }
        Ok(())
    })?;
    Ok(levels)
}
