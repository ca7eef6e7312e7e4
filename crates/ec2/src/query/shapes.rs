//! Structures that many operations share.

use super::Params;
use crate::{Code, Error};

/// One filter: any of the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub name: String,
    pub values: Vec<String>,
}

/// A tag; its value may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

/// Tags for what a call makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSpecification {
    /// For example `image`.
    pub resource_type: String,
    pub tags: Vec<Tag>,
}

/// Which page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// None means all: nothing may be left out.
    pub max_results: Option<u32>,
    pub next_token: Option<String>,
}

/// One disk of an image or of a launch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockDeviceMapping {
    pub device_name: Option<String>,
    /// Sent at all, be it empty: leave the disk out.
    pub no_device: bool,
    /// For example `ephemeral0`.
    pub virtual_name: Option<String>,
    pub ebs: Option<Ebs>,
}

/// What a disk begins as. None is what was not sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ebs {
    pub snapshot_id: Option<String>,
    /// In GiB.
    pub volume_size: Option<i32>,
    pub volume_type: Option<String>,
    pub iops: Option<i32>,
    pub throughput: Option<i32>,
    pub delete_on_termination: Option<bool>,
    pub encrypted: Option<bool>,
    pub kms_key_id: Option<String>,
}

impl Params {
    /// `Filter.N.Name` with `Filter.N.Value.M`, or `Filters.N…`; at most 200
    /// values in all.
    pub fn filters(&mut self) -> Result<Vec<Filter>, Error> {
        let read = |filter: &mut Self| {
            let name = filter.need("Name")?;
            let mut values = filter.list_with_empty("Value")?;
            values.extend(filter.list_with_empty("Values")?);
            if values.is_empty() {
                let text = format!("The filter '{name}' has no value; give at least one.");
                return Err(Error::new(Code::InvalidParameterValue, text));
            }
            filter.finish()?;
            Ok(Filter { name, values })
        };
        let mut filters = self.each("Filter", read)?;
        filters.extend(self.each("Filters", read)?);
        if filters.iter().map(|filter| filter.values.len()).sum::<usize>() > 200 {
            let text = "The filters have more than 200 values in all.";
            return Err(Error::new(Code::FilterLimitExceeded, text));
        }
        Ok(filters)
    }

    fn list_with_empty(&mut self, name: &str) -> Result<Vec<String>, Error> {
        let elements = self.indexed(name)?;
        Ok(elements.into_iter().filter_map(|(_, node)| node.value).collect())
    }

    /// `Tag.N.Key` with `Tag.N.Value`; no value is the empty one. A key given
    /// twice is refused.
    pub fn tags(&mut self) -> Result<Vec<Tag>, Error> {
        let tags = self.each("Tag", |tag| {
            let read = Tag { key: tag.need("Key")?, value: tag.raw("Value")?.unwrap_or_default() };
            tag.finish()?;
            Ok(read)
        })?;
        let mut keys = tags.iter().map(|tag| tag.key.as_str()).collect::<Vec<_>>();
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                let text = format!("The tag key '{}' is given more than once.", pair[0]);
                Err(Error::new(Code::InvalidParameterValue, text))
            }
            None => Ok(tags),
        }
    }

    /// `TagSpecification.N`, whose types must be among `allowed`, each once.
    pub fn tag_specifications(&mut self, allowed: &[&str]) -> Result<Vec<TagSpecification>, Error> {
        let specifications = self.each("TagSpecification", |inner| {
            let resource_type = inner.need("ResourceType")?;
            if !allowed.contains(&resource_type.as_str()) {
                let text = format!(
                    "'{resource_type}' is not a valid taggable resource type for this operation."
                );
                return Err(Error::new(Code::InvalidParameterValue, text));
            }
            let tags = inner.tags()?;
            inner.finish()?;
            Ok(TagSpecification { resource_type, tags })
        })?;
        for (at, one) in specifications.iter().enumerate() {
            if specifications[..at].iter().any(|other| other.resource_type == one.resource_type) {
                let text = format!("The resource type '{}' is tagged twice.", one.resource_type);
                return Err(Error::new(Code::InvalidParameterValue, text));
            }
        }
        Ok(specifications)
    }

    /// The tags for `resource_type` among [`Params::tag_specifications`].
    #[must_use]
    pub fn tags_for(specifications: &[TagSpecification], resource_type: &str) -> Vec<Tag> {
        let of_type = specifications.iter().filter(|one| one.resource_type == resource_type);
        of_type.flat_map(|one| one.tags.clone()).collect()
    }

    /// `MaxResults`, from `least` to `most`, and `NextToken`.
    pub fn page(&mut self, least: u32, most: u32) -> Result<Page, Error> {
        let max_results = self.number::<i64>("MaxResults")?;
        if let Some(wrong) = max_results.filter(|max| !(least.into()..=most.into()).contains(max)) {
            let why = format!("Expecting a value between {least} and {most}.");
            return Err(Error::invalid("MaxResults", &wrong.to_string(), &why));
        }
        Ok(Page {
            max_results: max_results.and_then(|max| max.try_into().ok()),
            next_token: self.text("NextToken")?,
        })
    }

    /// `BlockDeviceMapping.N`. A mapping without a device name, or a name
    /// mapped twice, is refused; fields that [`Ebs`] lacks are left for the
    /// operation's own check.
    pub fn block_device_mappings(&mut self) -> Result<Vec<BlockDeviceMapping>, Error> {
        let mappings = self.each("BlockDeviceMapping", |mapping| {
            let ebs = mapping.inside("Ebs", |ebs| {
                Ok(Ebs {
                    snapshot_id: ebs.text("SnapshotId")?,
                    volume_size: ebs.number("VolumeSize")?,
                    volume_type: ebs.text("VolumeType")?,
                    iops: ebs.number("Iops")?,
                    throughput: ebs.number("Throughput")?,
                    delete_on_termination: ebs.flag("DeleteOnTermination")?,
                    encrypted: ebs.flag("Encrypted")?,
                    kms_key_id: ebs.text("KmsKeyId")?,
                })
            })?;
            Ok(BlockDeviceMapping {
                no_device: mapping.has("NoDevice") && mapping.raw("NoDevice")?.is_some(),
                device_name: mapping.text("DeviceName")?,
                virtual_name: mapping.text("VirtualName")?,
                ebs,
            })
        })?;
        let mut seen = Vec::new();
        for mapping in &mappings {
            let Some(name) = &mapping.device_name else {
                return Err(Error::missing("BlockDeviceMapping.N.DeviceName"));
            };
            if seen.contains(&name) {
                let text = format!("The device '{name}' is mapped more than once.");
                return Err(Error::new(Code::InvalidBlockDeviceMapping, text));
            }
            seen.push(name);
        }
        Ok(mappings)
    }
}
