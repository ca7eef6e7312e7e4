//! Parameters over gRPC.

use std::collections::BTreeMap;

use prost::Message;
use tonic::{Request, Response, Status};
use vmint_api::catalog::v1 as pb;
use vmint_api::catalog::v1::{
    parameter_internal_service_server::ParameterInternalService,
    parameter_service_server::ParameterService,
};
use vmint_api::types::v1::Tag;
use vmint_rpc::{Caller, PageToken, to_status};
use vmint_store::Asked;

use super::{Answer, Grpc, Internal, convert};
use crate::{
    Asker, CatalogError as E, DataType, MAX_FILTERS, Parameter, ParameterFilter, ParameterKind,
    ParameterName, ParameterPath, ParameterQuery, Result, tag::changed_tags,
};

const LARGEST_PAGE: usize = 50;

fn answer<T>(result: Result<T>) -> std::result::Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| to_status(&error))
}

fn asker(caller: &Caller) -> Asker {
    Asker { account: caller.account.clone(), operator: caller.is_operator() }
}

#[tonic::async_trait]
impl ParameterService for Grpc {
    async fn get_parameter(
        &self,
        request: Request<pb::GetParameterRequest>,
    ) -> Answer<pb::GetParameterResponse> {
        let who = asker(Caller::of_account(&request)?);
        let found = self.catalog.parameter(&who, &request.get_ref().name);
        answer(found.map(|found| pb::GetParameterResponse {
            parameter: Some(message(found, &who.account)),
        }))
    }

    async fn list_parameters(
        &self,
        request: Request<pb::ListParametersRequest>,
    ) -> Answer<pb::ListParametersResponse> {
        let who = asker(Caller::of_account(&request)?);
        answer(self.list(&who, request.into_inner()))
    }

    async fn list_parameter_versions(
        &self,
        request: Request<pb::ListParameterVersionsRequest>,
    ) -> Answer<pb::ListParameterVersionsResponse> {
        let who = asker(Caller::of_account(&request)?);
        answer(self.history(&who, request.into_inner()))
    }

    async fn delete_parameter(
        &self,
        request: Request<pb::DeleteParameterRequest>,
    ) -> Answer<pb::DeleteParameterResponse> {
        let who = asker(Caller::of_account(&request)?);
        let request = request.into_inner();
        let work = async {
            let asked = asked(&who, "DeleteParameter", &request.request_id, &request)?;
            let name = ParameterName::parse(&request.name)?;
            self.catalog.delete_parameter(&who, name, asked).await?;
            Ok(pb::DeleteParameterResponse {})
        };
        answer(work.await)
    }

    async fn label_parameter_version(
        &self,
        request: Request<pb::LabelParameterVersionRequest>,
    ) -> Answer<pb::LabelParameterVersionResponse> {
        let who = asker(Caller::of_account(&request)?);
        let request = request.into_inner();
        let work = async {
            let asked = asked(&who, "LabelParameterVersion", &request.request_id, &request)?;
            let name = ParameterName::parse(&request.name)?;
            let version = u64::try_from(request.version)
                .map_err(|_| E::field("version", "must not be negative"))?;
            if request.labels.is_empty() || request.labels.len() > 10 {
                return Err(E::field("labels", "must be 1 to 10"));
            }
            let labelled = self.catalog.label_parameter(&who, name, version, request.labels, asked);
            let (version, invalid_labels) = labelled.await?;
            let version = number(version);
            Ok(pb::LabelParameterVersionResponse { version, invalid_labels })
        };
        answer(work.await)
    }

    async fn tag_parameter(
        &self,
        request: Request<pb::TagParameterRequest>,
    ) -> Answer<pb::TagParameterResponse> {
        let who = asker(Caller::of_account(&request)?);
        let request = request.into_inner();
        let work = async {
            let asked = asked(&who, "TagParameter", &request.request_id, &request)?;
            let name = ParameterName::parse(&request.name)?;
            let put = request.put_tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
            let remove = request.remove_tag_keys;
            self.catalog.tag_parameter(&who, name, put, remove, asked).await?;
            Ok(pb::TagParameterResponse {})
        };
        answer(work.await)
    }
}

