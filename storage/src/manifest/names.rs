//! Names of the objects of a chain.

use crate::block::meta::{path_part, tenant_of_part};

const SUFFIX: &str = ".json.zst";
const DIGITS: usize = 20;

/// Everything of a tenant is below this, without a slash at its end.
pub(super) fn tenant_prefix(tenant: &str) -> String {
    format!("t={}", path_part(tenant))
}

/// Where manifests are.
pub(super) fn directory(tenant: &str) -> String {
    format!("{}/manifest", tenant_prefix(tenant))
}

/// The manifest of a version.
pub(super) fn version(tenant: &str, version: u64) -> String {
    format!("{}/{version:020}{SUFFIX}", directory(tenant))
}

/// The hint.
pub(super) fn latest(tenant: &str) -> String {
    format!("{}/latest", directory(tenant))
}

/// The tenant whose objects are below a directory, if it is a tenant's.
pub(super) fn parse_tenant(directory: &str) -> Option<String> {
    tenant_of_part(directory.strip_prefix("t=")?)
}

/// The version that a key names, if it is a manifest's.
pub(super) fn parse_version(key: &str) -> Option<u64> {
    let (directory, name) = key.rsplit_once('/')?;
    let digits = name.strip_suffix(SUFFIX)?;
    let is_manifest = directory.ends_with("/manifest") && digits.len() == DIGITS;
    if is_manifest && digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The ULID of the block that a key belongs to, if it is a block's file.
pub(super) fn parse_block(key: &str) -> Option<&str> {
    let mut parts = key.split('/').skip(1);
    let (resolution, date, block, file) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_block = resolution.starts_with("res=") && date.starts_with("date=") && !file.is_empty();
    let ulid = block.strip_prefix("block=").filter(|ulid| ulid.len() == 26)?;
    (is_block && parts.next().is_none()).then_some(ulid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        assert_eq!(version("a/b", 42), "t=a%2Fb/manifest/00000000000000000042.json.zst");
        assert_eq!(parse_version(&version("x", u64::MAX)), Some(u64::MAX));
        assert_eq!(parse_tenant(&tenant_prefix("a/b")).as_deref(), Some("a/b"));
        assert_eq!((parse_tenant("x"), parse_tenant("t=%61")), (None, None));
        for other in ["t=x/manifest/latest", "t=x/manifest/42.json.zst", "t=x/res=raw/00000000000000000042.json.zst"] {
            assert_eq!(parse_version(other), None, "{other}");
        }
    }

    #[test]
    fn only_files_of_blocks_belong_to_blocks() {
        let ulid = "01ARYZ6S410000000000000000";
        assert_eq!(parse_block(&format!("t=x/res=raw/date=2026-01-01/block={ulid}/series.parquet")), Some(ulid));
        for other in [
            format!("t=x/res=raw/date=2026-01-01/block={ulid}"),
            format!("t=x/res=raw/date=2026-01-01/block={ulid}/a/b"),
            format!("t=x/notes/date=2026-01-01/block={ulid}/series.parquet"),
            "t=x/res=raw/date=2026-01-01/block=7/series.parquet".to_owned(),
            version("x", 1),
        ] {
            assert_eq!(parse_block(&other), None, "{other}");
        }
    }
}
