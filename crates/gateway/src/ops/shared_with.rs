use prost::Message;

/// Whom permissions says something is shared with, after the change.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SharedWith {
    #[prost(bool, tag = "1")]
    pub(super) public: bool,
    #[prost(string, repeated, tag = "2")]
    pub(super) account_ids: Vec<String>,
    /// Later changes have higher ones.
    #[prost(uint64, tag = "3")]
    pub(super) revision: u64,
}
