//! How much CPU time a process has used, from `/proc`.

use std::time::Duration;

use anyhow::Context as _;

/// Linux counts in hundredths of a second towards programs, whatever its own clock does
/// (proc_pid_stat(5), `USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads of a process.
pub(crate) fn used(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    parse(&text).with_context(|| format!("{path} has another form than proc_pid_stat(5) says"))
}

fn parse(stat: &str) -> Option<Duration> {
    // The second field is the program's name in brackets, which may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user.checked_add(system)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse("12 (a"), None);
    }

    #[test]
    fn the_own_process_is_found() {
        used(std::process::id()).expect("it runs");
    }
}
