//! The face from outside, with fake services behind it.

mod network;
mod odd;

use std::collections::BTreeMap;

use hmac::{Hmac, Mac as _};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use sha2::Sha256;
use time::{Duration, OffsetDateTime};
use tokio_util::sync::{CancellationToken, DropGuard};
use vmint_api::permissions::v1::{
    UpdateAccessKeyRequest, permissions_service_client::PermissionsServiceClient,
};
use vmint_ec2::{
    sigv4::{self, Scope, SigningKey},
    stamp,
};
use vmint_rpc::ServiceAddress;
use vmint_store::Store;

use super::Regions;
use crate::{
    Limits,
    run::Bound,
    testing::{
        Lab,
        fakes::permissions::secret_of,
        world::{INSTANCE, OWNER, World},
    },
};

struct Open {
    lab: Lab,
    address: String,
    _guard: DropGuard,
}

async fn open(region: &str, others: &[(&str, &str)], limits: Limits) -> Open {
    let lab = Lab::of(World::with_one_of_each());
    let listen = ServiceAddress::Tcp("127.0.0.1:0".to_owned());
    let others = others.iter().map(|(name, at)| ((*name).to_owned(), (*at).to_owned()));
    let regions = Regions::new(region.to_owned(), others.collect::<BTreeMap<_, _>>());
    let bound = Bound::assemble(
        &listen,
        lab.peers(),
        Store::in_memory(),
        limits,
        regions,
        BTreeMap::new(),
        true,
    );
    let bound = bound.await.unwrap();
    let ServiceAddress::Tcp(address) = bound.address().clone() else { panic!("not TCP") };
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move { bound.run(stopped).await.unwrap() });
    Open { lab, address, _guard: stop.drop_guard() }
}

async fn alone() -> Open {
    open("here", &[], Limits::default()).await
}

/// A request as a client makes it.
#[derive(Debug, Clone)]
struct Ask {
    key: String,
    secret: String,
    service: &'static str,
    region: &'static str,
    at: OffsetDateTime,
    /// As SDKs number what they invoke.
    invocation: Option<&'static str>,
    body: String,
}

fn ask(key: &str, body: impl Into<String>) -> Ask {
    Ask {
        key: key.to_owned(),
        secret: secret_of(key),
        service: "ec2",
        region: "here",
        at: OffsetDateTime::now_utc(),
        invocation: None,
        body: body.into(),
    }
}

