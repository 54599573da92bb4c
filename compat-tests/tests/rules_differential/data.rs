//! What both servers are told: a value for each second, written ahead of the clock, so that no evaluation can be early or late.

use compat_tests::random::Random;
use compat_tests::remote_write::{Writer, stale_marker};

/// How many seconds there are values for.
pub(crate) const STEPS: i64 = 42;

/// One series.
pub(crate) struct Series {
    name: &'static str,
    labels: &'static [(&'static str, &'static str)],
    /// `value*seconds` in the order of time; `.` is no sample, `x` a stale marker.
    values: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// As the script says.
    Gauge,
    /// As the script says; in further rounds at random.
    Changing,
    /// The script says what the counter rises by.
    Counter,
}

const BOILER_A1: &[(&str, &str)] = &[("job", "boiler"), ("instance", "a1.example.com:9100")];
const BOILER_A2: &[(&str, &str)] = &[("job", "boiler"), ("instance", "a2.example.com:9100")];
const KETTLE_B1: &[(&str, &str)] = &[("job", "kettle"), ("instance", "b1:9100")];
const KETTLE_B2: &[(&str, &str)] = &[("job", "kettle"), ("instance", "b2:9100")];

pub(crate) const SERIES: [Series; 13] = [
    gauge("begun", &[], "1*42"),
    changing("pressure", BOILER_A1, "2*4 6*2 8*4 7*6 2*8 9*3 3*2 6*1 2*1 6*6 2*5"),
    changing("pressure", BOILER_A2, "1*8 9*2 1*2 9*3 x*1 .*4 9*4 1*10 7*1 1*7"),
    changing("pressure", KETTLE_B1, "4*3 5*3 6*8 4*10 8*6 4*12"),
    changing("pressure", KETTLE_B2, ".*10 6.25*12 x*1 .*5 4*5 7.5*9"),
    changing("up", BOILER_A1, "1*12 0*8 1*22"),
    changing("up", KETTLE_B1, "1*20 x*1 .*6 0*5 1*10"),
    changing("up", &[("job", "gone"), ("zone", "b")], ".*4 1*6 x*1 .*9 1*4 x*1 .*17"),
    gauge("owner", &[("job", "boiler"), ("team", "red")], "1*42"),
    // Two owners of one job: what joins them fails meanwhile.
    gauge("owner", &[("job", "boiler"), ("team", "blue")], ".*11 1*5 x*1 .*25"),
    gauge("owner", &[("job", "kettle"), ("team", "green")], "1*42"),
    counter(&[("job", "web"), ("code", "200")], "10*12 100*10 10*20"),
    counter(&[("job", "api"), ("code", "200")], "40*42"),
];

const fn gauge(name: &'static str, labels: &'static [(&'static str, &'static str)], values: &'static str) -> Series {
    Series { name, labels, values, kind: Kind::Gauge }
}

const fn changing(name: &'static str, labels: &'static [(&'static str, &'static str)], values: &'static str) -> Series {
    Series { name, labels, values, kind: Kind::Changing }
}

const fn counter(labels: &'static [(&'static str, &'static str)], values: &'static str) -> Series {
    Series { name: "requests_total", labels, values, kind: Kind::Counter }
}

/// Writes every series to a server, the first second at `start_ms`. Round 0 is the script, others are chance.
pub(crate) async fn write(url: &str, start_ms: i64, round: u64) -> anyhow::Result<()> {
    let mut writer = Writer::new(url);
    let mut random = Random::new(round);
    let mut rows = Vec::new();
    for series in &SERIES {
        let chance = round > 0 && series.kind == Kind::Changing;
        let script = if chance { script(&mut random) } else { series.values.to_owned() };
        rows.push((series, series.samples(&script)));
    }
    for (_, samples) in &rows {
        assert_eq!(samples.len(), usize::try_from(STEPS)?, "a series without a value for each second");
    }
    for step in 0..STEPS {
        for (series, samples) in &mut rows {
            if let Some(value) = samples[usize::try_from(step)?] {
                writer.push(series.name, series.labels, start_ms + step * 1000, value);
            }
        }
    }
    writer.send().await
}

impl Series {
    fn samples(&self, script: &str) -> Vec<Option<f64>> {
        // Far from zero, where versions of Prometheus extrapolate alike.
        let mut total = 1e6;
        let runs = script.split(' ').filter_map(|run| run.split_once('*'));
        runs.flat_map(|(value, count)| std::iter::repeat_n(value, count.parse().expect("a number of seconds")))
            .map(|value| match value {
                "." => None,
                "x" => Some(stale_marker()),
                _ => {
                    let value: f64 = value.parse().expect("a number");
                    total += value;
                    Some(if self.kind == Kind::Counter { total } else { value })
                }
            })
            .collect()
    }
}

/// Runs of one value, of nothing, and ends of the series.
fn script(random: &mut Random) -> String {
    let mut runs = Vec::new();
    let mut left = STEPS.unsigned_abs();
    while left > 0 {
        let seconds = (1 + random.below(9)).min(left);
        left -= seconds;
        match random.below(8) {
            0 if seconds > 1 => runs.push(format!("x*1 .*{}", seconds - 1)),
            1 => runs.push(format!(".*{seconds}")),
            2 => runs.push(format!("0*{seconds}")),
            _ => runs.push(format!("{}*{seconds}", (1 + random.below(18)) as f64 / 2.0)),
        }
    }
    runs.join(" ")
}
