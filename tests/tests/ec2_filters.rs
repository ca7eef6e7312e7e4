//! The filters that the compatibility page names are those that the services take.
//!
//! Proves: nothing in full; that the two lists of filters are one.

use std::collections::BTreeSet;

use vmint_api::{launcher::v1::ListInstancesRequest, types::v1::Filter};
use vmint_tests::{Ec2, Setting, Stack};

/// The operations of the page that have filters, with them.
fn page() -> Vec<(String, Vec<String>)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ec2.md");
    let page = std::fs::read_to_string(page).unwrap();
    let ec2 = page.split_once("\n## EC2\n").unwrap().1;
    let ec2 = ec2.split("\n## ").next().unwrap();
    let row = |line: &str| {
        let cells = line.trim_matches(['|', ' ']).split(" | ").collect::<Vec<_>>();
        let [name, .., filters] = cells[..] else { return None };
        let filters = filters.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        (!filters.is_empty()).then(|| (name.to_owned(), filters))
    };
    ec2.lines().filter(|line| line.starts_with("| Describe")).filter_map(row).collect()
}

#[tokio::test]
async fn every_filter_of_the_page_is_taken_and_instances_know_no_other() {
    let stack = Stack::start_with(Setting { simulated: true, ..Setting::default() }).await;
    let maker = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    let page = page();
    assert!(page.len() > 15, "{page:?}");
    for (operation, filters) in &page {
        for filter in filters {
            let name = filter.replace("tag:*", "tag:Stage");
            let value = if name == "is-public" { "true" } else { "x" };
            let params = [("Filter.1.Name", name.as_str()), ("Filter.1.Value.1", value)];
            let answer = maker.call(operation, &params).await;
            assert_eq!(answer.status, 200, "{operation} {filter}: {}", answer.body);
        }
    }

    // The refusal of one that is not known names them all; `name` is our own.
    let filters = vec![Filter { name: "nonsense".to_owned(), values: vec!["x".to_owned()] }];
    let request = ListInstancesRequest { filters, ..ListInstancesRequest::default() };
    let refused = stack.account("maker").launcher().list_instances(request).await.unwrap_err();
    let known = refused.message().split_once("; use ").unwrap().1;
    let known = known.split_once(" or tag:").unwrap().0.split(", ").filter(|it| *it != "name");
    let shown = &page.iter().find(|(name, _)| name == "DescribeInstances").unwrap().1;
    let shown = shown.iter().map(String::as_str).filter(|name| *name != "tag:*");
    assert_eq!(known.collect::<BTreeSet<_>>(), shown.collect::<BTreeSet<_>>());
}
