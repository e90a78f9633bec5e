//! A table by column and row that holds only the pages that are used.

use crate::chunks::Chunks;

/// Rows in a page.
const PAGE: usize = 256;
/// Cells in a chunk of memory.
const CHUNK: usize = 65_536;
const ABSENT: u32 = u32::MAX;

/// Columns are few and dense (assets, markets), rows many (accounts). Two loads find a cell; nothing is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paged<T: Copy> {
    columns: Vec<Vec<u32>>,
    cells: Chunks<T, CHUNK>,
}

impl<T: Copy> Default for Paged<T> {
    fn default() -> Self {
        Self { columns: Vec::new(), cells: Chunks::default() }
    }
}

impl<T: Copy + Default> Paged<T> {
    #[inline]
    fn place(&self, column: usize, row: u32) -> Option<usize> {
        let page = *self.columns.get(column)?.get(row as usize / PAGE)?;
        (page != ABSENT).then(|| page as usize * PAGE + row as usize % PAGE)
    }

    /// The cell; the default where it was never touched.
    #[inline]
    pub fn get(&self, column: usize, row: u32) -> T {
        self.place(column, row).map_or_else(T::default, |at| self.cells[at])
    }

    /// Asks the processor to fetch a cell before it is needed.
    #[inline]
    pub fn prefetch(&self, column: usize, row: u32) {
        if let Some(at) = self.place(column, row) {
            self.cells.prefetch(at, 0);
        }
    }

    /// The cell, to be changed, where its page is there.
    #[inline]
    pub fn present(&mut self, column: usize, row: u32) -> Option<&mut T> {
        self.place(column, row).map(|at| &mut self.cells[at])
    }

    /// The cell, to be changed.
    #[inline]
    pub fn get_mut(&mut self, column: usize, row: u32) -> &mut T {
        let at = match self.place(column, row) {
            Some(at) => at,
            None => self.create(column, row),
        };
        &mut self.cells[at]
    }

    #[cold]
    fn create(&mut self, column: usize, row: u32) -> usize {
        if self.columns.len() <= column {
            self.columns.resize_with(column + 1, Vec::new);
        }
        let pages = &mut self.columns[column];
        if pages.len() <= row as usize / PAGE {
            pages.resize(row as usize / PAGE + 1, ABSENT);
        }
        let page = self.cells.len() / PAGE;
        pages[row as usize / PAGE] = page as u32;
        (0..PAGE).for_each(|_| self.cells.push(T::default()));
        page * PAGE + row as usize % PAGE
    }

    /// Every cell of the pages that exist: column, row, value; by column, then by row.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u32, T)> + '_ {
        self.columns.iter().enumerate().flat_map(move |(column, pages)| {
            let present = pages.iter().enumerate().filter(|(_, page)| **page != ABSENT);
            present.flat_map(move |(at, page)| {
                let first = *page as usize * PAGE;
                (0..PAGE).map(move |row| (column, (at * PAGE + row) as u32, self.cells[first + row]))
            })
        })
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.cells.bytes() + self.columns.iter().map(|pages| pages.capacity() * 4).sum::<usize>()
    }

    pub(crate) fn parts(&self) -> (&Vec<Vec<u32>>, &Chunks<T, CHUNK>) {
        (&self.columns, &self.cells)
    }

    /// A table from its parts; none when a page is missing or used twice.
    pub(crate) fn from_parts(columns: Vec<Vec<u32>>, cells: Chunks<T, CHUNK>) -> Option<Self> {
        let mut used = vec![false; cells.len() / PAGE];
        for page in columns.iter().flatten().filter(|page| **page != ABSENT) {
            let seen = used.get_mut(*page as usize)?;
            if std::mem::replace(seen, true) {
                return None;
            }
        }
        (used.len() * PAGE == cells.len() && used.iter().all(|used| *used)).then_some(Self { columns, cells })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_kept_apart() {
        let mut table = Paged::<u64>::default();
        for (column, row) in [(0, 0), (3, 255), (3, 256), (3, 1_000_000), (0, 1)] {
            *table.get_mut(column, row) = column as u64 * 10_000_000 + u64::from(row) + 1;
        }
        assert_eq!(table.get(3, 1_000_000), 31_000_001);
        assert_eq!((table.get(0, 1), table.get(1, 0), table.get(3, 254)), (2, 0, 0));
        let set: Vec<_> = table.iter().filter(|cell| cell.2 != 0).map(|cell| (cell.0, cell.1)).collect();
        assert_eq!(set, [(0, 0), (0, 1), (3, 255), (3, 256), (3, 1_000_000)]);
    }
}