impl Ask {
    fn signed(&self, host: &str) -> Request<Full<Bytes>> {
        let date = stamp::basic(self.at);
        let scope = Scope {
            date: date[..8].to_owned(),
            region: self.region.to_owned(),
            service: self.service.to_owned(),
        };
        let body = hex::encode(sigv4::body_hash(self.body.as_bytes()));
        let canonical =
            format!("POST\n/\n\nhost:{host}\nx-amz-date:{date}\n\nhost;x-amz-date\n{body}");
        let digest = hex::encode(sigv4::body_hash(canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{}\n{digest}", scope.to_text());
        let key = SigningKey::derive(&self.secret, &scope).to_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(text.as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        let credential = format!("{}/{}", self.key, scope.to_text());
        let invocation = self.invocation.map(|number| ("amz-sdk-invocation-id", number));
        let request = Request::builder();
        let request =
            invocation.into_iter().fold(request, |it, (name, number)| it.header(name, number));
        request
            .method(Method::POST)
            .uri(format!("http://{host}/"))
            .header("host", host)
            .header("x-amz-date", date)
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .header(
                "authorization",
                format!(
                    "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, \
                     Signature={signature}"
                ),
            )
            .body(Full::from(self.body.clone()))
            .unwrap()
    }
}

async fn send(request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response: Response<Incoming> = client.request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn told(open: &Open, ask: &Ask) -> (u16, String) {
    let (status, body) = send(ask.signed(&open.address)).await;
    (status.as_u16(), body)
}

async fn refused(open: &Open, ask: &Ask) -> (u16, String) {
    let (status, body) = told(open, ask).await;
    (status, element(&body, "Code").unwrap_or_else(|| panic!("no code in {body}")))
}

fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
}

#[tokio::test]
async fn a_signed_request_is_answered_for_its_keys_account() {
    let open = alone().await;
    let sts = Ask { service: "sts", ..ask("owner", "Action=GetCallerIdentity&Version=2011-06-15") };
    let (status, body) = told(&open, &sts).await;
    assert_eq!((status, element(&body, "Account").as_deref()), (200, Some(OWNER)), "{body}");

    let (status, body) = told(&open, &ask("owner", "Action=DescribeInstances")).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(element(&body, "instanceId").as_deref(), Some(INSTANCE));
    let (_, body) = told(&open, &ask("other", "Action=DescribeInstances")).await;
    assert!(body.contains("<reservationSet/>"), "{body}");
    let world = open.lab.world.lock();
    let caller = world.callers.last().unwrap();
    assert_eq!((caller.session.as_str(), caller.source.as_str()), ("other", "127.0.0.1"));
}

#[tokio::test]
async fn what_is_not_rightly_signed_is_refused() {
    let open = alone().await;
    let good = ask("owner", "Action=DescribeRegions");
    assert_eq!(told(&open, &good).await.0, 200);
    let unknown = ask("nobody", "Action=DescribeRegions");
    let forged = Ask { secret: "another-secret".to_owned(), ..good.clone() };
    for bad in [unknown, forged] {
        assert_eq!(refused(&open, &bad).await, (401, "AuthFailure".to_owned()));
    }
    let minutes = |n| Ask { at: good.at + Duration::minutes(n), ..good.clone() };
    for late in [-6, 6] {
        assert_eq!(refused(&open, &minutes(late)).await, (400, "RequestExpired".to_owned()));
    }
    for soon in [-4, 4] {
        assert_eq!(told(&open, &minutes(soon)).await.0, 200);
    }
    let mut changed = good.signed(&open.address);
    *changed.body_mut() = Full::from("Action=DescribeInstances");
    assert_eq!(send(changed).await.0, 401);
    let bare = Request::post(format!("http://{}/", open.address))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::from("Action=DescribeRegions"))
        .unwrap();
    let (status, body) = send(bare).await;
    assert_eq!(status.as_u16(), 403);
    assert_eq!(element(&body, "Code").unwrap(), "MissingAuthenticationToken");
}

#[tokio::test]
async fn a_key_that_is_turned_off_is_refused_at_once() {
    let open = alone().await;
    let good = ask("owner", "Action=DescribeRegions");
    assert_eq!(told(&open, &good).await.0, 200);
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", open.address));
    let mut users = PermissionsServiceClient::new(channel.unwrap().connect_lazy());
    let request = UpdateAccessKeyRequest { access_key_id: "owner".into(), ..Default::default() };
    let mut request = tonic::Request::new(request);
    request.metadata_mut().insert("authorization", "Bearer root".parse().unwrap());
    users.update_access_key(request).await.unwrap();
    assert_eq!(refused(&open, &good).await, (401, "AuthFailure".to_owned()));
}

#[tokio::test]
async fn what_is_not_served_is_refused_and_counted() {
    let open = alone().await;
    let unknown = refused(&open, &ask("owner", "Action=MakeCoffee")).await;
    assert_eq!(unknown, (400, "InvalidAction".to_owned()));
    assert_eq!(refused(&open, &ask("owner", "Nothing=1")).await.1, "MissingAction");
    let stranger = ask("owner", "Action=DescribeRegions&Colour=red");
    assert_eq!(refused(&open, &stranger).await.1, "UnknownParameter");
    // An empty text is as if it were not sent.
    assert_eq!(told(&open, &ask("owner", "Action=DescribeRegions&Colour=")).await.0, 200);
    let missing = ask("owner", "Action=RunInstances&MinCount=1&MaxCount=1");
    assert_eq!(refused(&open, &missing).await.1, "MissingParameter");
    let long = "a".repeat(vmint_ec2::json::MAX_BYTES);
    let long = ask("owner", format!("Action=DescribeRegions&RegionName.1={long}"));
    assert_eq!(refused(&open, &long).await, (413, "RequestEntityTooLarge".to_owned()));
}

/// `reference/ec2.md` §3.8, 39.
#[tokio::test]
async fn a_dry_run_and_a_key_that_only_reads_change_nothing() {
    let open = alone().await;
    let make = "Action=CreateSecurityGroup&GroupName=web&GroupDescription=text";
    let dry = ask("owner", format!("{make}&DryRun=true"));
    assert_eq!(refused(&open, &dry).await, (412, "DryRunOperation".to_owned()));
    for body in [make.to_owned(), format!("{make}&DryRun=true")] {
        let reader = refused(&open, &ask("reader", body)).await;
        assert_eq!(reader, (403, "UnauthorizedOperation".to_owned()));
    }
    let (_, body) = told(&open, &ask("reader", "Action=DescribeSecurityGroups")).await;
    assert!(!body.contains("<groupName>web"), "{body}");
}

#[tokio::test]
async fn an_invocation_acts_once() {
    let open = alone().await;
    let make = ask("owner", "Action=CreateSecurityGroup&GroupName=web&GroupDescription=text");
    let make = Ask { invocation: Some("1"), ..make };
    let (_, first) = told(&open, &make).await;
    let id = element(&first, "groupId").unwrap();
    assert_eq!(told(&open, &make).await.1, first);
    let other = Ask { invocation: Some("2"), ..make.clone() };
    assert_eq!(refused(&open, &other).await.1, "InvalidGroup.Duplicate");
    let anew = Ask { at: make.at + Duration::seconds(1), ..make };
    assert_eq!(element(&told(&open, &anew).await.1, "groupId").unwrap(), id);

    let rule = "IpProtocol=tcp&FromPort=22&ToPort=22&CidrIp=0.0.0.0/0";
    let change = |action: &str| {
        ask("owner", format!("Action={action}SecurityGroupIngress&GroupId={id}&{rule}"))
    };
    assert_eq!(told(&open, &change("Authorize")).await.0, 200);
    let (_, body) = told(&open, &ask("owner", "Action=DescribeSecurityGroups")).await;
    assert!(body.contains("<fromPort>22</fromPort>"), "{body}");
    assert_eq!(told(&open, &change("Revoke")).await.0, 200);

    let others = ask("other", format!("Action=DeleteSecurityGroup&GroupId={id}"));
    assert_eq!(refused(&open, &others).await.1, "InvalidGroup.NotFound");
    let used = open.lab.world.lock().instances.get_mut(INSTANCE).map(|instance| {
        instance.security_group_ids = vec![id.clone()];
    });
    assert_eq!(used, Some(()));
    let gone = ask("owner", format!("Action=DeleteSecurityGroup&GroupId={id}"));
    assert_eq!(refused(&open, &gone).await.1, "DependencyViolation");
    open.lab.world.lock().instances.clear();
    let gone = Ask { invocation: Some("3"), ..gone };
    assert_eq!(told(&open, &gone).await.0, 200);
}

#[tokio::test]
async fn too_many_calls_are_put_off() {
    let limits = Limits { calls_per_second: 0.1, burst: 1.0, ..Limits::default() };
    let open = open("here", &[], limits).await;
    let ask = ask("owner", "Action=DescribeRegions");
    assert_eq!(told(&open, &ask).await.0, 200);
    assert_eq!(refused(&open, &ask).await, (503, "RequestLimitExceeded".to_owned()));
}

#[tokio::test]
async fn a_request_for_another_region_is_passed_on() {
    let there = open("there", &[("here", "127.0.0.1:1")], Limits::default()).await;
    let here = open("here", &[("there", &there.address)], Limits::default()).await;
    let zones = ask("owner", "Action=DescribeAvailabilityZones");
    let (_, own) = told(&here, &zones).await;
    assert_eq!(element(&own, "zoneName").unwrap(), "herea");
    let (status, other) = told(&here, &Ask { region: "there", ..zones.clone() }).await;
    assert_eq!(status, 200, "{other}");
    assert_eq!(element(&other, "zoneName").unwrap(), "therea");
    let (_, all) = told(&here, &ask("owner", "Action=DescribeRegions")).await;
    assert!(all.contains("<regionName>there</regionName>"), "{all}");
    // It is not passed round, and nobody answers for what is nowhere.
    let nowhere = Ask { region: "nowhere", ..zones.clone() };
    assert_eq!(refused(&here, &nowhere).await.1, "AuthFailure");
    let away = Ask { region: "here", ..zones };
    assert_eq!(refused(&there, &away).await, (503, "Unavailable".to_owned()));
}

#[tokio::test]
async fn an_image_that_one_may_not_launch_is_told_from_none() {
    let open = alone().await;
    let run = |image: &str| {
        ask("other", format!("Action=RunInstances&ImageId={image}&MinCount=1&MaxCount=1"))
    };
    let denied = refused(&open, &run(crate::testing::world::IMAGE)).await;
    assert_eq!(denied, (400, "AuthFailure".to_owned()));
    let none = refused(&open, &run("ami-0000000000000dead")).await;
    assert_eq!(none, (400, "InvalidAMIID.NotFound".to_owned()));
    assert_eq!(refused(&open, &run("web")).await.1, "InvalidAMIID.Malformed");
}
