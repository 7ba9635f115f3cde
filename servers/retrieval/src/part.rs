//! Memory for rows that every search goes through from end to end. In pages of four kilobytes, the processor spends as
//! much time on finding the pages as on reading them; so once there is enough to fill a huge page, it lies in one.

use memmap2::MmapMut;

/// Bytes of a huge page on the processors that servers have.
const HUGE_PAGE: usize = 2 << 20;

/// Rows of bytes, one after the other, in as many parts as they need.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    parts: Vec<Part>,
    rows: usize,
    width: usize,
    /// Rows of a part.
    each: u32,
}

impl Matrix {
    /// No rows yet, of this many bytes each.
    pub(crate) const fn of_width(width: usize) -> Self {
        let each = match Part::MOST.checked_div(width) {
            None => u32::MAX,
            Some(0) => 1,
            #[allow(clippy::cast_possible_truncation, reason = "no more than there are bytes in a part")]
            Some(rows) => rows as u32,
        };
        Self { parts: Vec::new(), rows: 0, width, each }
    }

    /// Bytes in a row.
    pub(crate) const fn width(&self) -> usize {
        self.width
    }

    /// Adds a row, which has the right width.
    pub(crate) fn push(&mut self, row: impl ExactSizeIterator<Item = i8>) {
        if self.rows.is_multiple_of(self.each as usize) {
            self.parts.push(Part::new());
        }
        if let Some(part) = self.parts.last_mut() {
            part.extend(row);
            self.rows += 1;
        }
    }

    pub(crate) fn row(&self, row: usize) -> &[i8] {
        // Numbers of 32 bits are divided in half the time.
        let number = u32::try_from(row).unwrap_or(u32::MAX);
        let (part, row) = ((number / self.each) as usize, (number % self.each) as usize);
        &self.parts[part].bytes()[row * self.width..(row + 1) * self.width]
    }

    /// Puts another row in the place of one.
    pub(crate) fn set(&mut self, row: usize, values: impl Iterator<Item = i8>) {
        let (part, row) = (row / self.each as usize, row % self.each as usize);
        let places = &mut self.parts[part].bytes_mut()[row * self.width..(row + 1) * self.width];
        places.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    }

    /// All rows, those of one part after the other.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[i8]> {
        self.parts.iter().map(Part::bytes)
    }

    /// Heap bytes, roughly.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.parts.iter().map(Part::heap_bytes).sum()
    }
}

/// Up to [`HUGE_PAGE`] bytes, one after the other.
#[derive(Debug)]
enum Part {
    Heap(Vec<i8>),
    Huge(HugePage),
}

impl Part {
    /// The most bytes that one holds.
    const MOST: usize = HUGE_PAGE;

    const fn new() -> Self {
        Self::Heap(Vec::new())
    }

    /// Adds bytes, which have room.
    fn extend(&mut self, bytes: impl ExactSizeIterator<Item = i8>) {
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

    fn bytes(&self) -> &[i8] {
        match self {
            Self::Heap(heap) => heap,
            Self::Huge(page) => page.bytes(),
        }
    }

    fn bytes_mut(&mut self) -> &mut [i8] {
        match self {
            Self::Heap(heap) => heap,
            Self::Huge(page) => page.bytes_mut(),
        }
    }

    /// Heap bytes, roughly.
    const fn heap_bytes(&self) -> usize {
        match self {
            Self::Heap(heap) => heap.capacity(),
            Self::Huge(_) => HUGE_PAGE,
        }
    }
}

/// A huge page of its own, where the system gives one.
#[derive(Debug)]
struct HugePage {
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

    fn bytes_mut(&mut self) -> &mut [i8] {
        bytemuck::cast_slice_mut(&mut self.map[self.begin..self.begin + self.length])
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
