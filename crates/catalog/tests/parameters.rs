//! Parameters as their accounts, others and the operator see them.
#![allow(clippy::pedantic, clippy::unwrap_used)]

mod harness;

use harness::{ANN, BOB, ROOT, Running, from, reason, saga, start};
use tonic::Status;
use vmint_api::catalog::v1 as pb;
use vmint_api::types::v1::Filter;
use vmint_store::{Options, Store};

fn text(name: &str, value: &str) -> pb::EnsureParameterRequest {
    let mut parameter =
        pb::Parameter { name: name.into(), value: value.into(), ..Default::default() };
    parameter.set_type(pb::ParameterType::String);
    pb::EnsureParameterRequest { parameter: Some(parameter), ..Default::default() }
}

fn over(request: pb::EnsureParameterRequest) -> pb::EnsureParameterRequest {
    pb::EnsureParameterRequest { overwrite: true, ..request }
}

impl Running {
    async fn put(&mut self, who: &str, request: pb::EnsureParameterRequest) -> Result<i64, Status> {
        let put = self.own_parameters.ensure_parameter(from(who, request)).await?;
        Ok(put.into_inner().version)
    }

    async fn get(&mut self, who: &str, name: &str) -> Result<pb::Parameter, Status> {
        let request = pb::GetParameterRequest { name: name.into() };
        let found = self.parameters.get_parameter(from(who, request)).await?;
        Ok(found.into_inner().parameter.unwrap())
    }

    async fn value(&mut self, who: &str, name: &str) -> String {
        self.get(who, name).await.unwrap().value
    }

    async fn delete(&mut self, who: &str, name: &str) -> Result<(), Status> {
        let request = pb::DeleteParameterRequest { name: name.into(), ..Default::default() };
        self.parameters.delete_parameter(from(who, request)).await.map(|_| ())
    }

    /// The names of all pages.
    async fn list(&mut self, who: &str, mut request: pb::ListParametersRequest) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let page = self.parameters.list_parameters(from(who, request.clone())).await.unwrap();
            let page = page.into_inner();
            names.extend(page.parameters.into_iter().map(|one| one.name));
            if page.next_page_token.is_empty() {
                return names;
            }
            request.page_token = page.next_page_token;
        }
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    reason(&answer.unwrap_err())
}

#[tokio::test]
async fn versions_follow_each_other_and_can_be_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut catalog = start(Store::open(dir.path(), Options::default()).unwrap()).await;
    assert_eq!(catalog.put(ANN, text("/a/b", "one")).await.unwrap(), 1);
    assert_eq!(refused(catalog.put(ANN, text("/a/b", "two")).await), "PARAMETER_EXISTS");
    let id = |request| pb::EnsureParameterRequest { request_id: "r".into(), ..request };
    assert_eq!(catalog.put(ANN, id(over(text("/a/b", "two")))).await.unwrap(), 2);
    assert_eq!(catalog.put(ANN, id(over(text("/a/b", "two")))).await.unwrap(), 2);
    assert_eq!(
        refused(catalog.put(ANN, id(over(text("/a/b", "three")))).await),
        "REQUEST_ID_REUSED"
    );
    let mut list = over(text("/a/b", "x,y"));
    list.parameter.as_mut().unwrap().set_type(pb::ParameterType::StringList);
    assert_eq!(refused(catalog.put(ANN, list).await), "PARAMETER_TYPE_CHANGED");

    let label = |version, label: &str| pb::LabelParameterVersionRequest {
        name: "/a/b".into(),
        version,
        labels: vec![label.into(), "1st".into()],
        ..Default::default()
    };
    let done = catalog.parameters.label_parameter_version(from(ANN, label(1, "prod"))).await;
    assert_eq!(done.unwrap().into_inner().invalid_labels, ["1st"]);
    assert_eq!(catalog.value(ANN, "/a/b:prod").await, "one");
    catalog.parameters.label_parameter_version(from(ANN, label(0, "prod"))).await.unwrap();
    for (name, value) in [("/a/b", "two"), ("/a/b:1", "one"), ("/a/b:prod", "two")] {
        assert_eq!(catalog.value(ANN, name).await, value, "{name}");
    }
    for name in ["/a/b:3", "/a/b:test"] {
        assert_eq!(refused(catalog.get(ANN, name).await), "PARAMETER_VERSION_NOT_FOUND");
    }
    assert_eq!(refused(catalog.get(BOB, "/a/b").await), "PARAMETER_NOT_FOUND");
    catalog.stop().await;

    let mut catalog = start(Store::open(dir.path(), Options::default()).unwrap()).await;
    let request = pb::ListParameterVersionsRequest { name: "/a/b".into(), ..Default::default() };
    let history = catalog.parameters.list_parameter_versions(from(ANN, request)).await.unwrap();
    let history = history.into_inner().parameters;
    let history = history.iter().map(|one| (one.version, one.value.as_str(), one.labels.len()));
    assert_eq!(history.collect::<Vec<_>>(), [(1, "one", 0), (2, "two", 1)]);
    catalog.delete(ANN, "/a/b").await.unwrap();
    assert_eq!(refused(catalog.delete(ANN, "/a/b").await), "PARAMETER_NOT_FOUND");
    assert_eq!(catalog.put(ANN, text("/a/b", "new")).await.unwrap(), 1);
    assert_eq!(refused(catalog.get(ANN, "/a/b:2").await), "PARAMETER_VERSION_NOT_FOUND");
}

