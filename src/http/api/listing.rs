//! Listings of several selectors as one.

use crate::query::error::QueryFailure;
use promql::budget::Budget;
use promql::source::SourceError;
use storage::select::Listing;

/// One listing of several, each in order: the smallest items of the union are among the smallest of each. They are merged as
/// they come, so that no more is held than the union and one of them; what is returned stays charged to `account`.
///
/// # Errors
/// Storage failed, or the account may hold no more.
pub(super) fn merged(
    listings: impl IntoIterator<Item = Result<Listing, SourceError>>,
    limit: usize,
    account: &Budget,
) -> Result<Listing, QueryFailure> {
    let mut all = Listing::default();
    for listing in listings {
        let listing = listing?;
        account.hold(0, bytes(&listing.items))?;
        let before = bytes(&all.items) + bytes(&listing.items);
        all = all.join([listing], limit);
        account.release(0, before - bytes(&all.items));
    }
    Ok(all)
}

fn bytes(items: &[String]) -> usize {
    items.iter().map(|item| size_of::<String>() + item.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::budget::BudgetLimits;
    use promql::engine::QueryError;

    fn listing(items: &[&str]) -> Result<Listing, SourceError> {
        Ok(Listing { items: items.iter().map(|item| (*item).to_owned()).collect(), truncated: false })
    }

    #[test]
    fn the_smallest_of_all_are_listed_once() {
        let account = Budget::default();
        let listings = || [listing(&["b", "d"]), listing(&[]), listing(&["a", "b", "e"])];
        let all = merged(listings(), usize::MAX, &account).unwrap();
        assert_eq!((all.items.join(","), all.truncated), ("a,b,d,e".to_owned(), false));
        let first = merged(listings(), 3, &account).unwrap();
        assert_eq!((first.items.join(","), first.truncated), ("a,b,d".to_owned(), true));
    }

    /// However many selectors list the same, it is held once.
    #[test]
    fn no_more_is_held_than_the_union_and_one_listing() {
        let account = Budget::new(BudgetLimits { bytes_max: 120, ..BudgetLimits::default() });
        let many = (0..1000).map(|_| listing(&["a", "b"]));
        assert_eq!(merged(many, usize::MAX, &account).unwrap().items.len(), 2);
        let many = (0..1000).map(|n| listing(&[&n.to_string()]));
        let refused = merged(many, usize::MAX, &account).unwrap_err();
        assert!(
            matches!(refused, QueryFailure::Evaluation(QueryError::TooManyBytes { bytes_max: 120 })),
            "{refused:?}"
        );
    }
}
