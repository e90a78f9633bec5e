//! Market data of the venues, from their sockets to the topic `ticks`.
//!
//! Each venue is a [`connector::Connector`] (facts and texts) with a pure [`decode::Decoder`] (frames to
//! ticks); one shared supervisor runs them all.

pub mod book;
pub mod connector;
pub mod decode;
pub mod json;
pub mod levels;
pub mod refusal;
pub mod stamp;
pub mod trade_ids;
pub mod venues;
