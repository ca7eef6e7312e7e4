//! SSM's parameters: JSON 1.1.

mod change;
mod look;
mod refusal;
mod shape;
mod tags;

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Map, Value};
use vmint_ec2::{
    Reply,
    json::{self, JsonError, Target},
};
use vmint_rpc::{Caller, Observer as _};

use super::{Asked, Front, code_of, replay};
use refusal::refused;

const SERVICE: &str = "AmazonSSM";

type Answer = Result<Value, JsonError>;

/// One operation of SSM: what it takes and who does it.
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) takes: &'static [&'static str],
    /// Members of SSM's that are not supported; refused unless they say
    /// nothing.
    pub(super) refuses: &'static [&'static str],
    mutates: bool,
    run: fn(Ask) -> BoxFuture<'static, Answer>,
}

macro_rules! operations {
    ($($kind:ident $name:literal takes $takes:expr, refuses $refuses:expr => $run:path;)*) => {
        /// Every operation.
        pub(super) static OPERATIONS: &[Operation] = &[$(Operation {
            name: $name,
            takes: &$takes,
            refuses: &$refuses,
            mutates: operations!(@ $kind),
            run: |ask| Box::pin($run(ask)),
        },)*];
    };
    (@ reads) => { false };
    (@ writes) => { true };
}

operations! {
    writes "AddTagsToResource" takes ["ResourceType", "ResourceId", "Tags"],
        refuses [] => tags::add;
    writes "DeleteParameter" takes ["Name"], refuses [] => change::delete_parameter;
    writes "DeleteParameters" takes ["Names"], refuses [] => change::delete_parameters;
    reads "DescribeParameters" takes ["ParameterFilters", "MaxResults", "NextToken"],
        refuses ["Filters", "Shared"] => look::describe_parameters;
    reads "GetParameter" takes ["Name", "WithDecryption"], refuses [] => look::get_parameter;
    reads "GetParameterHistory" takes ["Name", "MaxResults", "NextToken", "WithDecryption"],
        refuses [] => look::get_parameter_history;
    reads "GetParameters" takes ["Names", "WithDecryption"], refuses [] => look::get_parameters;
    reads "GetParametersByPath"
        takes ["Path", "Recursive", "ParameterFilters", "MaxResults", "NextToken", "WithDecryption"],
        refuses [] => look::get_parameters_by_path;
    writes "LabelParameterVersion" takes ["Name", "ParameterVersion", "Labels"],
        refuses [] => change::label_parameter_version;
    reads "ListTagsForResource" takes ["ResourceType", "ResourceId"], refuses [] => tags::list;
    writes "PutParameter"
        takes [
            "Name", "Value", "Type", "Description", "Overwrite", "AllowedPattern", "DataType",
            "Tags", "Tier"
        ],
        refuses ["KeyId", "Policies"] => change::put_parameter;
    writes "RemoveTagsFromResource" takes ["ResourceType", "ResourceId", "TagKeys"],
        refuses [] => tags::remove;
}

/// One request for an operation.
struct Ask {
    front: Arc<Front>,
    caller: Caller,
    body: Value,
    /// The same for a request sent again as it was signed.
    replay_id: String,
}

impl Ask {
    fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, JsonError> {
        T::deserialize(&self.body)
            .map_err(|error| JsonError::new("SerializationException", error.to_string()))
    }

    /// The name that a name or an ARN means.
    fn reference(&self, text: &str) -> Result<String, JsonError> {
        let meant = vmint_ec2::ssm::reference(text, &self.caller.account);
        meant.ok_or_else(refusal::not_found)
    }
}

impl Front {
    /// Answers a request about parameters, whose signature is verified.
    pub(super) async fn parameters(
        self: &Arc<Self>,
        asked: Asked<'_>,
        request_id: &str,
        source: &str,
    ) -> Reply {
        let target = Target::parse(asked.head.target());
        let found = target.ok().filter(|target| target.service == SERVICE).and_then(|target| {
            OPERATIONS.iter().find(|operation| operation.name == target.operation)
        });
        let Some(operation) = found else {
            self.unknown(asked.service, asked.head.target());
            return Reply::json_error(&JsonError::unknown_operation(), request_id);
        };
        tracing::Span::current().record("action", operation.name);
        let path = format!("ssm:{}", operation.name);
        self.metrics.started(&path);
        let begun = std::time::Instant::now();
        let invocation = asked.head.header("amz-sdk-invocation-id");
        let (key_id, signature) = (&asked.who.key_id, &asked.signature);
        let turn =
            operation.mutates.then(|| self.replays.turn(key_id, signature, invocation.is_some()));
        let before = turn.as_ref().map_or(0, |turn| turn.before);
        let replay_id = replay::request_id(key_id, signature, invocation, before);
        let answer = async {
            let caller = asked.who.caller(request_id, source);
            match self.asked_of(operation, &asked, caller, replay_id).await {
                Ok(answer) => Reply::json(request_id, &answer),
                Err(error) => Reply::json_error(&error, request_id),
            }
        };
        let reply = match turn {
            Some(turn) => turn.once(answer).await,
            None => answer.await,
        };
        self.metrics.handled(&path, code_of(reply.status), begun.elapsed());
        reply
    }

    async fn asked_of(
        self: &Arc<Self>,
        operation: &Operation,
        asked: &Asked<'_>,
        caller: Caller,
        replay_id: String,
    ) -> Answer {
        if operation.mutates && asked.who.read_only {
            let text = "The access key may only read.";
            return Err(JsonError::new("AccessDeniedException", text));
        }
        let body: Map<String, Value> = json::read(&asked.body)?;
        let further = body.iter().find(|(name, value)| {
            !operation.takes.contains(&name.as_str()) && !says_nothing(value)
        });
        if let Some((name, _)) = further {
            let known = operation.refuses.contains(&name.as_str());
            let why = if known { "not supported" } else { "not known" };
            let name = name.chars().take(64).collect::<String>();
            let text = format!("The member {name} is {why} here; leave it out.");
            return Err(JsonError::new("ValidationException", text));
        }
        let ask = Ask { front: self.clone(), caller, body: Value::Object(body), replay_id };
        (operation.run)(ask).await
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