impl Grpc {
    fn list(
        &self,
        asker: &Asker,
        request: pb::ListParametersRequest,
    ) -> Result<pb::ListParametersResponse> {
        let size = page_size(request.page_size, 10)?;
        let token = request.page_token.clone();
        let canonical =
            pb::ListParametersRequest { page_size: 0, page_token: String::new(), ..request };
        let after = PageToken::read(&token, &canonical, &asker.account)?;
        let after = after.map(|key| String::from_utf8(key).map_err(|_| vmint_rpc::BadToken));
        if canonical.filters.len() > MAX_FILTERS {
            return Err(E::field("filters", "may have 50 entries at most"));
        }
        let path = Some(&canonical.path).filter(|path| !path.is_empty());
        let filters = canonical.filters.iter();
        let query = ParameterQuery {
            path: path.map(|path| ParameterPath::parse(path)).transpose()?,
            recursive: canonical.recursive,
            filters: filters
                .map(|filter| ParameterFilter::parse(&filter.name, &filter.values))
                .collect::<Result<_>>()?,
            after: after.transpose()?,
            size,
        };
        let (page, next) = self.catalog.list_parameters(asker, &query)?;
        let next =
            next.map(|name| PageToken::new(name.as_bytes(), &canonical, &asker.account).to_text());
        Ok(pb::ListParametersResponse {
            parameters: page.into_iter().map(|one| message(one, &asker.account)).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    fn history(
        &self,
        asker: &Asker,
        request: pb::ListParameterVersionsRequest,
    ) -> Result<pb::ListParameterVersionsResponse> {
        let size = page_size(request.page_size, LARGEST_PAGE)?;
        let token = request.page_token.clone();
        let canonical =
            pb::ListParameterVersionsRequest { page_size: 0, page_token: String::new(), ..request };
        let after = PageToken::read(&token, &canonical, &asker.account)?;
        let after = match after.map(<[u8; 8]>::try_from) {
            None => 0,
            Some(Ok(version)) => u64::from_be_bytes(version),
            Some(Err(_)) => return Err(vmint_rpc::BadToken.into()),
        };
        let name = ParameterName::parse(&canonical.name)?;
        let mut found = self.catalog.parameter_versions(asker, &name, after, size + 1)?;
        let more = found.len() > size;
        found.truncate(size);
        let next = found.last().filter(|_| more).map(|last| {
            PageToken::new(&last.version.to_be_bytes(), &canonical, &asker.account).to_text()
        });
        Ok(pb::ListParameterVersionsResponse {
            parameters: found.into_iter().map(|one| message(one, &asker.account)).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }
}

#[tonic::async_trait]
impl ParameterInternalService for Internal {
    async fn ensure_parameter(
        &self,
        request: Request<pb::EnsureParameterRequest>,
    ) -> Answer<pb::EnsureParameterResponse> {
        let who = asker(Caller::of(&request)?);
        let request = request.into_inner();
        let work = async {
            let asked = asked(&who, "PutParameter", &request.request_id, &request)?;
            let given = request.parameter.ok_or(E::Missing { field: "parameter" })?;
            let version =
                self.catalog.put_parameter(&who, read(given)?, request.overwrite, asked).await?;
            Ok(pb::EnsureParameterResponse { version: number(version) })
        };
        answer(work.await)
    }

    async fn release_parameters(
        &self,
        request: Request<pb::ReleaseParametersRequest>,
    ) -> Answer<pb::ReleaseParametersResponse> {
        let request = request.into_inner();
        let work = async {
            let step = convert::step(request.saga)?;
            let account = convert::account("account_id", &request.account_id)?.to_string();
            let more = self.catalog.release_parameters(&step, &account).await?;
            Ok(pb::ReleaseParametersResponse { more })
        };
        answer(work.await)
    }
}

fn asked(asker: &Asker, method: &str, id: &str, request: &impl Message) -> Result<Asked> {
    if id.len() > 128 || !id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(E::field("request_id", "must be at most 128 visible ASCII characters"));
    }
    Ok(Asked {
        account: asker.account.clone(),
        method: method.to_owned(),
        digest: *blake3::hash(&request.encode_to_vec()).as_bytes(),
        request_id: id.to_owned(),
    })
}

fn page_size(given: i32, unset: usize) -> Result<usize> {
    match usize::try_from(given) {
        Ok(0) => Ok(unset),
        Ok(size) => Ok(size.min(LARGEST_PAGE)),
        Err(_) => Err(E::field("page_size", "must not be negative")),
    }
}

fn read(given: pb::Parameter) -> Result<Parameter> {
    Ok(Parameter {
        kind: match given.r#type() {
            pb::ParameterType::String => ParameterKind::String,
            pb::ParameterType::StringList => ParameterKind::StringList,
            pb::ParameterType::Unspecified => return Err(E::Missing { field: "parameter.type" }),
        },
        name: ParameterName::parse(&given.name)?,
        data_type: DataType::parse(&given.data_type)?,
        value: given.value,
        description: given.description,
        allowed_pattern: given.allowed_pattern,
        version: 0,
        modified_ms: 0,
        modified_by: given.modified_by,
        labels: Vec::new(),
        tags: changed_tags(
            &BTreeMap::new(),
            &given.tags.into_iter().map(|tag| (tag.key, tag.value)).collect::<Vec<_>>(),
            &[],
        )?,
    })
}

fn message(one: Parameter, account: &str) -> pb::Parameter {
    let kind = match one.kind {
        ParameterKind::String => pb::ParameterType::String,
        ParameterKind::StringList => pb::ParameterType::StringList,
    };
    let account_id = if one.name.is_public() { String::new() } else { account.to_owned() };
    pb::Parameter {
        name: one.name.to_string(),
        r#type: kind.into(),
        value: one.value,
        version: number(one.version),
        data_type: one.data_type.as_str().to_owned(),
        description: one.description,
        allowed_pattern: one.allowed_pattern,
        modify_time: Some(super::image::timestamp(one.modified_ms)),
        modified_by: one.modified_by,
        labels: one.labels,
        account_id,
        tags: one.tags.into_iter().map(|(key, value)| Tag { key, value }).collect(),
    }
}

fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
