//! Round trips, golden bytes, and parsers that meet arbitrary bytes.

mod formats;
mod offload;
mod session;
mod tcp;

use weave_model::ShortId;

fn id(number: u16) -> ShortId {
    ShortId::new(number).unwrap()
}
