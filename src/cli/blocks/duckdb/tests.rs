use super::*;
use storage::block::meta::BlockFile;

fn block(ulid: &str, resolution_ms: u64, names: &[&str]) -> BlockMeta {
    let file = |name: &&str| BlockFile { name: (*name).to_owned(), bytes: 1, footer_bytes: 1, rows: 1, crc32: 0 };
    BlockMeta {
        format_version: 1,
        ulid: ulid.to_owned(),
        tenant: "a".to_owned(),
        level: 1,
        resolution_ms,
        min_ms: 0,
        max_ms: 1,
        series: 1,
        samples: 1,
        histograms: 0,
        exemplars: 0,
        files: names.iter().map(file).collect(),
        sources: Vec::new(),
        label_columns: Vec::new(),
        labels_overflow: false,
        thinned_ms: 0,
    }
}

#[test]
fn views_name_every_file_of_the_manifest_and_no_other() {
    let names = ["series.parquet", "timelines.parquet", "samples.parquet", "samples-1.parquet"];
    let blocks = vec![block("01A", 0, &names), block("01B", 0, &names[..3]), block("01C", 300_000, &names[..3])];
    let manifest = Manifest { version: 7, blocks, ..Manifest::empty("a") };
    let text = views(&manifest, "s3://it's [mine]/");
    for path in ["01A/samples.parquet", "01A/samples-1.parquet", "01B/samples.parquet", "01B/series.parquet"] {
        let quoted = format!("'s3://it''s [[]mine]/t=a/res=raw/date=1970-01-01/block={path}'");
        assert_eq!(text.matches(&quoted).count(), 1, "{quoted}\n{text}");
    }
    assert_eq!(text.matches("/res=5m/").count(), 3, "{text}");
    for view in ["series", "samples", "buckets_5m"] {
        assert!(text.contains(&format!("CREATE OR REPLACE VIEW {view} AS\n")), "{view}\n{text}");
    }
    assert!(!text.contains("hist_buckets") && text.contains("version 7"), "{text}");
}
