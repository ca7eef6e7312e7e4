use vmint_ids::InstanceId;

use super::{LAST_WORDS, Launcher};
use crate::{Instance, Result, State, filter::Filters};

/// Records looked at for one page; a page may be short because of it.
const MOST_LOOKED_AT: usize = 5_000;

/// One page of instances, and where more follow.
#[derive(Debug)]
pub struct Page {
    pub instances: Vec<Instance>,
    pub next: Option<InstanceId>,
}

impl Launcher {
    /// Lists the account's instances that `filters` admit, in the order of their ids.
    /// What ended long ago shows only if states or ids are asked for.
    pub fn list(
        &self,
        account: &str,
        filters: &Filters,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page> {
        let forgotten = crate::clock::before(LAST_WORDS);
        let shown = |i: &Instance| {
            let old = i.state == State::Terminated && i.changed_at < forgotten;
            filters.admit(i) && (!old || filters.ask_for_the_ended())
        };
        let mut instances = Vec::new();
        let mut cursor = after.map(<[u8]>::to_vec);
        let mut looked_at = 0;
        loop {
            let step = self.records.page(account, cursor.as_deref(), 200)?;
            for instance in &step {
                looked_at += 1;
                if shown(instance) {
                    instances.push(instance.clone());
                }
                if instances.len() > size || looked_at == MOST_LOOKED_AT {
                    let more = instances.len() > size;
                    instances.truncate(size);
                    let last = if more { instances.last() } else { Some(instance) };
                    let next = last.map(|i| i.id);
                    return Ok(Page { instances, next });
                }
            }
            let Some(last) = step.last() else { return Ok(Page { instances, next: None }) };
            cursor = Some(last.id.to_key().to_vec());
        }
    }
}
