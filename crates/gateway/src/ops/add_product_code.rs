use std::time::Duration;

use prost::Message;
use tonic::Status;
use vmint_api::{
    catalog::v1::{EnsureProductCodesRequest, Image},
    gateway::v1::{AddProductCodeRequest, AddProductCodeResponse},
    marketplace::v1::GetProductRequest,
    storage::v1::EnsureSnapshotProductCodesRequest,
};
use vmint_rpc::{Caller, Retry, retry};

use super::{Gateway, asked, has_ended, pending_image::missing, register_image::snapshot_ids};
use crate::{
    GatewayError,
    ops::find_image::state_name,
    peers::Peers,
    saga::{At, Kind, StepError},
};

impl Gateway {
    /// Puts a product of the caller's own on an image of the caller's own.
    pub(crate) async fn add_product_code(
        &self,
        caller: &Caller,
        request: AddProductCodeRequest,
    ) -> Result<AddProductCodeResponse, Status> {
        let asked = asked(caller, "AddProductCode", &request.request_id, &request)?;
        let saga = match self.sagas.replayed(&asked).await? {
            Some(saga) => saga,
            None => {
                let image = self.own_image(caller, &request.image_id).await?;
                self.check_seller(caller, &request.product_code).await?;
                if has_ended(&image) {
                    let state = state_name(image.state());
                    return Err(GatewayError::NotAvailable { id: image.image_id, state }.into());
                }
                if image.public {
                    return Err(GatewayError::Public { id: image.image_id }.into());
                }
                let plan = ProductPlan {
                    snapshot_ids: snapshot_ids(&image),
                    image_id: image.image_id,
                    product_code: request.product_code,
                };
                let subjects = vec![plan.image_id.clone()];
                self.sagas.begin::<AddProduct>(caller, &asked, subjects, &plan).await?
            }
        };
        let memo = self.sagas.to_end::<AddProduct>(saga).await?;
        Ok(AddProductCodeResponse { image: memo.image })
    }

    async fn check_seller(&self, caller: &Caller, code: &str) -> Result<(), Status> {
        let request = GetProductRequest { product_code: code.to_owned() };
        let products = self.peers.products(caller);
        let answer = retry(Retry::default(), || {
            let (mut products, request) = (products.clone(), request.clone());
            async move { products.get_product(request).await }
        });
        let product = answer.await?.into_inner().product.unwrap_or_default();
        if product.seller_id != caller.account {
            return Err(GatewayError::NotSeller { code: code.to_owned() }.into());
        }
        Ok(())
    }
}

/// **record** → snapshots.
#[derive(Debug)]
pub(super) struct AddProduct {
    pub(super) peers: Peers,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Record,
    Snapshots,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProductPlan {
    #[prost(string, tag = "1")]
    image_id: String,
    #[prost(string, tag = "2")]
    product_code: String,
    #[prost(string, repeated, tag = "3")]
    snapshot_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProductMemo {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
}

#[tonic::async_trait]
impl Kind for AddProduct {
    type Step = Step;
    type Request = ProductPlan;
    type Memo = ProductMemo;

    const NAME: &'static str = "add-product";
    const STEPS: &'static [Step] = &[Step::Record, Step::Snapshots];
    const PIVOT: usize = 0;
    const PATIENCE: Duration = Duration::from_secs(45);

    fn name(step: Step) -> &'static str {
        match step {
            Step::Record => "record",
            Step::Snapshots => "snapshots",
        }
    }

    async fn run(
        &self,
        step: Step,
        at: &At,
        plan: &ProductPlan,
        memo: &mut ProductMemo,
    ) -> Result<(), StepError> {
        let (saga, product_codes) = (at.saga_step(), vec![plan.product_code.clone()]);
        match step {
            Step::Record => {
                let request = EnsureProductCodesRequest {
                    saga,
                    image_id: plan.image_id.clone(),
                    account_id: at.account.clone(),
                    product_codes,
                };
                let answer = self.peers.catalog(&at.caller()).ensure_product_codes(request).await?;
                let image = answer.into_inner().image.ok_or_else(|| missing("catalog"))?;
                memo.image = Some(image);
            }
            Step::Snapshots => {
                let snapshot_ids = plan.snapshot_ids.clone();
                let request =
                    EnsureSnapshotProductCodesRequest { saga, snapshot_ids, product_codes };
                let mut storage = self.peers.storage(&at.caller());
                storage.ensure_snapshot_product_codes(request).await?;
            }
        }
        Ok(())
    }

    async fn undo(
        &self,
        _: Step,
        _: &At,
        _: &ProductPlan,
        _: &ProductMemo,
    ) -> Result<(), StepError> {
        // Its first step is the pivot and changes nothing if it fails.
        Ok(())
    }
}
