//! Pages of what is held in memory.

use vmint_api::{gateway::v1::ListImagesRequest, types::v1};
use vmint_ec2::{
    Code, Error,
    query::{Filter, Page},
};
use vmint_rpc::{BadToken, PageToken};

/// Cuts from `rows`, which stand in the order of their `place`, the page that
/// is asked for; with the token of the next one, if there is one.
///
/// A token serves the same `listing` with the same `filters`, asked by the same
/// account: `InvalidNextToken`.
pub(super) fn page<T>(
    account: &str,
    listing: &str,
    filters: &[Filter],
    page: &Page,
    mut rows: Vec<T>,
    place: impl Fn(&T) -> String,
) -> Result<(Vec<T>, Option<String>), Error> {
    let filters = filters.iter();
    let canonical = ListImagesRequest {
        owners: vec![listing.to_owned()],
        filters: filters
            .map(|it| v1::Filter { name: it.name.clone(), values: it.values.clone() })
            .collect(),
        ..ListImagesRequest::default()
    };
    let token = page.next_token.as_deref().unwrap_or_default();
    let after = PageToken::read(token, &canonical, account)
        .map_err(|BadToken| Error::new(Code::InvalidNextToken, BadToken.to_string()))?;
    if let Some(after) = after {
        rows.retain(|row| *place(row).as_bytes() > *after);
    }
    let most = page.max_results.map_or(usize::MAX, |most| most as usize);
    let more = rows.len() > most;
    rows.truncate(most);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|last| PageToken::new(place(last).as_bytes(), &canonical, account).to_text());
    Ok((rows, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_every_row_once_and_tokens_serve_their_listing_alone() {
        let rows = || (0..7).map(|n| format!("row-{n}")).collect::<Vec<_>>();
        let cut = |account: &str, listing: &str, token: Option<String>| {
            let asked = Page { max_results: Some(3), next_token: token };
            page(account, listing, &[], &asked, rows(), Clone::clone)
        };
        let (mut seen, mut token) = (Vec::new(), None);
        loop {
            let (some, next) = cut("1", "rules", token).unwrap();
            assert!(some.len() <= 3);
            seen.extend(some);
            let Some(next) = next else { break };
            for (account, listing) in [("2", "rules"), ("1", "groups")] {
                let refused = cut(account, listing, Some(next.clone())).unwrap_err();
                assert_eq!(refused.code, Code::InvalidNextToken);
            }
            token = Some(next);
        }
        assert_eq!(seen, rows());
        let all = page("1", "rules", &[], &Page::default(), rows(), Clone::clone).unwrap();
        assert_eq!(all, (rows(), None));
    }
}
