//! The binary `hearth`.
#![deny(unsafe_code)]

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator is told when the process begins. It keeps what was freed for whoever allocates next, in each of its arenas
/// for itself, for ten seconds if it is told nothing: long enough for several large queries, one after the other, to add up.
/// Whatever is used all the time is not given back in one second either. `MALLOC_CONF` in the environment comes after it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // The allocator finds it by its name, which nothing else may have.
#[unsafe(export_name = "malloc_conf")]
static MALLOC_CONF: &[u8; 20] = b"dirty_decay_ms:1000\0";

fn main() -> std::process::ExitCode {
    hearth::cli::run()
}
