//! What an operation takes.

use crate::{Code, Error, Params};

/// One operation's parameters. The check before its handler and the
/// compatibility page both come from it, so neither can lie.
///
/// A parameter is written as EC2's clients send it, with `N` for an index
/// and `!` behind one that must be there: `ImageId!`, `Filter.N.Name`.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// EC2's name.
    pub name: &'static str,
    /// The parameters it takes. `Action`, `Version` and `DryRun` go without
    /// saying.
    pub takes: &'static [&'static str],
    /// Structures it takes besides: a name and the parameters inside it.
    pub within: &'static [(&'static str, &'static [&'static str])],
    /// Parameters of EC2 that it takes only with these values; with none at
    /// all where there are none. An empty value is as if it were not sent.
    pub only: &'static [(&'static str, &'static [&'static str])],
    /// The names of the filters it knows; `tag:*` stands for `tag:<key>`.
    pub filters: &'static [&'static str],
}

impl Operation {
    /// An operation that takes these parameters and no filters.
    #[must_use]
    pub const fn new(name: &'static str, takes: &'static [&'static str]) -> Self {
        Self { name, takes, within: &[], only: &[], filters: &[] }
    }

    /// With structures that other operations take too.
    #[must_use]
    pub const fn within(self, within: &'static [(&'static str, &'static [&'static str])]) -> Self {
        Self { within, ..self }
    }

    /// With EC2's parameters that it takes only with some values.
    #[must_use]
    pub const fn only(self, only: &'static [(&'static str, &'static [&'static str])]) -> Self {
        Self { only, ..self }
    }

    /// With the filters it knows.
    #[must_use]
    pub const fn filters(self, filters: &'static [&'static str]) -> Self {
        Self { filters, ..self }
    }

    /// Refuses what the operation does not take, and what is missing: with
    /// `UnknownParameter`, `UnsupportedOperation`, `MissingParameter` or, for
    /// a filter, `InvalidParameterValue`.
    pub fn check(&self, params: &Params) -> Result<(), Error> {
        let mut shapes = Vec::new();
        for (name, value) in params.leaves() {
            let shape = shape(&name);
            if !value.is_empty() || self.takes(&shape) {
                self.check_one(&name, &shape, value)?;
                shapes.push(shape);
            }
        }
        for wanted in self.takes.iter().filter_map(|take| take.strip_suffix('!')) {
            let inside = |shape: &String| {
                shape
                    .strip_prefix(wanted)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            if !shapes.iter().any(inside) {
                return Err(Error::missing(wanted.trim_end_matches(".N")));
            }
        }
        Ok(())
    }

    fn check_one(&self, name: &str, shape: &str, value: &str) -> Result<(), Error> {
        if shape == "DryRun" || self.takes(shape) {
            if shape == "Filter.N.Name" && !self.knows_filter(value) {
                return Err(Error::filter(value));
            }
            return Ok(());
        }
        match self.only.iter().find(|(only, _)| *only == shape) {
            Some((_, values)) if values.contains(&value) => Ok(()),
            Some((_, [])) => {
                let text = format!("The parameter {name} is not supported here; leave it out.");
                Err(Error::new(Code::UnsupportedOperation, text))
            }
            Some((_, values)) => {
                let text = format!(
                    "The value {value:?} of parameter {name} is not supported here; \
                     leave it out or use {}.",
                    values.join(" or ")
                );
                Err(Error::new(Code::UnsupportedOperation, text))
            }
            None => Err(Error::unknown(name)),
        }
    }

    fn takes(&self, shape: &str) -> bool {
        let inside = |(name, inner): &(&str, &[&str])| {
            let inside = shape.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            inside.is_some_and(|inside| inner.contains(&inside))
        };
        self.takes.iter().any(|take| take.trim_end_matches('!') == shape)
            || self.within.iter().any(inside)
    }

    /// Every parameter it takes, as it is written above.
    pub fn parameters(&self) -> impl Iterator<Item = String> {
        let inside = self
            .within
            .iter()
            .flat_map(|(name, inner)| inner.iter().map(move |inner| format!("{name}.{inner}")));
        self.takes.iter().map(|take| (*take).to_owned()).chain(inside)
    }

    fn knows_filter(&self, name: &str) -> bool {
        self.filters.iter().any(|known| {
            *known == name
                || known.strip_suffix('*').is_some_and(|start| {
                    name.strip_prefix(start).is_some_and(|rest| !rest.is_empty())
                })
        })
    }
}

/// The parameter with `N` for every index, and `Filter` for `Filters`.
fn shape(name: &str) -> String {
    let mut shape = String::with_capacity(name.len());
    for (at, part) in name.split('.').enumerate() {
        if at > 0 {
            shape.push('.');
        }
        let index = at > 0 && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        shape.push_str(match part {
            _ if index => "N",
            "Filters" if at == 0 => "Filter",
            part => part,
        });
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIBE: Operation = Operation::new(
        "DescribeThings",
        &["ThingId.N", "Name!", "Filter.N.Name", "Filter.N.Value.N"],
    )
    .within(&[("Part.N", &["Size", "Place.Row"])])
    .only(&[("Kind", &["ebs"]), ("KmsKeyId", &[])])
    .filters(&["state", "tag:*"]);

    fn refused(query: &str) -> String {
        let params = Params::from_query(query).unwrap();
        match DESCRIBE.check(&params) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.code.wire().to_owned(),
        }
    }

    #[test]
    fn what_is_declared_is_what_is_taken() {
        for (query, wanted) in [
            ("Name=a&ThingId.1=b&DryRun=true", "ok"),
            ("Name=a&KmsKeyId=&Nonsense=", "ok"),
            ("Name=a&Kind=ebs", "ok"),
            ("Name=a&Part.1.Size=1&Part.2.Place.Row=b", "ok"),
            ("Name=a&Part.Size=1", "UnknownParameter"),
            ("Name=a&Part.1.Place=1", "UnknownParameter"),
            ("Name=a&Filters.1.Name=tag:Stage&Filters.1.Value.1=x", "ok"),
            ("Name=a&Kind=floppy", "UnsupportedOperation"),
            ("Name=a&KmsKeyId=k", "UnsupportedOperation"),
            ("Name=a&Nonsense=1", "UnknownParameter"),
            ("Name=a&ThingId.1.Name=1", "UnknownParameter"),
            ("Name=a&Filter.1.Name=nonsense", "InvalidParameterValue"),
            ("Name=a&Filter.1.Name=tag:", "InvalidParameterValue"),
            ("ThingId.1=b", "MissingParameter"),
        ] {
            assert_eq!(refused(query), wanted, "{query}");
        }
    }
}
