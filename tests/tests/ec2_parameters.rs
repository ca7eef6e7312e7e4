//! SSM's parameters over its own protocol, and launches by them.
//!
//! Proves: nothing in full; what tools that look images up by parameters rely on.

use serde_json::{Value, json};
use vmint_tests::{Ec2, Setting, Stack};

async fn ok(who: &Ec2, operation: &str, body: Value) -> Value {
    let (status, answer) = who.ssm(operation, &body).await;
    assert_eq!(status, 200, "{operation} {body}: {answer}");
    answer
}

async fn refused(who: &Ec2, operation: &str, body: Value) -> String {
    let (status, answer) = who.ssm(operation, &body).await;
    assert_eq!(status, 400, "{operation} {body}: {answer}");
    answer["__type"].as_str().unwrap().to_owned()
}

fn text(name: &str, value: &str) -> Value {
    json!({ "Name": name, "Value": value, "Type": "String" })
}

#[tokio::test]
async fn parameters_live_as_their_protocol_says_and_launch_machines() {
    let setting = Setting { simulated: true, ..Setting::default() };
    let stack = Stack::start_with(setting).await;
    let maker = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    let friend = Ec2::of(&stack.account("friend"), &stack.gateway()).await;
    let file = stack.data().join("noise.raw");
    std::fs::write(&file, vec![7; 1 << 20]).unwrap();
    let image = stack.cli("friend", &["import", file.to_str().unwrap(), "one", "-o", "id"]).await;
    let image = image.ok().trim().to_owned();

    // The life of one, by its names.
    let put = ok(&friend, "PutParameter", text("/t/a", "1")).await;
    assert_eq!(put, json!({ "Version": 1, "Tier": "Standard" }));
    let again = text("/t/a", "2");
    assert_eq!(refused(&friend, "PutParameter", again).await, "ParameterAlreadyExists");
    let over = json!({ "Name": "/t/a", "Value": "2", "Overwrite": true });
    assert_eq!(ok(&friend, "PutParameter", over).await["Version"], 2);
    let got = ok(&friend, "GetParameter", json!({ "Name": "/t/a:1" })).await;
    let got = &got["Parameter"];
    assert_eq!((&got["Value"], &got["Selector"]), (&json!("1"), &json!(":1")));
    let arn = got["ARN"].as_str().unwrap().to_owned();
    assert!(arn.ends_with(":200000000002:parameter/t/a"), "{arn}");
    assert_eq!(
        ok(&friend, "GetParameter", json!({ "Name": arn })).await["Parameter"]["Value"],
        "2"
    );
    let some = ok(&friend, "GetParameters", json!({ "Names": ["/t/a", "/t/none"] })).await;
    assert_eq!(some["InvalidParameters"], json!(["/t/none"]));
    assert_eq!(some["Parameters"].as_array().unwrap().len(), 1);
    let label = json!({ "Name": "/t/a", "ParameterVersion": 1, "Labels": ["old", "aws-no"] });
    let labelled = ok(&friend, "LabelParameterVersion", label).await;
    assert_eq!(labelled, json!({ "ParameterVersion": 1, "InvalidLabels": ["aws-no"] }));
    let history = ok(&friend, "GetParameterHistory", json!({ "Name": "/t/a" })).await;
    assert_eq!(history["Parameters"][0]["Labels"], json!(["old"]));
    let starts = json!([{ "Key": "Name", "Option": "BeginsWith", "Values": ["/t"] }]);
    let described = json!({ "ParameterFilters": starts, "MaxResults": 50 });
    let described = ok(&friend, "DescribeParameters", described).await;
    let user = described["Parameters"][0]["LastModifiedUser"].as_str().unwrap();
    assert!(user.starts_with("arn:aws:iam::200000000002:user/"), "{user}");
    assert!(described["Parameters"][0].get("Value").is_none());

    // An image that one can see may be named, and launched by that name.
    let typed = |value: &str| json!({ "Name": "/t/image", "Value": value, "Type": "String", "DataType": "aws:ec2:image" });
    assert_eq!(refused(&maker, "PutParameter", typed(&image)).await, "ValidationException");
    assert_eq!(refused(&friend, "PutParameter", typed("ami-1")).await, "ValidationException");
    ok(&friend, "PutParameter", typed(&image)).await;
    let launch = |name: &str| format!("resolve:ssm:{name}");
    let counts = [("MinCount", "1"), ("MaxCount", "1")];
    for name in ["/t/image", "/t/image:1"] {
        let id = launch(name);
        let ran =
            friend.ok("RunInstances", &[("ImageId", id.as_str()), counts[0], counts[1]]).await;
        assert_eq!(ran.first("imageId"), image, "{name}");
    }
    for name in ["/t/none", "/t/a"] {
        let id = launch(name);
        let params = [("ImageId", id.as_str()), counts[0], counts[1]];
        let (code, _) = friend.refused("RunInstances", &params).await;
        assert_eq!(code, "InvalidParameterValue", "{name}");
    }

    // Tags are of the parameter, not of a version.
    let tag = |value: &str| json!([{ "Key": "stage", "Value": value }]);
    let tagged = json!({ "Name": "/t/tagged", "Value": "1", "Type": "String", "Tags": tag("a") });
    ok(&friend, "PutParameter", tagged).await;
    let over = json!({ "Name": "/t/tagged", "Value": "2", "Overwrite": true });
    ok(&friend, "PutParameter", over).await;
    let of = |id: &str| json!({ "ResourceType": "Parameter", "ResourceId": id });
    let with = |id: &str, more: (&str, Value)| {
        let mut body = of(id);
        body[more.0] = more.1;
        body
    };
    let tags = ok(&friend, "ListTagsForResource", of("/t/tagged")).await;
    assert_eq!(tags["TagList"], tag("a"));
    ok(&friend, "AddTagsToResource", with("/t/tagged", ("Tags", tag("b")))).await;
    let tags = ok(&friend, "ListTagsForResource", of("/t/tagged")).await;
    assert_eq!(tags["TagList"], tag("b"));
    let gone = with("/t/tagged", ("TagKeys", json!(["stage", "none"])));
    ok(&friend, "RemoveTagsFromResource", gone).await;
    let tags = ok(&friend, "ListTagsForResource", of("/t/tagged")).await;
    assert_eq!(tags["TagList"], json!([]));

    // What everybody reads, only the operator puts.
    let public = text("/aws/service/images/linux", &image);
    assert_eq!(refused(&friend, "PutParameter", public.clone()).await, "AccessDeniedException");
    ok(&maker, "PutParameter", public).await;
    let path = json!({ "Path": "/aws/service", "Recursive": true });
    let found = ok(&friend, "GetParametersByPath", path).await;
    let arn = found["Parameters"][0]["ARN"].as_str().unwrap();
    assert!(arn.ends_with("::parameter/aws/service/images/linux"), "{arn}");

    // Refusals in SSM's own codes.
    for (operation, body, code) in [
        ("GetParameter", json!({ "Name": "/t/none" }), "ParameterNotFound"),
        ("GetParameter", json!({ "Name": "/t/a:9" }), "ParameterVersionNotFound"),
        ("DeleteParameter", json!({ "Name": "/t/none" }), "ParameterNotFound"),
        ("PutParameter", json!({ "Name": "/t/b", "Value": "v" }), "ValidationException"),
        ("PutParameter", text("a/b", "v"), "ValidationException"),
        (
            "PutParameter",
            json!({ "Name": "s", "Value": "v", "Type": "SecureString" }),
            "UnsupportedParameterType",
        ),
        (
            "PutParameter",
            json!({ "Name": "s", "Value": "v", "Type": "String", "AllowedPattern": "[0-9]+" }),
            "ParameterPatternMismatchException",
        ),
        (
            "PutParameter",
            json!({ "Name": "s", "Value": "v", "Type": "String", "Policies": "x" }),
            "ValidationException",
        ),
        (
            "PutParameter",
            json!({ "Name": "/t/a", "Value": "v", "Overwrite": true, "Tags": tag("a") }),
            "ValidationException",
        ),
        ("ListTagsForResource", of("/t/none"), "InvalidResourceId"),
        ("AddTagsToResource", with("/t/none", ("Tags", tag("a"))), "InvalidResourceId"),
        ("RemoveTagsFromResource", with("/t/none", ("TagKeys", json!(["a"]))), "InvalidResourceId"),
        (
            "ListTagsForResource",
            json!({ "ResourceType": "Document", "ResourceId": "a" }),
            "InvalidResourceType",
        ),
        (
            "AddTagsToResource",
            with("/t/a", ("Tags", json!([{ "Key": "aws:x", "Value": "" }]))),
            "ValidationException",
        ),
        ("GetParameters", json!({ "Names": [] }), "ValidationException"),
        ("GetParametersByPath", json!({ "Path": "/t", "MaxResults": 11 }), "ValidationException"),
        ("GetParametersByPath", json!({ "Path": "/t", "NextToken": "x" }), "InvalidNextToken"),
        ("GetInventory", json!({}), "UnknownOperationException"),
    ] {
        assert_eq!(refused(&friend, operation, body.clone()).await, code, "{operation} {body}");
    }
    let gone = ok(&friend, "DeleteParameters", json!({ "Names": ["/t/a", "/t/none"] })).await;
    assert_eq!(gone["DeletedParameters"], json!(["/t/a"]));
    assert_eq!(
        refused(&friend, "GetParameter", json!({ "Name": "/t/a" })).await,
        "ParameterNotFound"
    );
}
