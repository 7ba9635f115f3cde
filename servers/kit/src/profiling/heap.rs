//! What holds memory: of every half mebibyte allocated since the switch was turned on, one stack is noted until the
//! memory is given back. Nothing is noted while the switch is off.

use super::Refused;
use axum::http::StatusCode;
use axum::response::Response;

#[cfg(target_os = "linux")]
pub(super) use jemalloc_pprof::{
    activate_jemalloc_profiling as start, deactivate_jemalloc_profiling as stop,
};

/// What is held now of all that was noted.
#[cfg(target_os = "linux")]
pub(super) async fn profile() -> Result<Response, Refused> {
    use super::{failed, pprof_file};
    let control = jemalloc_pprof::PROF_CTL.as_ref().ok_or_else(|| {
        // `opt.prof` is off: the build had other settings, or the environment changed them.
        let told = "this program's allocator takes no profiles: build it in the repository, whose .cargo/config.toml sets \
                    prof:true, and leave _RJEM_MALLOC_CONF alone\n";
        (StatusCode::NOT_IMPLEMENTED, told.to_owned())
    })?;
    let dump = move || control.blocking_lock().dump_pprof();
    let bytes = tokio::task::spawn_blocking(dump).await.map_err(failed)?;
    // The dump goes through a temporary file.
    let bytes = bytes.map_err(|error| {
        failed(format!(
            "{error:#}; it needs a folder for temporary files (TMPDIR, else /tmp) that can be written"
        ))
    })?;
    Ok(pprof_file("heap", bytes))
}

#[cfg(not(target_os = "linux"))]
pub(super) async fn start() {}

#[cfg(not(target_os = "linux"))]
pub(super) async fn stop() {}

#[cfg(not(target_os = "linux"))]
pub(super) async fn profile() -> Result<Response, Refused> {
    Err((StatusCode::NOT_IMPLEMENTED, "there are heap profiles on Linux only\n".to_owned()))
}
