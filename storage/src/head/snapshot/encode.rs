//! Encodes the state of a shard.

use super::{FrozenShard, MAGIC, Section, VERSION};
use crate::head::histograms::HistogramSeries;
use crate::head::late::{LateChunk, LateSamples};
use crate::head::shard::Shard;
use crate::head::slot::NONE;
use crate::head::starts::StartTimes;
use hashbrown::HashMap;
use std::io::{self, Write};

/// Names and pairs are copied so many at a time under the shard's lock.
const BATCH: usize = 1024;

fn begin(out: &mut Vec<u8>, section: Section, count: usize) {
    push_u32(out, section as u32);
    out.extend_from_slice(&(count as u64).to_le_bytes());
}

fn push_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn push_i64(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn push_chunks(out: &mut Vec<u8>, chunks: &[LateChunk]) {
    push_u32(out, chunks.len() as u32);
    for chunk in chunks {
        out.extend_from_slice(&chunk.link.0.to_le_bytes());
        push_i64(out, chunk.first_ms);
        push_i64(out, chunk.last_ms);
    }
}

impl Shard {
    /// Header and the sections that are small enough to be encoded under the lock.
    pub(super) fn encode_front(&self, shards: usize) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        [VERSION, self.number as u32, shards as u32].into_iter().for_each(|field| push_u32(&mut out, field));
        push_i64(&mut out, self.first_ms);
        push_i64(&mut out, self.last_ms);
        push_i64(&mut out, self.append_floor_ms);
        push_i64(&mut out, self.read_floor_ms);
        out.extend_from_slice(&self.generation.to_le_bytes());
        push_u32(&mut out, self.files.last_number());
        self.encode_files(&mut out);
        self.encode_timelines(&mut out);
        encode_late(&self.late, &mut out);
        encode_histograms(&self.histograms, &mut out);
        encode_starts(&self.starts, &mut out);
        begin(&mut out, Section::Generations, self.below.len());
        for generation in &self.below {
            out.extend_from_slice(&generation.number.to_le_bytes());
            encode_late(&generation.late, &mut out);
            encode_histograms(&generation.histograms, &mut out);
            encode_starts(&generation.starts, &mut out);
        }
        out
    }

    fn encode_files(&self, out: &mut Vec<u8>) {
        begin(out, Section::Files, self.files.summaries().len());
        for file in self.files.summaries() {
            push_u32(out, file.number);
            push_u32(out, file.end);
            push_i64(out, file.first_ms);
            push_i64(out, file.last_ms);
            out.extend_from_slice(&file.generation.to_le_bytes());
        }
    }

    fn encode_timelines(&self, out: &mut Vec<u8>) {
        let timelines = &self.timelines;
        begin(out, Section::Timelines, timelines.lines.len());
        for line in &timelines.lines {
            [line.newest, line.followers, line.members].into_iter().for_each(|field| push_u32(out, field));
        }
        let mut groups: Vec<_> = timelines.groups().collect();
        groups.sort_unstable_by_key(|(_, timeline)| *timeline);
        begin(out, Section::Groups, groups.len());
        for ((job, instance), timeline) in groups {
            [job, instance, timeline].into_iter().for_each(|field| push_u32(out, field));
        }
        begin(out, Section::Segments, timelines.segments.len());
        for segment in &timelines.segments {
            push_u32(out, segment.timeline);
            push_u32(out, segment.users);
            out.extend_from_slice(&segment.link.0.to_le_bytes());
            push_i64(out, segment.base_ms);
            out.extend_from_slice(&[u8::from(segment.closed), segment.offsets.len() as u8]);
            segment.offsets.iter().for_each(|offset| push_u32(out, *offset));
        }
    }
}

fn encode_late(late: &HashMap<u32, LateSamples>, out: &mut Vec<u8>) {
    let mut late: Vec<_> = late.iter().collect();
    late.sort_unstable_by_key(|(slot, _)| **slot);
    begin(out, Section::Late, late.len());
    for (slot, samples) in late {
        push_u32(out, *slot);
        out.push(u8::from(samples.in_order_first_ms.is_some()));
        push_i64(out, samples.in_order_first_ms.unwrap_or(0));
        push_u32(out, samples.buffer.len() as u32);
        for (timestamp_ms, bits) in &samples.buffer {
            push_i64(out, *timestamp_ms);
            out.extend_from_slice(&bits.to_le_bytes());
        }
        push_chunks(out, &samples.chunks);
    }
}

