//! Bodies come back as they were sent, and no body takes more memory than allowed.

use super::*;
use std::io::Write;

const LIMIT: usize = 1 << 20;

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("any bytes can be compressed")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).expect("any bytes can be compressed")
}

/// A frame that does not declare how long it is.
fn zstd_stream(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("level 1 exists");
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn decompress(encoding: Encoding, compressed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut decompressor = Decompressor::default();
    let length = decompressor.decompress(encoding, compressed, limit)?;
    Ok(decompressor.bytes(length).to_vec())
}

/// Compressible, but not to nothing.
fn text(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * i / 7 % 251) as u8).collect()
}

#[test]
fn one_decompressor_reads_bodies_of_both_encodings_and_any_size_in_turn() {
    let mut decompressor = Decompressor::default();
    for length in [1, 70_000, 10, LIMIT, 300_000, 0] {
        let bytes = text(length);
        for (encoding, compressed) in [
            (Encoding::Zstd, zstd(&bytes)),
            (Encoding::Snappy, snappy(&bytes)),
            (Encoding::Zstd, zstd_stream(&bytes)),
            (Encoding::Zstd, [zstd(&bytes[..length / 2]), zstd(&bytes[length / 2..])].concat()),
        ] {
            let written = decompressor.decompress(encoding, &compressed, LIMIT).unwrap();
            assert_eq!(decompressor.bytes(written), bytes, "{encoding:?} {length}");
        }
    }
}

#[test]
fn bodies_above_the_limit_are_refused() {
    let bytes = text(LIMIT + 1);
    for (encoding, compressed) in [
        (Encoding::Snappy, snappy(&bytes)),
        (Encoding::Zstd, zstd(&bytes)),
        (Encoding::Zstd, zstd_stream(&bytes)),
        (Encoding::Zstd, [zstd(&bytes[..LIMIT]), zstd(&bytes[LIMIT..])].concat()),
    ] {
        let error = decompress(encoding, &compressed, LIMIT).unwrap_err();
        assert_eq!(error, CompressionError::TooLarge { bytes_max: LIMIT }, "{encoding:?}");
    }
}

#[test]
fn a_length_that_the_bytes_cannot_hold_takes_no_memory() {
    // Declares 16 MiB in ten bytes.
    let bomb = [0x80, 0x80, 0x80, 0x08, 0, b'x', 0, 0, 0, 0];
    let mut decompressor = Decompressor::default();
    let error = decompressor.decompress(Encoding::Snappy, &bomb, 32 << 20).unwrap_err();
    assert!(matches!(error, CompressionError::Corrupt { .. }), "{error}");
    assert_eq!(decompressor.capacity_bytes(), 0);
}

#[test]
fn broken_bodies_are_refused_and_do_not_harm_the_next() {
    let good = text(5_000);
    let mut decompressor = Decompressor::default();
    for (encoding, whole) in
        [(Encoding::Snappy, snappy(&good)), (Encoding::Zstd, zstd(&good)), (Encoding::Zstd, zstd_stream(&good))]
    {
        let framed = [b"\xff\x06\x00\x00sNaPpY", whole.as_slice()].concat();
        for broken in
            [&[][..], b"\xff\xff\xff\xff\xff\xff", &whole[..whole.len() - 1], &whole[..whole.len() / 2], &framed]
        {
            if broken.is_empty() && encoding == Encoding::Zstd {
                continue; // no frame at all is an empty body
            }
            let error = decompressor.decompress(encoding, broken, LIMIT).unwrap_err();
            assert!(matches!(error, CompressionError::Corrupt { .. }), "{encoding:?}: {error}");
            let length = decompressor.decompress(encoding, &whole, LIMIT).unwrap();
            assert_eq!(decompressor.bytes(length), good);
        }
    }
}
