//! Durable typed tables: the journal first, sled as the view.
//!
//! A commit runs on the store's one writer thread, is appended to a journal
//! together with what waits beside it, synced once, applied to the view and
//! answered. The journal is the truth; the view is only what it says, kept
//! ready to read, and is rebuilt from checkpoint and journal when it is not
//! what the journal says.
//!
//! ```
//! # #[derive(Clone, PartialEq, prost::Message)]
//! # struct Image { #[prost(string, tag = "1")] name: String }
//! use vmint_store::{Store, StoreError, Table, TxError};
//!
//! static IMAGES: Table<u64, Image> =
//!     Table::new("images").with_unique("name", |_, image| vec![image.name.clone().into_bytes()]);
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let store = Store::in_memory();
//! let image = Image { name: "base".into() };
//! let done: Result<(), TxError<String>> = store
//!     .commit(move |tx| {
//!         if IMAGES.get(tx, &7)?.is_some() {
//!             return Err(TxError::Refused("7 is taken".into()));
//!         }
//!         Ok(IMAGES.put(tx, &7, &image)?)
//!     })
//!     .await;
//! done.unwrap();
//! assert_eq!(IMAGES.get(&store, &7).unwrap().unwrap().name, "base");
//! # });
//! ```

mod backup;
mod checkpoint;
mod disk;
mod envelope;
mod error;
mod fence;
mod journal;
mod keeper;
mod key;
mod layer;
mod ledger;
mod open;
mod options;
mod outbox;
mod recent;
mod scrub;
mod space;
mod store;
mod table;
mod tx;
mod view;
mod writer;

pub use error::{OrRefuse, StoreError, TxError};
pub use fence::{Fence, Fenced};
pub use key::{Key, Part, prefix};
pub use layer::Read;
pub use ledger::{Asked, Ledger, Reused};
pub use options::Options;
pub use outbox::Event;
pub use scrub::Report;
pub use store::Store;
pub use table::{SCAN_LIMIT, Table};
pub use tx::{MAX_KEY, MAX_TX_BYTES, MAX_TX_WRITES, MAX_VALUE, Tx};
