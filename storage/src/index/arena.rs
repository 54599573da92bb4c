//! Append-only arenas in pages, addressed by 32 bits: what is stored never moves and growth copies nothing.

/// Where something starts: page number and offset in it.
pub(crate) type Address = u32;

const PAGE: usize = 1 << 16;
const PAGES_MAX: usize = 1 << 16;

/// The arena has used up its 4 GiB of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArenaFull;

/// Pages of bytes. An item lies within one page; one larger than a page has a page of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByteArena {
    pages: Vec<Vec<u8>>,
}

impl ByteArena {
    pub(crate) fn push(&mut self, item: &[u8]) -> Result<Address, ArenaFull> {
        let fits = |page: &Vec<u8>| page.len() + item.len() <= PAGE && page.len() < PAGE;
        if !self.pages.last().is_some_and(fits) {
            if self.pages.len() == PAGES_MAX {
                return Err(ArenaFull);
            }
            self.pages.push(Vec::with_capacity(PAGE.max(item.len())));
        }
        let number = self.pages.len() - 1;
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

    pub(crate) fn bytes(&self) -> usize {
        self.pages.iter().map(Vec::capacity).sum()
    }

    pub(crate) fn pages(&self) -> &[Vec<u8>] {
        &self.pages
    }

    pub(crate) fn restore(pages: Vec<Vec<u8>>) -> Self {
        Self { pages }
    }
}

/// A stored text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    at: Address,
    len: u32,
}

/// Pages of text.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextArena {
    pages: Vec<String>,
}

impl TextArena {
    pub(crate) fn push(&mut self, text: &str) -> Result<Text, ArenaFull> {
        let fits = |page: &String| page.len() + text.len() <= PAGE && page.len() < PAGE;
        if !self.pages.last().is_some_and(fits) {
            if self.pages.len() == PAGES_MAX {
                return Err(ArenaFull);
            }
            self.pages.push(String::with_capacity(PAGE.max(text.len())));
        }
        let len = u32::try_from(text.len()).map_err(|_| ArenaFull)?;
        let number = self.pages.len() - 1;
        let page = &mut self.pages[number];
        let at = (number << 16 | page.len()) as Address;
        page.push_str(text);
        Ok(Text { at, len })
    }

    #[inline]
    pub(crate) fn get(&self, text: Text) -> &str {
        let offset = (text.at & 0xffff) as usize;
        let page = self.pages.get((text.at >> 16) as usize);
        page.and_then(|page| page.get(offset..offset + text.len as usize)).expect("texts are of this arena")
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pages.iter().map(String::capacity).sum()
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
}
