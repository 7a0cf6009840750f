//! What the process itself uses, as `/proc` has it; nothing where there is none. Read when the metrics are asked for.

use prometheus::{Gauge, Registry};

/// Clock ticks a second in `/proc/self/stat`: fixed by the kernel's interface, whatever its own clock does.
const TICKS: f64 = 100.0;

/// Memory, processor time and open files of this process.
#[derive(Clone)]
pub struct Process {
    memory: Gauge,
    cpu: prometheus::Counter,
    files: Gauge,
}

/// What `/proc` says.
#[derive(Debug, Default, PartialEq)]
struct Usage {
    memory: Option<f64>,
    cpu: Option<f64>,
    files: Option<f64>,
}

impl Process {
    /// Registers under the names that every Prometheus client uses.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let process = Self {
            memory: Gauge::new(NAMES[0].0, NAMES[0].1)?,
            cpu: prometheus::Counter::new(NAMES[1].0, NAMES[1].1)?,
            files: Gauge::new(NAMES[2].0, NAMES[2].1)?,
        };
        registry.register(Box::new(process.memory.clone()))?;
        registry.register(Box::new(process.cpu.clone()))?;
        registry.register(Box::new(process.files.clone()))?;
        Ok(process)
    }

    /// Reads them anew.
    pub fn read(&self) {
        let text = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let mut usage = parse(&text("status"), &text("stat"));
        usage.files = std::fs::read_dir("/proc/self/fd").ok().map(|list| list.count() as f64);
        if let Some(memory) = usage.memory {
            self.memory.set(memory);
        }
        if let Some(cpu) = usage.cpu {
            self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
        }
        if let Some(files) = usage.files {
            self.files.set(files);
        }
    }
}

/// Names and explanations.
pub const NAMES: [(&str, &str); 3] = [
    ("process_resident_memory_bytes", "Resident memory in bytes"),
    ("process_cpu_seconds_total", "Processor time used, in seconds"),
    ("process_open_fds", "Open files and connections"),
];

fn parse(status: &str, stat: &str) -> Usage {
    let memory =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    // The second field is the program's name in brackets, which may hold spaces; user and system time are the 14th and
    // 15th.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok());
    let cpu = ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) / TICKS);
    Usage { memory: memory.map(|kib: f64| kib * 1024.0), cpu, files: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_understood_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 300 0 0 0 250 50 0 0 20 0 4 0 100 1000 10 18446744073709551615";
        let usage = parse("Name:\tx\nVmRSS:\t   20480 kB\nThreads:\t4\n", stat);
        assert_eq!(usage, Usage { memory: Some(20_971_520.0), cpu: Some(3.0), files: None });
        assert_eq!(parse("", ""), Usage::default());
    }
}
