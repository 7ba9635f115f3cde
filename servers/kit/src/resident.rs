//! What a program needs to start lies in its memory as long as nobody takes it back: the relocations, the reading of
//! arguments and settings, the making of schemas. These are pages of its file, which the kernel takes back only when it
//! runs short; so every process of the house would be shown ten megabytes larger than what it works with.

use nix::sys::mman::{MmapAdvise, madvise};
use std::ops::Range;
use std::ptr::{NonNull, with_exposed_provenance_mut};
use std::time::Duration;

/// After so long, a program has started. Nothing is lost where it has not.
const STARTED: Duration = Duration::from_secs(1);

/// Gives the pages of the program's file back once it has started. What is used again comes back from the kernel's cache, a
/// fraction of a millisecond for all of it. To be spawned where a program begins to serve.
pub async fn give_back_what_starting_took() {
    tokio::time::sleep(STARTED).await;
    let Ok(program) = std::env::current_exe() else { return };
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return };
    for addresses in unchanged(&maps, &program.to_string_lossy()) {
        give_back(addresses);
    }
}

#[allow(unsafe_code, reason = "there is no safe way to give pages back")]
fn give_back(addresses: Range<usize>) {
    let Some(begin) = NonNull::new(with_exposed_provenance_mut(addresses.start)) else { return };
    // SAFETY: nothing but this program's file lies at these addresses, none of it was written to, and none can be. Whoever
    // reads there next reads the same from the file.
    let given = unsafe { madvise(begin, addresses.len(), MmapAdvise::MADV_DONTNEED) };
    if let Err(error) = given {
        tracing::debug!(%error, "pages of the program's file stay in memory");
    }
}

/// Where a file lies in memory as it is on disk, by what the kernel tells in `/proc/PID/smaps`: mapped to be read or executed,
/// and not one page of it a copy, as relocated ones are.
fn unchanged(maps: &str, file: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("Anonymous:"), Some(kibibytes)) => {
                found.extend(candidate.take().filter(|_| kibibytes == "0"));
            }
            (Some(addresses), Some("r--p" | "r-xp")) if line.ends_with(&format!(" {file}")) => {
                candidate = range(addresses);
            }
            (Some(addresses), _) if !addresses.ends_with(':') => candidate = None,
            _ => {}
        }
    }
    found
}

/// Addresses as `/proc` writes them: `begin-end`.
fn range(addresses: &str) -> Option<Range<usize>> {
    let (begin, end) = addresses.split_once('-')?;
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    Some(address(begin)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_and_cannot_be_written_to_is_given_back() {
        let maps = "\
            1000-3000 r--p 00000000 fe:00 53    /a program\n\
            Rss:                   4 kB\n\
            Anonymous:             0 kB\n\
            VmFlags: rd mr mw me\n\
            3000-5000 r-xp 00002000 fe:00 53    /a program\n\
            Anonymous:             0 kB\n\
            5000-6000 r--p 00004000 fe:00 53    /a program\n\
            Anonymous:             4 kB\n\
            6000-7000 rw-p 00005000 fe:00 53    /a program\n\
            Anonymous:             0 kB\n\
            7000-8000 r--p 00000000 fe:00 54    /another program\n\
            Anonymous:             0 kB\n\
            8000-9000 rw-p 00000000 00:00 0     [heap]\n\
            Anonymous:             0 kB\n\
            9000-a000 r--s 00000000 fe:00 53    /a program\n\
            Anonymous:             0 kB\n";
        assert_eq!(unchanged(maps, "/a program"), [0x1000..0x3000, 0x3000..0x5000]);
    }

    /// Kibibytes of a file that lie in memory.
    #[cfg(target_os = "linux")]
    fn resident(file: &str) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("readable");
        let mut of_file = false;
        let mut sum = 0;
        for line in maps.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("Rss:"), Some(kibibytes)) if of_file => {
                    sum += kibibytes.parse::<u64>().expect("a number");
                }
                (Some(first), _) if !first.ends_with(':') => of_file = line.ends_with(file),
                _ => {}
            }
        }
        sum
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_program_goes_on_with_less_of_its_file_in_memory() {
        let program = std::env::current_exe().expect("known").to_string_lossy().into_owned();
        let before = resident(&program);
        give_back_what_starting_took().await;
        let after = resident(&program);
        assert!(after < before, "{before} KiB became {after}");
    }
}
