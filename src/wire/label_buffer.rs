//! Writes encoded labels of version 2.0 quickly: texts of up to 32 bytes are copied as 32 bytes, which is one or two moves,
//! and what is copied too much is overwritten by what follows.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::canonical::push_label;
use super::table::Span;

/// Texts up to this length are copied at a fixed length.
const SHORT: usize = 32;
/// A short label, its lengths and keys, and what is copied too much.
const ROOM: usize = 4 + SHORT + 2 + SHORT;

/// Encoded labels under construction.
#[derive(Debug, Default)]
pub(super) struct LabelBuffer {
    /// Beyond `len` lies rubbish.
    bytes: Vec<u8>,
    len: usize,
}

impl LabelBuffer {
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    #[inline(always)]
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends one label, whose name and value lie in `body`, in the form of [`push_label`].
    #[inline(always)]
    pub(super) fn push(&mut self, body: &[u8], name: Span, value: Span) {
        let (name_len, value_len) = (name.len(), value.len());
        if value_len == 0 {
            return;
        }
        if name_len <= SHORT && value_len <= SHORT {
            if self.bytes.len() < self.len + ROOM {
                self.bytes.resize((self.len + ROOM).next_power_of_two(), 0);
            }
            if let Some(room) = self.bytes.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut::<ROOM>())
                && let Some((head, rest)) = room.split_first_chunk_mut::<4>()
                && copy_short(rest, body, name)
                && let Some(rest) = rest.get_mut(name_len..)
                && let Some((middle, rest)) = rest.split_first_chunk_mut::<2>()
                && copy_short(rest, body, value)
            {
                *head = [0x0a, (4 + name_len + value_len) as u8, 0x0a, name_len as u8];
                *middle = [0x12, value_len as u8];
                self.len += 6 + name_len + value_len;
                return;
            }
        }
        self.push_slowly(body, name, value);
    }

    /// Texts that are long, or lie at the very end of the body.
    #[inline(never)]
    fn push_slowly(&mut self, body: &[u8], name: Span, value: Span) {
        self.bytes.truncate(self.len);
        push_label(&mut self.bytes, name.of(body), value.of(body));
        self.len = self.bytes.len();
    }
}

/// Copies the [`SHORT`] bytes from the beginning of `text`, unless the body or the target ends before.
#[inline(always)]
fn copy_short(target: &mut [u8], body: &[u8], text: Span) -> bool {
    let source = body.get(text.start as usize..).and_then(|rest| rest.first_chunk::<SHORT>());
    match (target.first_chunk_mut::<SHORT>(), source) {
        (Some(target), Some(source)) => {
            *target = *source;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn labels_come_out_as_if_written_one_byte_after_the_other(
            body in prop::collection::vec(any::<u8>(), 1..400),
            places in prop::collection::vec((any::<prop::sample::Index>(), 0u32..60), 0..30),
        ) {
            let span = |(at, length): &(prop::sample::Index, u32)| {
                let start = at.index(body.len()) as u32;
                Span { start, end: (start + length).min(body.len() as u32) }
            };
            let (mut quick, mut slow) = (LabelBuffer::default(), Vec::new());
            for round in 0..2 {
                quick.clear();
                slow.clear();
                for pair in places.chunks_exact(2).skip(round) {
                    let (name, value) = (span(&pair[0]), span(&pair[1]));
                    quick.push(&body, name, value);
                    push_label(&mut slow, name.of(&body), value.of(&body));
                }
                prop_assert_eq!(quick.bytes(), &slow);
            }
        }
    }
}
