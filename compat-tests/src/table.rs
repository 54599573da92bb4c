//! Markdown tables, since the README quotes what the programs print.

use std::process::Command;

/// A table whose first row is the head.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column titles.
    #[must_use]
    pub fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for (i, row) in self.rows.iter().enumerate() {
            out.push_str(&format!("| {} |\n", row.join(" | ")));
            if i == 0 {
                out.push_str(&format!("|{}\n", "---|".repeat(row.len())));
            }
        }
        out
    }
}

/// A number with about three digits.
#[must_use]
pub fn short(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => "–".into(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Date, processor and the versions of Debian's packages.
#[must_use]
pub fn machine(packages: &[&str]) -> String {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let versions = packages.iter().map(|package| {
        let mut name = package.replace("victoria-metrics", "VictoriaMetrics");
        name.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
        format!(", {name} {}", output("dpkg-query", &["-W", "-f=${Version}", package]))
    });
    let versions: String = versions.collect();
    format!(
        "{}, {cores} cores of {}{versions}.",
        output("date", &["+%Y-%m-%d"]),
        model.trim_start_matches(['\t', ':', ' '])
    )
}
