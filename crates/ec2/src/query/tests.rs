use proptest::prelude::*;
use vmint_ids::ImageId;

use super::*;
use crate::Code;

fn read(query: &str) -> Params {
    Params::from_query(query).unwrap()
}

fn refused(query: &str) -> Code {
    Params::from_query(query).unwrap_err().code
}

#[test]
fn lists_come_in_the_order_of_their_indexes() {
    let mut params = read("Owner.10=c&Owner.2=b&Owner.1=a&Owner.3=");
    assert_eq!(params.list("Owner").unwrap(), ["a", "b", "c"]);
    assert_eq!(read("ResourceId.0=a&ResourceId.1=b").list("ResourceId").unwrap(), ["a", "b"]);
    for wrong in ["Owner=a", "Owner.01=a", "Owner.x=a", "Owner.65536=a", "Owner.1.Name=a"] {
        assert!(read(wrong).list("Owner").is_err(), "{wrong}");
    }
}

#[test]
fn an_empty_text_is_as_if_it_were_not_sent_but_for_presence() {
    let mut params = read("Name=&NoDevice=&Value=&Flag=&Count=");
    assert_eq!(params.text("Name").unwrap(), None);
    assert_eq!(params.flag("Flag").unwrap(), None);
    assert_eq!(params.number::<i32>("Count").unwrap(), None);
    assert!(params.has("NoDevice"));
    assert_eq!(params.raw("Value").unwrap(), Some(String::new()));
    assert_eq!(params.need("Name").unwrap_err().code, Code::MissingParameter);
}

#[test]
fn values_have_types() {
    let mut params = read("A=TRUE&B=0&C=-5&D=aGVsbG8&E=2027-01-31T00%3A00%3A00Z&F=yes&G=5x&H=%25");
    assert_eq!(params.flag("A").unwrap(), Some(true));
    assert_eq!(params.flag("B").unwrap(), Some(false));
    assert_eq!(params.number::<i64>("C").unwrap(), Some(-5));
    assert_eq!(params.blob("D").unwrap(), Some(b"hello".to_vec()));
    assert_eq!(params.time("E").unwrap().unwrap().unix_timestamp(), 1_801_353_600);
    assert_eq!(params.flag("F").unwrap_err().code, Code::InvalidParameterValue);
    assert_eq!(params.number::<u32>("G").unwrap_err().code, Code::InvalidParameterValue);
    assert_eq!(params.blob("H").unwrap_err().code, Code::InvalidParameterValue);
}

#[test]
fn an_id_is_malformed_or_of_the_old_form_that_we_never_gave_out() {
    let id = ImageId::random();
    assert_eq!(read(&format!("ImageId={id}")).need_id("ImageId"), Ok(id));
    for (text, wanted) in [
        ("ami-12345678", Code::InvalidAmiIdNotFound),
        ("ami-1234", Code::InvalidAmiIdMalformed),
        ("snap-0123456789abcdef0", Code::InvalidAmiIdMalformed),
        ("ami", Code::InvalidAmiIdMalformed),
    ] {
        let read = read(&format!("ImageId={text}")).need_id::<vmint_ids::ImageKind>("ImageId");
        assert_eq!(read.unwrap_err().code, wanted, "{text}");
    }
}

#[test]
fn filters_may_be_singular_or_plural() {
    let wanted = vec![Filter { name: "name".into(), values: vec!["a".into(), String::new()] }];
    for query in [
        "Filter.1.Name=name&Filter.1.Value.1=a&Filter.1.Value.2=",
        "Filters.1.Name=name&Filters.1.Value.1=a&Filters.1.Value.2=",
        "Filters.1.Name=name&Filters.1.Values.0=a&Filters.1.Values.1=",
    ] {
        assert_eq!(read(query).filters().unwrap(), wanted, "{query}");
    }
    assert!(read("Filter.1.Name=name").filters().is_err());
    assert!(read("Filter.1.Value.1=name").filters().is_err());
    let many = (1..=201).map(|n| format!("Filter.1.Value.{n}=v")).collect::<Vec<_>>().join("&");
    let error = read(&format!("Filter.1.Name=name&{many}")).filters().unwrap_err();
    assert_eq!(error.code, Code::FilterLimitExceeded);
}

