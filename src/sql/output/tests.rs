use super::*;
use crate::sql::batch::{label_maps, text_column, times};
use datafusion::arrow::array::{ArrayRef, Float64Array, ListArray, StringArray, UInt64Array};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::ipc::reader::StreamReader;
use model::labels::Labels;
use std::sync::Arc;

fn encoded(format: SqlFormat, batches: &[RecordBatch]) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(format), Vec::new());
    encoder.begin(&batches[0].schema(), &mut out).unwrap();
    batches.iter().for_each(|batch| encoder.write(batch, &mut out).unwrap());
    encoder.end(&mut out).unwrap();
    out
}

fn example() -> RecordBatch {
    let labels = Labels::from_pairs([("a", "x\"y"), ("b", "")]).unwrap();
    let columns: [(&str, ArrayRef); 7] = [
        ("time", times(vec![1, -1, 1_700_000_000_000])),
        ("value", Arc::new(Float64Array::from(vec![0.1, f64::NAN, 1e300]))),
        ("label", text_column([Some("a,b"), None, Some("")])),
        ("labels", label_maps([(&labels, 2), (&Labels::empty(), 1)])),
        ("number", Arc::new(UInt64Array::from(vec![1, 1 << 53, u64::MAX]))),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
                Some([Some(1), None]),
                None,
                Some([None, None]),
            ])),
        ),
        ("line", Arc::new(StringArray::from(vec!["a\nb", "c", "d"]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

#[test]
fn json_keeps_every_value() {
    let text = encoded(SqlFormat::Json, &[example(), example()]);
    let answer: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let expected = serde_json::json!([
        ["1970-01-01T00:00:00.001Z", 0.1, "a,b", {"a": "x\"y"}, 1, [1, null], "a\nb"],
        ["1969-12-31T23:59:59.999Z", "NaN", null, {"a": "x\"y"}, 9_007_199_254_740_992_u64, null, "c"],
        ["2023-11-14T22:13:20.000Z", 1e300, "", {}, "18446744073709551615", [null, null], "d"],
    ]);
    let rows = answer["data"]["rows"].as_array().unwrap();
    assert_eq!(rows[..3], expected.as_array().unwrap()[..]);
    assert_eq!(rows[3..], expected.as_array().unwrap()[..]);
    let columns = answer["data"]["columns"].as_array().unwrap();
    let types: Vec<_> = columns.iter().map(|column| column["type"].as_str().unwrap()).collect();
    let expected = [
        "TIMESTAMP WITH TIME ZONE",
        "DOUBLE",
        "VARCHAR",
        "MAP(VARCHAR, VARCHAR)",
        "BIGINT UNSIGNED",
        "BIGINT[]",
        "VARCHAR",
    ];
    assert_eq!(types, expected);
}

#[test]
fn csv_quotes_what_needs_it() {
    let text = String::from_utf8(encoded(SqlFormat::Csv, &[example()])).unwrap();
    let expected = "time,value,label,labels,number,list,line\r\n\
                    1970-01-01T00:00:00.001Z,0.1,\"a,b\",\"{\"\"a\"\":\"\"x\\\"\"y\"\"}\",1,\"[1,null]\",\"a\nb\"\r\n\
                    1969-12-31T23:59:59.999Z,NaN,,\"{\"\"a\"\":\"\"x\\\"\"y\"\"}\",9007199254740992,,c\r\n\
                    2023-11-14T22:13:20.000Z,1e300,\"\",{},18446744073709551615,\"[null,null]\",d\r\n";
    assert_eq!(text, expected);
}

#[test]
fn arrow_reads_back() {
    let bytes = encoded(SqlFormat::Arrow, &[example(), example()]);
    let reader = StreamReader::try_new(&bytes[..], None).unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[1].num_rows(), 3);
}
