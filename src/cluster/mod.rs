//! Which nodes hold what: the ring of members and the replicas of a series.

pub mod ring;
