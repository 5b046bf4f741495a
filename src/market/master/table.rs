//! An index of row numbers by a key that is stored in the rows themselves.
//! Not a map: it holds no keys, so that an instrument costs four to eight bytes here.

/// Marks an empty slot; a row number is stored plus one.
const EMPTY: u32 = 0;

/// Open addressing with linear probing; nothing is ever removed.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Length is zero or a power of two.
    slots: Vec<u32>,
    used: usize,
}

impl Table {
    /// The row with this hash for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        // Ends: at least a quarter of the slots is empty.
        loop {
            match self.slots[at] {
                EMPTY => return None,
                slot if is_it(slot - 1) => return Some(slot - 1),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Adds a row that is not there yet. `hash_of` gives the hash of a row added before, for
    /// when the table grows. The row number must be below `u32::MAX`.
    pub(super) fn insert(&mut self, hash: u64, row: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            let grown = vec![EMPTY; (self.slots.len() * 2).max(16)];
            for slot in std::mem::replace(&mut self.slots, grown) {
                if slot != EMPTY {
                    self.place(hash_of(slot - 1), slot);
                }
            }
        }
        self.place(hash, row + 1);
        self.used += 1;
    }

    fn place(&mut self, hash: u64, slot: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_was_added_and_nothing_else(
            keys in proptest::collection::btree_set(any::<u16>(), 0..300),
            probes in proptest::collection::vec(any::<u16>(), 0..50),
        ) {
            let rows: Vec<u16> = keys.iter().copied().collect();
            // Few hashes, so that probing is exercised.
            let hash = |key: u16| u64::from(key % 7);
            let mut table = Table::default();
            for (row, key) in rows.iter().enumerate() {
                table.insert(hash(*key), row as u32, |row| hash(rows[row as usize]));
            }
            let known: BTreeSet<u16> = keys.clone();
            for key in keys.into_iter().chain(probes) {
                let found = table.find(hash(key), |row| rows[row as usize] == key);
                prop_assert_eq!(found.map(|row| rows[row as usize]), known.contains(&key).then_some(key));
            }
        }
    }
}
