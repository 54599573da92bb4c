//! The bytes of remote read: the request taken apart, the two forms of the answer written.
//!
//! [`request`] reads a `ReadRequest` within limits; [`response`] writes `ReadResponse` and the frames of
//! `ChunkedReadResponse`; [`chunks`] turns the samples of one series into chunks as Prometheus stores them. Pure.
//! Messages: <https://github.com/prometheus/prometheus/blob/v3.14.0/prompb/remote.proto>.
pub mod request;

pub mod chunks;
pub mod response;

mod bits;

mod histogram_chunk;
mod xor_chunk;

#[cfg(test)]
mod tests;
