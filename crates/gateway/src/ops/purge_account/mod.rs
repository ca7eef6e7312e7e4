mod round;

use std::{sync::Arc, time::Duration};

use prost::Message;
use tonic::Status;
use vmint_api::gateway::v1::{PurgeAccountRequest, PurgeAccountResponse};
use vmint_ids::AccountId;
use vmint_rpc::Caller;

use super::{Gateway, asked};
use crate::{
    GatewayError,
    peers::Peers,
    saga::{At, Kind, StepError},
};
use round::Round;

/// How long other operations of the account may take to end first.
const SETTLE: Duration = Duration::from_secs(30);

/// What the gateway itself keeps of accounts.
#[tonic::async_trait]
pub(crate) trait Kept: Send + Sync {
    /// Removes all of an account's.
    async fn clear(&self, account: &str) -> Result<(), Status>;
}

impl Gateway {
    /// Removes every resource of an account. Only in test mode.
    pub(crate) async fn purge_account(
        &self,
        caller: &Caller,
        request: PurgeAccountRequest,
    ) -> Result<PurgeAccountResponse, Status> {
        if !self.test_mode {
            return Err(GatewayError::NotTestMode.into());
        }
        let asked = asked(caller, "PurgeAccount", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let account = request.account_id.parse::<AccountId>().map_err(|_| {
                    GatewayError::invalid("account_id", "must be an account's id, 12 digits")
                })?;
                self.settled(&account.to_string()).await?;
                let plan = PurgePlan { account: account.to_string() };
                let subjects = vec![plan.account.clone()];
                self.sagas.begin::<Purge>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.to_end::<Purge>(saga).await?;
        Ok(PurgeAccountResponse {
            instances: memo.instances,
            images: memo.images,
            volumes: memo.volumes,
            snapshots: memo.snapshots,
            key_pairs: memo.key_pairs,
        })
    }

    /// Waits until nothing of the account's is under way, so that nothing comes
    /// after it is empty.
    async fn settled(&self, account: &str) -> Result<(), Status> {
        let end = tokio::time::Instant::now() + SETTLE;
        while self.sagas.concerns_account(account, Purge::NAME) {
            if tokio::time::Instant::now() > end {
                return Err(GatewayError::AccountBusy { account: account.to_owned() }.into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// **machines** → tasks → images → volumes → snapshots → key pairs → parameters →
/// what the gateway keeps → encryption keys → products and agreements.
pub(super) struct Purge {
    pub(super) peers: Peers,
    pub(super) kept: Arc<dyn Kept>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Machines,
    Tasks,
    Images,
    Volumes,
    Snapshots,
    Keys,
    Parameters,
    Kept,
    EncryptionKeys,
    Market,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PurgePlan {
    #[prost(string, tag = "1")]
    account: String,
}

/// How many of each were removed, as far as is remembered over a restart.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PurgeMemo {
    #[prost(int32, tag = "1")]
    instances: i32,
    #[prost(int32, tag = "2")]
    images: i32,
    #[prost(int32, tag = "3")]
    volumes: i32,
    #[prost(int32, tag = "4")]
    snapshots: i32,
    #[prost(int32, tag = "5")]
    key_pairs: i32,
}

#[tonic::async_trait]
impl Kind for Purge {
    type Step = Step;
    type Request = PurgePlan;
    type Memo = PurgeMemo;

    const NAME: &'static str = "purge";
    const STEPS: &'static [Step] = &[
        Step::Machines,
        Step::Tasks,
        Step::Images,
        Step::Volumes,
        Step::Snapshots,
        Step::Keys,
        Step::Parameters,
        Step::Kept,
        Step::EncryptionKeys,
        Step::Market,
    ];
    const PIVOT: usize = 0;
    const PATIENCE: Duration = Duration::from_mins(5);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Machines => "machines",
            Step::Tasks => "tasks",
            Step::Images => "images",
            Step::Volumes => "volumes",
            Step::Snapshots => "snapshots",
            Step::Keys => "keys",
            Step::Parameters => "parameters",
            Step::Kept => "kept",
            Step::EncryptionKeys => "encryption-keys",
            Step::Market => "market",
        }
    }

    fn logged(_: Step) -> bool {
        true
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        plan: &PurgePlan,
        memo: &mut PurgeMemo,
    ) -> Result<(), StepError> {
        let round = Round { peers: &self.peers, at, account: &plan.account };
        match step {
            Step::Machines => memo.instances += round.machines().await?,
            Step::Tasks => round.tasks().await?,
            Step::Images => memo.images += round.images().await?,
            Step::Volumes => memo.volumes += round.volumes().await?,
            Step::Snapshots => memo.snapshots += round.snapshots().await?,
            Step::Keys => memo.key_pairs += round.keys().await?,
            Step::Parameters => round.parameters().await?,
            Step::Kept => self.kept.clear(&plan.account).await?,
            Step::EncryptionKeys => round.encryption_keys().await?,
            Step::Market => round.market().await?,
        }
        Ok(())
    }

    async fn undo(&self, _: Step, _: &At, _: &PurgePlan, _: &PurgeMemo) -> Result<(), StepError> {
        // What has been removed stays so; asked again, the rest goes too.
        Ok(())
    }
}