fn encode_histograms(histograms: &HashMap<u32, HistogramSeries>, out: &mut Vec<u8>) {
    let mut histograms: Vec<_> = histograms.iter().collect();
    histograms.sort_unstable_by_key(|(slot, _)| **slot);
    begin(out, Section::Histograms, histograms.len());
    for (slot, series) in histograms {
        push_u32(out, *slot);
        push_i64(out, series.first_ms);
        push_i64(out, series.last_ms);
        push_u32(out, series.run.len() as u32);
        push_u32(out, series.run.as_bytes().len() as u32);
        out.extend_from_slice(series.run.as_bytes());
        push_chunks(out, &series.chunks);
    }
}

fn encode_starts(starts: &HashMap<u32, StartTimes>, out: &mut Vec<u8>) {
    let mut starts: Vec<_> = starts.iter().collect();
    starts.sort_unstable_by_key(|(slot, _)| **slot);
    begin(out, Section::Starts, starts.len());
    for (slot, starts) in starts {
        push_u32(out, *slot);
        out.push(u8::from(starts.open));
        let recent = starts.recent.to_bytes();
        push_u32(out, recent.len() as u32);
        out.extend_from_slice(&recent);
        push_chunks(out, &starts.chunks);
    }
}

impl FrozenShard {
    /// Writes everything.
    pub(super) fn encode(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.front)?;
        self.encode_labels(out)?;
        self.encode_cells(out)?;
        self.encode_slots(out)?;
        let mut end = Vec::new();
        begin(&mut end, Section::End, 0);
        out.write_all(&end)
    }

    fn encode_labels(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut buffer = Vec::new();
        let push_text = |buffer: &mut Vec<u8>, text: &str| {
            push_u32(buffer, text.len() as u32);
            buffer.extend_from_slice(text.as_bytes());
        };
        begin(&mut buffer, Section::Names, self.labels.names);
        for name in 0..self.labels.names {
            push_text(&mut buffer, self.head.shards[self.shard].read().labels.name_at(name as u32));
        }
        begin(&mut buffer, Section::Pairs, self.labels.pairs);
        for start in (0..self.labels.pairs).step_by(BATCH) {
            let shard = self.head.shards[self.shard].read();
            for pair in start..self.labels.pairs.min(start + BATCH) {
                // What no series has by now was no part of the point in time either.
                let unused = shard.labels.is_unused(pair as u32);
                let (name, value) = if unused { (NONE, "") } else { shard.labels.pair_at(pair as u32) };
                push_u32(&mut buffer, name);
                push_text(&mut buffer, value);
            }
            drop(shard);
            out.write_all(&buffer)?;
            buffer.clear();
        }
        begin(&mut buffer, Section::LabelSets, self.labels.set_pages.len());
        for (page, &len) in self.labels.set_pages.iter().enumerate() {
            push_u32(&mut buffer, len as u32);
            buffer.extend_from_slice(&self.head.shards[self.shard].read().labels.set_page(page)[..len]);
            out.write_all(&buffer)?;
            buffer.clear();
        }
        out.write_all(&buffer)
    }

    fn encode_cells(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut buffer = Vec::new();
        begin(&mut buffer, Section::Cells, self.cells);
        push_u32(&mut buffer, self.free_cells.0);
        push_u32(&mut buffer, self.free_cells.1 as u32);
        let (mut page, mut cells) = (0, Vec::new());
        while self.head.shards[self.shard].write().cells.slab.take_frozen(page, &mut cells) {
            for cell in &cells {
                buffer.extend(cell.words.iter().flat_map(|word| word.to_le_bytes()));
                push_u32(&mut buffer, cell.next);
            }
            out.write_all(&buffer)?;
            buffer.clear();
            page += 1;
        }
        out.write_all(&buffer)
    }

    fn encode_slots(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut buffer = Vec::new();
        begin(&mut buffer, Section::Slots, self.slots);
        let (mut page, mut slots) = (0, Vec::new());
        while self.head.shards[self.shard].write().slots.take_frozen(page, &mut slots) {
            slots.iter().for_each(|slot| buffer.extend_from_slice(&slot.to_bytes()));
            out.write_all(&buffer)?;
            buffer.clear();
            page += 1;
        }
        out.write_all(&buffer)
    }
}
