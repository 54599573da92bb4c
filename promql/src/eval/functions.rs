//! Functions over instant vectors and scalars.

pub(crate) mod absent;
pub(crate) mod dates;
pub(crate) mod histogram;
pub(crate) mod info;
pub(crate) mod labels;
pub(crate) mod math;
pub(crate) mod sort;
