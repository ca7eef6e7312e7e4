//! Security groups from outside.

use super::{alone, ask, element, refused, told};

const RULE: &str = "IpProtocol=tcp&FromPort=22&ToPort=22&CidrIp=10.0.0.0/8";

#[tokio::test]
async fn rules_are_listed_page_by_page_and_revoked_by_their_ids() {
    let open = alone().await;
    let call = |text: String| ask("owner", text);
    let create = "Action=CreateSecurityGroup&GroupName=web&GroupDescription=text";
    let (_, made) = told(&open, &call(create.to_owned())).await;
    let group = element(&made, "groupId").unwrap();
    let authorize =
        |rule: &str| call(format!("Action=AuthorizeSecurityGroupIngress&GroupId={group}&{rule}"));
    let (_, added) = told(&open, &authorize(RULE)).await;
    let rule = element(&added, "securityGroupRuleId").unwrap();
    for n in 1..6 {
        let rule = RULE.replace("10.", &format!("1{n}."));
        assert_eq!(told(&open, &authorize(&rule)).await.0, 200, "{n}");
    }

    // Six of its own and one that lets everything out.
    let of_group = format!("Filter.1.Name=group-id&Filter.1.Value.1={group}");
    let list = |more: &str| {
        call(format!("Action=DescribeSecurityGroupRules&{of_group}&MaxResults=5{more}"))
    };
    let (_, first) = told(&open, &list("")).await;
    let token = element(&first, "nextToken").unwrap();
    let (_, second) = told(&open, &list(&format!("&NextToken={token}"))).await;
    assert_eq!(element(&second, "nextToken"), None);
    let count = |body: &str, what: &str| body.matches(what).count();
    let id = "<securityGroupRuleId>";
    assert_eq!((count(&first, id), count(&second, id)), (5, 2), "{second}");
    assert_eq!(count(&(first + &second), "<isEgress>true<"), 1);

    let one = format!("Action=DescribeSecurityGroupRules&SecurityGroupRuleId.1={rule}");
    let (_, shown) = told(&open, &call(one.clone())).await;
    assert_eq!(element(&shown, "cidrIpv4").unwrap(), "10.0.0.0/8");
    let revoke = |way: &str| {
        let action = format!("Action=RevokeSecurityGroup{way}");
        call(format!("{action}&GroupId={group}&SecurityGroupRuleId.1={rule}"))
    };
    // An id names a rule of its own direction.
    let none = (400, "InvalidSecurityGroupRuleId.NotFound".to_owned());
    assert_eq!(refused(&open, &revoke("Egress")).await, none);
    assert_eq!(told(&open, &revoke("Ingress")).await.0, 200);
    let gone = call(one.clone() + "&MaxResults=5");
    assert_eq!(refused(&open, &gone).await, none);
    assert_eq!(refused(&open, &ask("other", one)).await, none);
}

#[tokio::test]
async fn addresses_are_their_machines() {
    let open = alone().await;
    let list = "Action=DescribeAddresses";
    let filtered = format!("{list}&Filter.1.Name=instance-id&Filter.1.Value.1=i-1");
    for query in [list.to_owned(), filtered] {
        let (status, body) = told(&open, &ask("owner", query)).await;
        assert!(status == 200 && body.contains("<addressesSet/>"), "{body}");
    }
    let wanted = ask("owner", format!("{list}&PublicIp.1=192.0.2.1"));
    assert_eq!(refused(&open, &wanted).await.1, "InvalidAddress.NotFound");
}

#[tokio::test]
async fn groups_are_tagged_as_they_are_made_and_found_by_it() {
    let open = alone().await;
    let specification = "TagSpecification.1.ResourceType=security-group\
         &TagSpecification.1.Tag.1.Key=Stage&TagSpecification.1.Tag.1.Value=test";
    for (name, tags) in [("web", specification), ("db", "")] {
        let make = format!("CreateSecurityGroup&GroupName={name}&GroupDescription=text&{tags}");
        assert_eq!(told(&open, &ask("owner", format!("Action={make}"))).await.0, 200);
    }
    let list = "Action=DescribeSecurityGroups";
    for filter in ["tag:Stage&Filter.1.Value.1=te*", "tag-key&Filter.1.Value.1=Stage"] {
        let (_, found) = told(&open, &ask("owner", format!("{list}&Filter.1.Name={filter}"))).await;
        assert_eq!(element(&found, "groupName").as_deref(), Some("web"), "{found}");
        assert!(
            found.contains("<value>test</value>") && !found.contains("<groupName>db"),
            "{found}"
        );
    }
}

#[tokio::test]
async fn groups_are_tagged_and_untagged_later_too() {
    let open = alone().await;
    let call = |text: String| ask("owner", text);
    let create = "Action=CreateSecurityGroup&GroupName=web&GroupDescription=text";
    let (_, made) = told(&open, &call(create.to_owned())).await;
    let group = element(&made, "groupId").unwrap();
    let tag = |action: &str, id: &str| {
        call(format!("Action={action}&ResourceId.1={id}&Tag.1.Key=Stage&Tag.1.Value=test"))
    };
    let none = (400, "InvalidGroup.NotFound".to_owned());
    assert_eq!(refused(&open, &tag("CreateTags", "sg-00000000000000001")).await, none);
    assert_eq!(told(&open, &tag("CreateTags", &group)).await.0, 200);
    let filter = "Filter.1.Name=tag:Stage&Filter.1.Value.1=test";
    let list = call(format!("Action=DescribeSecurityGroups&{filter}"));
    let (_, shown) = told(&open, &list).await;
    assert_eq!(element(&shown, "groupId").unwrap(), group);
    assert_eq!(told(&open, &tag("DeleteTags", &group)).await.0, 200);
    assert_eq!(element(&told(&open, &list).await.1, "groupId"), None);
}
