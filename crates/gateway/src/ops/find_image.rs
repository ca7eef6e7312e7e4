use std::collections::HashMap;

use tonic::Status;
use vmint_api::{
    catalog::v1::{
        BatchGetImagesRequest, BatchGetImagesResponse, Image, ImageState, QueryImagesRequest,
    },
    permissions::v1::{BatchCheckRequest, CheckResult, ImageAction},
    types::v1::Filter,
};
use vmint_ids::ImageId;
use vmint_rpc::{Caller, Retry, retry};

use super::{Gateway, has_ended};
use crate::GatewayError;

impl Gateway {
    /// Looks up an image that `caller` may see, by id or by own name.
    pub(crate) async fn get_image(
        &self,
        caller: &Caller,
        reference: &str,
    ) -> Result<Image, Status> {
        let (image, check) = self.find_image(caller, reference, ImageAction::Describe).await?;
        Ok(shown(caller, image, &check))
    }

    /// The image, and whether `caller` may do `action` with it. It is as if it
    /// were not there if the caller may not know of it.
    pub(super) async fn find_image(
        &self,
        caller: &Caller,
        reference: &str,
        action: ImageAction,
    ) -> Result<(Image, CheckResult), Status> {
        if reference.is_empty() {
            return Err(GatewayError::invalid("image_id", "must be set").into());
        }
        let by_id = reference.parse::<ImageId>().is_ok();
        let id = if by_id {
            reference.to_owned()
        } else {
            match self.own_image_named(caller, reference).await? {
                Some(image) => image.image_id,
                None => return Err(self.no_image(caller, reference).await),
            }
        };
        // Both are always asked, so that the time tells nothing either.
        let ids = std::slice::from_ref(&id);
        let (images, checks) =
            tokio::join!(self.get_images(caller, ids), self.check(caller, action, ids));
        let (image, check) = (images?.pop(), checks?.pop());
        match (image, check) {
            (Some(image), Some(check)) if check.visible => Ok((image, check)),
            // Permissions have forgotten it; its owner may still read of it.
            (Some(image), _) if has_ended(&image) && image.owner_id == caller.account => {
                let owner_id = image.owner_id.clone();
                let check = CheckResult {
                    image_id: id,
                    allowed: true,
                    visible: true,
                    public: false,
                    owner_id,
                };
                Ok((image, check))
            }
            _ => Err(self.no_image(caller, reference).await),
        }
    }

    /// An image that `caller` owns.
    pub(super) async fn own_image(
        &self,
        caller: &Caller,
        reference: &str,
    ) -> Result<Image, Status> {
        let (image, check) = self.find_image(caller, reference, ImageAction::Manage).await?;
        if !check.allowed {
            return Err(GatewayError::NotOwner { id: image.image_id }.into());
        }
        Ok(image)
    }

    #[cfg(test)]
    pub(crate) async fn own_image_error(&self, caller: &Caller, reference: &str) -> Status {
        self.own_image(caller, reference).await.unwrap_err()
    }

    /// Decides about many images at once, in their order.
    pub(super) async fn check(
        &self,
        caller: &Caller,
        action: ImageAction,
        ids: &[String],
    ) -> Result<Vec<CheckResult>, Status> {
        let request = BatchCheckRequest {
            account_id: caller.account.clone(),
            action: action.into(),
            image_ids: ids.to_vec(),
        };
        let permissions = self.peers.permissions(&on_behalf(caller));
        let answer = retry(Retry::default(), || {
            let (mut permissions, request) = (permissions.clone(), request.clone());
            async move { permissions.batch_check(request).await }
        });
        let results = answer.await?.into_inner().results;
        let mut results =
            results.into_iter().map(|r| (r.image_id.clone(), r)).collect::<HashMap<_, _>>();
        // What is not answered for is not allowed.
        Ok(ids.iter().map(|id| results.remove(id).unwrap_or_default()).collect())
    }

    /// Those of the images that `caller` may know of, or might when they ended;
    /// others are left out. At most 1000 ids.
    pub(crate) async fn visible_images(
        &self,
        caller: &Caller,
        ids: &[String],
    ) -> Result<Vec<Image>, Status> {
        let (found, checks) = tokio::join!(
            self.batch_get(caller, ids),
            self.check(caller, ImageAction::Describe, ids)
        );
        let BatchGetImagesResponse { images, hinted_image_ids: hinted } = found?;
        let visible = checks?.into_iter().filter(|check| check.visible);
        let visible =
            visible.map(|check| (check.image_id.clone(), check)).collect::<HashMap<_, _>>();
        let shown = images.into_iter().filter_map(|image| {
            if let Some(check) = visible.get(&image.image_id) {
                return Some(shown(caller, image, check));
            }
            // Permissions have forgotten what ended; the hints have not.
            let known = image.owner_id == caller.account || hinted.contains(&image.image_id);
            let known = known && has_ended(&image);
            known.then(|| shown(caller, image, &CheckResult::default()))
        });
        Ok(shown.collect())
    }

