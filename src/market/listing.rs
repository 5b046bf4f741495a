//! The rows of a broker's book, and how many more it has. Not what stands in them.

/// A book as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// What could be read.
    pub rows: Vec<T>,
    /// Rows that could not. Whoever acts on what a book does *not* show must look at this.
    pub unreadable: usize,
}

impl<T> Listing<T> {
    /// Whether what it does not show is not there.
    pub const fn is_whole(&self) -> bool {
        self.unreadable == 0
    }
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

/// All there is.
impl<T> From<Vec<T>> for Listing<T> {
    fn from(rows: Vec<T>) -> Self {
        Self { rows, unreadable: 0 }
    }
}
