//! Growing arrays in pages, of which a point in time can be taken for nothing.
//!
//! Pages never move, so growth copies nothing and wastes at most one page. [`Paged::freeze`] declares the present content to
//! be a point in time; from then on a page is copied the first time it is about to change, until the one who wants the
//! point in time has taken it with [`Paged::take_frozen`]. So a snapshot costs the writer one branch per access and, at
//! worst, one copy of each page that changes while the snapshot is being written.

/// An array of `T` in pages of `PAGE` items, a power of two.
#[derive(Debug)]
pub(crate) struct Paged<T, const PAGE: usize> {
    pages: Vec<Box<[T]>>,
    len: usize,
    frozen: Option<Frozen<T>>,
}

#[derive(Debug)]
struct Frozen<T> {
    len: usize,
    pages: Vec<FrozenPage<T>>,
}

#[derive(Debug)]
enum FrozenPage<T> {
    /// Unchanged since the freeze and not taken.
    Live,
    /// Changed since: this is the page as it was.
    Copied(Box<[T]>),
    Taken,
}

impl<T, const PAGE: usize> Default for Paged<T, PAGE> {
    fn default() -> Self {
        const { assert!(PAGE.is_power_of_two()) };
        Self { pages: Vec::new(), len: 0, frozen: None }
    }
}

impl<T: Copy + Default, const PAGE: usize> Paged<T, PAGE> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory in pages.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.len() * PAGE * size_of::<T>()
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> &T {
        &self.pages[at / PAGE][at % PAGE]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, at: usize) -> &mut T {
        if self.frozen.is_some() {
            self.preserve(at / PAGE);
        }
        &mut self.pages[at / PAGE][at % PAGE]
    }

    pub(crate) fn push(&mut self, item: T) -> usize {
        let at = self.len;
        if at.is_multiple_of(PAGE) {
            self.pages.push(vec![T::default(); PAGE].into_boxed_slice());
        }
        self.len += 1;
        *self.get_mut(at) = item;
        at
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.pages.iter().flatten().take(self.len)
    }

    /// Keeps the page as it is now for whoever froze the array.
    #[cold]
    fn preserve(&mut self, page: usize) {
        if let Some(frozen) = &mut self.frozen
            && let Some(kept @ FrozenPage::Live) = frozen.pages.get_mut(page)
        {
            *kept = FrozenPage::Copied(self.pages[page].clone());
        }
    }

    /// Declares the present content a point in time; one at a time. Returns its number of items.
    pub(crate) fn freeze(&mut self) -> usize {
        assert!(self.frozen.is_none(), "a shard has one snapshot under way at most");
        let pages = self.pages.iter().map(|_| FrozenPage::Live).collect();
        self.frozen = Some(Frozen { len: self.len, pages });
        self.len
    }

    /// Moves the next page of the point in time to `into`, which is emptied first; pages come in order from `page` 0, the
    /// last one cut to the frozen length. Returns whether there was such a page.
    pub(crate) fn take_frozen(&mut self, page: usize, into: &mut Vec<T>) -> bool {
        into.clear();
        let Some(frozen) = &mut self.frozen else { return false };
        let count = frozen.len.saturating_sub(page * PAGE).min(PAGE);
        let Some(kept) = frozen.pages.get_mut(page) else { return false };
        match std::mem::replace(kept, FrozenPage::Taken) {
            FrozenPage::Live => into.extend_from_slice(&self.pages[page][..count]),
            FrozenPage::Copied(items) => into.extend_from_slice(&items[..count]),
            FrozenPage::Taken => unreachable!("pages of a point in time are taken once, in order"),
        }
        true
    }

    /// Forgets the point in time.
    pub(crate) fn thaw(&mut self) {
        self.frozen = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is written between the freeze and the taking of each page, the pages are those of the freeze.
        #[test]
        fn a_point_in_time_survives_later_writes(before in proptest::collection::vec(any::<u32>(), 0..40), writes in proptest::collection::vec((0usize..60, any::<u32>()), 0..60)) {
            let mut paged = Paged::<u32, 8>::default();
            before.iter().for_each(|&item| { paged.push(item); });
            let mut live = before.clone();
            paged.freeze();
            let (mut taken, mut page, mut buffer) = (Vec::new(), 0, Vec::new());
            for (i, &(at, item)) in writes.iter().enumerate() {
                if at < live.len() {
                    *paged.get_mut(at) = item;
                    live[at] = item;
                } else {
                    paged.push(item);
                    live.push(item);
                }
                if i % 7 == 0 && paged.take_frozen(page, &mut buffer) {
                    taken.extend_from_slice(&buffer);
                    page += 1;
                }
            }
            while paged.take_frozen(page, &mut buffer) {
                taken.extend_from_slice(&buffer);
                page += 1;
            }
            paged.thaw();
            prop_assert_eq!(taken, before);
            prop_assert_eq!(paged.iter().copied().collect::<Vec<_>>(), live);
        }
    }
}
