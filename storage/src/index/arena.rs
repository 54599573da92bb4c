//! Arenas in pages, addressed by 32 bits: what is stored never moves by itself and growth copies nothing.
//!
//! What is no longer needed is given back by copying the rest: [`Arena::begin_copy`] makes all pages old, the owner pushes
//! what it still needs once more, in steps of its choice, and [`Arena::end_copy`] drops the old pages. Meanwhile addresses in
//! old pages stay good.

/// Where something starts: page number and offset in it.
pub(crate) type Address = u32;

const PAGE: usize = 1 << 16;
const PAGES_MAX: usize = 1 << 16;
/// Less garbage than this is not worth a copy.
const GARBAGE_MIN: usize = 4 * PAGE;

/// The arena has used up its 4 GiB of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArenaFull;

/// What a page can be.
pub(crate) trait Page: Default {
    fn with_capacity(bytes: usize) -> Self;
    fn len(&self) -> usize;
    fn capacity(&self) -> usize;
}

impl Page for Vec<u8> {
    fn with_capacity(bytes: usize) -> Self {
        Self::with_capacity(bytes)
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn capacity(&self) -> usize {
        self.capacity()
    }
}

impl Page for String {
    fn with_capacity(bytes: usize) -> Self {
        Self::with_capacity(bytes)
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn capacity(&self) -> usize {
        self.capacity()
    }
}

/// Pages of `P`. An item lies within one page; one larger than a page has a page of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arena<P> {
    pages: Vec<P>,
    /// The page that takes items.
    current: Option<usize>,
    /// Numbers of pages that hold nothing.
    holes: Vec<usize>,
    /// While copying: which pages are old. Those behind its end are not.
    old: Vec<bool>,
    /// Bytes of items that are no longer needed.
    garbage: usize,
}

/// Pages of bytes.
pub(crate) type ByteArena = Arena<Vec<u8>>;
/// Pages of text.
pub(crate) type TextArena = Arena<String>;

impl<P: Page> Arena<P> {
    /// The page that an item of so many bytes goes to.
    fn page_for(&mut self, len: usize) -> Result<usize, ArenaFull> {
        let fits = |page: &P| page.len() + len <= PAGE && page.len() < PAGE;
        if let Some(current) = self.current.filter(|current| self.pages.get(*current).is_some_and(fits)) {
            return Ok(current);
        }
        let number = match self.holes.pop() {
            Some(hole) => hole,
            None if self.pages.len() == PAGES_MAX => return Err(ArenaFull),
            None => {
                self.pages.push(P::default());
                self.pages.len() - 1
            }
        };
        self.pages[number] = P::with_capacity(PAGE.max(len));
        if let Some(old) = self.old.get_mut(number) {
            *old = false;
        }
        self.current = Some(number);
        Ok(number)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pages.iter().map(P::capacity).sum()
    }

    /// Notes that an item of so many bytes is no longer needed.
    pub(crate) fn discard(&mut self, bytes: usize) {
        self.garbage += bytes;
    }

    /// Whether more than half is garbage.
    pub(crate) fn wants_copy(&self) -> bool {
        self.old.is_empty() && self.garbage > GARBAGE_MIN && self.garbage * 2 > self.bytes()
    }

    /// Makes all pages old.
    pub(crate) fn begin_copy(&mut self) {
        self.old = vec![true; self.pages.len()];
        self.holes.iter().for_each(|hole| self.old[*hole] = false);
        self.current = None;
    }

    /// Whether an item is yet to be copied.
    pub(crate) fn is_old(&self, address: Address) -> bool {
        self.old.get((address >> 16) as usize).copied().unwrap_or(false)
    }

    /// Drops the old pages, of which nothing is needed any more.
    pub(crate) fn end_copy(&mut self) {
        for (number, _) in std::mem::take(&mut self.old).into_iter().enumerate().filter(|(_, old)| *old) {
            self.pages[number] = P::default();
            self.holes.push(number);
        }
        self.garbage = 0;
    }

