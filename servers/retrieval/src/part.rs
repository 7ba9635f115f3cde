//! Memory for rows that every search goes through from end to end. In pages of four kilobytes, the processor spends as
//! much time on finding the pages as on reading them; so once there is enough to fill a huge page, it lies in one.

use memmap2::MmapMut;

/// Bytes of a huge page on the processors that servers have.
const HUGE_PAGE: usize = 2 << 20;

/// Up to [`HUGE_PAGE`] bytes, one after the other.
#[derive(Debug)]
pub(crate) enum Part {
    Heap(Vec<i8>),
    Huge(HugePage),
}

impl Part {
    /// The most bytes that one holds.
    pub(crate) const MOST: usize = HUGE_PAGE;

    pub(crate) const fn new() -> Self {
        Self::Heap(Vec::new())
    }

    /// Adds bytes, which have room.
    pub(crate) fn extend(&mut self, bytes: impl ExactSizeIterator<Item = i8>) {
        match self {
            Self::Huge(page) => page.extend(bytes),
            Self::Heap(heap) => {
                heap.extend(bytes);
                // From here on most of the page will be used. Where there are no huge pages, it stays as it is.
                if heap.len() > HUGE_PAGE / 4 * 3
                    && let Some(page) = HugePage::of(heap)
                {
                    *self = Self::Huge(page);
                }
            }
        }
    }

    pub(crate) fn bytes(&self) -> &[i8] {
        match self {
            Self::Heap(heap) => heap,
            Self::Huge(page) => page.bytes(),
        }
    }

    /// Heap bytes, roughly.
    pub(crate) const fn heap_bytes(&self) -> usize {
        match self {
            Self::Heap(heap) => heap.capacity(),
            Self::Huge(_) => HUGE_PAGE,
        }
    }
}

/// A huge page of its own, where the system gives one.
#[derive(Debug)]
pub(crate) struct HugePage {
    /// Twice the size, so that a whole page lies in it; what is not touched takes no memory.
    map: MmapMut,
    begin: usize,
    length: usize,
}

impl HugePage {
    #[cfg(target_os = "linux")]
    fn of(bytes: &[i8]) -> Option<Self> {
        let map = MmapMut::map_anon(2 * HUGE_PAGE).ok()?;
        let begin = map.as_ptr().align_offset(HUGE_PAGE);
        map.advise_range(memmap2::Advice::HugePage, begin, HUGE_PAGE).ok()?;
        let mut page = Self { map, begin, length: 0 };
        page.extend(bytes.iter().copied());
        Some(page)
    }

    #[cfg(not(target_os = "linux"))]
    fn of(_: &[i8]) -> Option<Self> {
        None
    }

    fn extend(&mut self, bytes: impl ExactSizeIterator<Item = i8>) {
        let end = self.length + bytes.len();
        let room = &mut self.map[self.begin + self.length..self.begin + HUGE_PAGE];
        room.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte.cast_unsigned());
        self.length = end.min(HUGE_PAGE);
    }

    fn bytes(&self) -> &[i8] {
        bytemuck::cast_slice(&self.map[self.begin..self.begin + self.length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_as_the_part_grows_up_to_its_end() {
        let mut part = Part::new();
        let row = |number: usize| (0..128).map(move |at| i8::try_from((number + at) % 100).expect("small"));
        for number in 0..Part::MOST / 128 {
            part.extend(row(number).collect::<Vec<_>>().into_iter());
            assert_eq!(part.bytes().len(), (number + 1) * 128);
        }
        for (number, bytes) in part.bytes().chunks(128).enumerate() {
            assert!(bytes.iter().copied().eq(row(number)), "row {number}");
        }
    }
}
