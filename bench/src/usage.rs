//! What processes and the machine used, from `/proc`.

use std::time::Duration;

use anyhow::Context as _;

/// Linux counts in hundredths of a second towards programs, whatever its own clock does
/// (proc_pid_stat(5), `USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads of a process.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = read(&path)?;
    parse_process(&text).with_context(|| format!("{path} has another form than proc_pid_stat(5)"))
}

/// The most memory that a process has had resident, in bytes.
pub(crate) fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = read(&path)?;
    parse_kib(&text, "VmHWM:")
        .with_context(|| format!("{path} has no VmHWM as in proc_pid_status(5)"))
}

/// The memory that a process has resident now, in bytes.
pub(crate) fn memory(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = read(&path)?;
    parse_kib(&text, "VmRSS:")
        .with_context(|| format!("{path} has no VmRSS as in proc_pid_status(5)"))
}

/// What all processors did since the system started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Time in any process or in the kernel.
    pub(crate) busy: Duration,
    /// Time that a hypervisor gave to others while there was work here.
    pub(crate) stolen: Duration,
}

impl Machine {
    pub(crate) fn now() -> anyhow::Result<Self> {
        let path = "/proc/stat";
        parse_machine(&read(path)?).with_context(|| format!("{path} is not as in proc_stat(5)"))
    }
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.to_owned())
}

fn parse_process(stat: &str) -> Option<Duration> {
    // The second field is the program's name in brackets, which may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user.checked_add(system)?)
}

fn parse_kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn parse_machine(stat: &str) -> Option<Machine> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let &[user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen, ..] =
        ticks.as_slice()
    else {
        return None;
    };
    let time = |ticks: u64| Some(Duration::from_millis(ticks.checked_mul(10)?));
    let busy = [user, nice, system, interrupts, soft_interrupts];
    let busy = busy.into_iter().try_fold(0_u64, u64::checked_add)?;
    Some(Machine { busy: time(busy)?, stolen: time(stolen)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse_process(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_process("12 (a"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        let status = "Name:\ta\nVmPeak:\t  900 kB\nVmHWM:\t  12 kB\nVmRSS:\t  8 kB\n";
        assert_eq!(parse_kib(status, "VmHWM:"), Some(12 * 1024));
        assert_eq!(parse_kib(status, "VmRSS:"), Some(8 * 1024));
        assert_eq!(parse_kib("Name:\ta\n", "VmRSS:"), None);
    }

    #[test]
    fn idle_and_waiting_time_is_not_busy() {
        let stat = "cpu  100 20 30 4000 500 6 4 70 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let expected =
            Machine { busy: Duration::from_millis(1600), stolen: Duration::from_millis(700) };
        assert_eq!(parse_machine(stat), Some(expected));
        assert_eq!(parse_machine("cpu  100 20\n"), None);
    }

    #[test]
    fn the_own_process_and_machine_are_found() {
        cpu_time(std::process::id()).expect("it runs");
        assert!(memory(std::process::id()).expect("it runs") > 0);
        assert!(peak_memory(std::process::id()).expect("it runs") > 0);
        Machine::now().expect("it runs");
    }
}