    /// Records by id, with the tags that `caller` sees; unknown ids are left out.
    pub(crate) async fn get_images(
        &self,
        caller: &Caller,
        ids: &[String],
    ) -> Result<Vec<Image>, Status> {
        Ok(self.batch_get(caller, ids).await?.images)
    }

    async fn batch_get(
        &self,
        caller: &Caller,
        ids: &[String],
    ) -> Result<BatchGetImagesResponse, Status> {
        let catalog = self.peers.catalog(&on_behalf(caller));
        let account_id = caller.account.clone();
        let request = BatchGetImagesRequest { image_ids: ids.to_vec(), account_id };
        let answer = retry(Retry::default(), || {
            let (mut catalog, request) = (catalog.clone(), request.clone());
            async move { catalog.batch_get_images(request).await }
        });
        Ok(answer.await?.into_inner())
    }

    async fn own_image_named(&self, caller: &Caller, name: &str) -> Result<Option<Image>, Status> {
        // Filters take wildcards; names have none.
        if name.len() > 128 || name.contains(['*', '?', '\\']) {
            return Ok(None);
        }
        let filter = Filter { name: "name".to_owned(), values: vec![name.to_owned()] };
        let found = self.query(caller, vec![filter], 10).await?;
        Ok(found.into_iter().find(|image| image.name == name))
    }

    async fn query(
        &self,
        caller: &Caller,
        filters: Vec<Filter>,
        page_size: i32,
    ) -> Result<Vec<Image>, Status> {
        let request = QueryImagesRequest {
            account_id: caller.account.clone(),
            owners: vec!["self".to_owned()],
            filters,
            page_size,
            ..QueryImagesRequest::default()
        };
        let catalog = self.peers.catalog(&on_behalf(caller));
        let answer = retry(Retry::default(), || {
            let (mut catalog, request) = (catalog.clone(), request.clone());
            async move { catalog.query_images(request).await }
        });
        Ok(answer.await?.into_inner().images)
    }

    /// The refusal, with the nearest name among the caller's own images.
    async fn no_image(&self, caller: &Caller, reference: &str) -> Status {
        let own = if reference.parse::<ImageId>().is_ok() || reference.len() > 128 {
            Vec::new()
        } else {
            self.query(caller, Vec::new(), 200).await.unwrap_or_default()
        };
        let nearest = nearest(reference, own.iter().map(|image| image.name.as_str()));
        let nearest = nearest.map(str::to_owned);
        let reference = reference.chars().take(128).collect();
        GatewayError::NoImage { reference, nearest }.into()
    }
}

/// The gateway's own call, under the request id of `caller`.
pub(super) fn on_behalf(caller: &Caller) -> Caller {
    Caller { request_id: caller.request_id.clone(), ..Caller::service(vmint_rpc::GATEWAY) }
}

/// The image, which the catalog answered for `caller`, as it may read it.
pub(super) fn shown(caller: &Caller, mut image: Image, check: &CheckResult) -> Image {
    image.public = check.public;
    if image.owner_id != caller.account {
        image.source_instance_id.clear();
    }
    image
}

pub(super) fn state_name(state: ImageState) -> &'static str {
    match state {
        ImageState::Unspecified => "in no known state",
        ImageState::Pending => "pending",
        ImageState::Available => "available",
        ImageState::Failed => "failed",
        ImageState::Deregistered => "deregistered",
    }
}

/// The candidate that takes the fewest edits to become `wanted`, if few enough.
pub(crate) fn nearest<'a>(
    wanted: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let (edits, best) = candidates.map(|c| (edits(wanted, c), c)).min()?;
    (edits <= 1 + wanted.chars().count() / 4).then_some(best)
}

fn edits(a: &str, b: &str) -> usize {
    let b = b.chars().collect::<Vec<_>>();
    let mut row = (0..=b.len()).collect::<Vec<_>>();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let swapped = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = swapped.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_pen_is_found_and_a_stranger_is_not() {
        let names = ["web-frontend", "database"];
        assert_eq!(nearest("web-fronted", names.into_iter()), Some("web-frontend"));
        assert_eq!(nearest("mailserver", names.into_iter()), None);
        assert_eq!(nearest("x", [].into_iter()), None);
    }
}
