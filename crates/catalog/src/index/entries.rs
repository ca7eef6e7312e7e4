//! Images by id, by owner, and by who else may see them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use vmint_ids::{AccountId, ImageId};

use crate::{
    Filter, Image, State,
    filter::Seen,
    ops::{Executor, Hinted, Listed, Page, Query},
    store::{Hint, Row, Tags},
};

type Ids = BTreeSet<ImageId>;

#[derive(Debug, Default)]
pub(super) struct Entries {
    by_id: BTreeMap<ImageId, Entry>,
    by_owner: HashMap<AccountId, Ids>,
    shared_with: HashMap<AccountId, Ids>,
    public: Ids,
    /// What accounts noted on images of others.
    viewer_tags: HashMap<AccountId, BTreeMap<ImageId, Arc<Tags>>>,
}

#[derive(Debug)]
struct Entry {
    image: Arc<Image>,
    hint: Hint,
}

impl Entries {
    pub(super) fn put(&mut self, id: ImageId, row: Row) {
        self.remove(id);
        let Row { image, hint } = row;
        self.by_owner.entry(image.owner).or_default().insert(id);
        for account in &hint.accounts {
            self.shared_with.entry(*account).or_default().insert(id);
        }
        if hint.public {
            self.public.insert(id);
        }
        self.by_id.insert(id, Entry { image: Arc::new(image), hint });
    }

    pub(super) fn remove(&mut self, id: ImageId) {
        let Some(old) = self.by_id.remove(&id) else { return };
        take(&mut self.by_owner, old.image.owner, id);
        for account in &old.hint.accounts {
            take(&mut self.shared_with, *account, id);
        }
        self.public.remove(&id);
    }

    pub(super) fn put_viewer_tags(&mut self, viewer: AccountId, id: ImageId, tags: Tags) {
        let of = self.viewer_tags.entry(viewer).or_default();
        if tags.is_empty() {
            of.remove(&id);
        } else {
            of.insert(id, Arc::new(tags));
        }
        if of.is_empty() {
            self.viewer_tags.remove(&viewer);
        }
    }

    pub(super) fn get(&self, id: ImageId) -> Option<Listed> {
        self.by_id.get(&id).map(|entry| entry.listed(None))
    }

    pub(super) fn get_for(&self, id: ImageId, viewer: AccountId) -> Option<Hinted> {
        let entry = self.by_id.get(&id)?;
        let hinted = entry.hint.public || entry.hint.accounts.contains(&viewer);
        Some(Hinted { listed: entry.listed(self.tags_of(entry, viewer)), hinted })
    }

    /// The tags that `viewer` sees on the image; none for its owner's.
    fn tags_of(&self, entry: &Entry, viewer: AccountId) -> Option<Arc<Tags>> {
        (entry.image.owner != viewer).then(|| {
            let of = self.viewer_tags.get(&viewer);
            of.and_then(|of| of.get(&entry.image.id)).cloned().unwrap_or_default()
        })
    }

    pub(super) fn query(&self, query: &Query) -> Page {
        let mut page = Page::default();
        // One more than asked tells whether there is a next page.
        for id in self.candidates(query) {
            let Some(entry) = self.by_id.get(&id) else { continue };
            let tags = self.tags_of(entry, query.account);
            if !entry.meets(query, tags.as_deref()) {
                continue;
            }
            if page.images.len() == query.size {
                page.next = page.images.last().map(|listed| listed.image.id);
                break;
            }
            page.images.push(entry.listed(tags));
        }
        page
    }

    /// Ids that may be answers, ascending, each once: as few as the query's ids
    /// or owners allow.
    fn candidates<'a>(&'a self, query: &'a Query) -> Box<dyn Iterator<Item = ImageId> + 'a> {
        let after = query.after;
        if let Some(named) = query.filters.iter().find_map(Filter::image_ids) {
            let ids: Ids = named.iter().filter_map(|id| id.parse().ok()).collect();
            return Box::new(ids.into_iter().filter(move |id| after.is_none_or(|a| *id > a)));
        }
        let sets: Vec<&Ids> = if query.owners.is_empty() {
            let own = self.by_owner.get(&query.account);
            let shared = self.shared_with.get(&query.account);
            own.into_iter().chain(shared).chain([&self.public]).collect()
        } else {
            let owners: BTreeSet<_> = query.owners.iter().collect();
            owners.into_iter().filter_map(|owner| self.by_owner.get(owner)).collect()
        };
        Box::new(Merge::new(&sets, after))
    }
}

fn take(map: &mut HashMap<AccountId, Ids>, account: AccountId, id: ImageId) {
    if let Some(ids) = map.get_mut(&account) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(&account);
        }
    }
}

impl Entry {
    fn listed(&self, viewer_tags: Option<Arc<Tags>>) -> Listed {
        Listed { image: Arc::clone(&self.image), public: self.hint.public, viewer_tags }
    }

    fn meets(&self, query: &Query, viewer_tags: Option<&Tags>) -> bool {
        let image = &self.image;
        let own = image.owner == query.account;
        let visible = match image.state {
            State::Available => {
                own || self.hint.public || self.hint.accounts.contains(&query.account)
            }
            State::Pending => own,
            State::Failed | State::Deregistered => own && query.include_ended,
        };
        let seen = Seen { image, public: self.hint.public, viewer_tags };
        visible
            && (query.owners.is_empty() || query.owners.contains(&image.owner))
            && (query.executable_by.is_empty()
                || query.executable_by.iter().any(|who| self.is_shared(query.account, *who)))
            && query.filters.iter().all(|filter| filter.passes(&seen))
    }
}

impl Entry {
    fn is_shared(&self, asker: AccountId, who: Executor) -> bool {
        match who {
            Executor::Everybody => self.hint.public,
            Executor::Asker => self.hint.accounts.contains(&asker),
            // Naming oneself is what `self` is.
            Executor::Account(named) => {
                (named == asker || self.image.owner == asker) && self.hint.accounts.contains(&named)
            }
        }
    }
}

/// Several ascending sets as one, without what they share.
struct Merge<'a> {
    heads: Vec<(ImageId, std::collections::btree_set::Range<'a, ImageId>)>,
}

impl<'a> Merge<'a> {
    fn new(sets: &[&'a Ids], after: Option<ImageId>) -> Self {
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let heads = sets.iter().filter_map(|set| {
            let mut rest = set.range((lower, Bound::Unbounded));
            Some((*rest.next()?, rest))
        });
        Self { heads: heads.collect() }
    }
}

impl Iterator for Merge<'_> {
    type Item = ImageId;

    fn next(&mut self) -> Option<ImageId> {
        let least = self.heads.iter().map(|head| head.0).min()?;
        self.heads.retain_mut(|(head, rest)| {
            if *head == least {
                match rest.next() {
                    Some(next) => *head = *next,
                    None => return false,
                }
            }
            true
        });
        Some(least)
    }
}
