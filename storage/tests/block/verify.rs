//! Any flipped bit is found, and so is what a careless writer would do.

use crate::content::{self, Series};
use crate::golden::content as varied;
use std::fs;
use std::path::Path;
use storage::block::checksums::CHUNK_BYTES;
use storage::block::error::BlockError;
use storage::block::meta::BlockMeta;
use storage::block::schema::{CHECKSUMS_FILE, META_FILE, SAMPLES_FILE, SERIES_FILE};
use storage::block::verify::verify;
use storage::block::writer::Layout;

/// A block with files of several chunks.
fn written(dir: &Path) -> BlockMeta {
    let mut content = varied();
    for n in 0..400u64 {
        let mut series = Series::new(&[("__name__", "noise"), ("n", &n.to_string())]);
        let noise = |t: u64| (t + n * 1000).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12;
        series.floats = (0..100).map(|t| (t as i64 * 1000, (noise(t) | 0x3ff0 << 48, 0))).collect();
        content.push(series);
    }
    content::sort(&mut content);
    let spec = content::spec(&content, Layout::of_level(0), usize::MAX);
    content::write(dir, &content, spec)
}

fn problem(dir: &Path, expected: Option<&BlockMeta>) -> String {
    let found = verify(dir, expected).unwrap();
    found.problems.first().expect("a problem").to_string()
}

#[test]
fn a_sound_block_has_no_problems() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    let found = verify(dir.path(), Some(&meta)).unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!(found.rows, meta.files.iter().map(|file| file.rows).sum::<u64>());
    assert_eq!(found.bytes + meta.file(CHECKSUMS_FILE).unwrap().bytes, meta.bytes());
}

#[test]
fn every_flipped_bit_is_found_and_placed() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    let names: Vec<String> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 8);
    for name in names {
        let path = dir.path().join(&name);
        let sound = fs::read(&path).unwrap();
        let stride = (sound.len() / 150).max(1);
        for at in (0..sound.len()).step_by(stride) {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            let text = problem(dir.path(), Some(&meta));
            let offset = if name.ends_with(".parquet") { at / CHUNK_BYTES * CHUNK_BYTES } else { 0 };
            assert!(text.starts_with(&format!("`{name}` is damaged at byte {offset}: ")), "{name} byte {at}: {text}");
        }
        fs::write(&path, &sound).unwrap();
    }
    assert!(verify(dir.path(), Some(&meta)).unwrap().problems.is_empty());
}

#[test]
fn damage_names_the_pages() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let path = dir.path().join(SAMPLES_FILE);
    let mut bytes = fs::read(&path).unwrap();
    bytes[CHUNK_BYTES * 2 + 5] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let text = problem(dir.path(), None);
    assert!(text.contains("row group 0, column raw, page "), "{text}");
}

#[test]
fn a_missing_or_short_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    let path = dir.path().join(SAMPLES_FILE);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..CHUNK_BYTES * 3]).unwrap();
    let expected = format!("it has {} bytes instead of {}", CHUNK_BYTES * 3, bytes.len());
    assert!(problem(dir.path(), None).contains(&expected), "{}", problem(dir.path(), None));
    fs::remove_file(&path).unwrap();
    assert_eq!(problem(dir.path(), None), "`samples.parquet` is missing");
    fs::remove_file(dir.path().join(META_FILE)).unwrap();
    let found = verify(dir.path(), Some(&meta)).unwrap();
    let texts: Vec<_> = found.problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["`meta.json` is missing", "`samples.parquet` is missing"]);
}

#[test]
fn a_block_of_another_version_or_tenant_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    let other = BlockMeta { tenant: "other".into(), ..meta.clone() };
    assert_eq!(problem(dir.path(), Some(&other)), "`meta.json` is damaged at byte 0: it is not what the manifest says");
    fs::write(dir.path().join(META_FILE), other.to_json()).unwrap();
    assert!(problem(dir.path(), None).contains("its tenant is Some(\"anonymous\") instead of \"other\""));
    let newer = BlockMeta { format_version: 7, ..meta };
    fs::write(dir.path().join(META_FILE), newer.to_json()).unwrap();
    let found = verify(dir.path(), None).unwrap();
    assert!(matches!(found.problems[0], BlockError::NewerFormat { found: 7, known: 1, .. }));
}

/// Sums that are right do not help if the files contradict each other.
#[test]
fn files_of_two_blocks_do_not_make_one() {
    let [dir, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut meta = written(dir.path());
    let content = varied();
    let mut spec = content::spec(&content, Layout::of_level(0), usize::MAX);
    spec.label_names = meta.label_columns.clone();
    let foreign = content::write(other.path(), &content, spec);
    fs::copy(other.path().join(SERIES_FILE), dir.path().join(SERIES_FILE)).unwrap();
    for file in &mut meta.files {
        if file.name == SERIES_FILE {
            *file = foreign.file(SERIES_FILE).unwrap().clone();
        }
    }
    // With checksums to match.
    let of = |dir: &Path| storage::block::checksums::parse(&fs::read(dir.join(CHECKSUMS_FILE)).unwrap()).unwrap();
    let mut sums = of(dir.path());
    for file in &mut sums {
        if file.name == SERIES_FILE {
            *file = of(other.path()).into_iter().find(|file| file.name == SERIES_FILE).unwrap();
        }
    }
    let bytes = storage::block::checksums::encode(&sums);
    fs::write(dir.path().join(CHECKSUMS_FILE), &bytes).unwrap();
    for file in meta.files.iter_mut().filter(|file| file.name == CHECKSUMS_FILE) {
        (file.bytes, file.crc32) = (bytes.len() as u64, crc32fast::hash(&bytes));
    }
    fs::write(dir.path().join(META_FILE), meta.to_json()).unwrap();
    let text = problem(dir.path(), None);
    assert!(text.starts_with("`series.parquet` is damaged at byte 0: ") && text.contains("contradict"), "{text}");
}
