//! What can be done with parameters.

use vmint_store::Asked;

use crate::{
    Catalog, CatalogError as E, Parameter, ParameterFilter, ParameterName, ParameterPath, Result,
    Selector, Step,
    parameter::{is_label, parse_reference},
};

/// Names that one page may look at, whatever the filters leave of them.
const LOOKED_AT: usize = 500;
/// Parameters that one call of a purge removes.
const AT_ONCE: usize = 50;

/// Who asks about parameters.
#[derive(Debug, Clone)]
pub struct Asker {
    pub account: String,
    /// May change what everybody may read.
    pub operator: bool,
}

/// Which parameters to list.
#[derive(Debug, Clone)]
pub struct ParameterQuery {
    /// None means all of the asker's own.
    pub path: Option<ParameterPath>,
    pub recursive: bool,
    pub filters: Vec<ParameterFilter>,
    /// A name.
    pub after: Option<String>,
    pub size: usize,
}

/// One page, and where the next begins.
pub type ParameterPage = (Vec<Parameter>, Option<String>);

impl Asker {
    /// Whose a parameter of this name is: nobody's, if everybody may read it.
    fn owner(&self, name: &ParameterName) -> String {
        if name.is_public() { String::new() } else { self.account.clone() }
    }

    /// As [`Self::owner`], if the asker may change it.
    fn changes(&self, name: &ParameterName) -> Result<String> {
        if name.is_public() && !self.operator {
            return Err(E::ParameterReserved { name: name.to_string() });
        }
        Ok(self.owner(name))
    }
}

impl Catalog {
    /// The version that `NAME`, `NAME:VERSION` or `NAME:LABEL` means.
    pub fn parameter(&self, who: &Asker, reference: &str) -> Result<Parameter> {
        let (name, which) = parse_reference(reference)?;
        self.parameters.get(&who.owner(&name), &name, &which)
    }

    /// Makes a parameter or its next version; answers which.
    pub async fn put_parameter(
        &self,
        who: &Asker,
        new: Parameter,
        overwrite: bool,
        asked: Asked,
    ) -> Result<u64> {
        let owner = who.changes(&new.name)?;
        new.check()?;
        self.parameters.put(owner, new, overwrite, asked).await
    }

    /// One page of current versions, in the order of their names.
    pub fn list_parameters(&self, who: &Asker, query: &ParameterQuery) -> Result<ParameterPage> {
        let public = query.path.as_ref().is_some_and(ParameterPath::is_public);
        let owner = if public { "" } else { who.account.as_str() };
        let start = query.path.as_ref().map(ParameterPath::start).unwrap_or_default();
        let (mut found, mut after) = (Vec::new(), query.after.clone());
        for _ in 0..LOOKED_AT / 50 {
            let names = self.parameters.names(owner, &start, after.as_deref(), 50)?;
            let last = names.len() < 50;
            for text in names {
                if found.len() == query.size {
                    return Ok((found, after));
                }
                after = Some(text.clone());
                let held = |path: &ParameterPath| path.holds(&text, query.recursive);
                if !query.path.as_ref().is_none_or(held) {
                    continue;
                }
                let name = ParameterName::parse(&text)?;
                match self.parameters.get(owner, &name, &Selector::Current) {
                    Ok(one) if query.filters.iter().all(|filter| filter.passes(&one)) => {
                        found.push(one);
                    }
                    // Gone or grown meanwhile.
                    Ok(_)
                    | Err(E::ParameterNotFound { .. } | E::ParameterVersionNotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            if last {
                return Ok((found, None));
            }
        }
        Ok((found, after))
    }

    /// Up to `size` versions after `after`, the oldest first.
    pub fn parameter_versions(
        &self,
        who: &Asker,
        name: &ParameterName,
        after: u64,
        size: usize,
    ) -> Result<Vec<Parameter>> {
        self.parameters.versions(&who.owner(name), name, after, size)
    }

    /// Ends a parameter and its history.
    pub async fn delete_parameter(
        &self,
        who: &Asker,
        name: ParameterName,
        asked: Asked,
    ) -> Result<()> {
        self.parameters.remove(who.changes(&name)?, name, asked).await
    }

    /// Moves labels to a version; answers which, and those that are no labels.
    pub async fn label_parameter(
        &self,
        who: &Asker,
        name: ParameterName,
        version: u64,
        labels: Vec<String>,
        asked: Asked,
    ) -> Result<(u64, Vec<String>)> {
        let (good, bad) = labels.into_iter().partition::<Vec<_>, _>(|label| is_label(label));
        let owner = who.changes(&name)?;
        let version = self.parameters.label(owner, name, version, good, asked).await?;
        Ok((version, bad))
    }

    /// Takes tags off a parameter and puts others on.
    pub async fn tag_parameter(
        &self,
        who: &Asker,
        name: ParameterName,
        put: Vec<(String, String)>,
        remove: Vec<String>,
        asked: Asked,
    ) -> Result<()> {
        self.parameters.tag(who.changes(&name)?, name, put, remove, asked).await
    }

    /// Removes some of an account's parameters; says whether there may be more.
    pub async fn release_parameters(&self, step: &Step, account: &str) -> Result<bool> {
        for _ in 0..AT_ONCE {
            if !self.parameters.remove_any(step.clone(), account.to_owned()).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
