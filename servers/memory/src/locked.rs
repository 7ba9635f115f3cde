//! Letting go of a locked file.

use std::fs::File;
use std::ops::Deref;

/// A file that was locked. The lock ends with this value, not when the file is closed everywhere: a process that another
/// thread is just starting has it open as well, until it becomes the program that it is to be. When this process ends,
/// however it ends, the kernel lets go.
#[derive(Debug)]
pub(crate) struct Locked(pub(crate) File);

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Where this fails, closing the file does it.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_just_starting_does_not_hold_it_longer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let locked = Locked(file.reopen().unwrap());
        locked.try_lock().expect("free");
        file.as_file().try_lock().expect_err("held");
        // As such a process has it.
        let _inherited = locked.try_clone().expect("opened twice");
        drop(locked);
        file.as_file().try_lock().expect("free again");
    }
}
