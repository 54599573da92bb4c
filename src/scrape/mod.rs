//! Collecting metrics from a text page into the own storage. By default Hearth scrapes itself, so that a newcomer sees
//! data without any other program.
pub mod self_scrape;
pub mod text_format;
