//! What commands that work on blocks without a server have in common: which store, and how they end.

use crate::app::load::with_causes;
use crate::app::retention::classes;
use crate::config::Config;
use clap::Args;
use promql::parse::ParseOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use storage::bucket::{BucketError, BucketOptions};
use storage::lifecycle::retention::Retention;
use storage::offline::BlockStore;
use storage::store::StoreError;

/// Which blocks.
#[derive(Debug, Clone, Args)]
pub struct StoreArguments {
    /// YAML file whose section `object_store` says where blocks are; without it they are below --storage.path. An export leaves out
    /// what its sections `retention` and `tenants` keep no longer
    #[arg(long = "config.file", value_name = "FILE", env = "HEARTH_CONFIG_FILE")]
    pub config_file: Option<PathBuf>,

    /// Directory of all data, also for what is needed for a while
    #[arg(long = "storage.path", value_name = "DIR", default_value = "./data", env = "HEARTH_STORAGE_PATH")]
    pub storage_path: PathBuf,

    /// Whose blocks
    #[arg(long, value_name = "NAME", default_value = "anonymous")]
    pub tenant: String,
}

impl StoreArguments {
    /// Finds the blocks. No server has to run; one may.
    ///
    /// # Errors
    /// In words: the configuration is wrong, or there are no blocks or they cannot be read.
    pub(super) fn open(&self) -> Result<BlockStore, String> {
        let opened = BlockStore::open_existing(&self.object_store()?, &self.storage_path, &self.tenant);
        opened.map_err(|error| match error {
            StoreError::Bucket(BucketError::File { path, source, .. }) if source.kind() == ErrorKind::NotFound => {
                format!("no blocks are stored here: there is no directory {} (see --storage.path)", path.display())
            }
            error => error.to_line(),
        })
    }

    /// The same, and a place for blocks where there is none.
    ///
    /// # Errors
    /// In words: the configuration is wrong or the store cannot be read or made.
    pub(super) fn open_or_create(&self) -> Result<BlockStore, String> {
        BlockStore::open(&self.object_store()?, &self.storage_path, &self.tenant).map_err(|error| error.to_line())
    }

    /// What other programs put before the names of objects; `None` if they cannot read them.
    ///
    /// # Errors
    /// In words: the configuration is wrong or the directory cannot be found.
    pub(super) fn url(&self) -> Result<Option<String>, String> {
        self.object_store()?.url(&self.storage_path).map_err(|error| with_causes(&error))
    }

    /// What hides samples that are still in blocks: the classes of the configuration.
    ///
    /// # Errors
    /// In words: the configuration is wrong.
    pub(super) fn retention(&self) -> Result<Retention, String> {
        let config = self.config()?;
        let own = config.tenants.get(&self.tenant).map(|own| (self.tenant.as_str(), own));
        Ok(Retention { classes: classes(&config, own, &ParseOptions::all())?, ..Retention::default() })
    }

    fn object_store(&self) -> Result<BucketOptions, String> {
        Ok(self.config()?.object_store)
    }

    fn config(&self) -> Result<Config, String> {
        match &self.config_file {
            Some(file) => Config::load(file).map_err(|error| with_causes(&error)),
            None => Ok(Config::default()),
        }
    }
}

/// Prints what a command found out, or why it could not.
pub(super) fn finish(command: &str, outcome: Result<(String, ExitCode), String>) -> ExitCode {
    match outcome {
        Ok((text, code)) => {
            // A reader such as `head` may close the pipe early; that is its right.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            code
        }
        Err(problem) => {
            // When even standard error is gone, the exit code is all that is left to say.
            let _ = writeln!(std::io::stderr(), "hearth {command}: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Bytes for people: `1.5 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0);
    format!("{number:.digits$} {}", UNITS.get(unit).unwrap_or(&"B"))
}

/// A point in time for people.
pub(super) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| format!("{time:.0}"))
}

/// Columns side by side; the first row is the head. Columns listed in `left` begin at the left, others end at the right.
pub(super) fn table(rows: &[Vec<String>], left: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cell = |(column, (cell, width)): (usize, (&String, &usize))| match left.contains(&column) {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        };
        let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(cell).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_at_the_right_and_names_begin_at_the_left() {
        let rows = [["name", "bytes"], ["a", "12"], ["long name", "3"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows, &[0]), "name       bytes\na             12\nlong name      3\n");
    }

    /// A mistake in a path must not look like a store without blocks.
    #[test]
    fn what_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let storage_path = directory.path().join("typo");
        let arguments = StoreArguments { config_file: None, storage_path: storage_path.clone(), tenant: "a".into() };
        let refused = arguments.open().unwrap_err();
        assert!(refused.contains("typo/blocks (see --storage.path)"), "{refused}");
        assert!(!storage_path.exists());
        arguments.open_or_create().unwrap();
        assert!(arguments.open().unwrap().manifest().blocks.is_empty());
    }

    #[test]
    fn classes_of_retention_are_those_of_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hearth.yml");
        let classes = |config_file| {
            let arguments = StoreArguments { config_file, storage_path: "data".into(), tenant: "a".into() };
            arguments.retention().map(|retention| retention.classes)
        };
        assert!(classes(None).unwrap().is_empty());
        std::fs::write(&file, "retention: [{match: '{job=\"debug\"}', keep: 3d}]").unwrap();
        let found = classes(Some(file.clone())).unwrap();
        assert_eq!((found.len(), found[0].keep_ms), (1, 3 * 86_400_000));
        std::fs::write(&file, "retention: [{match: '{}', keep: 3d}]").unwrap();
        assert!(classes(Some(file)).unwrap_err().contains("retention[0].match"));
    }

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1023, 1536, 5 << 30].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
    }
}
