//! Parts of long lists.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The most items of a page.
pub const MAX_PER_PAGE: usize = 500;

/// Items of a page where nothing else is asked for.
const PER_PAGE: usize = 50;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PageQuery {
    /// From 1.
    pub page: usize,
    /// At most [`MAX_PER_PAGE`].
    pub per_page: usize,
}

/// Which end of a list comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortOrder {
    /// The least.
    Asc,
    /// The greatest.
    Desc,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListPage<T> {
    /// How many items the list has.
    pub total: usize,
    /// The number of this part, from 1.
    pub page: usize,
    /// The most items of a part.
    pub per_page: usize,
    /// The items of this part.
    pub items: Vec<T>,
}

impl Default for PageQuery {
    /// The first 50.
    fn default() -> Self {
        Self { page: 1, per_page: PER_PAGE }
    }
}

impl PageQuery {
    /// The first items, as many as a page may have.
    pub fn longest() -> Self {
        Self { page: 1, per_page: MAX_PER_PAGE }
    }

    /// Whether nothing comes before it.
    pub(super) fn is_first(self) -> bool {
        self.page <= 1
    }

    /// The places of its items in a list of `total` items.
    pub(super) fn of_all(self, total: usize) -> Range<usize> {
        let (skip, take) = self.range();
        skip.min(total)..skip.saturating_add(take).min(total)
    }

    /// How many items come before the page, and how many are on it.
    pub(super) fn range(self) -> (usize, usize) {
        let per_page = self.per_page.clamp(1, MAX_PER_PAGE);
        (self.page.max(1).saturating_sub(1).saturating_mul(per_page), per_page)
    }

    /// The page, of a list of `total` items.
    pub(super) fn of<T>(self, total: usize, items: Vec<T>) -> ListPage<T> {
        ListPage { total, page: self.page.max(1), per_page: self.range().1, items }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pages_are_parts_of_the_whole_list(
            all in prop::collection::vec(any::<u16>(), 0..1500),
            page in prop_oneof![0..30_usize, Just(usize::MAX)],
            per_page in prop_oneof![0..600_usize, Just(usize::MAX)],
        ) {
            let query = PageQuery { page, per_page };
            let items = all[query.of_all(all.len())].to_vec();
            let shown = query.of(all.len(), items);
            let expected = all.chunks(shown.per_page).nth(shown.page - 1).unwrap_or_default();
            prop_assert_eq!(&shown.items, expected);
            prop_assert_eq!(shown.total, all.len());
            prop_assert!((1..=MAX_PER_PAGE).contains(&shown.per_page));
        }
    }
}
