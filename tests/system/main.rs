//! The system as a whole: the binary, its commands and its generated pages.

mod binary;
mod pages;
