use std::collections::BTreeSet;

use vmint_ids::InstanceId;

use super::{LAST_WORDS, Launcher};
use crate::{Instance, LauncherError, Result, State, filter::Filters};

/// Records looked at for one page; a page may be short because of it.
const MOST_LOOKED_AT: usize = 5_000;
const MOST_IDS: usize = 1_000;

/// Which instances to list.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only these; all must exist and be the account's. Empty for every one.
    pub ids: Vec<String>,
    pub filters: Filters,
}

/// One page of instances, and where more follow.
#[derive(Debug)]
pub struct Page {
    pub instances: Vec<Instance>,
    pub next: Option<InstanceId>,
}

impl Launcher {
    /// Lists the account's instances that `query` admits, in the order of their ids.
    /// What ended long ago shows only if states or ids are asked for.
    pub fn list(
        &self,
        account: &str,
        query: &Query,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page> {
        if !query.ids.is_empty() {
            return self.list_named(account, query, after, size);
        }
        let filters = &query.filters;
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

    fn list_named(
        &self,
        account: &str,
        query: &Query,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page> {
        if query.ids.len() > MOST_IDS {
            return Err(LauncherError::field("instance_ids", "give at most 1000"));
        }
        let (mut found, mut missing) = (Vec::new(), BTreeSet::new());
        for text in &query.ids {
            let known = match text.parse() {
                Ok(id) => self.records.get(id)?.filter(|i| i.account == account),
                Err(_) => None,
            };
            match known {
                Some(instance) => found.push(instance),
                None => drop(missing.insert(text.chars().take(64).collect::<String>())),
            }
        }
        if !missing.is_empty() {
            // Enough to tell by; a message has its bounds.
            let id = missing.into_iter().take(20).collect::<Vec<_>>().join(", ");
            return Err(LauncherError::NoSuchInstance { id });
        }
        found.sort_unstable_by_key(|i| i.id.to_key());
        found.dedup_by_key(|i| i.id);
        found.retain(|i| {
            after.is_none_or(|after| i.id.to_key().as_slice() > after) && query.filters.admit(i)
        });
        let more = found.len() > size;
        found.truncate(size);
        let next = found.last().filter(|_| more).map(|i| i.id);
        Ok(Page { instances: found, next })
    }
}
