//! GetConsoleOutput.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use time::OffsetDateTime;
use vmint_api::launcher::v1::GetConsoleOutputRequest;
use vmint_ec2::{Operation, Xml};

use super::{Answer, Call, the_one};
use crate::ec2::stamp;

/// What is answered is always the latest.
pub(super) const GET: Operation = Operation::new("GetConsoleOutput", &["InstanceId!", "Latest"]);

pub(super) async fn get_console_output(mut call: Call) -> Answer {
    let instance = the_one(&mut call).await?;
    let request = GetConsoleOutputRequest { instance_id: instance.instance_id.clone() };
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let answer = launcher.get_console_output(request).await?.into_inner();
    let mut xml = Xml::new();
    xml.text("instanceId", &instance.instance_id)
        .time("timestamp", stamp(answer.time.as_ref()).unwrap_or_else(OffsetDateTime::now_utc))
        .text("output", BASE64_STANDARD.encode(&answer.output));
    Ok(xml)
}
