use super::*;

fn options() -> LoadOptions {
    LoadOptions {
        tenant: TenantId::anonymous(),
        defaults: GroupDefaults { interval_ms: 60_000, query_offset_ms: 0 },
        parse: ParseOptions::default(),
        legacy_names: false,
    }
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}

fn patterns(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|&pattern| pattern.to_owned()).collect()
}

#[test]
fn groups_of_all_files_that_match_are_loaded_in_order() {
    let directory = directory(&[
        ("rules/b.yml", "groups: [{name: one}, {name: two, interval: 5s}]"),
        ("rules/a.yml", "groups: [{name: one}]"),
        ("rules/notes.txt", "no rules"),
    ]);
    let loaded = load(&patterns(&["rules/*.yml", "none/*.yml"]), directory.path(), &options()).unwrap();
    let keys: Vec<_> = loaded.groups.iter().map(|group| (group.file.as_str(), group.name.as_str())).collect();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (a, b) = (path("rules/a.yml"), path("rules/b.yml"));
    assert_eq!(keys, [(a.as_str(), "one"), (&b, "one"), (&b, "two")]);
    assert_eq!(loaded.groups[2].interval_ms, 5_000);
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
}

#[cfg(unix)]
#[test]
fn a_file_that_is_reached_twice_is_loaded_once() {
    let directory = directory(&[("a.yml", "groups: [{name: one}]")]);
    std::os::unix::fs::symlink(directory.path().join("a.yml"), directory.path().join("b.yml")).unwrap();
    let loaded = load(&patterns(&["*.yml", "a.yml"]), directory.path(), &options()).unwrap();
    assert_eq!(loaded.groups.len(), 1);
}

#[test]
fn one_bad_file_spoils_the_load_and_all_problems_are_told() {
    let directory = directory(&[
        ("a.yml", "groups: [{name: good}]"),
        ("b.yml", "groups: [{name: ''}]"),
        ("c.yml", "groups: [{name: g, rules: [{expr: up}]}]"),
    ]);
    let error = load(&patterns(&["*.yml"]), directory.path(), &options()).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    assert!(lines[0].ends_with("b.yml: 1:10: Groupname must not be empty"), "{error}");
    assert!(lines[1].contains("one of 'record' or 'alert' must be set"), "{error}");
}

#[test]
fn patterns_that_are_none_and_files_that_cannot_be_read_are_errors() {
    let directory = directory(&[("d.yml/x", ""), ("bytes.yml", "")]);
    std::fs::write(directory.path().join("bytes.yml"), [0xc3, 0x28]).unwrap();
    for (pattern, expected) in [("[", "syntax error in pattern"), ("d.yml", "d.yml: "), ("bytes.yml", "UTF-8")] {
        let error = load(&patterns(&[pattern]), directory.path(), &options()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_pack_is_valid() {
    let loaded = load_pack(&options()).unwrap();
    assert!(loaded.warnings.is_empty());
    assert!(loaded.groups.iter().any(|group| group.rules.iter().any(|rule| rule.name == "HearthWatchdog")));
}

#[test]
fn the_pack_is_loaded_by_its_name() {
    let directory = directory(&[("a.yml", "groups: [{name: one}]")]);
    let loaded = load(&patterns(&["builtin", "a.yml", "builtin"]), directory.path(), &options()).unwrap();
    let mut files: Vec<&str> = loaded.groups.iter().map(|group| group.file.as_str()).collect();
    files.dedup();
    assert_eq!((files.len(), files[0]), (2, "builtin"));
}

#[test]
fn rules_may_read_the_series_of_their_own_tenant_only() {
    let own = directory(&[("a.yml", "groups: [{name: one, source_tenants: [anonymous]}]")]);
    assert_eq!(load(&patterns(&["a.yml"]), own.path(), &options()).unwrap().groups.len(), 1);
    let foreign = directory(&[("a.yml", "groups:\n- name: one\n  source_tenants: [anonymous, b]\n")]);
    let error = load(&patterns(&["a.yml"]), foreign.path(), &options()).unwrap_err().to_string();
    let expected = "a.yml: 3:31: source_tenants: \"b\" is another tenant: rules read the series of their own tenant \
                    \"anonymous\" only";
    assert!(error.ends_with(expected), "{error}");
}

/// Editors on Windows write such files.
#[test]
fn files_in_utf_16_are_read() {
    let text = "groups: [{name: größer}]";
    let little: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
    for bytes in [&little, &big] {
        assert_eq!(read_bounded(bytes.as_slice()).unwrap(), text);
    }
    for (bytes, problem) in [(&little[..5], "UTF-16"), (b"a: \xff", "UTF-8"), (b"\xff\xfe\x00\xd8", "UTF-16")] {
        assert!(read_bounded(bytes).unwrap_err().to_string().ends_with(problem));
    }
}
