//! (stub)
use crate::Result;
pub(crate) fn run() -> Result {
    Err("not written".into())
}
