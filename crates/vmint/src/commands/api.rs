//! Any method by hand, from the descriptors this build has.

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tokio_stream::StreamExt as _;
use tonic::{
    Request, Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::{
    cli::ApiArgs,
    client::{Client, Failure, Result, pool, to_json},
};

pub(crate) async fn run(client: &Client, args: ApiArgs) -> Result<()> {
    if args.method == "list" {
        return list();
    }
    let method = find(&args.method)?;
    if method.is_client_streaming() {
        return Err(Failure::usage("a method that takes a stream can't be called this way")
            .hint("vmint import and vmint console are such methods"));
    }
    let mut json = serde_json::Deserializer::from_str(&args.request);
    let message = DynamicMessage::deserialize(method.input(), &mut json)
        .map_err(|error| Failure::usage(format!("the request does not fit: {error}")))?;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).map_err(|error| Failure::new(error.to_string()))?;
    let mut grpc = tonic::client::Grpc::new(client.authed());
    grpc.ready().await.map_err(|error| Failure::unreachable(error.to_string()))?;
    let request = Request::new(Bytes::from(message.encode_to_vec()));
    let mut answers = grpc.server_streaming(request, path, Raw).await?.into_inner();
    while let Some(answer) = answers.next().await {
        let message = DynamicMessage::decode(method.output(), answer?)
            .map_err(|error| Failure::new(error.to_string()))?;
        let value = to_json(&message)?;
        let text = serde_json::to_string_pretty(&value);
        println!("{}", text.map_err(|error| Failure::new(error.to_string()))?);
    }
    Ok(())
}

/// Prints every public method.
fn list() -> Result<()> {
    for service in pool()?.services().filter(|s| !s.name().ends_with("InternalService")) {
        for method in service.methods() {
            println!("{}/{}", service.full_name(), method.name());
        }
    }
    Ok(())
}

fn find(text: &str) -> Result<MethodDescriptor> {
    let unknown =
        || Failure::usage(format!("no method is called `{text}`")).hint("vmint api list shows all");
    let (service, method) = text.rsplit_once(['/', '.']).ok_or_else(unknown)?;
    let full =
        if service.starts_with("vmint.") { service.to_owned() } else { format!("vmint.{service}") };
    let service = pool()?.get_service_by_name(&full).ok_or_else(unknown)?;
    service.methods().find(|m| m.name() == method).ok_or_else(unknown)
}

/// Messages as they are on the wire.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