    /// Gives a copy up; what was copied is garbage.
    pub(crate) fn cancel_copy(&mut self) {
        self.old.clear();
    }
}

impl ByteArena {
    pub(crate) fn push(&mut self, item: &[u8]) -> Result<Address, ArenaFull> {
        let number = self.page_for(item.len())?;
        let page = &mut self.pages[number];
        let address = (number << 16 | page.len()) as Address;
        page.extend_from_slice(item);
        Ok(address)
    }

    /// The bytes from an address to the end of its page; empty for an address that was never given out.
    #[inline]
    pub(crate) fn from(&self, address: Address) -> &[u8] {
        let page = self.pages.get((address >> 16) as usize);
        page.and_then(|page| page.get((address & 0xffff) as usize..)).unwrap_or_default()
    }

    pub(crate) fn pages(&self) -> &[Vec<u8>] {
        &self.pages
    }

    pub(crate) fn restore(pages: Vec<Vec<u8>>) -> Self {
        let current = pages.len().checked_sub(1);
        let holes = pages.iter().enumerate().filter(|(number, page)| page.is_empty() && Some(*number) != current);
        let holes = holes.map(|(number, _)| number).collect();
        Self { pages, current, holes, ..Self::default() }
    }
}

/// A stored text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    pub(super) at: Address,
    pub(super) len: u32,
}

impl Text {
    pub(crate) const EMPTY: Self = Self { at: 0, len: 0 };
}

impl TextArena {
    pub(crate) fn push(&mut self, text: &str) -> Result<Text, ArenaFull> {
        let len = u32::try_from(text.len()).map_err(|_| ArenaFull)?;
        let number = self.page_for(text.len())?;
        let page = &mut self.pages[number];
        let at = (number << 16 | page.len()) as Address;
        page.push_str(text);
        Ok(Text { at, len })
    }

    #[inline]
    pub(crate) fn get(&self, text: Text) -> &str {
        if text.len == 0 {
            // Of an arena without a page, too: free names may be all that a restart brings back.
            return "";
        }
        let offset = (text.at & 0xffff) as usize;
        let page = self.pages.get((text.at >> 16) as usize);
        page.and_then(|page| page.get(offset..offset + text.len as usize)).expect("texts are of this arena")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_all_sizes_come_back() {
        let (mut bytes, mut texts) = (ByteArena::default(), TextArena::default());
        let items: Vec<String> =
            (0..400).map(|i| "ä".repeat(if i % 50 == 49 { 70_000 } else { i * 3 % 700 })).collect();
        let places: Vec<_> = items
            .iter()
            .map(|item| (bytes.push(item.as_bytes()).expect("room"), texts.push(item).expect("room")))
            .collect();
        for (item, (address, text)) in items.iter().zip(places) {
            assert_eq!(&bytes.from(address)[..item.len()], item.as_bytes());
            assert_eq!(texts.get(text), item);
        }
    }

    /// Items come and go for ever, a tenth of them at a time is needed.
    #[test]
    fn what_is_copied_stays_and_the_rest_is_given_back() {
        let mut texts = TextArena::default();
        let mut kept: Vec<(String, Text)> = Vec::new();
        let mut bytes_max = 0;
        for round in 0..50 {
            for (_, text) in kept.drain(..) {
                texts.discard(text.len as usize);
            }
            for n in 0..4_000 {
                let item = format!("{:>1$}", round * 10_000 + n, 1 + n % 90);
                let text = texts.push(&item).expect("room");
                kept.push((item, text));
            }
            if texts.wants_copy() {
                texts.begin_copy();
                for (n, (item, text)) in kept.iter_mut().enumerate() {
                    assert!(texts.is_old(text.at) && texts.get(*text) == item);
                    *text = texts.push(item).expect("room");
                    if n % 100 == 0 {
                        let between = texts.push("came meanwhile").expect("room");
                        assert!(!texts.is_old(between.at));
                        texts.discard(14);
                    }
                }
                texts.end_copy();
            }
            bytes_max = bytes_max.max(texts.bytes());
            assert!(kept.iter().all(|(item, text)| texts.get(*text) == item));
        }
        assert!(bytes_max < 20 * PAGE, "{bytes_max}");
    }
}
