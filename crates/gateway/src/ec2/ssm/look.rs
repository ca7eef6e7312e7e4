//! What only reads.

use serde_json::{Value, json};
use vmint_api::{
    catalog::v1::{
        GetParameterRequest, ListParameterVersionsRequest, ListParametersRequest, Parameter,
    },
    types::v1::Filter,
};
use vmint_ec2::{
    json::JsonError,
    ssm::{
        DescribeParameters, OneParameter, ParameterFilter, ParameterHistory, ParametersByPath,
        SomeParameters, max_results,
    },
};

use super::{Answer, Ask, refusal::not_found, refused, shape};

pub(super) async fn get_parameter(ask: Ask) -> Answer {
    let asked: OneParameter = ask.read()?;
    let reference = ask.reference(&asked.name)?;
    let found = ask.get(&reference).await?;
    Ok(json!({ "Parameter": shape::shown(found, ask.front.regions.own(), &reference) }))
}

pub(super) async fn get_parameters(ask: Ask) -> Answer {
    let asked: SomeParameters = ask.read()?;
    asked.check()?;
    let (mut found, mut invalid) = (Vec::new(), Vec::new());
    for name in asked.names {
        let one = match ask.reference(&name) {
            Ok(reference) => ask.get(&reference).await.map(|one| (one, reference)),
            Err(error) => Err(error),
        };
        match one {
            Ok((one, reference)) => {
                found.push(shape::shown(one, ask.front.regions.own(), &reference));
            }
            Err(error) if error.status == 400 => invalid.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(json!({ "Parameters": found, "InvalidParameters": invalid }))
}

pub(super) async fn get_parameters_by_path(ask: Ask) -> Answer {
    let asked: ParametersByPath = ask.read()?;
    if !asked.path.starts_with('/') {
        let text = "The parameter doesn't meet the parameter name requirements: a path begins \
                    with a slash.";
        return Err(JsonError::new("ValidationException", text));
    }
    let mut request = ListParametersRequest {
        path: asked.path,
        recursive: asked.recursive,
        page_size: max_results(asked.max_results, 10)?,
        page_token: asked.next_token,
        ..ListParametersRequest::default()
    };
    for given in &asked.parameter_filters {
        if !matches!(given.key.as_str(), "Type" | "KeyId" | "Label" | "DataType") {
            let text = format!("The filter key {} is not valid here.", given.key);
            return Err(JsonError::new("InvalidFilterKey", text));
        }
        filter(&mut request, given)?;
    }
    let (page, next) = ask.list(request).await?;
    let page = page.into_iter().map(|one| shape::shown(one, ask.front.regions.own(), ""));
    Ok(paged("Parameters", &page.collect::<Vec<_>>(), next))
}

pub(super) async fn describe_parameters(ask: Ask) -> Answer {
    let asked: DescribeParameters = ask.read()?;
    let mut request = ListParametersRequest {
        page_size: max_results(asked.max_results, 50)?,
        page_token: asked.next_token,
        ..ListParametersRequest::default()
    };
    for given in &asked.parameter_filters {
        filter(&mut request, given)?;
    }
    let (page, next) = ask.list(request).await?;
    let page = page.into_iter().map(|one| shape::described(one, ask.front.regions.own()));
    Ok(paged("Parameters", &page.collect::<Vec<_>>(), next))
}

pub(super) async fn get_parameter_history(ask: Ask) -> Answer {
    let asked: ParameterHistory = ask.read()?;
    let request = ListParameterVersionsRequest {
        name: ask.reference(&asked.name)?,
        page_size: max_results(asked.max_results, 50)?,
        page_token: asked.next_token,
    };
    let mut catalog = ask.front.gateway.peers.parameters(&ask.caller);
    let page = catalog.list_parameter_versions(request).await.map_err(refused)?.into_inner();
    let versions = page.parameters.into_iter().map(shape::version).collect::<Vec<_>>();
    Ok(paged("Parameters", &versions, page.next_page_token))
}

impl Ask {
    /// The version that `NAME`, `NAME:VERSION` or `NAME:LABEL` means.
    pub(super) async fn get(&self, reference: &str) -> Result<Parameter, JsonError> {
        let request = GetParameterRequest { name: reference.to_owned() };
        let mut catalog = self.front.gateway.peers.parameters(&self.caller);
        let found = catalog.get_parameter(request).await.map_err(refused)?.into_inner();
        found.parameter.ok_or_else(not_found)
    }

    async fn list(
        &self,
        request: ListParametersRequest,
    ) -> Result<(Vec<Parameter>, String), JsonError> {
        let mut catalog = self.front.gateway.peers.parameters(&self.caller);
        let page = catalog.list_parameters(request).await.map_err(refused)?.into_inner();
        Ok((page.parameters, page.next_page_token))
    }
}

/// Adds one of SSM's conditions to a listing.
fn filter(request: &mut ListParametersRequest, given: &ParameterFilter) -> Result<(), JsonError> {
    let option = given.option.as_deref().unwrap_or("Equals");
    let wrong = || {
        let text = format!("The option {option} is not valid for the filter key {}.", given.key);
        Err(JsonError::new("InvalidFilterOption", text))
    };
    let name = match given.key.as_str() {
        "Path" => {
            let [path] = given.values.as_slice() else {
                let text = "The filter key Path takes one value here.";
                return Err(JsonError::new("InvalidFilterValue", text));
            };
            request.path.clone_from(path);
            request.recursive = match given.option.as_deref() {
                Some("Recursive") => true,
                Some("OneLevel") | None => false,
                Some(_) => return wrong(),
            };
            return Ok(());
        }
        "Name" => "name",
        "Type" => "type",
        "DataType" => "data-type",
        "Label" => "label",
        "KeyId" | "Tier" => {
            // Nothing is encrypted, and all is of one tier.
            let all = given.key == "Tier" && given.values.iter().any(|value| value == shape::TIER);
            let values = vec![if all { "*" } else { "-" }.to_owned()];
            request.filters.push(Filter { name: "type".to_owned(), values });
            return Ok(());
        }
        _ => {
            let text = format!("The filter key {} is not valid.", given.key);
            return Err(JsonError::new("InvalidFilterKey", text));
        }
    };
    let values = given.values.iter().map(|value| {
        let literal = value.replace('\\', r"\\").replace('*', r"\*").replace('?', r"\?");
        match option {
            "BeginsWith" => format!("{literal}*"),
            "Contains" => format!("*{literal}*"),
            _ => literal,
        }
    });
    if !matches!(option, "Equals" | "BeginsWith" | "Contains")
        || name != "name" && option == "Contains"
    {
        return wrong();
    }
    request.filters.push(Filter { name: name.to_owned(), values: values.collect() });
    Ok(())
}

fn paged(name: &str, page: &impl serde::Serialize, next: String) -> Value {
    let mut answer = json!({ name: page });
    if !next.is_empty() {
        answer["NextToken"] = Value::String(next);
    }
    answer
}
