//! rtun's Web API: GOST's paths, which read and change the configuration, and rtun's own under `/v1`, which show what runs.
//!
//! [`ApiServer`] listens and answers. It changes nothing itself: it hands an [`Order`] to the process, whose [`OrderQueue`] has them
//! one after the other, and shows the configuration that the process has put on the [`Desk`]. Who may ask what is `guard`'s;
//! every path, with all that it answers, is a line of the table in `endpoints.rs`, from which `/v1/openapi.json` is made.

mod answer;
mod audit;
mod config;
mod desk;
mod endpoints;
mod events;
mod guard;
mod head;
mod join;
mod openapi;
mod page;
mod request;
mod schemas;
mod server;
mod status;
mod v1;

pub use self::{
    desk::{Desk, Done, Order, OrderAction, OrderError, OrderQueue, Ordered},
    head::{HeadOutcome, request_head},
    server::{ApiError, ApiServer},
};
