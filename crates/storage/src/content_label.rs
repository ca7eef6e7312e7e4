//! What a volume's own directory says lies under it.

use std::{fmt, str::FromStr};

use vmint_blocks::Root;

use crate::Content;

/// The text is not the label of a content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not name a content")]
pub struct BadLabel(String);

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.domain, self.root, self.size_bytes)?;
        self.lineage.map_or(Ok(()), |lineage| write!(f, ":{lineage}"))
    }
}

impl FromStr for Content {
    type Err = BadLabel;

    fn from_str(text: &str) -> Result<Self, BadLabel> {
        let bad = || BadLabel(text.to_owned());
        let mut parts = text.splitn(4, ':');
        let domain = parts.next().ok_or_else(bad)?.parse().map_err(|_| bad())?;
        let root: Root = parts.next().ok_or_else(bad)?.parse().map_err(|_| bad())?;
        let size_bytes = parts.next().ok_or_else(bad)?.parse().map_err(|_| bad())?;
        let lineage = parts.next().map(|part| part.parse().map_err(|_| bad())).transpose()?;
        Ok(Self { domain, lineage, root, size_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_reads_back() {
        let content = Content {
            domain: "100000000001".parse().unwrap(),
            lineage: None,
            root: Root::from_bytes([7; 32]),
            size_bytes: 1 << 30,
        };
        assert_eq!(content.to_string().parse(), Ok(content));
        let sealed = Content { lineage: Some(vmint_ids::LineageId::random()), ..content };
        assert_eq!(sealed.to_string().parse(), Ok(sealed));
        assert!("100000000001:zz:1".parse::<Content>().is_err());
    }
}
