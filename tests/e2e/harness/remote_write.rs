//! Samples written to a Prometheus with times of one's own, so that a test decides what was scraped when.

use anyhow::{Result, ensure};

/// A value that says that a series has ended, as after a scrape that failed.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// A sample.
pub enum Sample {
    /// A number.
    Float(f64),
    /// A native histogram of schema 0: so many observations in each of the buckets that begin with (1/16, 1/8].
    Histogram(Vec<i64>),
}

/// A series: labels, and samples with their times in milliseconds.
pub struct Series {
    pub labels: Vec<(&'static str, String)>,
    pub samples: Vec<(i64, Sample)>,
}

/// Writes them to this address of a server.
pub async fn write(to: &str, series: &[Series]) -> Result<()> {
    let body: Vec<u8> = series.iter().flat_map(|s| field(1, &message(s))).collect();
    let request = reqwest::Client::builder().no_proxy().build()?.post(to);
    let answer = request
        .header("content-encoding", "snappy")
        .header("content-type", "application/x-protobuf")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .body(uncompressed(&body))
        .send()
        .await?;
    let status = answer.status();
    ensure!(status.is_success(), "{status}: {}", answer.text().await?);
    Ok(())
}

fn message(series: &Series) -> Vec<u8> {
    let mut labels = series.labels.clone();
    labels.sort();
    let label =
        |(name, value): &(&str, String)| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let mut out: Vec<u8> = labels.iter().flat_map(label).collect();
    for (at, sample) in &series.samples {
        out.extend(match sample {
            Sample::Float(value) => field(2, &[double(1, *value), number(2, *at as u64)].concat()),
            Sample::Histogram(buckets) => field(4, &histogram(buckets, *at)),
        });
    }
    out
}

fn histogram(buckets: &[i64], at: i64) -> Vec<u8> {
    let all: i64 = buckets.iter().sum();
    let mut last = 0;
    let mut deltas = vec![];
    for bucket in buckets {
        deltas.extend(varint(zigzag(bucket - last)));
        last = *bucket;
    }
    let span = [number(1, zigzag(-3)), number(2, buckets.len() as u64)].concat();
    [
        number(1, all as u64),
        double(3, 1.0),
        number(4, zigzag(0)),
        double(5, 2.0_f64.powi(-128)),
        number(6, 0),
        field(11, &span),
        field(12, &deltas),
        number(15, at as u64),
    ]
    .concat()
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = vec![];
    while n >= 128 {
        out.push((n & 127) as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn number(tag: u64, n: u64) -> Vec<u8> {
    [varint(tag << 3), varint(n)].concat()
}

fn double(tag: u64, n: f64) -> Vec<u8> {
    [varint(tag << 3 | 1), n.to_le_bytes().to_vec()].concat()
}

fn field(tag: u64, content: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// Snappy's format without compression: literals alone.
fn uncompressed(content: &[u8]) -> Vec<u8> {
    let literals = content.chunks(60).flat_map(|part| [vec![((part.len() - 1) as u8) << 2], part.to_vec()].concat());
    varint(content.len() as u64).into_iter().chain(literals).collect()
}
