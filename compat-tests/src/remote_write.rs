//! Bodies of remote write 1.0, encoded by hand so that the generator costs little beside the servers it measures.
//!
//! Message: <https://prometheus.io/docs/specs/prw/remote_write_spec/>, `prometheus.WriteRequest`.

/// The protobuf field `labels` of one `TimeSeries`, for pairs in ascending order of names.
#[must_use]
pub fn encode_labels(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut label = Vec::new();
    for (name, value) in pairs {
        label.clear();
        push_bytes(&mut label, 0x0a, name.as_bytes());
        push_bytes(&mut label, 0x12, value.as_bytes());
        push_bytes(&mut out, 0x0a, &label);
    }
    out
}

/// Collects one request.
#[derive(Debug, Default)]
pub struct RequestBody {
    bytes: Vec<u8>,
    samples: usize,
}

impl RequestBody {
    /// Adds one sample of a series whose labels [`encode_labels`] made.
    pub fn push(&mut self, labels: &[u8], timestamp_ms: i64, value: f64) {
        let time_len = varint_len(timestamp_ms.cast_unsigned());
        let sample_len = 1 + 8 + 1 + time_len;
        let series_len = labels.len() + 2 + sample_len;
        self.bytes.push(0x0a);
        push_varint(&mut self.bytes, series_len as u64);
        self.bytes.extend_from_slice(labels);
        self.bytes.extend_from_slice(&[0x12, sample_len as u8, 0x09]);
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self.bytes.push(0x10);
        push_varint(&mut self.bytes, timestamp_ms.cast_unsigned());
        self.samples += 1;
    }

    /// Adds a native histogram of schema 1 with as many buckets as there are populations, the first with index 0, and one
    /// observation of about zero.
    pub fn push_histogram(&mut self, labels: &[u8], timestamp_ms: i64, sum: f64, populations: &[u64]) {
        let mut histogram = Vec::new();
        histogram.push(0x08);
        push_varint(&mut histogram, 1 + populations.iter().sum::<u64>());
        histogram.push(0x19);
        histogram.extend_from_slice(&sum.to_le_bytes());
        // Schema 1; threshold; one observation.
        histogram.extend_from_slice(&[0x20, 0x02, 0x29]);
        histogram.extend_from_slice(&0.001f64.to_le_bytes());
        histogram.extend_from_slice(&[0x30, 0x01]);
        push_bytes(&mut histogram, 0x5a, &[0x08, 0x00, 0x10, populations.len() as u8]);
        let (mut deltas, mut before) = (Vec::new(), 0i64);
        for population in populations {
            let delta = population.cast_signed() - before;
            push_varint(&mut deltas, ((delta << 1) ^ (delta >> 63)).cast_unsigned());
            before = population.cast_signed();
        }
        push_bytes(&mut histogram, 0x62, &deltas);
        histogram.push(0x78);
        push_varint(&mut histogram, timestamp_ms.cast_unsigned());
        let mut series = labels.to_vec();
        push_bytes(&mut series, 0x22, &histogram);
        push_bytes(&mut self.bytes, 0x0a, &series);
        self.samples += 1;
    }

    /// Adds an exemplar with one label.
    pub fn push_exemplar(&mut self, labels: &[u8], timestamp_ms: i64, value: f64, label: (&str, &str)) {
        let mut exemplar = encode_labels(&[label]);
        exemplar.push(0x11);
        exemplar.extend_from_slice(&value.to_le_bytes());
        exemplar.push(0x18);
        push_varint(&mut exemplar, timestamp_ms.cast_unsigned());
        let mut series = labels.to_vec();
        push_bytes(&mut series, 0x1a, &exemplar);
        push_bytes(&mut self.bytes, 0x0a, &series);
    }

    /// How many samples were added.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The compressed body; the collector is empty afterwards.
    ///
    /// # Panics
    /// Never: only texts above 4 GiB cannot be compressed.
    pub fn take_compressed(&mut self) -> Vec<u8> {
        let body = snap::raw::Encoder::new().compress_vec(&self.bytes).expect("a body below 4 GiB compresses");
        self.bytes.clear();
        self.samples = 0;
        body
    }
}

pub(crate) fn push_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn push_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn varint_len(n: u64) -> usize {
    ((u64::BITS - (n | 1).leading_zeros()).div_ceil(7)) as usize
}

/// The value that ends a series.
#[must_use]
pub fn stale_marker() -> f64 {
    f64::from_bits(0x7ff0_0000_0000_0002)
}

/// Writes samples to one server.
#[derive(Debug)]
pub struct Writer {
    client: reqwest::Client,
    url: String,
    body: RequestBody,
}

impl Writer {
    /// A writer to the server at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { client: reqwest::Client::new(), url: format!("{url}/api/v1/write"), body: RequestBody::default() }
    }

    /// Adds one sample of a series; its labels may come in any order.
    pub fn push(&mut self, name: &str, labels: &[(&str, &str)], timestamp_ms: i64, value: f64) {
        let mut labels = labels.to_vec();
        labels.push(("__name__", name));
        labels.sort_unstable();
        self.body.push(&encode_labels(&labels), timestamp_ms, value);
    }

    /// Sends what was added.
    ///
    /// # Errors
    /// It was not accepted.
    pub async fn send(&mut self) -> anyhow::Result<()> {
        send_accepted(&self.client, &self.url, self.body.take_compressed()).await
    }
}

/// Sends one compressed body, of which everything is stored.
///
/// # Errors
/// The connection failed, or the answer is another.
pub async fn send_accepted(client: &reqwest::Client, url: &str, body: Vec<u8>) -> anyhow::Result<()> {
    let (status, text) = send(client, url, body).await?;
    anyhow::ensure!((200..300).contains(&status), "{url} answered {status}: {text}");
    Ok(())
}

/// Sends one compressed body and returns the status code and the answer's text.
///
/// # Errors
/// The connection failed.
pub async fn send(client: &reqwest::Client, url: &str, body: Vec<u8>) -> Result<(u16, String), reqwest::Error> {
    let answer = client
        .post(url)
        .header("Content-Encoding", "snappy")
        .header("Content-Type", "application/x-protobuf")
        .header("X-Prometheus-Remote-Write-Version", "0.1.0")
        .body(body)
        .send()
        .await?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await?))
}
