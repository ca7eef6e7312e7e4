//! The launcher over gRPC: read the request, call one verb, write the answer.

mod attributes;
mod convert;
mod internal;
mod pages;
mod streams;

use tonic::{Request, Response, Status};
use vmint_api::launcher::v1::{self as pb, launcher_service_server::LauncherService};
use vmint_rpc::{Caller, to_status};

use crate::{KeyName, Launcher, LauncherError, clock};

pub use internal::Internal;

/// What users ask of a [`Launcher`].
#[derive(Debug)]
pub struct Grpc {
    launcher: Launcher,
}

impl Grpc {
    #[must_use]
    pub fn new(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// Wraps an answer; turns a refusal into its status.
fn answer<T>(result: Result<T, LauncherError>) -> Answer<T> {
    result.map(Response::new).map_err(|error| to_status(&error))
}

#[tonic::async_trait]
impl LauncherService for Grpc {
    async fn get_instance(
        &self,
        request: Request<pb::GetInstanceRequest>,
    ) -> Answer<pb::GetInstanceResponse> {
        let account = &Caller::of_account(&request)?.account;
        let found = self.launcher.get(account, &request.get_ref().instance_id);
        answer(found.map(|i| pb::GetInstanceResponse { instance: Some(convert::shown(i)) }))
    }

    async fn list_instances(
        &self,
        request: Request<pb::ListInstancesRequest>,
    ) -> Answer<pb::ListInstancesResponse> {
        let account = Caller::of_account(&request)?.account.clone();
        answer(pages::instances(&self.launcher, &account, request.into_inner()))
    }

    type WatchInstanceStream = streams::Instances;

    async fn watch_instance(
        &self,
        request: Request<pb::WatchInstanceRequest>,
    ) -> Answer<Self::WatchInstanceStream> {
        let account = &Caller::of_account(&request)?.account;
        let following = self.launcher.follow(account, &request.get_ref().instance_id);
        answer(following.map(streams::instances))
    }

    async fn stop_instance(
        &self,
        request: Request<pb::StopInstanceRequest>,
    ) -> Answer<pb::StopInstanceResponse> {
        let (account, asked, r) = convert::asked(request, "StopInstance", |r| &r.request_id)?;
        let stopped = self.launcher.stop(&account, &r.instance_id, r.force, asked).await;
        answer(stopped.map(|i| pb::StopInstanceResponse { instance: Some(convert::shown(i)) }))
    }

    async fn start_instance(
        &self,
        request: Request<pb::StartInstanceRequest>,
    ) -> Answer<pb::StartInstanceResponse> {
        let (account, asked, r) = convert::asked(request, "StartInstance", |r| &r.request_id)?;
        let started = self.launcher.start(&account, &r.instance_id, asked).await;
        answer(started.map(|i| pb::StartInstanceResponse { instance: Some(convert::shown(i)) }))
    }

    async fn reboot_instance(
        &self,
        request: Request<pb::RebootInstanceRequest>,
    ) -> Answer<pb::RebootInstanceResponse> {
        let (account, asked, r) = convert::asked(request, "RebootInstance", |r| &r.request_id)?;
        let reset = self.launcher.reboot(&account, &r.instance_id, asked).await;
        answer(reset.map(|i| pb::RebootInstanceResponse { instance: Some(convert::shown(i)) }))
    }

    async fn get_console_output(
        &self,
        request: Request<pb::GetConsoleOutputRequest>,
    ) -> Answer<pb::GetConsoleOutputResponse> {
        let account = &Caller::of_account(&request)?.account;
        let printed = self.launcher.console_output(account, &request.get_ref().instance_id).await;
        answer(printed.map(|(output, at)| pb::GetConsoleOutputResponse {
            output: output.into(),
            time: Some(clock::stamp(at)),
        }))
    }

    type StreamConsoleStream = streams::Printed;

    async fn stream_console(
        &self,
        request: Request<pb::StreamConsoleRequest>,
    ) -> Answer<Self::StreamConsoleStream> {
        let account = &Caller::of_account(&request)?.account;
        let r = request.get_ref();
        let console = self.launcher.console(account, &r.instance_id, r.follow).await;
        answer(console.map(streams::printed))
    }

    type AttachConsoleStream = streams::Attached;

    async fn attach_console(
        &self,
        request: Request<tonic::Streaming<pb::AttachConsoleRequest>>,
    ) -> Answer<Self::AttachConsoleStream> {
        let account = Caller::of_account(&request)?.account.clone();
        streams::attach(&self.launcher, &account, request.into_inner()).await.map(Response::new)
    }

    async fn tag_resources(
        &self,
        request: Request<pb::TagResourcesRequest>,
    ) -> Answer<pb::TagResourcesResponse> {
        let (account, asked, r) = convert::asked(request, "TagResources", |r| &r.request_id)?;
        let change = attributes::put(r.tags);
        let tagged = self.launcher.tag(&account, &r.resource_ids, change, asked).await;
        answer(tagged.map(|()| pb::TagResourcesResponse {}))
    }

    async fn untag_resources(
        &self,
        request: Request<pb::UntagResourcesRequest>,
    ) -> Answer<pb::UntagResourcesResponse> {
        let (account, asked, r) = convert::asked(request, "UntagResources", |r| &r.request_id)?;
        let change = attributes::take(r.tags);
        let tagged = self.launcher.tag(&account, &r.resource_ids, change, asked).await;
        answer(tagged.map(|()| pb::UntagResourcesResponse {}))
    }

    async fn modify_instance(
        &self,
        request: Request<pb::ModifyInstanceRequest>,
    ) -> Answer<pb::ModifyInstanceResponse> {
        let (account, asked, r) = convert::asked(request, "ModifyInstance", |r| &r.request_id)?;
        let id = r.instance_id.clone();
        let change = attributes::change(r).map_err(|e| to_status(&e))?;
        let changed = self.launcher.modify(&account, &id, change, asked).await;
        answer(changed.map(|i| pb::ModifyInstanceResponse { instance: Some(convert::shown(i)) }))
    }

    async fn get_user_data(
        &self,
        request: Request<pb::GetUserDataRequest>,
    ) -> Answer<pb::GetUserDataResponse> {
        let account = &Caller::of_account(&request)?.account;
        let found = self.launcher.user_data(account, &request.get_ref().instance_id);
        answer(found.map(|data| pb::GetUserDataResponse { user_data: data.into() }))
    }

    async fn list_instance_statuses(
        &self,
        request: Request<pb::ListInstanceStatusesRequest>,
    ) -> Answer<pb::ListInstanceStatusesResponse> {
        let account = Caller::of_account(&request)?.account.clone();
        answer(pages::statuses(&self.launcher, &account, request.into_inner()).await)
    }

    async fn create_key_pair(
        &self,
        request: Request<pb::CreateKeyPairRequest>,
    ) -> Answer<pb::CreateKeyPairResponse> {
        let (account, asked, r) = convert::asked(request, "CreateKeyPair", |r| &r.request_id)?;
        let name = KeyName::parse(&r.name).map_err(|e| to_status(&e))?;
        let (kind, tags) = (attributes::kind(r.key_type), attributes::tags(r.tags));
        let made = self.launcher.create_key_pair(&account, name, kind, tags, asked).await;
        answer(made.map(|made| pb::CreateKeyPairResponse {
            key_pair: Some(made.pair.into()),
            private_key: made.private_key.unwrap_or_default(),
        }))
    }

    async fn import_key_pair(
        &self,
        request: Request<pb::ImportKeyPairRequest>,
    ) -> Answer<pb::ImportKeyPairResponse> {
        let (account, asked, r) = convert::asked(request, "ImportKeyPair", |r| &r.request_id)?;
        let name = KeyName::parse(&r.name).map_err(|e| to_status(&e))?;
        let tags = attributes::tags(r.tags);
        let pair = self.launcher.import_key_pair(&account, name, &r.public_key, tags, asked).await;
        answer(pair.map(|pair| pb::ImportKeyPairResponse { key_pair: Some(pair.into()) }))
    }

    async fn list_key_pairs(
        &self,
        request: Request<pb::ListKeyPairsRequest>,
    ) -> Answer<pb::ListKeyPairsResponse> {
        let account = Caller::of_account(&request)?.account.clone();
        answer(pages::key_pairs(&self.launcher, &account, request.into_inner()))
    }

    async fn delete_key_pair(
        &self,
        request: Request<pb::DeleteKeyPairRequest>,
    ) -> Answer<pb::DeleteKeyPairResponse> {
        let (account, asked, r) = convert::asked(request, "DeleteKeyPair", |r| &r.request_id)?;
        let gone = self.launcher.delete_key_pair(&account, &r.key_pair_id, &r.name, asked).await;
        answer(gone.map(|id| pb::DeleteKeyPairResponse {
            key_pair_id: id.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }

    async fn list_instance_types(
        &self,
        request: Request<pb::ListInstanceTypesRequest>,
    ) -> Answer<pb::ListInstanceTypesResponse> {
        let most = self.launcher.memory_mib();
        let types = attributes::types(&request.get_ref().names, most);
        answer(types.map(|instance_types| pb::ListInstanceTypesResponse { instance_types }))
    }

    async fn get_host(&self, _: Request<pb::GetHostRequest>) -> Answer<pb::GetHostResponse> {
        answer(Ok(self.launcher.host().await.into()))
    }
}