#[test]
fn mappings_keep_what_was_not_sent_apart() {
    let mut params = read(
        "BlockDeviceMapping.1.DeviceName=/dev/sda1&BlockDeviceMapping.1.Ebs.SnapshotId=snap-1\
         &BlockDeviceMapping.1.Ebs.DeleteOnTermination=false\
         &BlockDeviceMapping.2.DeviceName=/dev/sdb&BlockDeviceMapping.2.NoDevice=",
    );
    let mappings = params.block_device_mappings().unwrap();
    let ebs = mappings[0].ebs.clone().unwrap();
    assert_eq!((ebs.snapshot_id.as_deref(), ebs.volume_size), (Some("snap-1"), None));
    assert_eq!(ebs.delete_on_termination, Some(false));
    assert!(!mappings[0].no_device && mappings[1].no_device);
    let twice = "BlockDeviceMapping.1.DeviceName=a&BlockDeviceMapping.2.DeviceName=a";
    let error = read(twice).block_device_mappings().unwrap_err();
    assert_eq!(error.code, Code::InvalidBlockDeviceMapping);
}

#[test]
fn tags_on_create_name_what_they_are_for() {
    let query = "TagSpecification.1.ResourceType=image&TagSpecification.1.Tag.1.Key=a\
                 &TagSpecification.1.Tag.1.Value=b";
    let read_all = read(query).tag_specifications(&["image", "snapshot"]).unwrap();
    assert_eq!(Params::tags_for(&read_all, "image"), [Tag { key: "a".into(), value: "b".into() }]);
    assert_eq!(Params::tags_for(&read_all, "snapshot"), []);
    assert!(read(query).tag_specifications(&["volume"]).is_err());
    assert!(read("Tag.1.Key=a&Tag.2.Key=a").tags().is_err());
}

#[test]
fn a_page_is_in_its_range() {
    let page = read("MaxResults=5&NextToken=t").page(5, 1000).unwrap();
    assert_eq!((page.max_results, page.next_token.as_deref()), (Some(5), Some("t")));
    assert_eq!(read("").page(5, 1000).unwrap(), Page::default());
    for wrong in ["MaxResults=4", "MaxResults=1001", "MaxResults=-1", "MaxResults=x"] {
        let error = read(wrong).page(5, 1000).unwrap_err();
        assert_eq!(error.code, Code::InvalidParameterValue, "{wrong}");
    }
}

#[test]
fn hostile_requests_are_refused() {
    for wrong in ["A=1&A=2", "A.=1", ".A=1", "A..B=1", "%=1", "A=%zz", "A=%ff", "A%00=1", "=1"] {
        assert_eq!(refused(wrong), Code::MalformedQueryString, "{wrong}");
    }
    assert_eq!(refused(&format!("{}A=1", "A.".repeat(12))), Code::MalformedQueryString);
    assert_eq!(refused(&format!("{}=1", "A".repeat(256))), Code::MalformedQueryString);
    assert_eq!(refused(&"A".repeat(parse::MAX_BYTES + 1)), Code::RequestEntityTooLarge);
    let many = (0..12_289).map(|n| format!("A.{n}=1")).collect::<Vec<_>>();
    assert_eq!(refused(&many.join("&")), Code::MalformedQueryString);
    assert_eq!(Params::from_form(b"A=\xff").unwrap_err().code, Code::MalformedQueryString);
}

#[test]
fn what_belongs_to_the_signature_is_left_out() {
    let params = read("X-Amz-Signature=a&x-amz-date=b&AWSAccessKeyId=c&Name=d");
    assert_eq!(params.leaves(), [("Name".to_owned(), "d")]);
    assert_eq!(params.finish().unwrap_err().code, Code::UnknownParameter);
}

fn encode(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect::<Vec<_>>().concat()
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(mut params) = Params::from_form(&body) {
            let before = params.leaves().len();
            let _read = (params.list("A"), params.filters(), params.block_device_mappings());
            prop_assert!(params.leaves().len() <= before);
        }
    }

    #[test]
    fn plausible_requests_are_read_or_refused(
        query in "((Filter|Tag|A|Ebs)(s?)(\\.(Name|Value|Key|[0-9]{1,5}|Ebs)){0,5}=[a-z0-9%]{0,4}&){0,9}",
    ) {
        if let Ok(mut params) = Params::from_query(&query) {
            let _read = (params.filters(), params.tags(), params.list("A"), params.flag("Ebs"));
        }
    }

    #[test]
    fn every_value_comes_back(values in proptest::collection::vec("\\PC{1,12}", 1..9)) {
        let query = (1..).zip(&values).map(|(n, value)| format!("V.{n}={}", encode(value)));
        let mut params = read(&query.collect::<Vec<_>>().join("&"));
        prop_assert_eq!(params.list("V").unwrap(), values);
        prop_assert!(params.is_empty());
    }
}
