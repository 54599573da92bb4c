//! Other people's programs read our blocks: pyarrow, polars and DuckDB see the same values as we do, bit for bit.
//!
//! They are installed with pip into a virtual environment below the target directory, once for each list of versions.

use anyhow::{Context, bail, ensure};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const READERS: [&str; 3] = ["pyarrow", "polars", "duckdb"];
const REQUIREMENTS: &str = include_str!("readers.txt");

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {error}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The Python of an environment with the readers.
fn environment() -> anyhow::Result<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("block-readers");
    let (python, stamp) = (dir.join("bin/python"), dir.join("installed.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(python);
    }
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers.txt");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))?;
    fs::write(stamp, REQUIREMENTS)?;
    Ok(python)
}

#[test]
fn pyarrow_polars_and_duckdb_see_every_bit() -> anyhow::Result<()> {
    let python = match environment() {
        Ok(python) => python,
        Err(error) if std::env::var_os("CI").is_none() => {
            // Not by the macro, whose output a passing test keeps to itself.
            let _ = writeln!(
                std::io::stderr(),
                "\nSKIPPED, blocks were not read by other programs: cannot install them with pip: {error:#}\n"
            );
            return Ok(());
        }
        Err(error) => bail!("install the readers with pip: {error:#}"),
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = here.join("../storage/tests/golden");
    for version in ["block-v1", "block-v1-packed"] {
        let expected = fs::read_to_string(golden.join(format!("{version}.txt")))?;
        for reader in READERS {
            let mut command = Command::new(&python);
            command.arg(here.join("tests/blocks.py")).arg(reader).arg(golden.join(version));
            let found = run(&mut command)?;
            let mut pairs = expected.lines().zip(found.lines()).enumerate();
            if let Some((line, (expected, found))) = pairs.find(|(_, (expected, found))| expected != found) {
                bail!("{reader}, {version}, line {}: expected\n{expected}\nfound\n{found}", line + 1);
            }
            ensure!(
                expected.lines().count() == found.lines().count(),
                "{reader}, {version}: lines are missing or too many"
            );
        }
    }
    Ok(())
}
