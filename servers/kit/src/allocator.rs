//! The one allocator of every program that links the kit. On Linux it is jemalloc, because it can tell what holds
//! memory while a program runs; how it begins is set in `.cargo/config.toml`.

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