#[tokio::test]
async fn the_oldest_version_goes_unless_it_has_a_label() {
    let mut catalog = start(Store::in_memory()).await;
    for _ in 0..81 {
        catalog.put(ANN, over(text("a", "v"))).await.unwrap();
    }
    assert_eq!(refused(catalog.get(ANN, "a:1").await), "PARAMETER_VERSION_NOT_FOUND");
    let request = pb::LabelParameterVersionRequest {
        name: "a".into(),
        version: 2,
        labels: vec!["keep".into()],
        ..Default::default()
    };
    catalog.parameters.label_parameter_version(from(ANN, request)).await.unwrap();
    assert_eq!(refused(catalog.put(ANN, over(text("a", "v"))).await), "PARAMETER_VERSION_LIMIT");
    catalog.delete(ANN, "a").await.unwrap();
}

#[tokio::test]
async fn what_everybody_reads_only_the_operator_changes() {
    let mut catalog = start(Store::in_memory()).await;
    let name = "/aws/service/images/linux";
    assert_eq!(refused(catalog.put(ANN, text(name, "x")).await), "PARAMETER_RESERVED");
    assert_eq!(refused(catalog.put(ANN, text("/aws/x", "x")).await), "PARAMETER_NAME_INVALID");
    catalog.put(ROOT, text(name, "x")).await.unwrap();
    let seen = catalog.get(BOB, name).await.unwrap();
    assert_eq!((seen.value.as_str(), seen.account_id.as_str()), ("x", ""));
    assert_eq!(refused(catalog.delete(BOB, name).await), "PARAMETER_RESERVED");
    let path = |path: &str, recursive| pb::ListParametersRequest {
        path: path.into(),
        recursive,
        ..Default::default()
    };
    assert_eq!(catalog.list(BOB, path("/aws/service", true)).await, [name]);
    assert!(catalog.list(BOB, path("/aws/service", false)).await.is_empty());
    assert!(catalog.list(BOB, path("", false)).await.is_empty());
    catalog.delete(ROOT, name).await.unwrap();
}

#[tokio::test]
async fn listings_are_whole_page_by_page_and_filters_narrow_them() {
    let mut catalog = start(Store::in_memory()).await;
    for n in 0..25 {
        catalog.put(ANN, text(&format!("/t/p{n:02}"), "v")).await.unwrap();
        catalog.put(ANN, text(&format!("/t/deep/p{n:02}"), "v")).await.unwrap();
    }
    catalog.put(BOB, text("/t/bob", "v")).await.unwrap();
    let all = pb::ListParametersRequest { page_size: 7, ..Default::default() };
    assert_eq!(catalog.list(ANN, all.clone()).await.len(), 50);
    let path = pb::ListParametersRequest { path: "/t".into(), ..all };
    let right_below = catalog.list(ANN, path.clone()).await;
    assert_eq!((right_below.len(), right_below[0].as_str()), (25, "/t/p00"));
    let below = pb::ListParametersRequest { recursive: true, ..path.clone() };
    assert_eq!(catalog.list(ANN, below.clone()).await.len(), 50);
    let filter = Filter { name: "name".into(), values: vec!["*deep/p0?".into()] };
    let filtered = pb::ListParametersRequest { filters: vec![filter], ..below };
    assert_eq!(catalog.list(ANN, filtered.clone()).await.len(), 10);
    let page = catalog.parameters.list_parameters(from(ANN, filtered.clone())).await.unwrap();
    let page_token = page.into_inner().next_page_token;
    let stolen = pb::ListParametersRequest { page_token, ..filtered };
    let stolen = catalog.parameters.list_parameters(from(BOB, stolen)).await;
    assert_eq!(reason(&stolen.unwrap_err()), "PAGE_TOKEN_INVALID");
    let bad = Filter { name: "nmae".into(), values: vec!["x".into()] };
    let bad = pb::ListParametersRequest { filters: vec![bad], ..path };
    let bad = catalog.parameters.list_parameters(from(ANN, bad)).await;
    assert_eq!(reason(&bad.unwrap_err()), "FILTER_INVALID");
}

#[tokio::test]
async fn a_purge_leaves_none_and_touches_nobody_else() {
    let mut catalog = start(Store::in_memory()).await;
    for n in 0..60 {
        catalog.put(ANN, text(&format!("p{n}"), "v")).await.unwrap();
    }
    catalog.put(BOB, text("p0", "v")).await.unwrap();
    let mut rounds = 0;
    loop {
        let saga = saga("purge", 2);
        let request = pb::ReleaseParametersRequest { saga, account_id: ANN.into() };
        rounds += 1;
        let done = catalog.own_parameters.release_parameters(from("", request)).await.unwrap();
        if !done.into_inner().more {
            break;
        }
    }
    assert_eq!(rounds, 2);
    assert!(catalog.list(ANN, pb::ListParametersRequest::default()).await.is_empty());
    assert_eq!(catalog.list(BOB, pb::ListParametersRequest::default()).await, ["p0"]);
    let old = pb::ReleaseParametersRequest { saga: saga("purge", 1), account_id: BOB.into() };
    let old = catalog.own_parameters.release_parameters(from("", old)).await;
    assert_eq!(reason(&old.unwrap_err()), "SAGA_FENCED");
}
